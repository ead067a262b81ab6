# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The recurrent cells: torch's layer for whole sequences, and one step of it.

Pure tensors in and out. Shapes: B batch, S steps, I input width, H hidden width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map, tree_map_only


# hidden state, and for an LSTM the cell, each (B, H)
CellState = tuple[torch.Tensor, ...]


def lstm_step(projected: torch.Tensor, recurrent: torch.Tensor, state: CellState) -> CellState:
    """Computes one step of an LSTM (Hochreiter & Schmidhuber 1997, with forget gate).

    Args:
        projected, recurrent (`torch.Tensor` of shape `(B, 4H)`): the products of input and last hidden state with their
            weights, biases included, for the gates in torch's order: input, forget, candidate, output.
        state (`tuple`): hidden state and cell, each (B, H).
    """
    _, cell = state
    # a cell in float32 stays so under autocast
    input_gate, forget_gate, candidate, output_gate = (projected + recurrent).to(cell.dtype).chunk(4, -1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


def gru_step(projected: torch.Tensor, recurrent: torch.Tensor, state: CellState) -> CellState:
    """Computes one step of a GRU (Cho et al. 2014), with the reset gate after the recurrent product as in cuDNN."""
    (hidden,) = state
    reset_in, update_in, candidate_in = projected.chunk(3, -1)
    reset_rec, update_rec, candidate_rec = recurrent.chunk(3, -1)
    reset = torch.sigmoid(reset_in + reset_rec)
    update = torch.sigmoid(update_in + update_rec)
    candidate = torch.tanh(candidate_in + reset * candidate_rec)
    return ((1 - update) * candidate + update * hidden,)


def tanh_step(projected: torch.Tensor, recurrent: torch.Tensor, state: CellState) -> CellState:
    """Computes one step of a simple recurrent network (Elman 1990)."""
    return (torch.tanh(projected + recurrent),)


class StepLayer(nn.RNNBase):
    """A recurrent layer that returns its weights when a call asks for them.

    What wraps a layer and changes its weights for the time of a call, such as a LoRA adapter, works for single steps
    only if they get the weights through a call.
    """

    def forward(self, input: Any, hx: Any = None, *, return_weights: bool = False) -> Any:
        """Returns what torch's layer does, or with `return_weights` for each direction its weights and biases."""
        if return_weights:
            # for each direction: weight_ih, weight_hh, bias_ih, bias_hh
            return self.all_weights
        return super().forward(input, hx)


class StepLSTM(StepLayer, nn.LSTM):
    """`nn.LSTM` that returns its weights when a call asks for them."""


class StepGRU(StepLayer, nn.GRU):
    """`nn.GRU` that returns its weights when a call asks for them."""


class StepRNN(StepLayer, nn.RNN):
    """`nn.RNN` that returns its weights when a call asks for them."""


class Cell(NamedTuple):
    """A cell type: torch's fused layer, the same as a single step, and the number of state tensors."""

    layer: type[StepLSTM | StepGRU | StepRNN]
    step: Callable[[torch.Tensor, torch.Tensor, CellState], CellState]
    state_count: int


CELLS = {
    "lstm": Cell(StepLSTM, lstm_step, 2),
    "gru": Cell(StepGRU, gru_step, 1),
    "rnn_tanh": Cell(StepRNN, tanh_step, 1),
}


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, sequences: tuple[torch.Tensor, ...], reverse: bool = False
) -> tuple[Any, Any]:
    """Runs `step` along the first dimension of `sequences`, in a form that an exporter can follow for any length.

    Args:
        step: from a state and one element of each sequence to the next state and an output.
        state: the first state, tensors in any nesting of tuples.
        sequences: tensors of one length.
        reverse: whether to begin at the end.

    Returns:
        The last state, and the outputs side by side in the first dimension.
    """
    # not yet a public name of torch; nothing but an export comes here
    from torch._higher_order_ops.scan import scan

    # tensors that are distinct and contiguous, as a scan wants its state: a first state may hold one twice, or slices
    state = tree_map(lambda part: part.clone(memory_format=torch.contiguous_format), state)
    return scan(step, state, sequences, dim=0, reverse=reverse)


def call_detached(module: nn.Module, *arguments: Any) -> Any:
    """Calls a module with weights and arguments that have no gradient, as an exporter's scan has to see them.

    torch's passes to ONNX fail on a scan with gradient, and `torch.no_grad()` leaves no trace in a program.
    """
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    arguments = tree_map_only(torch.Tensor, torch.Tensor.detach, arguments)
    return torch.func.functional_call(module, weights, arguments)


def scan_direction(
    cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, keep_mask: torch.Tensor, suffix: str
) -> tuple[CellState, torch.Tensor]:
    """Runs one direction of a recurrent layer in a form that an exporter can follow, for any batch and any length.

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
        getattr(layer, name + suffix).detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(state: CellState, step_inputs: tuple[torch.Tensor, torch.Tensor]) -> tuple[CellState, torch.Tensor]:
        projected, keep = step_inputs
        new_state = cell.step(projected, F.linear(state[0], weight_hh, bias_hh), state)
        new_state = tuple(torch.where(keep, *parts) for parts in zip(new_state, state, strict=True))
        return new_state, new_state[0].clone()

    projected = F.linear(inputs.detach(), weight_ih, bias_ih).transpose(0, 1)
    start = tuple(inputs.new_zeros(inputs.shape[0], layer.hidden_size) for _ in range(cell.state_count))
    sequences = (projected, keep_mask.t().unsqueeze(-1))
    state, outputs = scan(step, start, sequences, reverse=suffix.endswith("reverse"))
    return state, outputs.transpose(0, 1)
