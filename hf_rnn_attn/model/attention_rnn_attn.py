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
    """The memory as attention reads it at every target step of a batch; made by [`LuongAttention.attend_to`].

    Attributes:
        read: from weights (B, T, S) to contexts (B, T, M).
        match: from queries (B, T, H) to scores (B, T, S); `None` for the scores that are no product with the memory.
        keys: the projected memory (B, S, H) of the concat score.
        project_query: the concat score's product of the query, (B, T, H) to (B, T, H).
        padding: `True` where there is padding, (B, 1, S).
        positions: index of each token among its sentence's tokens, (B, 1, S).
    """

    read: Callable[[torch.Tensor], torch.Tensor]
    match: Callable[[torch.Tensor], torch.Tensor] | None
    keys: torch.Tensor | None
    project_query: Callable[[torch.Tensor], torch.Tensor] | None
    padding: torch.Tensor
    positions: torch.Tensor


class LuongAttention(nn.Module):
    """Computes attention weights and contexts: from decoder states to encoder states.

    The same call serves one decoding step (T = 1) and a whole teacher-forced sequence. Padding never counts: a weight
    on a masked position is exactly zero, positions are counted over unmasked tokens alone, and a row with nothing to
    attend to (all padding, or a local window past the end) has weights and context of zero.

    Args:
        config ([`RnnAttnConfig`]): Any configuration whose `attention_score` is not `"none"`.
    """

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__()
        self.score = config.attention_score
        self.span = config.attention_span
        self.window = config.attention_window
        hidden_size, memory_size = config.decoder_hidden_size, config.memory_size
        if self.score == "general":
            self.memory_projection = nn.Linear(memory_size, hidden_size, bias=False)
        elif self.score == "concat":
            # W_a of [h_t ; h_s] in two halves, so that the product of the memory is formed once a sentence
            self.query_projection = StepLinear(hidden_size, hidden_size, bias=False)
            self.memory_projection = nn.Linear(memory_size, hidden_size, bias=config.attention_bias)
            self.score_vector = nn.Linear(hidden_size, 1, bias=False)
        elif self.score == "location":
            self.location_projection = nn.Linear(hidden_size, config.location_size, bias=False)
        if self.span == "local-p":
            self.position_projection = nn.Linear(hidden_size, hidden_size, bias=False)
            self.position_vector = nn.Linear(hidden_size, 1, bias=False)

    @property
    def has_keys(self) -> bool:
        """Whether the scores are computed from a projection of the memory."""
        return self.score in ("general", "concat")

    def project_memory(self, memory: torch.Tensor) -> torch.Tensor | None:
        """Returns the keys (B, S, H): W_a's product with `memory` (B, S, M); `None` for a score that has none."""
        return self.memory_projection(memory) if self.has_keys else None

    def attend_to(self, memory: torch.Tensor, keys: torch.Tensor | None, keep_mask: torch.Tensor) -> AttendedMemory:
        """Prepares the memory for all calls for one batch of sentences.

        Args:
            memory (`torch.Tensor` of shape `(B, S, M)`): encoder states.
            keys (`torch.Tensor` of shape `(B, S, H)`, *optional*): `project_memory(memory)`.
            keep_mask (`torch.BoolTensor` of shape `(B, S)`): `False` where there is padding.
        """
        if self.score == "dot":
            # an exporter's scan takes no two views of one tensor
            keys = memory.clone() if torch.compiler.is_exporting() else memory
        match = None if keys is None or self.score == "concat" else StepWeight(keys)
        project_query = step_product(self.query_projection) if self.score == "concat" else None
        positions = (keep_mask.cumsum(-1) - 1).unsqueeze(1)
        read = StepWeight(memory.transpose(1, 2))
        return AttendedMemory(read, match, keys, project_query, ~keep_mask.unsqueeze(1), positions)

    def forward(
        self, query: torch.Tensor, attended: AttendedMemory, target_positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Computes a_t = softmax(score(h_t, h̄_s)) over the unmasked source positions and c_t = Σ_s a_t(s) h̄_s.

        Args:
            query (`torch.Tensor` of shape `(B, T, H)`): decoder states h_t.
            attended ([`AttendedMemory`]): what [`attend_to`] returned.
            target_positions (`torch.LongTensor` of shape `(B, T)`): t, from 0; read by `"local-m"` only.

        Returns:
            The contexts c_t (B, T, M) and the weights a_t (B, T, S).
        """
        scores = self._scores(query, attended)  # (B, T, S)
        skipped = attended.padding
        if self.score == "location":
            skipped = skipped | (attended.positions >= self.location_projection.out_features)
        distance = None
        if self.span != "global":
            centre = self._centre(query, attended.positions, target_positions)  # (B, T, 1)
            distance = attended.positions - centre  # (B, T, S)
            skipped = skipped | (distance.abs() > self.window)
        # finfo.min and not -inf: a row without a single token would turn into NaN
        scores = scores.masked_fill(skipped, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1).masked_fill(skipped, 0.0)
        if distance is not None and self.span == "local-p":
            deviation = self.window / 2
            weights = weights * torch.exp(-distance.square() / (2 * deviation**2))  # eq. 10
        return attended.read(weights), weights

    def _scores(self, query: torch.Tensor, attended: AttendedMemory) -> torch.Tensor:
        """Returns the scores (B, T, S) of decoder states (B, T, H), padding included."""
        if attended.match is not None:
            return attended.match(query)  # the matrix of the general score is in the keys
        if attended.project_query is not None and attended.keys is not None:  # the concat score
            hidden = torch.tanh(attended.project_query(query).unsqueeze(2) + attended.keys.unsqueeze(1))
            return self.score_vector(hidden).squeeze(-1)
        scores = self.location_projection(query)  # (B, T, location_size)
        index = attended.positions.clamp(0, scores.shape[-1] - 1)
        return scores.gather(-1, index.expand(-1, scores.shape[1], -1))

    def _centre(
        self, query: torch.Tensor, source_positions: torch.Tensor, target_positions: torch.Tensor
    ) -> torch.Tensor:
        """Returns the source position p_t (B, T, 1) in the middle of each window."""
        if self.span == "local-m":
            return target_positions.unsqueeze(-1)
        length = source_positions[..., -1:] + 1  # (B, 1, 1)
        position = self.position_vector(torch.tanh(self.position_projection(query)))
        return length * torch.sigmoid(position)  # eq. 9
