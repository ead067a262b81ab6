# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Cross entropy with label smoothing: of given logits, and of an output layer without its logits in memory.

Pure tensors in and out. Shapes: N words, A width of the output layer's input, V vocabulary.
"""

import torch
from torch.nn import functional as F

from .pointer_rnn_attn import Copying
from .step_weight_rnn_attn import fill_up


# logits of so many words are in memory at a time: few enough for a processor's cache, enough for a fast product
WORDS_AT_A_TIME = 512


def logits_loss(logits: torch.Tensor, labels: torch.LongTensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """The cross entropy of `logits` (..., V) summed over the words; other arguments as of [`output_layer_loss`]."""
    wide = logits.flatten(0, -2).to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide, labels.flatten().to(wide.device), reduction="sum", label_smoothing=label_smoothing)


class _OutputLayerLoss(torch.autograd.Function):
    """The sum of the losses of all words; the gradients are formed on the way, while the logits are at hand."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, p_gen, copied, labels, source_ids, label_smoothing, consistency):
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        needed = ctx.needs_input_grad[:5]
        gradients = [
            torch.zeros_like(tensor) if need else None
            for tensor, need in zip((hidden, weight, bias, p_gen, copied), needed, strict=True)
        ]
        for words in _chunks(labels, twice=consistency > 0):
            part = hidden[words]
            count = len(part)
            part = fill_up(part)
            logits = F.linear(part, weight, bias).to(wide)
            wanted = labels[words].unsqueeze(1)
            if p_gen is None:
                total += _loss_into_gradient(logits[:count], wanted, label_smoothing, consistency)
            else:
                shares = (p_gen[words], copied[words], source_ids[words])
                loss, *of_shares = _mixture_into_gradient(logits[:count], wanted, label_smoothing, *shares)
                total += loss
                for all_words, these in zip(gradients[3:], of_shares, strict=True):
                    if all_words is not None:
                        all_words[words] = these
            logits[count:] = 0
            gradient = logits.to(hidden.dtype)
            if needed[0]:
                gradients[0][words] = (gradient @ weight)[:count]
            if needed[1]:
                gradients[1].addmm_(gradient.t(), part)
            if needed[2]:
                gradients[2] += gradient.sum(0)
        ctx.gradients = gradients
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, factor):
        gradients = (None if gradient is None else gradient * factor.to(gradient.dtype) for gradient in ctx.gradients)
        return *gradients, None, None, None, None


