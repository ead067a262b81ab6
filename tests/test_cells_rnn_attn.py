# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells: single steps against torch's own layers."""

import pytest
import torch

from hf_rnn_attn.model.cells_rnn_attn import CELLS, lstm_step


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_equals_torchs_fused_layer(kind):
    cell = CELLS[kind]
    layer = cell.layer(5, 4, batch_first=True)
    inputs = torch.randn(3, 1, 5)
    state = tuple(torch.randn(3, 4) for _ in range(cell.state_count))
    ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer(None, return_weights=True)
    new = cell.step(inputs[:, 0] @ weight_ih.t() + bias_ih, state[0] @ weight_hh.t() + bias_hh, state)
    native = tuple(part.unsqueeze(0) for part in state)
    _, expected = layer(inputs, native if cell.state_count == 2 else native[0])
    expected = expected if cell.state_count == 2 else (expected,)
    for left, right in zip(new, expected, strict=True):
        torch.testing.assert_close(left, right[0])


def test_an_lstm_step_in_mixed_precision_keeps_the_type_of_the_cell():
    gates = torch.randn(3, 16, dtype=torch.bfloat16, requires_grad=True)
    hidden, cell = lstm_step(gates, torch.zeros(3, 16), (None, torch.randn(3, 4)))
    hidden.sum().backward()
    assert hidden.dtype == cell.dtype == torch.float32 and gates.grad.dtype == torch.bfloat16
