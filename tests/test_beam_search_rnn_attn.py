# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The scores of Wu et al. 2016 against hand-computed ones."""

import math
import types

import pytest
import torch
from test_generation import sequence_log_probability, translate, words_of
from test_modeling_rnn_attn import SOURCES, make_model
from transformers import GenerationMixin

from hf_rnn_attn import RnnAttnForConditionalGeneration


RECORDED = {
    "num_beams": 4,
    "num_return_sequences": 4,
    "max_new_tokens": 9,
    "return_dict_in_generate": True,
    "output_scores": True,
}


def hand_score(model, source, words, alpha, beta):
    """Equation 14 in loops, from a teacher-forced pass over the finished sentence."""
    ids = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([[1, *words[:-1]]])}
    attention = model(**ids, output_attentions=True).cross_attentions[0][0, 0].tolist()
    coverage = 0.0
    for i in range(len(source)):
        coverage += math.log(min(sum(attention[j][i] for j in range(len(words))), 1.0))
    length_penalty = (5 + len(words)) ** alpha / (5 + 1) ** alpha
    return sequence_log_probability(model, source, words) / length_penalty + beta * coverage


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.7, 0.0), (0.7, 0.4), (0.0, 0.4)])
@pytest.mark.parametrize("left", [True, False])
def test_scores_are_those_of_the_paper(alpha, beta, input_feeding, left):
    model = make_model(input_feeding=input_feeding)
    found = translate(model, left=left, gnmt_length_penalty=alpha, coverage_penalty=beta, **RECORDED)
    assert found.sequences.shape[0] == 8
    for row, (sequence, score) in enumerate(zip(found.sequences[:, 1:], found.sequences_scores, strict=True)):
        words = words_of(sequence)
        assert float(score) == pytest.approx(hand_score(model, SOURCES[row // 4], words, alpha, beta), abs=1e-5)
    for scores in found.sequences_scores.view(2, 4):
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_a_penalty_changes_the_order_of_hypotheses():
    model = make_model()
    plain = translate(model, **RECORDED)
    assert not torch.equal(translate(model, coverage_penalty=5.0, **RECORDED).sequences, plain.sequences)
    assert not torch.equal(translate(model, gnmt_length_penalty=0.0, **RECORDED).sequences, plain.sequences)


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_without_coverage_and_normalisation_it_is_the_librarys_search(length_penalty, early_stopping):
    model = make_model()
    options = {**RECORDED, "early_stopping": early_stopping, "length_penalty": length_penalty}
    plain, ours = translate(model, **options), translate(model, coverage_penalty=1e-12, **options)
    model._beam_search = types.MethodType(GenerationMixin._beam_search, model)
    theirs = translate(model, **options)
    for found in (plain, ours):
        assert torch.equal(found.sequences, theirs.sequences)
        torch.testing.assert_close(found.sequences_scores.float(), theirs.sequences_scores)


@torch.no_grad()
def test_the_words_of_a_forced_prefix_count_as_looked_up():
    model = make_model()
    prefix = torch.tensor([[1, 5, 6]])
    options = {**RECORDED, "num_return_sequences": 1}
    found = translate(
        model, [SOURCES[0]], decoder_input_ids=prefix, coverage_penalty=0.4, length_penalty=0.0, **options
    )
    words = words_of(found.sequences[0, 1:])
    with_prefix = hand_score(model, SOURCES[0], words, alpha=0.0, beta=0.4)
    prefix_score = sequence_log_probability(model, SOURCES[0], [5, 6])
    assert float(found.sequences_scores[0]) == pytest.approx(with_prefix - prefix_score, abs=1e-5)


def test_penalties_are_saved_with_the_checkpoint(tmp_path):
    model = make_model().float()
    model.generation_config.coverage_penalty = 5.0
    model.save_pretrained(tmp_path)
    loaded = RnnAttnForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(
        translate(loaded, **RECORDED).sequences, translate(model, coverage_penalty=5.0, **RECORDED).sequences
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage_penalty": -1.0}, "must not be negative"),
        ({"gnmt_length_penalty": -1.0}, "must not be negative"),
        ({"gnmt_length_penalty": 0.6, "length_penalty": 2.0}, "Leave one of them out"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        translate(make_model(), **RECORDED, **options)


def test_coverage_needs_attention():
    with pytest.raises(ValueError, match="needs attention"):
        translate(make_model(attention_score="none"), **RECORDED, coverage_penalty=0.2)
