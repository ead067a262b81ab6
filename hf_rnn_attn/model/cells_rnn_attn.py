# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells: a single step of each, and a layer of them over a batch of sequences.

Knows nothing of attention, and nothing of what the sequences stand for.
Shapes: B batch, S sequence, I input, H hidden.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from .step_weight_rnn_attn import StepWeight, project


aten = torch.ops.aten


class _LstmStep(torch.autograd.Function):
    """A step of an LSTM with its backward pass written out, so that less is read, written and kept than by autograd."""

    @staticmethod
    def forward(ctx, projected, recurrent, cell):
        hidden, new_cell, gates, squashed = _lstm_step_in_place(projected, recurrent, cell)
        ctx.save_for_backward(gates, cell, squashed)
        ctx.dtypes = projected.dtype, recurrent.dtype
        return hidden, new_cell

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, hidden_gradient, cell_gradient):
        gates, cell, squashed = ctx.saved_tensors
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
        new_cell_gradient = aten.tanh_backward(hidden_gradient * output_gate, squashed).add_(cell_gradient)
        gradient = torch.cat(
            [
                aten.sigmoid_backward(new_cell_gradient * candidate, input_gate),
                aten.sigmoid_backward(new_cell_gradient * cell, forget_gate),
                aten.tanh_backward(new_cell_gradient * input_gate, candidate),
                aten.sigmoid_backward(hidden_gradient * squashed, output_gate),
            ],
            -1,
        )
        projected, recurrent = (gradient.to(dtype) for dtype in ctx.dtypes)
        return projected, recurrent, new_cell_gradient * forget_gate


def _lstm_step_in_place(projected, recurrent, cell):
    """Returns hidden state, cell, and what the backward pass needs: the gates after their activation, tanh(cell)."""
    gates = (projected + recurrent).to(cell.dtype)
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
    for gate in (input_gate, forget_gate, output_gate):
        gate.sigmoid_()
    candidate.tanh_()
    new_cell = torch.addcmul(forget_gate * cell, input_gate, candidate)
    squashed = torch.tanh(new_cell)
    return output_gate * squashed, new_cell, gates, squashed


