# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The loss of the output layer without its logits, against the plain one."""

import math

import pytest
import torch
from torch.nn import functional as F

from hf_rnn_attn.model import loss_rnn_attn
from hf_rnn_attn.model.loss_rnn_attn import logits_loss, output_layer_loss


@pytest.fixture(autouse=True)
def few_labels_at_a_time(monkeypatch):
    monkeypatch.setattr(loss_rnn_attn, "LABELS_AT_A_TIME", 4)


def example(dtype=torch.float64):
    hidden, weight, bias = torch.randn(2, 5, 3), torch.randn(7, 3), torch.randn(7)
    labels = torch.tensor([[0, 6, 2, 3, 1], [5, -100, 4, -100, -100]])
    return [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight, bias)], labels


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_value_and_gradients_are_those_of_the_logits(label_smoothing, with_bias):
    (hidden, weight, bias), labels = example()
    inputs = [hidden, weight, bias] if with_bias else [hidden, weight]
    bias = bias if with_bias else None
    logits = F.linear(hidden, weight, bias)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=label_smoothing)
    loss = output_layer_loss(hidden, weight, bias, labels, label_smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits_loss(logits, labels, label_smoothing), expected)
    for actual, wanted in zip(
        torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(actual, wanted)


def test_a_loss_checked_by_hand():
    # probabilities 1/4 and 3/4; the label is the second word
    hidden, weight = torch.ones(1, 1), torch.tensor([[0.0], [math.log(3)]])
    assert output_layer_loss(hidden, weight, None, torch.tensor([1])).item() == pytest.approx(math.log(4 / 3))
    smoothed = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4) + math.log(4 / 3)) / 2
    assert output_layer_loss(hidden, weight, None, torch.tensor([1]), 0.1).item() == pytest.approx(smoothed)


def test_large_logits_do_not_overflow():
    hidden, weight = torch.full((1, 1), 1e4, requires_grad=True), torch.tensor([[1.0], [-1.0]])
    loss = output_layer_loss(hidden, weight, None, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4) and hidden.grad.item() == pytest.approx(2)


def test_gradients_are_formed_only_where_they_are_wanted():
    (hidden, weight, bias), labels = example()
    output_layer_loss(hidden.detach(), weight, bias.detach(), labels).backward()
    assert weight.grad.abs().sum() > 0 and hidden.grad is None and bias.grad is None


def test_no_label_at_all_is_a_loss_of_zero():
    (hidden, weight, bias), labels = example()
    loss = output_layer_loss(hidden, weight, bias, torch.full_like(labels, -100))
    loss.backward()
    assert loss.item() == 0 and weight.grad.abs().max() == 0


def test_half_precision_is_summed_in_single():
    (hidden, weight, bias), labels = example(torch.bfloat16)
    loss = output_layer_loss(hidden, weight, bias, labels, 0.1)
    assert loss.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        mixed = output_layer_loss(hidden.float(), weight.float(), bias.float(), labels, 0.1)
    torch.testing.assert_close(mixed, loss)


def test_a_chunk_that_is_padded_costs_what_its_labels_cost(monkeypatch):
    monkeypatch.setattr(loss_rnn_attn, "LABELS_AT_A_TIME", 512)
    (hidden, weight, bias), labels = example()
    hidden, labels = hidden.detach().repeat(2, 1, 1).requires_grad_(), labels.repeat(2, 1)
    inputs = [hidden, weight, bias]
    loss = output_layer_loss(hidden, weight, bias, labels, 0.1)
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in inputs]
    mixed = output_layer_loss(*rounded, labels, 0.1)
    torch.testing.assert_close(mixed.double(), loss, rtol=0.02, atol=0.02)
    for actual, wanted in zip(torch.autograd.grad(mixed, rounded), torch.autograd.grad(loss, inputs), strict=True):
        torch.testing.assert_close(actual.double(), wanted, rtol=0.1, atol=0.05)
