# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The pointer-generator: the next word is one of the vocabulary, or one of the source (See et al. 2017, §2.2).

Pure tensors in and out. Knows nothing of recurrence or search.
Shapes: B batch, S source, T target, A attentional width, V vocabulary of both sides.
"""

import torch
from torch import nn

from .configuration_rnn_attn import RnnAttnConfig


class PointerGenerator(nn.Module):
    r"""Mixes the probabilities of the output layer with the attention to the words of the source:

        P(w) = p_gen P_vocab(w) + (1 - p_gen) \sum_{i: x_i = w} a_i    (eq. 9)
        p_gen = sigmoid(w^T h~ + b)                                    (after eq. 8)

    The attentional state h~, made of context and decoder state, stands for the context, state and input of eq. 8.

    Args:
        config ([`RnnAttnConfig`]): one with attention, and one vocabulary for both sides.
    """

    def __init__(self, config: RnnAttnConfig):
        super().__init__()
        self.gate = nn.Linear(config.attentional_size, 1)

    def forward(
        self, logits: torch.Tensor, states: torch.Tensor, weights: torch.Tensor, source_ids: torch.LongTensor
    ) -> torch.Tensor:
        """Returns log P (B, T, V) in float32 at least. Its exponentials add up to less than 1 where the weights do.

        Args:
            logits (`torch.Tensor` of shape `(B, T, V)`): of the output layer.
            states (`torch.Tensor` of shape `(B, T, A)`): attentional states, its input.
            weights (`torch.Tensor` of shape `(B, T, S)`): attention, zero on padding.
            source_ids (`torch.LongTensor` of shape `(B, S)`): the words that are attended to.
        """
        dtype = torch.promote_types(logits.dtype, torch.float32)
        p_gen = self.gate(states).to(dtype).sigmoid()
        copied = (1 - p_gen) * weights.to(dtype)
        generated = p_gen * logits.to(dtype).softmax(-1)
        probabilities = generated.scatter_add(-1, source_ids.unsqueeze(1).expand_as(copied), copied)
        return probabilities.clamp(min=torch.finfo(dtype).tiny).log()
