# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Attention with numbers that can be checked by hand."""

import math

import pytest
import torch

from hf_rnn_attn import RnnAttnConfig
from hf_rnn_attn.model.attention_rnn_attn import LuongAttention


def make_attention(**options):
    settings = {"encoder_hidden_size": 1, "decoder_hidden_size": 2, "attention_window": 2}
    return LuongAttention(RnnAttnConfig(**(settings | options)))


def attend(attention, query, memory, keep=None, position=0):
    query, memory = torch.tensor([[query]]), torch.tensor([memory])
    keep = torch.ones(memory.shape[:2]) if keep is None else torch.tensor([keep])
    positions = torch.tensor([[position]])
    attended = attention.attend_to(memory, attention.project_memory(memory), keep.bool())
    context, weights = attention(query, attended, positions)
    return context[0, 0], weights[0, 0]


def test_dot():
    # scores ln 1, ln 2, ln 5
    memory = [[0.0, 1.0], [math.log(2), 0.0], [math.log(5), 3.0]]
    context, weights = attend(make_attention(attention_score="dot"), [1.0, 0.0], memory)
    torch.testing.assert_close(weights, torch.tensor([1 / 8, 2 / 8, 5 / 8]))
    torch.testing.assert_close(context, torch.tensor([(2 * math.log(2) + 5 * math.log(5)) / 8, 2.0]))


def test_general_has_a_matrix_between():
    attention = make_attention(attention_score="general")
    attention.memory_projection.weight.data = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    _, weights = attend(attention, [1.0, 0.0], [[9.0, 0.0], [9.0, math.log(3)]])
    torch.testing.assert_close(weights, torch.tensor([1 / 4, 3 / 4]))


def test_concat():
    attention = make_attention(attention_score="concat")
    attention.query_projection.weight.data = torch.eye(2)
    attention.memory_projection.weight.data = torch.eye(2)
    attention.score_vector.weight.data = torch.tensor([[2.0, 0.0]])
    _, weights = attend(attention, [0.5, 0.0], [[-0.5, 0.0], [0.5, 7.0]])
    ratio = math.exp(2 * math.tanh(1.0))
    torch.testing.assert_close(weights, torch.tensor([1, ratio]) / (1 + ratio))


def test_location_looks_at_positions_only_and_not_past_its_size():
    attention = make_attention(attention_score="location", location_size=2)
    attention.location_projection.weight.data = torch.tensor([[0.0, 0.0], [math.log(4), 0.0]])
    _, weights = attend(attention, [1.0, 0.0], [[5.0, 1.0], [2.0, 3.0], [4.0, 4.0]])
    torch.testing.assert_close(weights, torch.tensor([1 / 5, 4 / 5, 0.0]))
    _, weights = attend(attention, [1.0, 0.0], [[5.0, 1.0]] * 4, keep=[0, 1, 0, 1])
    torch.testing.assert_close(weights, torch.tensor([0.0, 1 / 5, 0.0, 4 / 5]))


@pytest.mark.parametrize(
    ("position", "expected"), [(0, [1, 1, 1, 0, 0, 0]), (4, [0, 0, 1, 1, 1, 1]), (7, [0] * 5 + [1])]
)
def test_local_m_is_a_window_around_t(position, expected):
    attention = make_attention(attention_score="dot", attention_span="local-m")
    _, weights = attend(attention, [1.0, 0.0], [[0.0, 0.0]] * 6, position=position)
    torch.testing.assert_close(weights, torch.tensor(expected) / sum(expected))


def test_local_m_counts_words_and_not_padding():
    attention = make_attention(attention_score="dot", attention_span="local-m", attention_window=1)
    _, weights = attend(attention, [1.0, 0.0], [[0.0, 0.0]] * 6, keep=[0, 1, 0, 1, 1, 1], position=0)
    torch.testing.assert_close(weights, torch.tensor([0, 1, 0, 1, 0, 0]) / 2)


def test_a_window_past_the_end_holds_nothing():
    attention = make_attention(attention_score="dot", attention_span="local-m")
    context, weights = attend(attention, [1.0, 0.0], [[1.0, 1.0]] * 3, position=6)
    assert weights.tolist() == [0, 0, 0] and context.tolist() == [0, 0]


def test_local_p_is_a_bell_around_its_prediction():
    attention = make_attention(attention_score="dot", attention_span="local-p")
    attention.position_vector.weight.data.zero_()  # sigmoid(0): the middle of 4 words is 2.0
    _, weights = attend(attention, [1.0, 0.0], [[0.0, 0.0]] * 4)
    bell = [math.exp(-((s - 2) ** 2) / 2) for s in range(4)]  # window 2, so sigma = 1
    torch.testing.assert_close(weights, torch.tensor(bell) / 4)


def test_local_p_measures_each_sentences_own_length():
    attention = make_attention(attention_score="dot", attention_span="local-p")
    attention.position_vector.weight.data.zero_()
    _, alone = attend(attention, [1.0, 0.0], [[0.0, 0.0]] * 4)
    _, padded = attend(attention, [1.0, 0.0], [[0.0, 0.0]] * 9, keep=[0, 1, 1, 1, 1, 0, 0, 0, 0])
    torch.testing.assert_close(padded[1:5], alone)


def test_gradients_are_finite_where_there_is_nothing_to_attend_to():
    attention = make_attention(attention_score="general")
    memory = torch.randn(1, 3, 2)
    attended = attention.attend_to(memory, attention.project_memory(memory), torch.zeros(1, 3, dtype=torch.bool))
    context, _ = attention(torch.randn(1, 1, 2), attended, torch.tensor([[0]]))
    context.sum().backward()
    assert attention.memory_projection.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    attention = make_attention(attention_score="general", attention_span="local-p").to(dtype)
    memory = torch.randn(2, 5, 2, dtype=dtype)
    keep = torch.tensor([[True] * 5, [False] * 5])
    attended = attention.attend_to(memory, attention.project_memory(memory), keep)
    context, weights = attention(torch.randn(2, 3, 2, dtype=dtype), attended, torch.arange(3).repeat(2, 1))
    assert context.dtype == dtype and context.isfinite().all() and weights[1].abs().max() == 0