def _chunks(labels, twice):
    """Returns indices of some words at a time; where all stand there twice, a word and its like come together."""
    count = len(labels)
    if not twice:
        return [slice(start, start + WORDS_AT_A_TIME) for start in range(0, count, WORDS_AT_A_TIME)]
    pairs = torch.arange(count, device=labels.device).view(2, count // 2)
    # more tensors of the logits' size are in use
    return [part.flatten() for part in pairs.split(WORDS_AT_A_TIME // 4, dim=1)]


def _loss_into_gradient(logits, labels, label_smoothing, consistency):
    """Returns the summed loss of `labels` (N, 1), and leaves its gradient in the place of `logits` (N, V)."""
    logits -= logits.amax(1, keepdim=True)
    wanted = (1 - label_smoothing) * logits.gather(1, labels) + label_smoothing * logits.mean(1, keepdim=True)
    # of both halves; the normalisers, one for each row, are left for later
    ratio = logits[: len(logits) // 2] - logits[len(logits) // 2 :] if consistency else None
    probabilities = logits.exp_()
    normaliser = probabilities.sum(1, keepdim=True)
    log_normaliser = normaliser.log()
    loss = (log_normaliser - wanted).sum()
    gradient = probabilities.div_(normaliser)
    if consistency:
        first, second = log_normaliser.chunk(2)
        loss += _draw_together(gradient, ratio.sub_(first - second), consistency)
    if label_smoothing:
        gradient -= label_smoothing / gradient.shape[1]
    gradient.scatter_add_(1, labels, torch.full_like(wanted, label_smoothing - 1))
    return loss


def _mixture_into_gradient(logits, labels, label_smoothing, p_gen, copied, source_ids):
    """The same where the words of the source (N, S) have a share of the probability, see [`Copying`].

    Returns the loss, and its gradient by `p_gen` (N, 1) and `copied` (N, S).
    """
    tiny = torch.finfo(logits.dtype).tiny
    p_gen = p_gen.clamp(min=tiny)
    generated = logits.sub_(logits.amax(1, keepdim=True)).exp_()
    generated.mul_(p_gen / generated.sum(1, keepdim=True))
    probabilities = generated.scatter_add(1, source_ids, copied).clamp_(min=tiny)
    rest = label_smoothing / probabilities.shape[1]  # of the target, for each word
    loss = (label_smoothing - 1) * probabilities.gather(1, labels).log().sum()
    if label_smoothing:
        loss -= rest * probabilities.log().sum()
    of_copied = ((label_smoothing - 1) * (source_ids == labels) - rest) / probabilities.gather(1, source_ids)
    # of the target, what the output layer answers for
    answered = torch.div(generated, probabilities, out=probabilities)
    of_label = (1 - label_smoothing) * answered.gather(1, labels)
    answered.mul_(rest).scatter_add_(1, labels, of_label)
    by_p_gen = answered.sum(1, keepdim=True) / p_gen
    generated.mul_(by_p_gen).sub_(answered)
    return loss, -by_p_gen, of_copied


def _draw_together(probabilities, ratio, consistency):
    """Adds to the probabilities p and q (2 * N, V) what the difference of the halves adds to the gradient.

    Returns `consistency / 2 * (KL(p || q) + KL(q || p))`, summed; `ratio` (N, V) is log p - log q.
    """
    p, q = probabilities.chunk(2)
    pull = (p - q).mul_(consistency / 2)
    loss = 0
    for part, factor in ((p, consistency / 2), (q, -consistency / 2)):
        mean = torch.linalg.vecdot(part, ratio).unsqueeze(1)
        loss += factor * mean.sum()
        part.mul_((ratio - mean).mul_(factor).add_(1)).add_(pull, alpha=1 if factor > 0 else -1)
    return loss


def output_layer_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.LongTensor,
    label_smoothing: float = 0.0,
    consistency: float = 0.0,
    copying: Copying | None = None,
) -> torch.Tensor:
    r"""The cross entropy of `softmax(hidden @ weight.T + bias)`, summed over the words.

    Only words that count are multiplied with the output layer, a few at a time, so that the logits of a whole batch
    are never in memory.

    With a `consistency` alpha above 0, the second half of the rows are the sentences of the first under another
    dropout, and shall lead to the same predictions (R-Drop, Liang et al. 2021, eq. 3 and 4). For each word with the
    predictions p and q, the loss is

        CE(p) + CE(q) + alpha / 2 * (KL(p || q) + KL(q || p))

    Args:
        hidden (`torch.Tensor` of shape `(..., A)`): the input of the output layer.
        weight (`torch.Tensor` of shape `(V, A)`): its weights.
        bias (`torch.Tensor` of shape `(V,)`, *optional*): its bias.
        labels (`torch.LongTensor` of shape `(...)`): the words, -100 where there is padding.
        label_smoothing (`float`): the share of the target that is spread over all words (Szegedy et al. 2016).
        consistency (`float`): the weight alpha of the difference between the halves; not with `copying`.
        copying ([`Copying`], *optional*): mixes that softmax with words of the source, for labels (B, T).

    Returns:
        `torch.Tensor`: a scalar, in float32 at least.

    Raises:
        ValueError: a `consistency`, and halves with different labels.
    """
    if consistency and not torch.equal(*labels.flatten().tensor_split(2)):
        raise ValueError("consistency: expected each pair twice, the labels of the first half again in the second")
    if torch.is_autocast_enabled(weight.device.type):
        dtype = torch.get_autocast_dtype(weight.device.type)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    counted = labels.flatten() != -100
    hidden, labels = hidden.flatten(0, -2)[counted], labels.flatten()[counted]
    if copying is None:
        return _OutputLayerLoss.apply(hidden, weight, bias, None, None, labels, None, label_smoothing, consistency)
    source_ids = copying.source_ids.unsqueeze(1).expand_as(copying.copied)
    shares = [part.flatten(0, -2)[counted] for part in (copying.p_gen, copying.copied, source_ids)]
    p_gen, copied, source_ids = shares
    loss = _OutputLayerLoss.apply(hidden, weight, bias, p_gen, copied, labels, source_ids, label_smoothing, consistency)
    return loss + (p_gen + copied.sum(1, keepdim=True)).log().sum()
