# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The vocabulary shortlist: its union, how it is learned, and translation with a part of the output layer."""

import pytest
import torch
from small_models import SOURCES, TARGETS, make_model, mask_of, pad
from test_alignment import Diagonal
from transformers import MarianConfig, MarianMTModel, pipeline

from hf_rnn_attn import cli
from hf_rnn_attn.ensemble import RnnAttnEnsemble
from hf_rnn_attn.quantization import quantize
from hf_rnn_attn.shortlist import Shortlist, learn_shortlist
from hf_rnn_attn.tokenization import train_tokenizer


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
SEARCHES = [
    {},
    {"num_beams": 3},
    {"num_beams": 3, "num_return_sequences": 3, "gnmt_length_penalty": 0.6, "coverage_penalty": 0.2},
    {"do_sample": True},
    {"do_sample": True, "num_beams": 2, "temperature": 0.5, "top_p": 0.9},
    {"prompt_lookup_num_tokens": 2},
]
# looking words up in the prompt is for one sentence at a time
ALONE = {name: tensor[:1] for name, tensor in INPUTS.items()}
FEW = torch.tensor([2, 3, 5, 6, 8, 11])
GERMAN = ["der hund schläft", "der hund", "die katze", "der kater schläft"]
ENGLISH = ["the dog sleeps", "the dog", "the cat", "a cat naps"]


def small_model(**options):
    return make_model(decoder_vocab_size=14, **options)


def inputs_for(options):
    return ALONE if "prompt_lookup_num_tokens" in options else INPUTS


def list_by_hand():
    return Shortlist(torch.tensor([[2, 2], [2, 2], [2, 2], [5, 3], [7, 5], [9, 2]]), torch.tensor([2, 4]))


def test_a_batch_gets_the_union_of_its_tokens_lists():
    ids = torch.tensor([[3, 4, 2], [4, 2, 5]])
    assert list_by_hand().words(ids, torch.tensor([[1, 1, 1], [1, 1, 0]])).tolist() == [2, 3, 4, 5, 7]
    assert list_by_hand().words(ids, torch.ones_like(ids)).tolist() == [2, 3, 4, 5, 7, 9]
    assert list_by_hand().words(ids, torch.zeros_like(ids)).tolist() == [2, 4]


def test_a_token_of_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match="expected source tokens below 6, got 6; .* another model"):
        list_by_hand().words(torch.tensor([[6]]), torch.tensor([[1]]))


def learn(tokenizer, **options):
    model = Diagonal(mirrored=False)
    model.config = type("Config", (), {"vocab_size": len(tokenizer)})
    shortlist = learn_shortlist(model, tokenizer, GERMAN, ENGLISH, batch_size=3, **options)
    target = getattr(tokenizer, "target_tokenizer", tokenizer)

    def targets_of(text):
        encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        return set(target.convert_ids_to_tokens(shortlist.words(encoded["input_ids"], encoded["attention_mask"])))

    special = set(target.all_special_tokens)
    assert special <= targets_of("hund")
    return lambda text: {token.removeprefix("▁") for token in targets_of(text) - special}


@pytest.mark.parametrize("joint", [True, False])
def test_a_source_token_keeps_the_targets_that_looked_at_it_most(joint):
    tokenizer = train_tokenizer(GERMAN, ENGLISH, kind="word", joint=joint)
    targets_of = learn(tokenizer, per_word=1, always=0)
    # der: the the a; schläft: sleeps naps, of which the first in the vocabulary
    assert (targets_of("der"), targets_of("hund"), targets_of("katze")) == ({"the"}, {"dog"}, {"cat"})
    assert targets_of("der kater") == {"the", "cat"} and len(targets_of("schläft")) == 1
    targets_of = learn(tokenizer, per_word=2, always=0)
    assert (targets_of("der"), targets_of("schläft")) == ({"the", "a"}, {"sleeps", "naps"})


