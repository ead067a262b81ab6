# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of a vocabulary that grows: new tokens follow the old ones, and the logits of the old ones stay bit by bit."""

import json

import pytest
import torch
import yaml
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import MarianConfig, PreTrainedTokenizerFast

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, train_tokenizer
from hf_rnn_attn.model.checkpoint_rnn_attn import load_checkpoint, load_tokenizer
from hf_rnn_attn.model.pipeline_rnn_attn import sides_of
from hf_rnn_attn.tokenization import tokenizer_settings
from hf_rnn_attn.training import load_recipe, train
from hf_rnn_attn.training.growth import grow_model, grow_tokenizer


OLD = {"source": ["cab bad", "dab"], "target": ["K AE B", "D AE"]}
NEW = {"source": ["cab fee", "deaf"], "target": ["K AE F F", "D EH F"]}
SIZES = {"encoder_embedding_size": 6, "attentional_size": 6, "decoder_embedding_size": 6, "encoder_hidden_size": 4}
SIZES |= {"decoder_hidden_size": 8, "encoder_dropout": 0.0, "decoder_dropout": 0.0}
SHARED = {"share_encoder_decoder_embeddings": True}
TIED = {"tie_word_embeddings": True}


def pairs_of(texts):
    return Dataset.from_dict(texts)


def make(options, spare=0, features=(), **kinds):
    """A tokenizer of the old pairs, and a model with it whose output biases are not zero."""
    tokenizer = train_tokenizer(*OLD.values(), **kinds, features=features)
    source, target = (len(side) + spare for side in sides_of(tokenizer))
    config = RnnAttnConfig(
        **SIZES,
        **options,
        vocab_size=source,
        decoder_vocab_size=target,
        **tokenizer_settings(tokenizer),
        decoder_start_token_id=tokenizer.bos_token_id,
    )
    model = RnnAttnForConditionalGeneration(config).eval()
    if model.lm_head.bias is not None:
        torch.nn.init.uniform_(model.lm_head.bias)
    return model, tokenizer


def logits_of(model, tokenizer):
    inputs = tokenizer(OLD["source"], text_target=OLD["target"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=model.prepare_decoder_input_ids_from_labels(inputs["labels"]),
        ).last_hidden_state
        # a matrix product may round otherwise where it has more columns
        logits = (states.unsqueeze(-2) * model.lm_head.weight).sum(-1)
        logits = logits if model.lm_head.bias is None else logits + model.lm_head.bias
        torch.testing.assert_close(model.lm_head(states), logits)
        return logits


@pytest.mark.parametrize("spare", [0, 1, 5])
@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, {"kind": "char"}),
        ({}, {"kind": "char", "target_kind": "symbol", "joint": False}),
        ({}, {"kind": "char", "joint": False, "normalization": "nfd"}),
        ({}, {"kind": "word"}),
        ({}, {"kind": "symbol", "joint": False}),
        ({}, {"kind": "bpe", "vocab_size": 280}),
        ({}, {"kind": "bpe", "vocab_size": 280, "joint": False}),
        ({}, {"kind": "unigram", "vocab_size": 280}),
        (TIED, {"kind": "char", "target_kind": "symbol", "joint": False}),
        ({"output_bias": True}, {"kind": "char"}),
        (SHARED, {"kind": "char"}),
        (SHARED | TIED, {"kind": "char"}),
        ({"pointer_generator": True}, {"kind": "char"}),
    ],
    ids=str,
)
def test_old_logits_and_ids_stay_and_new_tokens_are_known(options, kinds, spare, tmp_path):
    model, tokenizer = make(options, spare, **kinds)
    before, sizes = logits_of(model, tokenizer), [len(side) for side in sides_of(tokenizer)]
    ids = tokenizer(OLD["source"], text_target=OLD["target"])
    assert model.config.decoder_vocab_size == sizes[1] + spare
    grown = grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path / "tokenizer", every_kind=True)
    names = grow_model(model, tokenizer, grown)
    assert grown(OLD["source"], text_target=OLD["target"]) == ids
    assert all(len(side) > size for side, size in zip(sides_of(grown), sizes, strict=True))
    assert torch.equal(logits_of(model, grown)[..., : sizes[1]], before[..., : sizes[1]])
    assert len(names) == 3
    encoded = grown(NEW["source"], text_target=NEW["target"])
    rows = [*encoded["input_ids"], *encoded["labels"]]
    assert not any(token == grown.unk_token_id for row in rows for token in row)
    assert grown.batch_decode(encoded["labels"], skip_special_tokens=True) == NEW["target"]
    # what is saved is one checkpoint
    model.save_pretrained(tmp_path)
    grown.save_pretrained(tmp_path)
    loaded, again = load_checkpoint(tmp_path)
    assert torch.equal(logits_of(loaded, again), logits_of(model, grown))
    assert again(NEW["source"], text_target=NEW["target"]) == encoded


