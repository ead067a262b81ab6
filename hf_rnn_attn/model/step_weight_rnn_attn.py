# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A weight that every step of a sequence multiplies by, with one gradient for all steps.

Pure tensors in and out. Knows nothing of cells or attention.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


# a step's (dL/dy_t, x_t)
Tape = list[tuple[torch.Tensor, torch.Tensor]]

# rows of a half-precision product over all tokens of a batch come in multiples of this
ROWS_AT_A_TIME = 64


def pad_rows(rows: torch.Tensor) -> torch.Tensor:
    """Zero-pads `rows` (N, width) to a multiple of 64 rows so that oneDNN reuses a compiled kernel.

    For products in half precision on a CPU, oneDNN compiles a kernel for every size that it sees, which takes longer
    than many products. Other rows are returned as they are.
    """
    is_compiled = rows.device.type == "cpu" and rows.dtype in (torch.bfloat16, torch.float16)
    missing = -rows.shape[0] % ROWS_AT_A_TIME if is_compiled else 0
    # a padding of nothing would be a copy
    return F.pad(rows, (0, 0, 0, missing)) if missing else rows


def project_rows(inputs: torch.Tensor, product: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Returns `product(inputs)` for all tokens of a batch, (..., width), with rows that [`pad_rows`] padded."""
    if torch.is_autocast_enabled(inputs.device.type):
        inputs = inputs.to(torch.get_autocast_dtype(inputs.device.type))
    rows = inputs.flatten(0, -2)
    return product(pad_rows(rows))[: rows.shape[0]].view(*inputs.shape[:-1], -1)


class _StepProduct(torch.autograd.Function):
    """Computes y_t = W x_t + b for one step t.

    The backward pass returns dL/dx_t = Wᵀ dL/dy_t and writes the pair (dL/dy_t, x_t) to the tape. The gradients of W
    and b are left to [`_SequenceGradient`].
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, tape: Tape
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.tape = tape
        return _product(inputs, weight, bias)

    # one gradient for one output; torch's type has any number of them
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, None, None]:
        inputs, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            # of a matrix shared by the batch, all rows take part in one product; a batch of matrices keeps its batches
            pair = (gradient, inputs) if weight.dim() == 3 else (gradient.flatten(0, -2), inputs.flatten(0, -2))
            ctx.tape.append(pair)
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None, None


def _product(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Returns the product with one weight (out, in), or with one for each sentence, (batch, out, in)."""
    return F.linear(inputs, weight, bias) if weight.dim() == 2 else inputs @ weight.transpose(1, 2)


class _SequenceGradient(torch.autograd.Function):
    """Returns W. The backward pass forms the gradients of all steps on the tape at once.

    dL/dW = Σ_t dL/dy_t x_tᵀ and dL/db = Σ_t dL/dy_t.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, bias: torch.Tensor | None, tape: Tape) -> torch.Tensor:
        ctx.set_materialize_grads(False)
        ctx.tape = tape
        return weight.view_as(weight)

    # as above
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, _: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        gradients, inputs = (torch.cat(factors, -2) for factors in zip(*ctx.tape, strict=True))
        ctx.tape.clear()
        if gradients.dim() == 2:
            gradients, inputs = pad_rows(gradients), pad_rows(inputs)
        bias_gradient = gradients.sum(0) if ctx.needs_input_grad[1] else None
        return gradients.transpose(-1, -2) @ inputs, bias_gradient, None


class StepWeight:
    """Multiplies by one weight at every step of a sequence, and forms the weight's gradient once a sequence.

    Autograd alone would form the gradient of W at every step and add up T large matrices. Here each step records its
    two factors, and one product over all steps makes the same sum with a fraction of the memory traffic. Lives for one
    sequence.

    Args:
        weight (`torch.Tensor` of shape `(out, in)` or `(batch, out, in)`):
            Called on (rows, in) or (batch, rows, in), it returns (..., rows, out).
        bias (`torch.Tensor` of shape `(out,)`, *optional*): is added to the product of a two-dimensional weight.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        # a compiler sees the whole sequence anyway, and could not follow the tape
        self.records = torch.is_grad_enabled() and weight.requires_grad and not torch.compiler.is_compiling()
        self.tape: Tape = []
        if torch.is_autocast_enabled(weight.device.type):
            # once a sequence and not once a step, and the factors of a recorded product have one type
            dtype = torch.get_autocast_dtype(weight.device.type)
            weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        self.weight = _SequenceGradient.apply(weight, bias, self.tape) if self.records else weight
        self.bias = bias

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the product of one step, (..., rows, out)."""
        inputs = inputs.to(self.weight.dtype)
        if self.records:
            return _StepProduct.apply(inputs, self.weight, self.bias, self.tape)
        return _product(inputs, self.weight, self.bias)


class StepLinear(nn.Linear):
    """`nn.Linear` that returns its weight and bias when a call asks for them.

    What wraps a module, such as the offloading of weights, works on calls and not on attributes.
    """

    def forward(self, input: Any, *, return_weights: bool = False) -> Any:
        """Returns the product with `input`, or with `return_weights` weight and bias."""
        return (self.weight, self.bias) if return_weights else super().forward(input)


def step_product(layer: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the product that `layer` forms at each step of one sequence.

    That is a [`StepWeight`] with its weights, or, where something has taken the place of the [`StepLinear`], such as an
    adapter or int8 weights, the layer as it is.
    """
    return StepWeight(*layer(None, return_weights=True)) if isinstance(layer, StepLinear) else layer
