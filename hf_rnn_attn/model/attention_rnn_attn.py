# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Luong attention: scores and spans (Luong et al. 2015, §3.1 and §3.2).

Pure tensors in and out. Knows nothing of recurrence, caches or vocabularies.
Shapes: B batch, S source, T target, M memory width, H decoder width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from .configuration_rnn_attn import RnnAttnConfig
from .step_weight_rnn_attn import StepLinear, StepWeight, step_product


class AttendedMemory(NamedTuple):
    """What stays the same for all target words of a batch of sentences; made by [`LuongAttention.attend_to`].

    Attributes:
        read: from weights (B, T, S) to contexts (B, T, M).
        match: from what the query is compared by, (B, T, H), to scores (B, T, S); `None` for other scores.
        keys: the projected memory (B, S, H) of the concat score.
        project_query: the concat score's share of the query, (B, T, H) to (B, T, H).
        keep_mask: `True` where there is a word, (B, 1, S).
        positions: index of each word among its sentence's words, (B, 1, S).
        query_heads, memory_heads: for each head 1 at its part of a query or of the memory and 0 elsewhere, (heads, H)
            and (heads, M); `None` where there is one head.
    """

    read: Callable
    match: Callable | None
    keys: torch.Tensor
    project_query: Callable | None
    keep_mask: torch.Tensor
    positions: torch.Tensor
    query_heads: torch.Tensor | None
    memory_heads: torch.Tensor | None

    def of_first(self, rows: int) -> "AttendedMemory":
        """The same for the first rows of the batch alone; the products find that out by themselves."""
        keys = None if self.keys is None else self.keys[:rows]
        return self._replace(keys=keys, keep_mask=self.keep_mask[:rows], positions=self.positions[:rows])


class LuongAttention(nn.Module):
    """Attends from decoder states to encoder states.

    The same call serves one decoding step (T = 1) and a whole teacher-forced sequence. Padding never counts: a weight
    on a masked position is exactly zero, positions are counted over unmasked words alone, and a row with nothing to
    attend to (all padding, or a local window past the end) has weights and context of zero.

    Args:
        config ([`RnnAttnConfig`]):
            Any configuration whose `attention_score` is not `"none"`.
    """

    def __init__(self, config: RnnAttnConfig):
        super().__init__()
        self.score = config.attention_score
        self.span = config.attention_span
        self.window = config.attention_window
        self.heads = config.attention_heads
        hidden_size, memory_size = config.decoder_hidden_size, config.memory_size
        if self.score == "general":
            self.memory_projection = nn.Linear(memory_size, hidden_size, bias=False)
        elif self.score == "concat":
            # W_a of [h_t ; h_s] in two halves, so that what the memory and the bias add is computed once a sentence
            self.query_projection = StepLinear(hidden_size, hidden_size, bias=False)
            self.memory_projection = nn.Linear(memory_size, hidden_size, bias=config.attention_bias)
            self.score_vector = nn.Linear(hidden_size, 1, bias=False)
        elif self.score == "location":
            self.location_projection = nn.Linear(hidden_size, config.location_size, bias=False)
        if self.span == "local-p":
            self.position_projection = nn.Linear(hidden_size, hidden_size, bias=False)
            self.position_vector = nn.Linear(hidden_size, 1, bias=False)
        score_terms = memory_size if self.score == "general" else hidden_size
        self.scale = (score_terms // self.heads) ** -0.5 if config.attention_scaling else 1.0

    @property
    def has_keys(self) -> bool:
        """Whether the scores need more of the memory than itself."""
        return self.score in ("general", "concat")

    def project_memory(self, memory: torch.Tensor) -> torch.Tensor | None:
        """Returns the keys (B, S, H): the share of `memory` (B, S, M) in the scores, where that is not itself."""
        return self.memory_projection(memory) if self.has_keys else None

    def attend_to(self, memory: torch.Tensor, keys: torch.Tensor | None, keep_mask: torch.Tensor) -> AttendedMemory:
        """Prepares what one or more calls look at.

        Args:
            memory (`torch.Tensor` of shape `(B, S, M)`): encoder states.
            keys (`torch.Tensor` of shape `(B, S, H)`, *optional*): `project_memory(memory)`.
            keep_mask (`torch.BoolTensor` of shape `(B, S)`): `True` where there is a word.
        """
        match = StepWeight(memory if keys is None else keys) if self.score in ("dot", "general") else None
        project_query = step_product(self.query_projection) if self.score == "concat" else None
        positions = (keep_mask.cumsum(-1) - 1).unsqueeze(1)
        read = StepWeight(memory.transpose(1, 2))
        heads = (None, None)
        if self.heads > 1:
            parts = torch.eye(self.heads, dtype=memory.dtype, device=memory.device)
            sizes = ((memory if keys is None else keys).shape[-1], memory.shape[-1])
            heads = [parts.repeat_interleave(size // self.heads, 1) for size in sizes]
        return AttendedMemory(read, match, keys, project_query, keep_mask.unsqueeze(1), positions, *heads)

    def forward(
        self, query: torch.Tensor, attended: AttendedMemory, target_positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""
        Args:
            query (`torch.Tensor` of shape `(B, T, H)`): decoder states h_t.
            attended ([`AttendedMemory`]): what [`attend_to`] returned.
            target_positions (`torch.LongTensor` of shape `(B, T)`): t, from 0; read by `"local-m"` only.

        Returns:
            The contexts c_t (B, T, M) and the weights a_t (B, T, S).
        """
        # a head is one more query, with nothing but its part of the state
        by_head = query if self.heads == 1 else (query.unsqueeze(2) * attended.query_heads).flatten(1, 2)
        scores = self._scores(by_head, attended)  # (B, T * heads, S)
        if self.scale != 1.0:
            scores = scores * self.scale
        keep_mask = attended.keep_mask
        if self.score == "location":
            keep_mask = keep_mask & (attended.positions < self.location_projection.out_features)
        distance = None
        if self.span != "global":
            centre = self._centre(query, attended.positions, target_positions)  # (B, T, 1)
            distance = (attended.positions - centre).repeat_interleave(self.heads, 1)  # (B, T * heads, S)
            keep_mask = keep_mask & (distance.abs() <= self.window)
        # finfo.min and not -inf: a row without a single word would turn into NaN
        scores = scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1).masked_fill(~keep_mask, 0.0)
        if self.span == "local-p":
            deviation = self.window / 2
            weights = weights * torch.exp(-distance.square() / (2 * deviation**2))  # eq. 10
        contexts = attended.read(weights)
        if self.heads == 1:
            return contexts, weights
        contexts = (contexts.unflatten(1, (-1, self.heads)) * attended.memory_heads).sum(2)
        return contexts, weights.unflatten(1, (-1, self.heads)).mean(2)

    def _scores(self, query, attended):
        if attended.match is not None:
            return attended.match(query)  # the matrix of the general score is in the keys
        if self.score == "concat":
            hidden = torch.tanh(attended.project_query(query).unsqueeze(2) + attended.keys.unsqueeze(1))
            return self.score_vector(hidden).squeeze(-1)
        scores = self.location_projection(query)  # (B, T, location_size)
        index = attended.positions.clamp(0, scores.shape[-1] - 1)
        return scores.gather(-1, index.expand(-1, scores.shape[1], -1))

    def _centre(self, query, source_positions, target_positions):
        if self.span == "local-m":
            return target_positions.unsqueeze(-1)
        length = source_positions[..., -1:] + 1  # (B, 1, 1)
        position = self.position_vector(torch.tanh(self.position_projection(query)))
        return length * torch.sigmoid(position)  # eq. 9
