# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The decoder recurrence: the sequence against its steps."""

import pytest
import torch
from torch.utils._pytree import tree_map

from hf_rnn_attn import RnnAttnConfig
from hf_rnn_attn.model.cells_rnn_attn import CELLS
from hf_rnn_attn.model.recurrence_rnn_attn import AttentionalRecurrence, SourceMemory


def make_recurrence(**options):
    settings = {
        "encoder_hidden_size": 4,
        "decoder_embedding_size": 5,
        "decoder_hidden_size": 8,
        "decoder_layers": 2,
        "decoder_dropout": 0.0,
        "initializer_range": 0.5,
    }
    recurrence = AttentionalRecurrence(RnnAttnConfig(**(settings | options)))
    states = torch.randn(3, 6, 8)
    keep_mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0]]).bool()
    memory = SourceMemory(states, keep_mask, recurrence.project_memory(states))
    layers = tuple(tuple(torch.randn(3, 8) for _ in range(recurrence.cell.state_count)) for _ in recurrence.layers)
    return recurrence, memory, recurrence.start(layers)


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("score", ["general", "concat", "none"])
@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_equals_its_steps(kind, score, input_feeding):
    recurrence, memory, state = make_recurrence(
        decoder_cell_type=kind, attention_score=score, input_feeding=input_feeding, decoder_residual=True
    )
    inputs = torch.randn(3, 4, 5)
    whole = recurrence(inputs, state, memory)
    for step in range(4):
        output = recurrence(inputs[:, step : step + 1], state, memory)
        state = output.state
        torch.testing.assert_close(output.attentional[:, 0], whole.attentional[:, step])
    torch.testing.assert_close(state.layers, whole.state.layers)
    torch.testing.assert_close(state.positions, torch.tensor([4, 4, 4]))
    assert (whole.weights is None) == (score == "none")


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("score", ["general", "concat", "none"])
@pytest.mark.parametrize("kind", CELLS)
def test_prepared_steps_of_several_hypotheses_equal_a_batch_of_their_own(kind, score, input_feeding):
    recurrence, memory, state = make_recurrence(
        decoder_cell_type=kind, attention_score=score, input_feeding=input_feeding, attention_span="global"
    )
    rows = torch.tensor([0, 0, 1, 1, 2, 2])
    state = tree_map(lambda part: part[rows] + torch.rand(6, 1) if part.dim() == 2 else part[rows], state)
    inputs = torch.randn(6, 1, 5)
    alone = recurrence(inputs, state, memory.select(rows))
    together = recurrence(inputs, state, memory, products=recurrence.prepare(memory, beams=2))
    torch.testing.assert_close(together.attentional, alone.attentional)
    torch.testing.assert_close(together.hidden, alone.hidden)
    torch.testing.assert_close(tuple(together.state), tuple(alone.state))
    if score != "none":
        torch.testing.assert_close(together.weights, alone.weights)


def test_without_input_feeding_steps_and_fused_call_agree():
    recurrence, memory, state = make_recurrence(input_feeding=False)
    inputs = torch.randn(3, 4, 5)
    fused = recurrence(inputs, state, memory)
    steps = recurrence(inputs, state, memory, keep_mask=torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(fused.attentional, steps.attentional)
    torch.testing.assert_close(fused.hidden, steps.hidden)


def test_input_feeding_feeds_the_attentional_state():
    recurrence, memory, state = make_recurrence(input_feeding=True)
    inputs = torch.randn(3, 1, 5)
    changed = state._replace(attentional=torch.ones_like(state.attentional))
    left, right = recurrence(inputs, state, memory), recurrence(inputs, changed, memory)
    assert not torch.allclose(left.attentional, right.attentional)


def test_dropout_between_layers():
    recurrence, memory, state = make_recurrence(decoder_dropout=0.5)
    inputs = torch.randn(3, 4, 5)
    assert not torch.allclose(
        recurrence(inputs, state, memory).attentional, recurrence(inputs, state, memory).attentional
    )
    recurrence.eval()
    torch.testing.assert_close(
        recurrence(inputs, state, memory).attentional, recurrence(inputs, state, memory).attentional
    )
