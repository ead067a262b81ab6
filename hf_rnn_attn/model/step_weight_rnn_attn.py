# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A weight that every step of a sequence multiplies by, with one gradient for all of them.

Pure tensors in and out. Knows nothing of cells or attention.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


# rows of a half-precision product over all the words of a batch come in multiples of this
ROWS_AT_A_TIME = 64


def fill_up(words: torch.Tensor) -> torch.Tensor:
    """`words` (words, width) with the rows of zeros behind them that make a product one of a size that is met again.

    For products in half precision on a CPU, oneDNN compiles code for every size that it sees, which takes longer than
    many products.
    """
    is_compiled = words.device.type == "cpu" and words.dtype in (torch.bfloat16, torch.float16)
    zeros = -len(words) % ROWS_AT_A_TIME if is_compiled else 0
    # a padding of nothing would be a copy
    return F.pad(words, (0, 0, 0, zeros)) if zeros else words


def project(words: torch.Tensor, product: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`product(words)` of all the words of a batch, (words, width)."""
    if torch.is_autocast_enabled(words.device.type):
        words = words.to(torch.get_autocast_dtype(words.device.type))
    filled = fill_up(words)
    return product(words) if filled is words else product(filled)[: len(words)]


class _StepProduct(torch.autograd.Function):
    """`inputs @ weight.T + bias`, whose gradients for weight and bias are left to [`_SequenceGradient`]."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, tape):
        ctx.save_for_backward(inputs, weight)
        ctx.tape = tape
        return _product(inputs, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.tape.append(tuple(_as_factor(factor, weight) for factor in (gradient, inputs)))
        return gradient @ _weight_of(inputs, weight) if ctx.needs_input_grad[0] else None, None, None, None


def _product(inputs, weight, bias):
    if weight.dim() == 2:
        return F.linear(inputs, weight, bias)
    return inputs @ _weight_of(inputs, weight).transpose(-1, -2)


def _weight_of(inputs, weight):
    """The part of the weight that belongs to the sentences of `inputs`."""
    return weight if weight.dim() == 2 else weight[: inputs.shape[0]]


def _as_factor(rows, weight):
    """What stands in the product that makes the gradient of `weight`: all rows of a two-dimensional one together, and
    of another zeros for the sentences that have no row."""
    return rows.flatten(0, -2) if weight.dim() == 2 else F.pad(rows, (0, 0, 0, 0, 0, weight.shape[0] - rows.shape[0]))


class _SequenceGradient(torch.autograd.Function):
    """The weight itself; its gradient, and the bias's, are formed once, over all the steps that wrote to the tape."""

    @staticmethod
    def forward(ctx, weight, bias, tape):
        ctx.set_materialize_grads(False)
        ctx.tape = tape
        return weight.view_as(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _):
        gradients, inputs = (_join(factors) for factors in zip(*ctx.tape, strict=True))
        ctx.tape.clear()
        bias_gradient = gradients.sum(0) if ctx.needs_input_grad[1] else None
        return gradients.transpose(-1, -2) @ inputs, bias_gradient, None


def _join(factors):
    """All rows of all steps; behind those of two-dimensional ones what is missing."""
    joined = torch.cat(factors, -2)
    return fill_up(joined) if joined.dim() == 2 else joined


class StepWeight:
    """A weight that every step of a sequence multiplies by.

    Autograd alone would form the weight's gradient at every step and add the T large matrices up. Here the steps note
    their factors, and one product makes the gradient when the backward pass leaves the sequence: the same sum, with a
    fraction of the memory traffic. Lives for one sequence.

    Args:
        weight (`torch.Tensor` of shape `(out, in)` or `(batch, out, in)`):
            Called on (rows, in) or (batch, rows, in), it returns (..., rows, out). A batch may end sooner than the
            weight's, whose first entries then take part.
        bias (`torch.Tensor` of shape `(out,)`, *optional*): is added to the product of a two-dimensional weight.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        # a compiler sees the whole sequence anyway, and could not follow the tape
        self.records = torch.is_grad_enabled() and weight.requires_grad and not torch.compiler.is_compiling()
        self.tape = []
        if torch.is_autocast_enabled(weight.device.type):
            # once a sequence and not once a step, and the factors of a recorded product have one type
            dtype = torch.get_autocast_dtype(weight.device.type)
            weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        self.weight = _SequenceGradient.apply(weight, bias, self.tape) if self.records else weight
        self.bias = bias

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.to(self.weight.dtype)
        if self.records:
            return _StepProduct.apply(inputs, self.weight, self.bias, self.tape)
        return _product(inputs, self.weight, self.bias)


class StepLinear(nn.Linear):
    """`nn.Linear` that hands out its weights when it is called with `None`.

    They are got through a call and not from the attributes, because what wraps a module, such as the offloading of
    weights, works on calls.
    """

    def forward(self, inputs: torch.Tensor | None):
        return (self.weight, self.bias) if inputs is None else super().forward(inputs)


def step_product(layer: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns `layer` for the steps of one sequence: a [`StepWeight`] with its weights, or, where something has taken
    the place of the [`StepLinear`] (an adapter, int8 weights), the layer as it is."""
    return StepWeight(*layer(None)) if isinstance(layer, StepLinear) else layer
