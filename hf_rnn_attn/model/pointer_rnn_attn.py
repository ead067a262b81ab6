# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The pointer-generator: the next token is one of the vocabulary, or one of the source (See et al. 2017, §2.2).

Pure tensors in and out. Knows nothing of recurrence or search.
Shapes: B batch, S source, T target, A attentional width, V vocabulary of both sides.
"""

from typing import cast

import torch
from torch import nn

from .configuration_rnn_attn import RnnAttnConfig


class PointerGenerator(nn.Module):
    r"""Divides the next token's probability between the output layer and the source tokens that are attended to.

        P(w) = p_gen P_vocab(w) + (1 - p_gen) \sum_{i: x_i = w} a_i    (eq. 9)
        p_gen = sigmoid(w^T h̃ + b)                                     (after eq. 8)

    The attentional state h̃, made of context and decoder state, stands for the context, state and input of eq. 8.

    Args:
        config ([`RnnAttnConfig`]): one with attention, and one vocabulary for both sides.
    """

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(cast(int, config.attentional_size), 1)

    def forward(
        self, logits: torch.Tensor, states: torch.Tensor, weights: torch.Tensor, source_ids: torch.Tensor
    ) -> torch.Tensor:
        """Returns log P (B, T, V), in float32 at least. P adds up to less than 1 where the weights do.

        Args:
            logits (`torch.Tensor` of shape `(B, T, V)`): the output layer's.
            states (`torch.Tensor` of shape `(B, T, A)`): attentional states, the input of the output layer.
            weights (`torch.Tensor` of shape `(B, T, S)`): attention, zero on padding.
            source_ids (`torch.LongTensor` of shape `(B, S)`): the tokens that are attended to.
        """
        gate = self.gate(states)
        p_gen = gate.to(torch.promote_types(gate.dtype, torch.float32)).sigmoid()
        generated = p_gen * logits.to(p_gen.dtype).softmax(-1)
        copied = (1 - p_gen) * weights
        probabilities = generated.scatter_add(-1, source_ids.unsqueeze(1).expand_as(copied), copied)
        return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
