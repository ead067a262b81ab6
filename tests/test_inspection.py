# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what is found inside of a translation: against `generate()`, and against a plain step by step decoding."""

import dataclasses
import json
import math

import pytest
import torch
from transformers import MarianConfig, MarianMTModel, pipeline

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble
from hf_rnn_attn.inspection import inspect_translations
from hf_rnn_attn.tokenization import train_tokenizer


SOURCES = ["ein hund läuft", "eine katze schläft", "hunde und katzen laufen"]
TARGETS = ["a dog runs", "a cat sleeps", "dogs and cats run"]


def make_translator(kind="char", joint=True, seed=0, models=1, **settings):
    tokenizer = train_tokenizer(SOURCES, TARGETS, kind=kind, joint=joint)
    sizes = {"encoder_embedding_size": 5, "encoder_hidden_size": 4, "decoder_hidden_size": 8, "initializer_range": 1.0}
    vocabularies = {
        "vocab_size": len(tokenizer),
        "decoder_vocab_size": len(tokenizer if joint else tokenizer.target_tokenizer),
    }
    options = {name: value for name, value in settings.items() if hasattr(RnnAttnConfig(), name)}
    generation = {name: value for name, value in settings.items() if name not in options}
    torch.manual_seed(seed)
    members = [
        RnnAttnForConditionalGeneration(RnnAttnConfig(**sizes, **vocabularies, **options)).eval() for _ in range(models)
    ]
    model = members[0] if models == 1 else RnnAttnEnsemble(members)
    model.generation_config.update(**{"max_length": 12, "num_beams": 3} | generation)
    return pipeline("translation", model=model, tokenizer=tokenizer)


def generate(translator, text, **options):
    inputs = translator.tokenizer(text, return_tensors="pt")
    return translator.model.generate(**inputs, return_dict_in_generate=True, output_scores=True, **options)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("models", [1, 2])
def test_the_best_are_those_of_generate_with_their_scores(joint, models):
    translator = make_translator(joint=joint, models=models, length_penalty=0.7)
    (found,) = inspect_translations(translator, ["ein hund"])
    expected = generate(translator, "ein hund", num_return_sequences=3)
    texts = translator.tokenizer.batch_decode(expected.sequences, skip_special_tokens=True)
    assert [hypothesis.text for hypothesis in found.hypotheses] == texts
    scores = [hypothesis.score for hypothesis in found.hypotheses]
    assert scores == pytest.approx(expected.sequences_scores.tolist(), abs=1e-5)
    assert found.hypotheses[0].text == translator("ein hund")[0]["translation_text"]


def test_attention_is_that_of_the_pipeline():
    translator = make_translator()
    record = translator("ein hund", output_attentions=True)[0]
    (found,) = inspect_translations(translator, ["ein hund"])
    best = found.hypotheses[0]
    assert (found.source_tokens, best.tokens) == (
        [token.replace(" ", "␣") for token in record["source_tokens"]],
        [token.replace(" ", "␣") for token in record["target_tokens"]],
    )
    torch.testing.assert_close(torch.tensor(best.attention), torch.tensor(record["attention"]), atol=1e-4, rtol=0)


def test_every_step_is_that_of_a_plain_decoding():
    translator = make_translator()
    (found,) = inspect_translations(translator, ["ein hund"], top_k=3)
    model, tokenizer, best = translator.model, translator.tokenizer, found.hypotheses[-1]
    ids = generate(translator, "ein hund", num_return_sequences=3).sequences[-1].tolist()
    encoding = tokenizer("ein hund", return_tensors="pt")
    total = 0.0
    for place, step in enumerate(best.steps, 1):
        with torch.no_grad():
            logits = model(**encoding, decoder_input_ids=torch.tensor([ids[:place]])).logits[0, -1]
        probabilities = logits.softmax(-1)
        assert step.probability == pytest.approx(probabilities[ids[place]].item(), abs=1e-4)
        assert step.entropy == pytest.approx(-(probabilities * probabilities.log2()).sum().item(), abs=1e-3)
        ranked = probabilities.argsort(descending=True)[:3].tolist()
        assert [token for token, _ in step.top] == [
            tokenizer.convert_ids_to_tokens(i).replace(" ", "␣") for i in ranked
        ]
        total += math.log(probabilities[ids[place]].item())
    assert best.log_probability == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("max_length", [2, 3, 12])
def test_the_beam_leads_to_every_translation(max_length):
    (found,) = inspect_translations(make_translator(max_length=max_length), ["ein hund läuft"])
    assert max(len(column) for column in found.beam) >= 3
    for rank, hypothesis in enumerate(found.hypotheses):
        nodes = [column[place] for column, place in zip(found.beam, hypothesis.path, strict=False)]
        assert [node.token for node in nodes] == hypothesis.tokens
        assert [node.parent for node in nodes] == [0, *hypothesis.path[:-1]]
        assert [node.rank for node in nodes] == [None] * (len(nodes) - 1) + [rank]
        logs = torch.tensor([math.log(step.probability) for step in hypothesis.steps]).cumsum(0)
        assert [node.log_probability for node in nodes] == pytest.approx(logs.tolist(), abs=0.02)
    for column in found.beam:
        running = [node.log_probability for node in column if node.rank is None]
        assert running == sorted(running, reverse=True)


