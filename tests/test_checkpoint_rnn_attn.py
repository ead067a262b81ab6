# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are damaged, incomplete or of two models: each is refused in one line that names the file."""

import json
import shutil
import struct
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import make_model
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import hf_rnn_attn_cli
from hf_rnn_attn import RnnAttnForConditionalGeneration, RnnAttnModel, train_tokenizer
from hf_rnn_attn.inference.ensemble import load_ensemble
from hf_rnn_attn.model import checkpoint_rnn_attn
from hf_rnn_attn.model.checkpoint_rnn_attn import MOST_TOKENIZER_BYTES, load_checkpoint
from hf_rnn_attn.model.pipeline_rnn_attn import sides_of, translation_pipeline
from hf_rnn_attn.tokenization import tokenizer_settings


SENTENCES = ["ein Hund sieht eine Katze"], ["a dog sees a cat"]
EMBEDDING = "model.encoder.embed_tokens.weight"


def make_checkpoint(folder, sentences=SENTENCES, seed=0, **options):
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(*sentences, kind="word", joint=False)
    sizes = {"vocab_size": len(tokenizer), "decoder_vocab_size": len(tokenizer.target_tokenizer)}
    model = make_model(**(sizes | tokenizer_settings(tokenizer) | options)).float()
    model.generation_config.max_length = 9
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "whole")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def refusal(folder):
    """The message with which a folder is refused; one line."""
    with pytest.raises((ValueError, OSError)) as caught:
        load_checkpoint(folder)
    return " ".join(str(caught.value).split())


def change_json(file, **changes):
    content = json.loads(file.read_text("utf-8")) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}), encoding="utf-8")


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_whole_checkpoint_loads_without_a_word(folder, recwarn, caplog):
    model, tokenizer = load_checkpoint(folder)
    assert len(model.generate(**tokenizer("ein Hund", return_tensors="pt"))) == 1
    assert not recwarn.list and not caplog.records


# the ways in which a checkpoint is loaded
DOORS = {
    "load_checkpoint": load_checkpoint,
    "translation_pipeline": lambda folder: translation_pipeline(model=str(folder)),
    "load_ensemble": lambda folder: load_ensemble([folder, folder]),
    "AutoModelForSeq2SeqLM": AutoModelForSeq2SeqLM.from_pretrained,
    "from_pretrained": RnnAttnForConditionalGeneration.from_pretrained,
}
WEIGHT_DAMAGE = {
    "missing": (lambda w: w.pop(EMBEDDING), f"`{EMBEDDING}` of shape .* is missing in the weights"),
    "renamed": (lambda w: w.update({"model.encoder.emb": w.pop(EMBEDDING)}), f"`{EMBEDDING}` .* is missing"),
    "unexpected": (lambda w: w.update(extra=torch.ones(2)), "`extra` has no place in the model"),
    "another shape": (lambda w: w.update({EMBEDDING: torch.ones(3, 5)}), "has another shape .*3, 5.* in the weights"),
    "transposed": (lambda w: w.update({EMBEDDING: w[EMBEDDING].T.contiguous()}), "has another shape"),
    "nan": (lambda w: w[EMBEDDING].view(-1)[0].fill_(torch.nan), f"`{EMBEDDING}` is not finite"),
    "infinite": (lambda w: w["lm_head.weight"].fill_(-torch.inf), "`lm_head.weight` is not finite"),
    "whole numbers": (lambda w: w.update({EMBEDDING: w[EMBEDDING].long()}), "of the types .*, got I64"),
    "none": (lambda w: w.clear(), "is missing in the weights, and .* more"),
}


@pytest.mark.parametrize("damage", WEIGHT_DAMAGE)
@pytest.mark.parametrize("door", DOORS)
def test_weights_of_another_kind_are_refused_at_every_door(door, damage, folder):
    change, message = WEIGHT_DAMAGE[damage]
    change_weights(folder, change)
    with pytest.raises(ValueError, match=message):
        DOORS[door](folder)


@pytest.mark.parametrize("command", [["translate", "ein Hund", "--model"], ["translate", "ein", "--int8", "--model"]])
@pytest.mark.parametrize("damage", ["missing", "nan"])
def test_the_command_line_refuses_them_in_one_line(command, damage, folder, capsys):
    change_weights(folder, WEIGHT_DAMAGE[damage][0])
    assert hf_rnn_attn_cli.main([*command, str(folder)]) == 2
    output = capsys.readouterr()
    last = output.err.splitlines()[-1]
    assert not output.out and last.startswith("hf-rnn-attn: error:") and EMBEDDING in last


