# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The decoder, from the encoder's outputs to the states that the output layer reads, and the one way into it.

Shapes: B sentences, R rows (hypotheses, those of a sentence side by side), S source, T target, E embedding, H hidden,
M memory width, A attentional width.
"""

import math
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.utils import can_return_tuple

from .cache_rnn_attn import DecoderState, RnnAttnCache, accept_cache_names, cache_field
from .cells_rnn_attn import CELLS, call_detached
from .configuration_rnn_attn import RnnAttnConfig
from .pretrained_rnn_attn import RnnAttnPreTrainedModel, boolean_mask, check_mask_values, embed_tokens
from .recurrence_rnn_attn import ACTIVATIONS, AttentionalRecurrence, RecurrenceOutput, SourceMemory, StepProducts


class Decoding(NamedTuple):
    """A batch of sentences on its way through the decoder; made by `start`, changed by `step` and `select`.

    Attributes:
        memory: the encoded sentences.
        state: the decoder's state, a row for each hypothesis.
        beams: the number of rows of each sentence.
        products: what single steps over this memory share; the first of them makes it.
    """

    memory: SourceMemory
    state: DecoderState
    beams: int = 1
    products: StepProducts | None = None


class RnnAttnBridge(nn.Module):
    """Computes the decoder's first state from the encoder's final state, for any sizes, depths and cell types.

    Decoder layer d takes its state from the encoder layer that is as far below the top; where the decoder is deeper,
    its lowest layers take the first encoder layer's. A dense bridge can also show every decoder layer the topmost
    encoder layer, or all of them.
    """

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__()
        self.kind = config.bridge
        self.hidden_size = config.decoder_hidden_size
        self.parts = CELLS[config.decoder_cell_type].state_count
        self.sources = _bridge_sources(config)
        if self.kind == "dense":
            self.activate = ACTIVATIONS[config.bridge_activation]
            state_size = CELLS[config.encoder_cell_type].state_count * config.memory_size
            input_size = state_size * (self.sources[0].stop - self.sources[0].start)
            self.projections = nn.ModuleList(nn.Linear(input_size, self.parts * self.hidden_size) for _ in self.sources)

    def forward(self, final_state: torch.Tensor | None, memory: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], ...]:
        """Returns for each decoder layer its first state, `parts` tensors (B, H).

        Args:
            final_state (`torch.Tensor` of shape `(B, encoder_layers, parts, M)`): the thought vector.
            memory (`torch.Tensor` of shape `(B, S, M)`): gives batch size, dtype and device where it is not needed.

        Raises:
            ValueError: if there is no `final_state` and the bridge needs one.
        """
        if self.kind == "zero":
            zeros = memory.new_zeros(memory.shape[0], self.hidden_size)
            return tuple((zeros,) * self.parts for _ in self.sources)
        if final_state is None:
            raise ValueError(
                f"`bridge='{self.kind}'` needs the encoder's `final_state`, but `encoder_outputs` holds none. Pass "
                "what `model.get_encoder()(...)` returned, unchanged."
            )
        states = [final_state[:, source].flatten(1, 2) for source in self.sources]  # (B, layers * parts, M)
        if self.kind == "copy":
            return tuple(self._copy(state) for state in states)
        states = (self.activate(layer(state.flatten(1))) for layer, state in zip(self.projections, states, strict=True))
        return tuple(state.chunk(self.parts, -1) for state in states)

    def _copy(self, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns, of an encoder layer's state (B, parts, M), what the decoder's cell has; zeros for a missing cell."""
        parts = state.unbind(1)[: self.parts]
        return parts if len(parts) == self.parts else (*parts, torch.zeros_like(parts[0]))