def test_the_most_frequent_targets_come_to_every_list():
    tokenizer = train_tokenizer(GERMAN, ENGLISH, kind="word")
    # the end of sentence is first (4), then the (3)
    assert learn(tokenizer, per_word=1, always=2)("katze") == {"the", "cat"}
    assert learn(tokenizer, per_word=1, always=1)("katze") == {"cat"}


def test_pairs_must_be_pairs():
    for sources, targets in ((["a"], []), ([], [])):
        with pytest.raises(ValueError, match=f"got {len(sources)} and 0"):
            learn_shortlist(Diagonal(False), None, sources, targets)


def test_a_saved_list_is_the_same(tmp_path):
    list_by_hand().save(tmp_path / "model")
    loaded = Shortlist.load(tmp_path / "model")
    assert torch.equal(loaded.table, list_by_hand().table) and torch.equal(loaded.always, list_by_hand().always)
    with pytest.raises(FileNotFoundError, match="no shortlist.safetensors in .*`hf-rnn-attn shortlist` learns one"):
        Shortlist.load(tmp_path)


@pytest.mark.parametrize("make", [small_model, lambda: quantize(small_model().float())], ids=["float", "int8"])
def test_logits_of_chosen_words_are_the_full_ones_and_others_impossible(make):
    model = make()
    inputs = {**INPUTS, "decoder_input_ids": pad(TARGETS, 0)}
    full = model(**inputs).logits
    logits = model(**inputs, output_words=model.select_output_words(FEW)).logits
    torch.testing.assert_close(logits[..., FEW], full[..., FEW])
    others = [word for word in range(14) if word not in FEW]
    assert logits.shape == full.shape and (logits[..., others] == -torch.inf).all()


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_all_words_chosen_is_the_same_as_none(options):
    model, inputs, outputs = small_model(output_bias=True), inputs_for(options), []
    for chosen in ({}, {"output_words": model.select_output_words(torch.arange(14))}):
        torch.manual_seed(1)
        outputs.append(model.generate(**inputs, max_new_tokens=9, **options, **chosen))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_only_chosen_words_come_out(options):
    model = small_model(initializer_range=0.3)
    few = set(FEW.tolist()) | {0, 1}  # padding and the start
    inputs = inputs_for(options)
    options = {"max_new_tokens": 9, "min_new_tokens": 5, **options}
    assert not set(model.generate(**inputs, **options).flatten().tolist()) <= few
    found = model.generate(**inputs, **options, output_words=model.select_output_words(FEW))
    assert set(found.flatten().tolist()) <= few and found.shape[1] > 5


def test_an_assistant_chooses_rows_of_its_own():
    model = small_model()
    assistant = small_model(decoder_hidden_size=6)
    words = {"output_words": model.select_output_words(FEW)}
    expected = model.generate(**ALONE, max_new_tokens=9, **words)
    assert torch.equal(model.generate(**ALONE, max_new_tokens=9, assistant_model=assistant, **words), expected)


def test_a_beam_wider_than_the_list_still_finds_something():
    model = small_model()
    words = model.select_output_words(torch.tensor([2, 5]))
    outputs = model.generate(
        **INPUTS, num_beams=6, max_new_tokens=4, output_words=words, return_dict_in_generate=True, output_scores=True
    )
    assert set(outputs.sequences.flatten().tolist()) <= {0, 1, 2, 5}
    assert outputs.sequences_scores.isfinite().all()


def test_the_members_of_an_ensemble_choose_alike():
    model = RnnAttnEnsemble([small_model(), small_model(decoder_hidden_size=6)])
    full = model.generate(**INPUTS, num_beams=2, max_new_tokens=9)
    chosen = model.select_output_words(torch.arange(14))
    assert torch.equal(model.generate(**INPUTS, num_beams=2, max_new_tokens=9, output_words=chosen), full)
    few = model.generate(**INPUTS, num_beams=2, max_new_tokens=9, output_words=model.select_output_words(FEW))
    assert set(few.flatten().tolist()) <= set(FEW.tolist()) | {0, 1} and not torch.equal(few, full)