def test_new_rows_are_the_mean_of_the_old_ones_without_special_tokens(tmp_path):
    model, tokenizer = make({"output_bias": True}, kind="char", target_kind="symbol", joint=False)
    grown = grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path, every_kind=False)
    grow_model(model, tokenizer, grown)
    tables = (model.model.encoder.embed_tokens, model.model.decoder.embed_tokens, model.lm_head)
    sizes = [len(side) for side in sides_of(tokenizer)]
    for table, size in zip(tables, (sizes[0], sizes[1], sizes[1]), strict=True):
        mean = table.weight[4:size].mean(0)
        assert len(table.weight) > size and all(torch.equal(row, mean) for row in table.weight[size:])
    assert model.lm_head.bias[sizes[1] :].tolist() == [model.lm_head.bias[4 : sizes[1]].mean()] * 2


def test_new_tokens_come_by_frequency(tmp_path):
    tokenizer = train_tokenizer(*OLD.values(), kind="char", target_kind="symbol", joint=False)
    grown = grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path, every_kind=False)
    sides = sides_of(grown)
    assert sides[0].convert_ids_to_tokens(list(range(len(tokenizer), len(grown)))) == ["e", "f"]
    assert sides[1].convert_ids_to_tokens(list(range(len(sides_of(tokenizer)[1]), len(sides[1])))) == ["▁F", "▁EH"]


# letters of Hangul syllables, combining marks, a sign outside of the basic plane, names of special tokens, upper case
@pytest.mark.parametrize(
    ("text", "options", "count"),
    [
        ("한국", {"normalization": "nfd"}, 6),
        ("한국", {}, 2),
        ("é", {"normalization": "nfd"}, 2),
        ("e\u0301", {}, 1),
        ("𒀀", {}, 1),
        ("CAB", {"lowercase": True}, 0),
        ("<s>", {}, 3),
        ("a\u200bb", {}, 0),
    ],
)
def test_what_is_new_is_what_the_tokenizer_makes_of_a_text(text, options, count, tmp_path):
    tokenizer = train_tokenizer(*OLD.values(), kind="char", joint=False, **options)
    before = len(tokenizer)
    grown = grow_tokenizer(tokenizer, pairs_of({"source": [text], "target": ["K"]}), tmp_path, every_kind=False)
    assert len(grown) == before + count and grown.unk_token_id not in grown(text)["input_ids"]


@pytest.mark.parametrize("joint", [True, False])
def test_tags_keep_their_ids_and_new_ones_are_one_token(joint, tmp_path):
    model, tokenizer = make({}, kind="char", joint=joint, features=["[V]", "[PST]"])
    texts = ["[V]cab", "[PST] bad"]
    before, logits = tokenizer(texts)["input_ids"], logits_of(model, tokenizer)
    new = NEW | {"source": ["[V][FUT]fee", "[V]deaf"], "features": [["[V]", "[FUT]"], ["[V]"]]}
    grown = grow_tokenizer(tokenizer, pairs_of(new), tmp_path, every_kind=False)
    grow_model(model, tokenizer, grown)
    assert grown(texts)["input_ids"] == before
    assert torch.equal(logits_of(model, grown)[..., : logits.shape[-1]], logits)
    # two tags, three letters, the end
    assert len(grown("[V][FUT]fee")["input_ids"]) == 6
    assert grown.unk_token_id not in grown("[V][FUT]fee")["input_ids"]
    again = grow_tokenizer(load_tokenizer(tmp_path), pairs_of(new), tmp_path / "again", every_kind=False)
    assert len(again) == len(grown)


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram"])
def test_words_and_subwords_grow_on_request_alone(kind, tmp_path, caplog):
    tokenizer = train_tokenizer(*OLD.values(), kind=kind, vocab_size=280)
    assert len(grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path, every_kind=False)) == len(tokenizer)
    assert not caplog.text
    assert len(grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path, every_kind=True)) > len(tokenizer)
    assert "new source and target tokens: " in caplog.text and "tokenizer.grow: false" in caplog.text


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (models.WordPiece({"<unk>": 0, "a": 1}, unk_token="<unk>"), "one of the kind WordPiece"),
        (
            models.BPE({"<unk>": 0, "a</w>": 1}, [], unk_token="<unk>", end_of_word_suffix="</w>"),
            "one that marks the parts of a word",
        ),
        (
            models.BPE({"<unk>": 0, "##a": 1}, [], unk_token="<unk>", continuing_subword_prefix="##"),
            "one that marks the parts of a word",
        ),
    ],
)
def test_a_tokenizer_that_takes_no_tokens_is_refused_on_request_and_else_left_alone(backend, message, tmp_path):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(backend), unk_token="<unk>")
    with pytest.raises(ValueError, match=f"expected a tokenizer that can be given tokens, got {message}; set"):
        grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path, every_kind=True)
    assert len(grow_tokenizer(tokenizer, pairs_of(NEW), tmp_path, every_kind=False)) == 2


