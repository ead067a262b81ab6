# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The decoder recurrence: the sequence against its steps."""

import pytest
import torch

from hf_rnn_attn import RnnAttnConfig
from hf_rnn_attn.model.cells_rnn_attn import CELLS
from hf_rnn_attn.model.recurrence_rnn_attn import AttentionalRecurrence, SequenceDropout, SourceMemory


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
    memory = SourceMemory(
        torch.randn(3, 6, 8), torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0]]).bool()
    )
    layers = tuple(tuple(torch.randn(3, 8) for _ in range(recurrence.cell.state_count)) for _ in recurrence.layers)
    return recurrence, memory, recurrence.start(layers, memory)


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


def test_without_input_feeding_steps_and_fused_call_agree():
    recurrence, memory, state = make_recurrence(input_feeding=False)
    inputs = torch.randn(3, 4, 5)
    fused = recurrence(inputs, state, memory)
    steps = recurrence(inputs, state, memory, keep_mask=torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(fused.attentional, steps.attentional)
    torch.testing.assert_close(fused.hidden, steps.hidden)


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("score", "span"),
    [("general", "global"), ("concat", "global"), ("location", "local-m"), ("general", "local-p"), ("none", "global")],
)
def test_rows_that_leave_change_neither_values_nor_gradients(score, span, kind, input_feeding):
    options = {"attention_score": score, "attention_span": span, "decoder_cell_type": kind, "attention_window": 2}
    recurrence, memory, state = make_recurrence(input_feeding=input_feeding, decoder_residual=True, **options)
    memory = memory._replace(states=memory.states.double())
    recurrence.double()
    layers = tuple(tuple(part.double() for part in layer) for layer in state.layers)
    inputs = torch.randn(3, 5, 5, dtype=torch.double)
    # padding on the right and on the left; a row that has no word
    masks = [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 0]]
    for mask in masks:
        mask, results = torch.tensor(mask).bool(), []
        for run in (recurrence._run_steps, recurrence):
            leaves = [tensor.clone().requires_grad_() for tensor in (inputs, memory.states, *layers[0], *layers[1])]
            first, second = torch.utils._pytree.tree_unflatten(leaves[2:], torch.utils._pytree.tree_structure(layers))
            attended = memory._replace(states=leaves[1])
            output = run(leaves[0], recurrence.start((first, second), attended), attended, mask)
            parts = [output.attentional[mask], *(hidden[mask] for hidden in output.hidden)]
            parts += [] if output.weights is None else [output.weights[mask]]
            parts += [part for layer in output.state.layers for part in layer] + [output.state.attentional]
            wanted = [*recurrence.parameters(), *leaves]
            loss = sum((part * torch.arange(1.0, part.numel() + 1).view_as(part)).sum() for part in parts)
            results.append([*parts, *torch.autograd.grad(loss, wanted, allow_unused=True), output.state.positions])
        torch.testing.assert_close(*results)


def test_padding_takes_no_step(monkeypatch):
    recurrence, memory, state = make_recurrence(decoder_layers=1)
    rows, step = [], recurrence.cell.step
    counting = recurrence.cell._replace(
        step=lambda projected, *rest: rows.append(len(projected)) or step(projected, *rest)
    )
    monkeypatch.setattr(recurrence, "cell", counting)
    recurrence(torch.randn(3, 4, 5), state, memory, torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]).bool())
    assert rows == [3, 2, 1]


def test_input_feeding_feeds_the_attentional_state():
    recurrence, memory, state = make_recurrence(input_feeding=True)
    inputs = torch.randn(3, 1, 5)
    changed = state._replace(attentional=torch.ones_like(state.attentional))
    left, right = recurrence(inputs, state, memory), recurrence(inputs, changed, memory)
    assert not torch.allclose(left.attentional, right.attentional)


@pytest.mark.parametrize("variational", [True, False])
def test_dropout_between_layers(variational):
    recurrence, memory, state = make_recurrence(decoder_dropout=0.5, variational_dropout=variational)
    inputs = torch.randn(3, 4, 5)
    assert not torch.allclose(
        recurrence(inputs, state, memory).attentional, recurrence(inputs, state, memory).attentional
    )
    recurrence.eval()
    torch.testing.assert_close(
        recurrence(inputs, state, memory).attentional, recurrence(inputs, state, memory).attentional
    )


def test_sequence_dropout_keeps_the_mean():
    dropout = SequenceDropout(0.25, variational=False)
    dropped = dropout(torch.ones(10, 100, 100))
    assert abs(dropped.mean() - 1) < 0.01 and sorted(dropped.unique().tolist()) == pytest.approx([0, 4 / 3])