def test_words_that_cannot_be_chosen_are_refused():
    model = small_model()
    with pytest.raises(ValueError, match="expected target words from 0 to 13, got 2 to 14"):
        model.select_output_words(torch.tensor([2, 14]))
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(ValueError, match="of the type Sequential; merge an adapter"):
        model.select_output_words(FEW)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with its tokenizer, and the pairs beside it."""
    path = tmp_path / "model"
    tokenizer = train_tokenizer(GERMAN, ENGLISH, kind="word")
    model = make_model(vocab_size=len(tokenizer)).float()
    model.generation_config.max_length = 8
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    for name, lines in (("source.txt", GERMAN), ("target.txt", ENGLISH)):
        (path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_pipeline_uses_the_list_of_each_batch(folder):
    translator = pipeline("translation", model=str(folder), num_beams=2)
    size = translator.model.config.vocab_size
    full = translator(GERMAN)
    everything = Shortlist(torch.arange(size).repeat(size, 1), torch.tensor([2]))
    assert translator(GERMAN, shortlist=everything) == full
    # each source token allows itself, and the end of sentence
    same = Shortlist(torch.arange(size).unsqueeze(1), torch.tensor([2]))
    for text in GERMAN:
        (record,) = translator(text, shortlist=same, return_tensors=True, min_new_tokens=3)
        allowed = set(translator.tokenizer(text)["input_ids"]) | {0, 1}
        assert set(record["translation_token_ids"].tolist()) <= allowed
    ((first, _),) = translator([GERMAN[:2]], shortlist=same, return_tensors=True, min_new_tokens=3)
    assert set(first["translation_token_ids"].tolist()) <= set(translator.tokenizer(GERMAN[0])["input_ids"]) | {0, 1}


def test_the_pipeline_of_another_model_refuses_a_list(folder):
    sizes = {"vocab_size": 30, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    config = MarianConfig(**sizes, pad_token_id=0, decoder_start_token_id=1, eos_token_id=2)
    tokenizer = pipeline("translation", model=str(folder)).tokenizer
    translator = pipeline("translation", model=MarianMTModel(config), tokenizer=tokenizer, max_length=5)
    with pytest.raises(ValueError, match="shortlist needs a model .* but got MarianMTModel"):
        translator("der hund", shortlist=list_by_hand())


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_learned_and_used_from_the_command_line(folder, tmp_path, capsys):
    files = [folder / "source.txt", folder / "target.txt"]
    assert run("shortlist", folder, *files, "--per-word", 1, "--always", 1, "-o", tmp_path / "list") == 0
    assert capsys.readouterr().out == f"shortlist written to {tmp_path / 'list' / 'shortlist.safetensors'}\n"
    translate = ["translate", "der katze", "--beams", 1, "--model", folder]
    assert run(*translate) == 0
    full = capsys.readouterr().out
    assert run(*translate, "--shortlist", tmp_path / "list") == 0
    few = capsys.readouterr().out
    loaded = Shortlist.load(tmp_path / "list")
    specials = len(cli._load_tokenizer(str(folder)).all_special_ids)
    # the most frequent token is a special one
    assert (loaded.table.shape[1], len(loaded.always)) == (1, specials)
    translator = pipeline("translation", model=str(folder), num_beams=1, shortlist=loaded)
    assert few == translator("der katze")[0]["translation_text"] + "\n" != full


def test_the_list_lies_in_the_folder_of_the_model(folder, tmp_path, capsys):
    translate = ["translate", "der katze", "--model", folder, "--shortlist"]
    assert run(*translate) == 2
    assert "no shortlist.safetensors" in capsys.readouterr().err
    list_of_one = Shortlist(torch.full((cli._load_tokenizer(str(folder)).vocab_size, 1), 2), torch.tensor([2]))
    list_of_one.save(folder)
    for command in (translate, ["attention", "der", "--model", folder, "-o", tmp_path / "a.html", "--shortlist"]):
        assert run(*command) == 0
        assert capsys.readouterr().out.splitlines()[0] == ""
    assert run("shortlist", "user/model", *[folder / "source.txt"] * 2) == 2
    assert "user/model is no folder to write the shortlist into; say --output" in capsys.readouterr().err
