# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Cross entropy with label smoothing: of given logits, and of an output layer without its logits in memory.

Pure tensors in and out. Shapes: N words, A width of the output layer's input, V vocabulary.
"""

import torch
from torch.nn import functional as F


# logits of so many words are in memory at a time: few enough for a processor's cache, enough for a fast product
WORDS_AT_A_TIME = 512


def logits_loss(logits: torch.Tensor, labels: torch.LongTensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """The cross entropy of `logits` (..., V) summed over the words; other arguments as of [`output_layer_loss`]."""
    wide = logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide, labels.flatten().to(wide.device), reduction="sum", label_smoothing=label_smoothing)


class _OutputLayerLoss(torch.autograd.Function):
    """The sum of the losses of all words; the gradients are formed on the way, while the logits are at hand."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, labels, label_smoothing):
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        needed = ctx.needs_input_grad[:3]
        gradients = [
            torch.zeros_like(tensor) if need else None
            for tensor, need in zip((hidden, weight, bias), needed, strict=True)
        ]
        for start in range(0, len(labels), WORDS_AT_A_TIME):
            words = slice(start, start + WORDS_AT_A_TIME)
            logits = F.linear(hidden[words], weight, bias).to(wide)
            loss, gradient = _loss_and_gradient(logits, labels[words].unsqueeze(1), label_smoothing)
            total += loss
            gradient = gradient.to(hidden.dtype)
            if needed[0]:
                torch.mm(gradient, weight, out=gradients[0][words])
            if needed[1]:
                gradients[1].addmm_(gradient.t(), hidden[words])
            if needed[2]:
                gradients[2] += gradient.sum(0)
        ctx.gradients = gradients
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, factor):
        return (
            *(None if gradient is None else gradient * factor.to(gradient.dtype) for gradient in ctx.gradients),
            None,
            None,
        )


def _loss_and_gradient(logits, labels, label_smoothing):
    """Returns the summed loss of `labels` (N, 1), and its gradient, which takes the memory of `logits` (N, V)."""
    logits -= logits.amax(1, keepdim=True)
    wanted = (1 - label_smoothing) * logits.gather(1, labels) + label_smoothing * logits.mean(1, keepdim=True)
    probabilities = logits.exp_()
    normaliser = probabilities.sum(1, keepdim=True)
    loss = (normaliser.log() - wanted).sum()
    gradient = probabilities.div_(normaliser)
    if label_smoothing:
        gradient -= label_smoothing / gradient.shape[1]
    gradient.scatter_add_(1, labels, torch.full_like(wanted, label_smoothing - 1))
    return loss, gradient


def output_layer_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.LongTensor,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """The cross entropy of `softmax(hidden @ weight.T + bias)`, summed over the words.

    Only words that count are multiplied with the output layer, a few at a time, so that the logits of a whole batch
    are never in memory.

    Args:
        hidden (`torch.Tensor` of shape `(..., A)`): the input of the output layer.
        weight (`torch.Tensor` of shape `(V, A)`): its weights.
        bias (`torch.Tensor` of shape `(V,)`, *optional*): its bias.
        labels (`torch.LongTensor` of shape `(...)`): the words, -100 where there is padding.
        label_smoothing (`float`): the share of the target that is spread over all words (Szegedy et al. 2016).

    Returns:
        `torch.Tensor`: a scalar, in float32 at least.
    """
    if torch.is_autocast_enabled(weight.device.type):
        dtype = torch.get_autocast_dtype(weight.device.type)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    counted = labels.flatten() != -100
    hidden = hidden.flatten(0, -2)[counted]
    return _OutputLayerLoss.apply(hidden, weight, bias, labels.flatten()[counted], label_smoothing)
