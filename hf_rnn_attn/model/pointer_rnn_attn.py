# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The pointer-generator: the next word is one of the vocabulary, or one of the source (See et al. 2017, §2.2).

Pure tensors in and out. Knows nothing of recurrence or search.
Shapes: B batch, S source, T target, A attentional width, V vocabulary of both sides.
"""

from typing import NamedTuple

import torch
from torch import nn

from .configuration_rnn_attn import RnnAttnConfig


class Copying(NamedTuple):
    """How the words of the source take part in the next word.

    Attributes:
        p_gen: the share of the output layer, (B, T, 1), in float32 at least.
        copied: the share of each word of the source, (B, T, S).
        source_ids: those words, (B, S).
    """

    p_gen: torch.Tensor
    copied: torch.Tensor
    source_ids: torch.LongTensor

    def mix(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns log P (B, T, V) from the output layer's logits; its exponentials add up to what the shares do."""
        generated = self.p_gen * logits.to(self.p_gen.dtype).softmax(-1)
        index = self.source_ids.unsqueeze(1).expand_as(self.copied)
        probabilities = generated.scatter_add(-1, index, self.copied)
        return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()


class PointerGenerator(nn.Module):
    r"""Divides the next word's probability between the output layer and the words that are attended to:

        P(w) = p_gen P_vocab(w) + (1 - p_gen) \sum_{i: x_i = w} a_i    (eq. 9)
        p_gen = sigmoid(w^T h~ + b)                                    (after eq. 8)

    The attentional state h~, made of context and decoder state, stands for the context, state and input of eq. 8.

    Args:
        config ([`RnnAttnConfig`]): one with attention, and one vocabulary for both sides.
    """

    def __init__(self, config: RnnAttnConfig):
        super().__init__()
        self.gate = nn.Linear(config.attentional_size, 1)

    def forward(self, states: torch.Tensor, weights: torch.Tensor, source_ids: torch.LongTensor) -> Copying:
        """Returns the shares. They add up to less than 1 where the weights do.

        Args:
            states (`torch.Tensor` of shape `(B, T, A)`): attentional states, the input of the output layer.
            weights (`torch.Tensor` of shape `(B, T, S)`): attention, zero on padding.
            source_ids (`torch.LongTensor` of shape `(B, S)`): the words that are attended to.
        """
        gate = self.gate(states)
        p_gen = gate.to(torch.promote_types(gate.dtype, torch.float32)).sigmoid()
        return Copying(p_gen, (1 - p_gen) * weights, source_ids)
