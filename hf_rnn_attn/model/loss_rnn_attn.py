# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Cross entropy with label smoothing: of given logits, and of an output layer without its logits in memory.

Pure tensors in and out. Shapes: N labels, A width of the output layer's input, V vocabulary.
"""

from typing import Any

import torch
from torch.nn import functional as F

from .step_weight_rnn_attn import pad_rows


# logits of so many labels are in memory at a time: few enough for a processor's cache, enough for a fast product
LABELS_AT_A_TIME = 512


def logits_loss(logits: torch.Tensor, labels: torch.Tensor, label_smoothing_factor: float = 0.0) -> torch.Tensor:
    """Returns the cross entropy of `logits` (..., V), summed over the labels; see [`output_layer_loss`]."""
    wide = logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
    labels = labels.flatten().to(wide.device)
    return F.cross_entropy(wide, labels, reduction="sum", label_smoothing=label_smoothing_factor)


class _OutputLayerLoss(torch.autograd.Function):
    r"""The summed cross entropy of z = W h + b; the gradients are formed in the forward pass, while z is at hand.

    With label y, p = softmax(z), and the target q = (1 - ε) onehot(y) + ε / V:

        L = log Σ exp(z) - (1 - ε) z_y - ε mean(z)        dL/dz = p - q
        dL/dh = Wᵀ dL/dz        dL/dW = Σ dL/dz hᵀ        dL/db = Σ dL/dz
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        label_smoothing_factor: float,
    ) -> torch.Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_gradient, weight_gradient, bias_gradient = (
            torch.zeros_like(tensor) if needed and tensor is not None else None
            for tensor, needed in zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        )
        for start in range(0, len(labels), LABELS_AT_A_TIME):
            chunk = slice(start, start + LABELS_AT_A_TIME)
            count = len(labels[chunk])
            part = pad_rows(hidden[chunk])
            logits = F.linear(part, weight, bias).to(wide)
            total += _loss_into_gradient(logits[:count], labels[chunk].unsqueeze(1), label_smoothing_factor)
            logits[count:] = 0
            gradient = logits.to(hidden.dtype)
            if hidden_gradient is not None:
                hidden_gradient[chunk] = (gradient @ weight)[:count]
            if weight_gradient is not None:
                weight_gradient.addmm_(gradient.t(), part)
            if bias_gradient is not None:
                bias_gradient += gradient.sum(0)
        ctx.gradients = (hidden_gradient, weight_gradient, bias_gradient)
        return total

    # one gradient for one output; torch's type has any number of them
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, factor: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        gradients = (None if gradient is None else gradient * factor.to(gradient.dtype) for gradient in ctx.gradients)
        return *gradients, None, None


def _loss_into_gradient(logits: torch.Tensor, labels: torch.Tensor, label_smoothing_factor: float) -> torch.Tensor:
    """Returns the summed loss of `labels` (N, 1), and overwrites `logits` (N, V) with its gradient."""
    logits -= logits.amax(1, keepdim=True)
    smoothing = label_smoothing_factor
    wanted = (1 - smoothing) * logits.gather(1, labels) + smoothing * logits.mean(1, keepdim=True)
    probabilities = logits.exp_()
    normaliser = probabilities.sum(1, keepdim=True)
    loss = (normaliser.log() - wanted).sum()
    gradient = probabilities.div_(normaliser)
    if smoothing:
        gradient -= smoothing / gradient.shape[1]
    gradient.scatter_add_(1, labels, torch.full_like(wanted, smoothing - 1))
    return loss


def output_layer_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    label_smoothing_factor: float = 0.0,
) -> torch.Tensor:
    r"""Returns the cross entropy of `softmax(hidden @ weight.T + bias)`, summed over the labels.

    Only positions with a label are multiplied with the output layer, a few at a time, so that the logits of a whole
    batch are never in memory.

    Args:
        hidden (`torch.Tensor` of shape `(..., A)`): the input of the output layer.
        weight (`torch.Tensor` of shape `(V, A)`): its weights.
        bias (`torch.Tensor` of shape `(V,)`, *optional*): its bias.
        labels (`torch.LongTensor` of shape `(...)`): the tokens to predict, -100 where there is padding.
        label_smoothing_factor (`float`): the share of the target that is spread over the vocabulary (Szegedy et al.
            2016).

    Returns:
        `torch.Tensor`: a scalar, in float32 at least.
    """
    if torch.is_autocast_enabled(weight.device.type):
        dtype = torch.get_autocast_dtype(weight.device.type)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    counted = labels.flatten() != -100
    hidden, labels = hidden.flatten(0, -2)[counted], labels.flatten()[counted]
    return _OutputLayerLoss.apply(hidden, weight, bias, labels, label_smoothing_factor)