def lstm_step(projected, recurrent, state):
    """Hochreiter & Schmidhuber 1997 with forget gate. Gates in torch's order: input, forget, candidate, output.

    `projected` and `recurrent` are the shares of input and last hidden state, (B, 4H), biases included.
    """
    _, cell = state
    if not torch.compiler.is_compiling():
        if torch.is_grad_enabled():
            return _LstmStep.apply(projected, recurrent, cell)
        return _lstm_step_in_place(projected, recurrent, cell)[:2]
    input_gate, forget_gate, candidate, output_gate = (projected + recurrent).chunk(4, -1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


def gru_step(projected, recurrent, state):
    """Cho et al. 2014, with the reset gate after the recurrent product as in torch and cuDNN."""
    (hidden,) = state
    reset_in, update_in, candidate_in = projected.chunk(3, -1)
    reset_rec, update_rec, candidate_rec = recurrent.chunk(3, -1)
    reset = torch.sigmoid(reset_in + reset_rec)
    update = torch.sigmoid(update_in + update_rec)
    candidate = torch.tanh(candidate_in + reset * candidate_rec)
    return ((1 - update) * candidate + update * hidden,)


def tanh_step(projected, recurrent, state):
    """Elman 1990."""
    return (torch.tanh(projected + recurrent),)


class StepLayer:
    """Beside a torch layer among the bases of a class: called with `None`, the layer hands out its weights.

    What wraps a layer and changes its weights for the time of a call, such as a LoRA adapter, works for single steps
    only if they get the weights through a call.
    """

    def forward(self, inputs, state=None):
        if inputs is None:
            # for each direction: weight_ih, weight_hh, bias_ih, bias_hh
            return self.all_weights
        return super().forward(inputs, state)


class StepLSTM(StepLayer, nn.LSTM):
    pass


class StepGRU(StepLayer, nn.GRU):
    pass


class StepRNN(StepLayer, nn.RNN):
    pass


class Cell(NamedTuple):
    """A cell type: torch's fused layer, the same as a single step, and the number of state tensors."""

    layer: type[nn.RNNBase]
    step: callable
    state_count: int


CELLS = {
    "lstm": Cell(StepLSTM, lstm_step, 2),
    "gru": Cell(StepGRU, gru_step, 1),
    "rnn_tanh": Cell(StepRNN, tanh_step, 1),
}


def scan(step, state, sequences, reverse=False):
    """Runs `step` along the first dimension of `sequences`, in a form that an exporter can follow for any length."""
    # not yet a public name of torch; nothing but an export comes here
    from torch._higher_order_ops.scan import scan

    return scan(step, state, sequences, dim=0, reverse=reverse)


def scan_direction(
    cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, keep_mask: torch.Tensor, suffix: str
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """One direction of a recurrent layer in the form that an exporter can follow, for any batch and any length.

    Args:
        cell ([`Cell`]): the cell type of `layer`.
        layer (`nn.RNNBase`): a single layer; its weights are read.
        inputs (`torch.Tensor` of shape `(B, S, I)`): what it reads.
        keep_mask (`torch.BoolTensor` of shape `(B, S)`): `False` where a step leaves the state as it was.
        suffix (`str`): `"_l0"` to read from the left, `"_l0_reverse"` to read from the right.

    Returns:
        The state after the last step, `parts` tensors (B, H), and the outputs (B, S, H).
    """
    weight_ih, weight_hh, bias_ih, bias_hh = (
        getattr(layer, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(state, step_inputs):
        projected, keep = step_inputs
        new_state = cell.step(projected, F.linear(state[0], weight_hh, bias_hh), state)
        new_state = tuple(torch.where(keep, *parts) for parts in zip(new_state, state, strict=True))
        return new_state, new_state[0].clone()

    projected = F.linear(inputs, weight_ih, bias_ih).transpose(0, 1)
    start = tuple(inputs.new_zeros(inputs.shape[0], layer.hidden_size) for _ in range(cell.state_count))
    sequences = (projected, keep_mask.t().unsqueeze(-1))
    state, outputs = scan(step, start, sequences, reverse=suffix.endswith("reverse"))
    return state, outputs.transpose(0, 1)


def run_packed(
    cell: Cell, layer: nn.RNNBase, packed: PackedSequence
) -> tuple[PackedSequence, tuple[torch.Tensor, ...]]:
    """Returns what `layer(packed)` returns, by single steps whose weight gradients are formed once a sequence.

    Args:
        cell ([`Cell`]): the cell type of `layer`.
        layer (`nn.RNNBase`): a single layer, in one or both directions; called with `None` for its weights.
        packed (`PackedSequence` of width I): what it reads.

    Returns:
        The outputs (width H for each direction), and the last state, `parts` tensors (directions, B, H).
    """
    directions = [_run_direction(cell, weights, packed, index == 1) for index, weights in enumerate(layer(None))]
    outputs, states = zip(*directions, strict=True)
    state = tuple(torch.stack(parts).index_select(1, packed.unsorted_indices) for parts in zip(*states, strict=True))
    return packed._replace(data=torch.cat(outputs, -1)), state


def _run_direction(cell, weights, packed, reverse):
    """Returns the outputs (words, H) and the state after each row's last word, `parts` tensors (B, H)."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    from_state = StepWeight(weight_hh, bias_hh)
    # rows are sorted by length: reading from the left, the last ones end first; from the right, they begin last
    projected = project(packed.data, partial(F.linear, weight=weight_ih, bias=bias_ih))
    steps = projected.split(packed.batch_sizes.tolist())
    steps = steps[::-1] if reverse else steps
    state = (packed.data.new_zeros(steps[0].shape[0], weight_hh.shape[1]),) * cell.state_count
    outputs, ended = [], []
    for projected in steps:
        rows, excess = projected.shape[0], state[0].shape[0] - projected.shape[0]
        if excess < 0:
            state = tuple(F.pad(part, (0, 0, 0, -excess)) for part in state)
        elif excess > 0:
            state, rest = zip(*(part.split([rows, excess]) for part in state), strict=True)
            ended.append(rest)
        state = cell.step(projected, from_state(state[0]), state)
        outputs.append(state[0])
    last = tuple(torch.cat(parts[::-1]) for parts in zip(*ended, state, strict=True))
    return torch.cat(outputs[::-1] if reverse else outputs), last