class RnnAttnDecoder(RnnAttnPreTrainedModel):
    """Embeddings, bridge and [`AttentionalRecurrence`]: everything between the encoder and the output layer.

    `start`, `step` and `select` are the one way into the decoder, for training, searches, export and ensembles.

    Args:
        config ([`RnnAttnConfig`])
    """

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__(config)
        vocab_size = cast(int, config.decoder_vocab_size)
        self.embed_tokens = nn.Embedding(vocab_size, config.decoder_embedding_size, config.pad_token_id)
        self.bridge = RnnAttnBridge(config)
        self.recurrence = AttentionalRecurrence(config)
        self.dropout = nn.Dropout(config.decoder_dropout)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Returns the target embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the target embeddings."""
        self.embed_tokens = cast(nn.Embedding, value)

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        encoder_final_state: torch.Tensor | None = None,
        cache: RnnAttnCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        r"""Computes the attentional states from which the output layer predicts the next tokens.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, target_length)`, *optional*):
                The tokens before each prediction; with a cache, only those it has not seen.
            attention_mask (`torch.Tensor` of shape `(batch_size, target_length)`, *optional*):
                0 where an input is padding, which leaves the state as it was. With a cache, earlier columns may stand
                before those of `input_ids`.
            encoder_hidden_states (`torch.FloatTensor` of shape `(batch_size, source_length, memory_size)`): The memory.
            encoder_attention_mask (`torch.Tensor` of shape `(batch_size, source_length)`, *optional*):
                1 for tokens, 0 for padding.
            encoder_final_state (`torch.FloatTensor` of shape `(batch_size, encoder_layers, parts, memory_size)`):
                The thought vector; not read with a cache that has seen tokens, nor with `bridge="zero"`.
            cache ([`RnnAttnCache`], *optional*): the state to go on from; it is updated. `past_key_values` is another
                name for it.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, target_length, decoder_embedding_size)`,
                *optional*): embeddings instead of `input_ids`.
            use_cache (`bool`, *optional*): whether to return a cache.
            output_attentions, output_hidden_states (`bool`, *optional*): whether to return them.

        Returns:
            `last_hidden_state` holds the attentional states (B, T, A). `hidden_states` are the embeddings and the h_t
            of every layer. `cross_attentions` is one tensor (B, 1, T, S), without attention none; `attentions` is an
            empty tuple, for a recurrent decoder does not attend to itself.
        """
        embeddings = embed_tokens(self.embed_tokens, input_ids, inputs_embeds, "decoder_")
        if encoder_hidden_states is not None and embeddings.shape[0] != encoder_hidden_states.shape[0]:
            raise ValueError(
                f"Expected as many rows of decoder inputs as of source sentences, got {embeddings.shape[0]} and "
                f"{encoder_hidden_states.shape[0]}."
            )
        keep_mask = None
        if attention_mask is not None:
            # of a sequence that goes on, the mask may cover the past too
            covered = attention_mask
            if cache is not None and cache.state is not None:
                covered = attention_mask[:, -embeddings.shape[1] :]
            keep_mask = boolean_mask(covered, embeddings)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and cache is None:
            cache = RnnAttnCache(self.config.decoder_layers)
        # the encoder's states are no option; their default is there because those before them have one
        if cache is None or cache.state is None:
            check_mask_values(attention_mask)
            decoding = self.start(
                encoder_hidden_states,  # pyright: ignore[reportArgumentType]
                encoder_attention_mask,
                encoder_final_state,
            )
        else:
            mask = boolean_mask(
                encoder_attention_mask,
                encoder_hidden_states,  # pyright: ignore[reportArgumentType]
            )
            decoding = Decoding(SourceMemory(encoder_hidden_states, mask, cache.keys), cache.state)
        output = self._run(embeddings, decoding, keep_mask, cache)
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        cross_attentions = () if output.weights is None else (output.weights.unsqueeze(1),)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=output.attentional,
            **cache_field(cache),
            hidden_states=(embeddings, *output.hidden) if output_hidden_states else None,
            attentions=() if output_attentions else None,
            cross_attentions=cross_attentions if output_attentions else None,
        )

    def start(
        self,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        final_state: torch.Tensor | None,
        source_ids: torch.Tensor | None = None,
    ) -> Decoding:
        """Prepares a batch for decoding: returns it before its first target token.

        Arguments as the fields of [`RnnAttnEncoderOutput`].
        """
        mask = boolean_mask(attention_mask, encoder_hidden_states)
        keys = self.recurrence.project_memory(encoder_hidden_states)
        state = self.recurrence.start(self.bridge(final_state, encoder_hidden_states))
        return Decoding(SourceMemory(encoder_hidden_states, mask, keys, source_ids), state)

    def step(
        self, embeddings: torch.Tensor, decoding: Decoding, keep_mask: torch.Tensor | None = None
    ) -> tuple[RecurrenceOutput, Decoding]:
        """Reads the next tokens of each row.

        Args:
            embeddings (`torch.FloatTensor` of shape `(R, T, E)`): the next T tokens of each row.
            decoding ([`Decoding`]): what `start`, `select` or the last step returned. Several hypotheses of a sentence
                take one token at a time (T = 1), without gradient.
            keep_mask (`torch.BoolTensor` of shape `(R, T)`, *optional*): see [`AttentionalRecurrence`].

        Returns:
            [`RecurrenceOutput`]: its attentional states (R, T, A) are the input of the output layer.
            [`Decoding`]: the batch after these tokens.
        """
        products = decoding.products
        if products is None and embeddings.shape[1] == 1 and keep_mask is None and not torch.is_grad_enabled():
            products = self.recurrence.prepare(decoding.memory, decoding.beams)
        call = partial(call_detached, self.recurrence) if torch.compiler.is_exporting() else self.recurrence
        output = call(self.dropout(embeddings), decoding.state, decoding.memory, keep_mask, products)
        after = decoding._replace(state=output.state, products=products)
        return output._replace(attentional=self.dropout(output.attentional)), after

    def select(self, decoding: Decoding, rows: torch.Tensor) -> Decoding:
        """Keeps some hypotheses of the batch, in a given order.

        Args:
            decoding ([`Decoding`]): of B sentences.
            rows (`torch.LongTensor` of shape `(B', K)`):
                A line for each sentence that goes on, in the order of the sentences: the rows of its hypotheses.
        """
        state = tree_map(lambda part: part.index_select(0, rows.flatten()), decoding.state)
        sentences, beams = len(decoding.state.positions) // decoding.beams, rows.shape[1]
        if len(rows) == sentences and beams == decoding.beams:
            return decoding._replace(state=state)
        memory = decoding.memory
        if len(rows) < sentences:
            memory = memory.select(rows[:, 0] // decoding.beams)
        return Decoding(memory, state, beams)

    def _run(
        self, embeddings: torch.Tensor, decoding: Decoding, keep_mask: torch.Tensor | None, cache: RnnAttnCache | None
    ) -> RecurrenceOutput:
        """Reads `embeddings` (B, T, E) and leaves the last state in the cache, if there is one.

        In one step, unless the states in between are wanted: a cache that records takes them one by one, and under
        gradient checkpointing only those between pieces of about the square root of T steps are kept.
        """
        step, pieces = self.step, [(embeddings, keep_mask)]
        if self.gradient_checkpointing and self.training:
            step = self._step_checkpointed
            pieces = _split(embeddings, keep_mask, math.isqrt(embeddings.shape[1] - 1) + 1)
        if cache is not None and cache.records_past:
            pieces = _split(embeddings, keep_mask, 1)
        outputs = []
        for piece, piece_mask in pieces:
            output, decoding = step(piece, decoding, piece_mask)
            outputs.append(output)
            if cache is not None:
                cache.write(decoding.state, decoding.memory.keys, piece.shape[1])
        return outputs[0] if len(outputs) == 1 else RecurrenceOutput.join(outputs)

    def _step_checkpointed(
        self, embeddings: torch.Tensor, decoding: Decoding, keep_mask: torch.Tensor | None
    ) -> tuple[RecurrenceOutput, Decoding]:
        """Does what [`step`] does, and keeps none of its results in between for the backward pass."""
        # reentrant checkpointing follows tensors that are arguments or outputs themselves, not those inside of tuples
        leaves, structure = tree_flatten((embeddings, decoding, keep_mask))
        output_structure: Any = None

        def run(*leaves: Any) -> tuple[torch.Tensor, ...]:
            nonlocal output_structure
            output, _ = self.step(*tree_unflatten(leaves, structure))
            output_leaves, output_structure = tree_flatten(output)
            return tuple(output_leaves)

        output = tree_unflatten(self._gradient_checkpointing_func(run, *leaves), output_structure)
        return output, decoding._replace(state=output.state)


def _split(
    inputs: torch.Tensor, keep_mask: torch.Tensor | None, size: int
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Returns consecutive pieces of `size` steps of the inputs (B, T, E) and their mask (B, T), if there is one."""
    pieces = inputs.split(size, 1)
    return list(zip(pieces, [None] * len(pieces) if keep_mask is None else keep_mask.split(size, 1), strict=True))


def _bridge_sources(config: RnnAttnConfig) -> list[slice]:
    """Returns for each decoder layer the encoder layers that it starts from."""
    depth = config.encoder_layers
    if config.bridge_source == "all":
        return [slice(0, depth)] * config.decoder_layers
    if config.bridge_source == "last":
        return [slice(depth - 1, depth)] * config.decoder_layers
    matched = (max(0, depth - config.decoder_layers + layer) for layer in range(config.decoder_layers))
    return [slice(layer, layer + 1) for layer in matched]