def write_recipe(folder, name, texts, model, tokenizer, **training):
    lines = [f"{source}\t{target}\n" for source, target in zip(*texts.values(), strict=True)] * 4
    (folder / f"{name}.tsv").write_text("".join(lines), "utf-8")
    stock = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
    stock |= {"output_dir": str(folder / name), "max_steps": 4, "save_steps": 2, "learning_rate": 0.02}
    recipe = {
        "data": {"train": f"{name}.tsv"},
        "tokenizer": tokenizer,
        "model": model,
        "training": {**stock, **training},
        "evaluation": {"metrics": {"exact_match": None}},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    return folder / f"{name}.yaml"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with a checkpoint `first` of the old pairs, which no test may change."""
    folder = tmp_path_factory.mktemp("first")
    tokenizer = {"kind": "char", "target_kind": "symbol", "joint": False}
    train(load_recipe(write_recipe(folder, "first", OLD, SIZES, tokenizer)))
    return folder / "first"


def test_a_tuned_checkpoint_knows_the_new_symbols_and_goes_on_where_it_stopped(first, tmp_path, caplog):
    path = write_recipe(tmp_path, "tuned", NEW, str(first), {})
    train(load_recipe(path))
    assert "new source tokens: e, f; tokenizer.grow: false leaves them out" in caplog.text
    assert "new target tokens: ▁F, ▁EH;" in caplog.text and "unknown" not in caplog.text
    whole = load_checkpoint(tmp_path / "tuned")
    assert grown_sizes(whole) == [size + 2 for size in grown_sizes(load_checkpoint(first))]
    # new rows learn
    rows = whole[0].lm_head.weight[-2:]
    assert not torch.equal(rows[0], rows[1])
    checkpoint = tmp_path / "tuned" / "checkpoint-2"
    train(load_recipe(path, [f"training.resume_from_checkpoint={checkpoint}"]))
    resumed = load_checkpoint(tmp_path / "tuned")[0].state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole[0].state_dict().items())


def grown_sizes(checkpoint):
    model, tokenizer = checkpoint
    sizes = [len(side) for side in sides_of(tokenizer)]
    assert sizes == [model.config.vocab_size, model.config.decoder_vocab_size]
    assert sizes == [int(text.partition("-")[0]) for text in model.config.vocabulary_fingerprints]
    return sizes


def test_with_grow_false_the_vocabulary_stays_and_what_is_unknown_is_said(first, tmp_path, caplog):
    train(load_recipe(write_recipe(tmp_path, "tuned", NEW, str(first), {"grow": False})))
    assert grown_sizes(load_checkpoint(tmp_path / "tuned")) == grown_sizes(load_checkpoint(first))
    assert "are unknown to the tokenizer" in caplog.text and "new source tokens" not in caplog.text


def test_another_choice_does_not_go_on_from_a_checkpoint(first, tmp_path):
    path = write_recipe(tmp_path, "tuned", NEW, str(first), {})
    train(load_recipe(path))
    with pytest.raises(ValueError, match=r"keeps its model and tokenizer.*tokenizer\.grow: not set → False"):
        train(load_recipe(path, ["tokenizer.grow=false", "training.resume_from_checkpoint=true"]))


def test_new_tokens_in_a_frozen_table_are_named(first, tmp_path, caplog):
    train(load_recipe(write_recipe(tmp_path, "tuned", NEW, str(first), {}, freeze=["model.encoder.*"])))
    assert "model.encoder.embed_tokens.weight is frozen: its new tokens keep their first values" in caplog.text
    assert "lm_head.weight is frozen" not in caplog.text


def test_the_vocabulary_of_another_model_does_not_grow(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(MarianConfig().to_dict()), "utf-8")
    path = write_recipe(tmp_path, "tuned", NEW, str(other), {"grow": True})
    with pytest.raises(ValueError, match="tokenizer.grow: expected a checkpoint of type rnn_attn, got marian"):
        train(load_recipe(path))


def test_what_a_placeholder_stands_for_needs_no_tokens(tmp_path):
    old = {"source": ["cab 12", "bad 21"], "target": ["dab 12", "cad 21"]}
    path = write_recipe(tmp_path, "old", old, SIZES, {"kind": "char"})
    train(load_recipe(path, ["data.placeholders=[number]"]))
    new = {"source": ["cab 987", "fad 79"], "target": ["dab 987", "cad 79"]}
    train(load_recipe(write_recipe(tmp_path, "tuned", new, str(tmp_path / "old"), {})))
    vocab = load_tokenizer(tmp_path / "tuned").get_vocab()
    assert "f" in vocab and not {"7", "8", "9"} & vocab.keys()
