# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The encoder: a stack of recurrent layers that never reads padding.

Shapes: B batch, S source, E embedding, H hidden, M memory width.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput
from transformers.utils import can_return_tuple

from .cells_rnn_attn import CELLS, Cell, scan_direction
from .configuration_rnn_attn import RnnAttnConfig
from .pretrained_rnn_attn import RnnAttnPreTrainedModel, boolean_mask, check_mask_values, embed_tokens


@dataclass
class RnnAttnEncoderOutput(ModelOutput):
    """What the encoder returns for a batch of sentences.

    Every field that beam search has to repeat is a batch-first tensor.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, source_length, memory_size)`):
            The memory: states of the top layer, in the order of `input_ids`, zero where there is padding.
        final_state (`torch.FloatTensor` of shape `(batch_size, encoder_layers, parts, memory_size)`):
            The thought vector: each layer's state after the last token (both directions side by side). `parts` is 2
            for an LSTM (hidden, cell) and 1 for the other cells.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*):
            The embeddings and the output of every layer, returned with `output_hidden_states=True`.
        attentions (`tuple`, *optional*): always `None`, the encoder has no attention of its own.
        source_ids (`torch.LongTensor` of shape `(batch_size, source_length)`, *optional*):
            The source tokens, with `config.pointer_generator`, which copies some of them.
    """

    last_hidden_state: torch.Tensor | None = None
    final_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    source_ids: torch.Tensor | None = None


def reading_order(keep_mask: torch.Tensor, reverse: bool) -> torch.Tensor:
    """Returns the index of the n-th token read (B, S): tokens from the left or `reverse`d, then padding."""
    length = keep_mask.shape[1]
    position = torch.arange(length, device=keep_mask.device)
    position = position.flip(0) if reverse else position
    # of two tensors, and not of the length, which is a number to an exporter to ONNX, and a mask
    return torch.where(keep_mask, position, position + length).argsort(-1)


class PaddedLayer(GradientCheckpointingLayer):
    """Runs one of torch's recurrent layers over rows of different lengths."""

    def forward(
        self, cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the outputs (B, S, M) and the final state (B, parts, M)."""
        if torch.compiler.is_exporting():
            return _scan_layer(cell, layer, inputs, lengths)
        if lengths is None:
            output, state = layer(inputs)
        else:
            packed, state = layer(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
            output, _ = pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])
        parts = state if isinstance(state, tuple) else (state,)
        return output, torch.stack([part.transpose(0, 1).flatten(1) for part in parts], 1)


class RnnAttnEncoder(RnnAttnPreTrainedModel):
    """A stack of (bidirectional) recurrent layers. Padding, wherever it stands, is never read.

    Args:
        config ([`RnnAttnConfig`])
    """

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.encoder_embedding_size, config.pad_token_id)
        self.cell = CELLS[config.encoder_cell_type]
        sizes = [config.encoder_embedding_size] + [config.memory_size] * (config.encoder_layers - 1)
        self.layers = nn.ModuleList(
            self.cell.layer(
                size, config.encoder_hidden_size, batch_first=True, bidirectional=config.encoder_bidirectional
            )
            for size in sizes
        )
        self.dropout = nn.Dropout(config.encoder_dropout)
        self.run_layer = PaddedLayer()
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Returns the source embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the source embeddings."""
        self.embed_tokens = cast(nn.Embedding, value)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> RnnAttnEncoderOutput:
        r"""Encodes a batch of sentences.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, source_length)`, *optional*): source tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, source_length)`, *optional*):
                1 for tokens, 0 for padding on the left, on the right or between them. Defaults to tokens everywhere.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, source_length, encoder_embedding_size)`,
                *optional*): embeddings instead of `input_ids`.
            output_hidden_states (`bool`, *optional*): whether to return the output of every layer.
        """
        embeddings = embed_tokens(self.embed_tokens, input_ids, inputs_embeds, "")
        check_mask_values(attention_mask)
        keep_mask = boolean_mask(attention_mask, embeddings)
        order = reading_order(keep_mask, self.config.reverse_source).unsqueeze(-1)
        hidden = self.dropout(embeddings)
        hidden = hidden.gather(1, order.expand_as(hidden))
        # packing needs a token in every row; a row of nothing but padding reads one and is blanked afterwards
        lengths = None if attention_mask is None else keep_mask.sum(-1).clamp(min=1).cpu()
        has_tokens = keep_mask.any(-1)
        all_hidden, final_states = [embeddings], []
        for index, layer in enumerate(self.layers):
            output, state = self.run_layer(self.cell, layer, self.dropout(hidden) if index else hidden, lengths)
            hidden = output + hidden if self.config.encoder_residual and index else output
            all_hidden.append(_restore_order(hidden, order) * keep_mask.unsqueeze(-1))
            final_states.append(state * has_tokens[:, None, None])
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        return RnnAttnEncoderOutput(
            last_hidden_state=all_hidden[-1],
            final_state=torch.stack(final_states, 1),
            hidden_states=tuple(all_hidden) if output_hidden_states else None,
            source_ids=input_ids if self.config.pointer_generator else None,
        )


def _scan_layer(
    cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs a layer as [`PaddedLayer`] does, without packing, whose data-dependent shapes an exporter cannot follow."""
    keep_mask = inputs.new_ones(inputs.shape[:2], dtype=torch.bool)
    if lengths is not None:
        keep_mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths.to(inputs.device).unsqueeze(-1)
    suffixes = ("_l0", "_l0_reverse") if layer.bidirectional else ("_l0",)
    states, outputs = zip(*(scan_direction(cell, layer, inputs, keep_mask, name) for name in suffixes), strict=True)
    final = torch.stack([torch.cat(parts, -1) for parts in zip(*states, strict=True)], 1)
    return torch.cat(outputs, -1), final


def _restore_order(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Puts states (B, S, M) that stand in reading order back where their tokens stand."""
    return torch.zeros_like(states).scatter(1, order.expand_as(states), states)