def header(content, length=None):
    encoded = json.dumps(content).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NO_SAFETENSORS = {
    "empty": b"",
    "zeros": bytes(1000),
    "a pickle": b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00}\x94.",
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n",
    "a header longer than the file": header({"a": TENSOR}, 10**15),
    "fewer bytes than the header says": header({"a": TENSOR}) + bytes(4),
    "more bytes than the header says": header({"a": TENSOR}) + bytes(40),
    "no object": header([1]),
    "an unknown type": header({"a": TENSOR | {"dtype": "F33"}}) + bytes(8),
    "a negative size": header({"a": TENSOR | {"shape": [-2]}}) + bytes(8),
    "another size": header({"a": TENSOR | {"shape": [2**60, 2**60]}}) + bytes(8),
    "no JSON": struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("damage", NO_SAFETENSORS)
def test_what_is_no_safetensors_file_is_refused(damage, folder):
    (folder / "model.safetensors").write_bytes(NO_SAFETENSORS[damage])
    assert "model.safetensors: expected a safetensors file, got a damaged or other one" in refusal(folder)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_cut_weights_are_refused(share, folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert "model.safetensors: expected a safetensors file" in refusal(folder)


def test_absent_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no weights; expected the file model.safetensors" in refusal(folder)


@pytest.fixture
def sharded(whole, folder):
    RnnAttnForConditionalGeneration.from_pretrained(whole).save_pretrained(folder, max_shard_size="1KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    return folder


def test_shards_load(sharded, whole):
    assert load_checkpoint(sharded)[0].lm_head.weight.equal(load_checkpoint(whole)[0].lm_head.weight)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/tmp/x.safetensors", "a/b.safetensors", "..\\x.safetensors", "", "x.bin", 5, None, ".."],
)
def test_an_index_names_files_beside_it_alone(name, sharded):
    change_json(sharded / "model.safetensors.index.json", weight_map={"lm_head.weight": name})
    (sharded.parent / "x.safetensors").write_bytes(b"never opened")
    assert f"expected names of safetensors files beside it, got {str(name)!r}" in refusal(sharded)


@pytest.mark.parametrize("weight_map", [None, [], {}, "model.safetensors", 5])
def test_an_index_without_a_map_is_refused(weight_map, sharded):
    change_json(sharded / "model.safetensors.index.json", weight_map=weight_map)
    assert "expected a `weight_map`" in refusal(sharded)


def test_a_missing_shard_is_named(sharded):
    shard = sorted(sharded.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert f"the file {shard.name}, which model.safetensors.index.json names, is missing" in refusal(sharded)


JSON_DAMAGE = {
    "empty": b"",
    "cut": b'{"model_type": "rnn_',
    "a list": b"[]",
    "null": b"null",
    "a number": b"5",
    "text": b"model_type: rnn_attn",
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "large": b" " * (2**20 + 1),
}


@pytest.mark.parametrize("damage", JSON_DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_a_damaged_file_of_settings_is_named(name, damage, folder):
    (folder / name).write_bytes(JSON_DAMAGE[damage])
    assert f"{folder / name}: expected" in refusal(folder)


@pytest.mark.parametrize("damage", [*JSON_DAMAGE, "huge"])
@pytest.mark.parametrize("name", ["tokenizer.json", "target_tokenizer.json"])
def test_a_damaged_tokenizer_is_named(name, damage, folder):
    if damage == "huge":
        with (folder / name).open("wb") as file:
            file.truncate(MOST_TOKENIZER_BYTES + 1)
    else:
        (folder / name).write_bytes(JSON_DAMAGE[damage])
    assert str(folder / name) in refusal(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "target_tokenizer.json"])
def test_an_absent_tokenizer_is_refused(name, folder):
    (folder / name).unlink()
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_layers": 10**7}, "`encoder_layers` must be at most 1000, got 10000000"),
        ({"encoder_layers": 900}, "is missing in the weights"),
        ({"vocab_size": 10**12}, "`vocab_size` must be at most 16777216"),
        ({"vocab_size": 2**24}, "has another shape"),
        ({"encoder_hidden_size": 2**24, "decoder_hidden_size": 2**24}, "has another shape"),
        ({"encoder_hidden_size": -4}, "`encoder_hidden_size` must be at least 1"),
        ({"encoder_hidden_size": None}, "`encoder_hidden_size`: expected int, got None"),
        ({"encoder_hidden_size": "4"}, "`encoder_hidden_size`: expected int, got '4'"),
        ({"encoder_hidden_size": 4.0}, "`encoder_hidden_size`: expected int, got 4.0"),
        ({"encoder_cell_type": "gru"}, "has another shape"),
        ({"encoder_cell_type": "ltsm"}, "Did you mean 'lstm'?"),
        ({"attention_score": "concat"}, "is missing in the weights"),
        ({"encoder_layer": 2}, "Did you mean `encoder_layers`?"),
        ({"initializer_range": float("nan")}, "`initializer_range` must be a number"),
        ({"architectures": 5}, "`architectures` must be a list"),
        ({"model_type": "nothing", "auto_map": ...}, "nothing"),
        ({"model_type": ..., "auto_map": ...}, "model_type"),
        ({"pad_token_id": 99}, "`pad_token_id` must be a token of the vocabulary, from 0 to"),
        ({"dtype": "float33"}, "the configuration cannot be read"),
        ({"dtype": 5}, "the model cannot be read"),
        ({"id2label": [1]}, "the configuration cannot be read"),
        ({"task_specific_params": 5}, "`task_specific_params` must be a dictionary"),
        ({"prefix": 5}, "`prefix` must be a text"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_configuration_of_another_model_is_refused(changes, message, folder):
    change_json(folder / "config.json", **changes)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_beams": "3"}, "`num_beams`: expected a whole number of at least 1 and at most 1000, got '3'"),
        ({"num_beams": 0}, "`num_beams`"),
        ({"max_length": 10**6}, "`max_length`: expected a whole number of at least 1 and at most 10000, got 1000000"),
        ({"length_penalty": float("nan")}, "`length_penalty`: expected a number from -50 to 50, got nan"),
        ({"eos_token_id": 99}, "`eos_token_id`: expected tokens of the target vocabulary"),
        ({"eos_token_id": ...}, "`eos_token_id` is missing; it is 2 in config.json"),
        ({"decoder_start_token_id": None}, "`decoder_start_token_id` is missing; it is 1 in config.json"),
    ],
    ids=str,
)
def test_generation_settings_that_mean_nothing_are_refused(changes, message, folder):
    change_json(folder / "generation_config.json", **changes)
    assert f"generation_config.json: the generation settings cannot be read: {message}" in refusal(folder)


def test_settings_that_nothing_reads_are_warned_of_in_one_line(folder, caplog):
    change_json(folder / "generation_config.json", gnmt_length_penalty=0.6, coverage_penalty=None, num_beam=3)
    load_checkpoint(folder)
    (record,) = caplog.records
    message = record.getMessage()
    assert "have no effect: `gnmt_length_penalty=0.6`, `num_beam=3`." in message and "\n" not in message


@pytest.mark.parametrize("tokenizer_class", ["NoTokenizer", 5, {}, [1], True], ids=str)
def test_an_unknown_class_of_tokenizer_is_refused(tokenizer_class, folder):
    change_json(folder / "tokenizer_config.json", tokenizer_class=tokenizer_class)
    assert "tokenizer_config.json: `tokenizer_class` must be one of transformers" in refusal(folder)


LARGE = [" ".join(f"w{number}" for number in range(300))]


@pytest.mark.parametrize("sentences", [(LARGE, SENTENCES[1]), (SENTENCES[0], LARGE)], ids=["source", "target"])
@pytest.mark.parametrize("is_larger", [True, False])
def test_a_tokenizer_of_another_size_is_refused(sentences, is_larger, whole, tmp_path):
    other = make_checkpoint(tmp_path / "other", sentences)
    model_folder, tokenizer_folder = (whole, other) if is_larger else (other, whole)
    for file in tokenizer_folder.glob("*tokenizer*.json"):
        mixed = shutil.copytree(model_folder, tmp_path / "mixed", dirs_exist_ok=True)
        shutil.copy(file, mixed)
    for file in tokenizer_folder.glob("*tokenizer*.json"):
        shutil.copy(file, mixed)
    assert f"{mixed}: the tokenizer is not that of the model" in refusal(mixed)
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(mixed), AutoTokenizer.from_pretrained(mixed)
    with pytest.raises(ValueError, match="source tokens in the tokenizer and|target tokens in the tokenizer and"):
        translation_pipeline(model=model, tokenizer=tokenizer)


@pytest.mark.parametrize("key", ["pad_token_id", "bos_token_id", "eos_token_id"])
def test_other_special_tokens_are_refused(key, folder):
    change_json(folder / "config.json", **{key: 3})
    assert f"`{key}`" in refusal(folder)


# every letter is another one: as many tokens of the same length
OTHER_LETTERS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")


@pytest.mark.parametrize(("kind", "joint"), [("word", False), ("char", True), ("bpe", True), ("bpe", False)])
def test_a_tokenizer_of_the_same_size_with_other_tokens_is_refused(kind, joint, tmp_path):
    texts = "wir sehen drei hunde", "we see three dogs"
    tokenizer = train_tokenizer(*([text] for text in texts), kind=kind, joint=joint)
    other = train_tokenizer(*([text.translate(OTHER_LETTERS)] for text in texts), kind=kind, joint=joint)
    sizes = list(map(len, sides_of(tokenizer)))
    assert sizes == list(map(len, sides_of(other)))
    settings = tokenizer_settings(tokenizer)
    make_model(vocab_size=sizes[0], decoder_vocab_size=sizes[1], **settings).float().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    load_checkpoint(tmp_path)
    other.save_pretrained(tmp_path)
    assert f"{tmp_path}: the tokenizer is not that of the model: other source tokens. Load" in refusal(tmp_path)


@pytest.mark.parametrize("side", ["source", "target"])
def test_two_tokenizers_that_differ_in_two_words_alone_are_told_apart(side, folder):
    file = folder / {"source": "tokenizer.json", "target": "target_tokenizer.json"}[side]
    content = json.loads(file.read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(content), encoding="utf-8")
    assert f"the tokenizer is not that of the model: other {side} tokens" in refusal(folder)
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match=f"other {side} tokens"):
        translation_pipeline(model=model, tokenizer=tokenizer)
    model.config.vocabulary_fingerprints = None
    translation_pipeline(model=model, tokenizer=tokenizer)


