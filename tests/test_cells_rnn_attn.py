# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells: single steps and whole layers against torch's own, in value and gradient."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from hf_rnn_attn.model.cells_rnn_attn import CELLS, lstm_step, run_packed


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_equals_torchs_fused_layer(kind):
    cell = CELLS[kind]
    layer = cell.layer(5, 4, batch_first=True)
    inputs = torch.randn(3, 1, 5)
    state = tuple(torch.randn(3, 4) for _ in range(cell.state_count))
    ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer(None)
    new = cell.step(inputs[:, 0] @ weight_ih.t() + bias_ih, state[0] @ weight_hh.t() + bias_hh, state)
    native = tuple(part.unsqueeze(0) for part in state)
    _, expected = layer(inputs, native if cell.state_count == 2 else native[0])
    expected = expected if cell.state_count == 2 else (expected,)
    for left, right in zip(new, expected, strict=True):
        torch.testing.assert_close(left, right[0])


def test_the_written_out_gradient_of_an_lstm_step():
    projected, recurrent, cell = (torch.randn(3, size, dtype=torch.double, requires_grad=True) for size in (16, 16, 4))
    assert torch.autograd.gradcheck(
        lambda *inputs: lstm_step(*inputs[:2], (None, inputs[2])), (projected, recurrent, cell)
    )


def test_an_lstm_step_in_mixed_precision_keeps_the_type_of_the_cell():
    gates = torch.randn(3, 16, dtype=torch.bfloat16, requires_grad=True)
    hidden, cell = lstm_step(gates, torch.zeros(3, 16), (None, torch.randn(3, 4)))
    hidden.sum().backward()
    assert hidden.dtype == cell.dtype == torch.float32 and gates.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_a_packed_layer_equals_torchs(kind, bidirectional):
    cell = CELLS[kind]
    layer = cell.layer(5, 4, batch_first=True, bidirectional=bidirectional).double()
    inputs = torch.randn(6, 7, 5, dtype=torch.double, requires_grad=True)
    packed = pack_padded_sequence(inputs, torch.tensor([3, 7, 1, 7, 5, 3]), batch_first=True, enforce_sorted=False)
    results, gradients = [], []
    for output, state in (layer(packed), run_packed(cell, layer, packed)):
        state = state if isinstance(state, tuple) else (state,)
        results.append([output.data, *state])
        total = sum(torch.tanh(part * torch.arange(part.numel()).view_as(part)).sum() for part in results[-1])
        gradients.append(torch.autograd.grad(total, [inputs, *layer.parameters()], retain_graph=True))
    for torchs, ours in zip(results[0] + list(gradients[0]), results[1] + list(gradients[1]), strict=True):
        torch.testing.assert_close(ours, torchs)
