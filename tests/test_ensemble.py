# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Ensembles: the mean of probabilities by hand, `generate()` in every mode, what may stand side by side."""

import json

import pytest
import torch
from small_models import SOURCES, make_model, mask_of, pad

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, cli, train_tokenizer
from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble, load_ensemble
from hf_rnn_attn.model import generation_rnn_attn
from hf_rnn_attn.model.pipeline_rnn_attn import TranslationPipeline


MODES = [{}, {"num_beams": 3}, {"do_sample": True}, {"num_beams": 2, "do_sample": True}, {"use_cache": False}]


def make_members():
    """Three models that differ in everything but the vocabulary."""
    torch.manual_seed(1)
    other = make_model(decoder_cell_type="gru", decoder_layers=2, encoder_layers=2, attention_score="concat")
    return [make_model(), other, make_model(attention_score="none", input_feeding=False)]


def translate(model, **options):
    torch.manual_seed(0)
    options = {"max_new_tokens": 10, **options}
    return model.generate(pad(SOURCES, 0), attention_mask=mask_of(SOURCES), **options)


@torch.no_grad()
def test_the_probability_of_a_word_is_the_mean_of_the_members():
    members = make_members()
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
    inputs["decoder_input_ids"] = torch.tensor([[1, 5, 6]] * len(SOURCES))
    mean = sum(member(**inputs).logits.softmax(-1) for member in members) / 3
    torch.testing.assert_close(RnnAttnEnsemble(members)(**inputs).logits.exp(), mean)


@torch.no_grad()
def test_attention_is_the_mean_of_the_members_that_have_some():
    members = make_members()
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "output_attentions": True}
    inputs["decoder_input_ids"] = torch.tensor([[1, 5]] * len(SOURCES))
    mean = sum(member(**inputs).cross_attentions[0] for member in members[:2]) / 2
    torch.testing.assert_close(RnnAttnEnsemble(members)(**inputs).cross_attentions[0], mean)
    assert RnnAttnEnsemble(members[2:])(**inputs).cross_attentions == ()


@pytest.mark.parametrize("options", MODES, ids=str)
def test_one_member_translates_as_it_does_alone(options):
    model = make_members()[1]
    assert torch.equal(translate(RnnAttnEnsemble([model]), **options), translate(model, **options))


@pytest.mark.parametrize("options", MODES[:2], ids=str)
def test_the_state_of_every_member_is_threaded_and_reordered(options):
    members = make_members()
    options = {**options, "min_new_tokens": 8}
    together = translate(RnnAttnEnsemble(members), **options)
    assert torch.equal(together, translate(RnnAttnEnsemble(members), use_cache=False, **options))
    assert torch.equal(together, translate(RnnAttnEnsemble(members[::-1]), **options))
    assert not any(torch.equal(together, translate(member, **options)) for member in members)


def test_a_member_that_is_not_reordered_is_noticed(monkeypatch):
    members = make_members()
    options = {"num_beams": 3, "min_new_tokens": 8, "return_dict_in_generate": True}
    right = translate(RnnAttnEnsemble(members), **options).sequences
    whole = RnnAttnEnsemble.new_cache

    def lame(ensemble):
        cache = whole(ensemble)
        cache.layers = cache.caches[0].layers
        return cache

    monkeypatch.setattr(RnnAttnEnsemble, "new_cache", lame)
    assert not torch.equal(right, translate(RnnAttnEnsemble(members), **options).sequences)


def test_assisted_decoding():
    ensemble = RnnAttnEnsemble(make_members()[:2])
    source = {"inputs": torch.tensor([SOURCES[0]]), "max_new_tokens": 10}
    assert torch.equal(ensemble.generate(**source), ensemble.generate(**source, prompt_lookup_num_tokens=2))


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_fast_search_has_the_tokens_of_the_librarys_loop(num_beams, monkeypatch):
    made = []
    for name in ("greedy_search", "BeamSearch"):
        search = getattr(generation_rnn_attn, name)
        record = lambda *arguments, name=name, search=search: made.append(name) or search(*arguments)  # noqa: E731
        monkeypatch.setattr(generation_rnn_attn, name, record)
    ensemble, options = RnnAttnEnsemble(make_members()), {"num_beams": num_beams, "max_new_tokens": 12}
    fast = translate(ensemble, **options)
    assert made == ["BeamSearch" if num_beams > 1 else "greedy_search"]
    assert fast.tolist() == translate(ensemble, **options, return_dict_in_generate=True).sequences.tolist()
    assert len(made) == 1


def test_members_of_other_vocabularies_are_refused():
    first = make_model()
    with pytest.raises(ValueError, match="model 1 has decoder_vocab_size 7, model 0 has"):
        RnnAttnEnsemble([first, make_model(decoder_vocab_size=7)])
    with pytest.raises(ValueError, match="at least one model"):
        RnnAttnEnsemble([])
    with pytest.raises(NotImplementedError, match="save its members"):
        RnnAttnEnsemble([first]).save_pretrained("anywhere")


@pytest.fixture
def folders(tmp_path):
    """Two checkpoints with one vocabulary, `a` and `b`, and one with other words, `c`."""
    tokenizer = train_tokenizer(["ein hund lief"], ["a dog ran"], kind="word", joint=False)
    other = train_tokenizer(["ein hund lief"], ["a cat ran"], kind="word", joint=False)
    for name in "abc":
        torch.manual_seed(ord(name))
        config = RnnAttnConfig(
            vocab_size=len(tokenizer),
            decoder_vocab_size=tokenizer.target_vocab_size,
            encoder_hidden_size=4,
            decoder_hidden_size=8,
            initializer_range=1.0,
        )
        model = RnnAttnForConditionalGeneration(config)
        model.generation_config.update(suppress_tokens=[0, 1, 3], min_new_tokens=1, max_new_tokens=4, max_length=None)
        model.save_pretrained(tmp_path / name)
        (other if name == "c" else tokenizer).save_pretrained(tmp_path / name)
    return {name: str(tmp_path / name) for name in "abc"}


def test_the_vocabularies_of_checkpoints_are_compared_word_by_word(folders):
    with pytest.raises(ValueError, match="c has another vocabulary than .*a;"):
        load_ensemble([folders["a"], folders["c"]])
    ensemble, tokenizer = load_ensemble([folders["a"], folders["b"]])
    record = TranslationPipeline(model=ensemble, tokenizer=tokenizer)("ein hund", max_length=6, output_attentions=True)
    assert len(record[0]["attention"][0]) == 3


def test_several_models_on_the_command_line(folders, tmp_path, capsys):
    source, target, pairs = (tmp_path / name for name in ("in.txt", "out.txt", "pairs.tsv"))
    source.write_text("ein hund\nlief\n")
    models = ["--model", folders["a"], folders["b"]]
    assert cli.main(["translate", "-i", str(source), "-o", str(target), "--beams", "2", *models]) == 0
    ensemble, tokenizer = load_ensemble(models[1:])
    (record,) = TranslationPipeline(model=ensemble, tokenizer=tokenizer)("lief", num_beams=2)
    first, second = target.read_text().splitlines()
    assert second == record["translation_text"]
    pairs.write_text(f"ein hund\t{first} and more\nlief\t{second}\n")
    for data, score in (([pairs], 50.0), ([source, target], 100.0)):
        capsys.readouterr()
        assert cli.main(["evaluate", *map(str, data), "--beams", "2", "--metrics", "exact_match", *models]) == 0
        assert json.loads(capsys.readouterr().out) == {"exact_match": {"score": score}}
