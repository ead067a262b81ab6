# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The risk of a model's own translations against its definition in plain loops, and training that lowers it."""

import math

import pytest
import torch
from small_models import SOURCES, TARGETS, gradients, make_model, mask_of, pad

from hf_rnn_attn.minimum_risk import MinimumRisk, expected_cost


CANDIDATES = 4


class Numbers:
    """Decodes ids into their numerals; 0 pads, 1 begins and 2 ends a text."""

    pad_token_id = 0

    def batch_decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return [" ".join(str(token) for token in row if token > 2) for row in ids.tolist()]


def cost(prediction, reference):
    """How far apart the texts are, so that no two candidates need cost the same."""
    predicted, wanted = (sum(map(int, text.split())) for text in (prediction, reference))
    return abs(predicted - wanted) / 10


def make_inputs():
    return {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}


def make_searching_model(**options):
    torch.manual_seed(0)
    model = make_model(**options)
    model.generation_config.max_length = 7
    return model


def risk_by_loops(model, source, target):
    """Every candidate of a sentence by itself: its log-probability word by word, then the mean of the costs."""
    ids = torch.tensor([source])
    found = model.generate(input_ids=ids, num_beams=CANDIDATES, num_return_sequences=CANDIDATES)
    probabilities, costs, lengths = [], [], []
    for row in found.tolist():
        words = row[1:]
        if 2 in words:
            words = words[: words.index(2) + 1]
        logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[1] + words[:-1]])).logits[0]
        logarithm = sum(logits.log_softmax(-1)[step, word] for step, word in enumerate(words))
        probabilities.append(logarithm.exp())
        costs.append(cost(*(" ".join(str(word) for word in text if word > 2) for text in (words, target))))
        lengths.append(len(words))
    assert len(set(costs)) > 1 and len(set(lengths)) > 1  # else nothing would be seen
    total = sum(probabilities)
    return sum(probability / total * value for probability, value in zip(probabilities, costs, strict=True))


def test_value_and_gradient_equal_the_definition():
    model = make_searching_model()
    actual = MinimumRisk(Numbers(), cost, CANDIDATES)(model, model, make_inputs())
    expected = torch.stack([risk_by_loops(model, *pair) for pair in zip(SOURCES, TARGETS, strict=True)])
    torch.testing.assert_close(actual, expected)
    factors = torch.tensor([0.3, 0.7], dtype=torch.double)
    wanted = gradients(model, (expected * factors).sum())
    got = gradients(model, (actual * factors).sum())
    assert len(wanted) > 10
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, msg=name)


def test_a_likely_candidate_counts_for_more():
    likelihoods = torch.tensor([[math.log(0.3), math.log(0.1)]])
    assert expected_cost(likelihoods, torch.tensor([[1.0, 5.0]])).item() == pytest.approx(0.75 * 1 + 0.25 * 5)


def test_candidates_are_searched_without_dropout_and_training_goes_on():
    model = make_searching_model(encoder_dropout=0.5, decoder_dropout=0.5)
    inputs = make_inputs()
    source = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    expected = model.generate(**source, num_beams=CANDIDATES, num_return_sequences=CANDIDATES)[:, 1:]
    seen = []

    def forward(**arguments):
        assert model.training
        seen.append(arguments["labels"])
        return model(**arguments)

    model.train()
    MinimumRisk(Numbers(), cost, CANDIDATES)(model, forward, inputs)
    assert model.training
    (labels,) = seen
    assert torch.equal(labels[labels != -100], expected[labels != -100])
    # what stands behind the end of a candidate is no word of it
    assert (expected[labels == -100] == 2).all() and (labels == -100).any()


def test_one_candidate_leaves_no_choice():
    with pytest.raises(ValueError, match="at least 2 candidates to choose between, got 1"):
        MinimumRisk(Numbers(), cost, 1)


def test_training_makes_the_better_candidates_more_likely():
    model = make_searching_model().float()
    risk = MinimumRisk(Numbers(), cost, CANDIDATES)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    risks = []
    for _ in range(30):
        value = risk(model, model, make_inputs()).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        risks.append(value.item())
    assert risks[-1] < 0.3 * risks[0], risks