def test_a_tokenizer_with_more_tokens_is_still_that_of_the_model(folder):
    model, tokenizer = load_checkpoint(folder)
    tokenizer.add_tokens(["Maus"])
    tokenizer.target_tokenizer.add_tokens(["mouse", "mice"])
    model.resize_token_embeddings(len(tokenizer))
    model.resize_decoder_token_embeddings(len(tokenizer.target_tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model, tokenizer = load_checkpoint(folder)
    assert (len(tokenizer), model.config.vocab_size) == (len(tokenizer.source_tokenizer),) * 2


@pytest.mark.parametrize("value", [[], ["8-0123456789abcdef"], ["x", "y"], ["8-0123456789abcdef", "8-secret"], "ab", 5])
def test_what_is_no_fingerprint_is_refused(value, folder):
    change_json(folder / "config.json", vocabulary_fingerprints=value)
    assert "`vocabulary_fingerprints`" in refusal(folder)


def test_a_tokenizer_is_parsed_a_second_time_only_to_name_a_damaged_file(folder, monkeypatch):
    def forbidden(*_):
        raise AssertionError("parsed again")

    monkeypatch.setattr(checkpoint_rnn_attn, "Tokenizer", SimpleNamespace(from_file=forbidden))
    load_checkpoint(folder)


def test_a_padded_vocabulary_is_accepted(folder):
    model, tokenizer = load_checkpoint(folder)
    model.resize_token_embeddings(pad_to_multiple_of=64)
    model.resize_decoder_token_embeddings(len(tokenizer.target_tokenizer), pad_to_multiple_of=64)
    model.save_pretrained(folder)
    assert load_checkpoint(folder)[0].config.decoder_vocab_size == 64


# what is legitimate loads on: see also test_library_conformance.py
def test_the_bare_model_and_the_model_with_an_output_layer_load_each_other(folder, tmp_path):
    bare = RnnAttnModel.from_pretrained(folder)
    bare.save_pretrained(tmp_path / "bare")
    again = RnnAttnForConditionalGeneration.from_pretrained(tmp_path / "bare")
    assert again.model.encoder.embed_tokens.weight.equal(bare.encoder.embed_tokens.weight)


def test_a_resized_load_works(folder):
    options = {"vocab_size": 40, "decoder_vocab_size": 40, "ignore_mismatched_sizes": True}
    assert RnnAttnForConditionalGeneration.from_pretrained(folder, **options).lm_head.out_features == 40


def test_who_asks_what_was_loaded_reads_it_there(folder):
    change_weights(folder, lambda weights: weights.pop(EMBEDDING))
    model, found = RnnAttnForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert found["missing_keys"] == {EMBEDDING} and model.device.type == "cpu"


@pytest.mark.parametrize("options", [{"tie_word_embeddings": True, "attentional_size": 6}, {"decoder_layers": 2}])
def test_tied_and_deep_models_are_whole(options, tmp_path):
    folder = make_checkpoint(tmp_path / "model", **options)
    assert load_checkpoint(folder)[0].config.decoder_layers == options.get("decoder_layers", 1)