@pytest.mark.parametrize("settings", [{"num_beams": 1}, {"no_repeat_ngram_size": 2}, {"num_beams": 3, "min_length": 6}])
def test_other_searches_give_their_translations_without_a_beam(settings):
    translator = make_translator(**settings)
    (found,) = inspect_translations(translator, ["ein hund"])
    assert found.hypotheses[0].text == translator("ein hund")[0]["translation_text"]
    assert (len(found.hypotheses), found.beam, found.hypotheses[0].path) == (settings.get("num_beams", 3), [], [])


@pytest.mark.parametrize("joint", [True, False])
def test_a_given_translation_is_read_as_it_is(joint):
    translator = make_translator(joint=joint)
    texts, given = ["ein hund", "eine katze"], ["a cat", "dogs"]
    found = inspect_translations(translator, texts, given)
    assert [one.hypotheses[0].text for one in found] == given
    assert all(one.is_given and one.beam == [] and len(one.hypotheses) == 1 for one in found)
    labels = translator.tokenizer(text_target="a cat", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = translator.model(**translator.tokenizer("ein hund", return_tensors="pt"), labels=labels).loss
    assert found[0].hypotheses[0].log_probability == pytest.approx(-loss.item() * labels.shape[1], abs=1e-4)
    assert found[0].hypotheses[0].score == pytest.approx(-loss.item(), abs=1e-4)


@pytest.mark.parametrize("kind", ["char", "bpe", "word"])
def test_words_are_those_between_white_space(kind):
    (found,) = inspect_translations(make_translator(kind), ["ein  hund läuft"], ["a dog runs"])
    hypothesis = found.hypotheses[0]
    assert (found.source_words, hypothesis.words) == (["ein", "hund", "läuft"], ["a", "dog", "runs"])
    for words, tokens, numbers in (
        (found.source_words, found.source_tokens, found.word_of_source_token),
        (hypothesis.words, hypothesis.tokens, hypothesis.word_of_token),
    ):
        assert numbers[-1] is None
        for number, word in enumerate(words):
            parts = [token for token, other in zip(tokens, numbers, strict=True) if other == number]
            assert "".join(parts).replace("▁", "").replace("␣", "") == word
    attention = torch.tensor(hypothesis.attention, dtype=torch.double)
    expected = torch.zeros(3, 3, dtype=torch.double)
    for row in range(3):
        steps = [step for step, number in enumerate(hypothesis.word_of_token) if number == row]
        for column in range(3):
            places = [place for place, number in enumerate(found.word_of_source_token) if number == column]
            expected[row, column] = attention[steps][:, places].sum(1).mean()
    torch.testing.assert_close(torch.tensor(hypothesis.word_attention).double(), expected, atol=1e-3, rtol=0)


def test_it_is_json():
    found = inspect_translations(make_translator(), ["ein hund"])
    data = json.loads(json.dumps([dataclasses.asdict(one) for one in found]))
    assert data[0]["hypotheses"][0]["tokens"] == found[0].hypotheses[0].tokens


def test_other_models_are_read_too():
    tokenizer = train_tokenizer(SOURCES, TARGETS, kind="char")
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    ids = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": None}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "attn_implementation": "eager"}
    model = MarianMTModel(MarianConfig(vocab_size=len(tokenizer), **sizes, **ids, **heads)).eval()
    model.generation_config.update(max_length=8, num_beams=2)
    (found,) = inspect_translations(pipeline("translation", model=model, tokenizer=tokenizer), ["ein hund"])
    assert len(found.hypotheses) == 2 and found.beam == []
    for row in found.hypotheses[0].attention:
        assert sum(row) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("texts", "translations", "message"),
    [
        ([], None, "at least one text, got none"),
        ("ein hund", None, "put it into a list"),
        (["ein hund"], "a dog", "put it into a list"),
        (["ein hund", " \n"], None, "blank text: number 2 of 2"),
        (["ein hund"], [""], "blank translation: number 1 of 1"),
        (["ein hund"], ["a dog", "a cat"], "got 2 for 1 texts"),
        (["ein hund"], [], "got 0 for 1 texts"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(texts, translations, message):
    with pytest.raises(ValueError, match=message):
        inspect_translations(make_translator(), texts, translations)


def test_a_model_without_attention_is_refused():
    with pytest.raises(ValueError, match="expected a model that returns cross attention"):
        inspect_translations(make_translator(attention_score="none"), ["ein hund"])
