# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The RNN encoder-decoder with Luong attention as a `transformers` model.

Holds the encoder, the bridge, the decoder around its recurrence, and the two public models. Knows nothing of text.
Shapes: B batch, S source, T target, E embedding, H hidden, M memory width, A attentional width, V target vocabulary.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_flatten, tree_unflatten
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.generation import GenerationMode
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    ModelOutput,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)
from transformers.utils import can_return_tuple, logging

from .beam_search_rnn_attn import PENALTIES, PenalisedBeamSearch, length_penalty
from .cache_rnn_attn import (
    CACHE_NAMES,
    LIBRARY_CACHE_NAME,
    RnnAttnCache,
    accept_cache_names,
    cache_field,
    cache_of,
    rename_cache,
)
from .cells_rnn_attn import CELLS, Cell, StepLayer, run_packed, scan_direction
from .configuration_rnn_attn import ONE_VOCABULARY_OPTIONS, RnnAttnConfig
from .loss_rnn_attn import logits_loss, output_layer_loss
from .plain_search_rnn_attn import BeamSearch, greedy_search, has_enough_words, is_plain
from .pointer_rnn_attn import Copying, PointerGenerator
from .recurrence_rnn_attn import (
    ACTIVATIONS,
    AttentionalRecurrence,
    RecurrenceOutput,
    SequenceDropout,
    SourceMemory,
    can_pack,
)


logger = logging.get_logger(__name__)


@dataclass
class RnnAttnEncoderOutput(ModelOutput):
    """
    What the encoder knows of a batch of sentences. Every field that beam search has to repeat is a batch-first tensor.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, source_length, memory_size)`):
            The memory: states of the top layer, in the order of `input_ids`, zero where there is padding.
        final_state (`torch.FloatTensor` of shape `(batch_size, encoder_layers, parts, memory_size)`):
            The thought vector: each layer's state after the last word (both directions side by side). `parts` is 2
            for an LSTM (hidden, cell) and 1 for the other cells.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*):
            The embeddings and the output of every layer, returned with `output_hidden_states=True`.
        attentions (`tuple`, *optional*): always `None`, the encoder has no attention of its own.
        source_ids (`torch.LongTensor` of shape `(batch_size, source_length)`, *optional*):
            The words, with `config.pointer_generator`, which copies some of them.
    """

    last_hidden_state: torch.FloatTensor | None = None
    final_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    source_ids: torch.LongTensor | None = None


class OutputWords(NamedTuple):
    """
    Some words of the target vocabulary, and the part of the output layer that scores them. No tensor, which `generate`
    would repeat for each beam.

    Args:
        words (`torch.LongTensor` of shape `(K,)`): different words.
        layer (`Callable`): from states `(..., A)` to the logits of those words `(..., K)`.
        vocab_size (`int`): V.
    """

    words: torch.LongTensor
    layer: Callable[[torch.Tensor], torch.Tensor]
    vocab_size: int

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits of all words (..., V), minus infinity for those that were not chosen."""
        chosen = self.layer(states)
        logits = chosen.new_full((*chosen.shape[:-1], self.vocab_size), -math.inf)
        return logits.index_copy_(-1, self.words, chosen)


def shift_tokens_right(labels: torch.LongTensor, pad_token_id: int, decoder_start_token_id: int) -> torch.LongTensor:
    """Returns the decoder's inputs for `labels` (B, T): the start token, then every label but the last."""
    shifted = labels.roll(1, dims=-1)
    shifted[:, 0] = decoder_start_token_id
    return shifted.masked_fill(shifted == -100, pad_token_id)


def reading_order(keep_mask: torch.BoolTensor, reverse: bool) -> torch.LongTensor:
    """Returns the index of the n-th word read (B, S): words first, from the left or `reverse`d, padding after them."""
    length = keep_mask.shape[1]
    position = torch.arange(length, device=keep_mask.device)
    position = position.flip(0) if reverse else position
    return (position + length * ~keep_mask).argsort(-1)


def embed_tokens(
    table: nn.Embedding, input_ids: torch.LongTensor | None, inputs_embeds: torch.Tensor | None, side: str
) -> torch.Tensor:
    """Returns the embeddings (B, length, E) of exactly one of `input_ids` and `inputs_embeds`."""
    if (input_ids is None) == (inputs_embeds is None):
        given = "both" if inputs_embeds is not None else "neither"
        raise ValueError(f"Pass exactly one of `{side}input_ids` and `{side}inputs_embeds`, got {given}.")
    return table(input_ids) if inputs_embeds is None else inputs_embeds


class InputDropout(nn.Module):
    """Dropout of whole words, then of single units of their embeddings (Gal & Ghahramani 2016)."""

    def __init__(self, word_probability: float, probability: float, variational: bool):
        super().__init__()
        self.word_probability = word_probability
        self.units = SequenceDropout(probability, variational)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        words = nn.functional.dropout(
            embeddings.new_ones(*embeddings.shape[:2], 1), self.word_probability, self.training
        )
        return self.units(embeddings * words)


class RnnAttnBridge(nn.Module):
    """Hands the encoder's thought vector to the decoder, for any pair of sizes, depths and cell types.

    Decoder layer d takes its state from the encoder layer that is as far below the top; where the decoder is deeper,
    its lowest layers take the first encoder layer's. A dense bridge can also show every decoder layer the topmost
    encoder layer, or all of them.
    """

    def __init__(self, config: RnnAttnConfig):
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

    def _copy(self, state):
        parts = state.unbind(1)[: self.parts]
        return parts if len(parts) == self.parts else (*parts, torch.zeros_like(parts[0]))


class RnnAttnPreTrainedModel(PreTrainedModel):
    """Base of all models here: weight initialisation, loading and saving."""

    config_class = RnnAttnConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RnnAttnEncoder", "RnnAttnDecoder"]
    _skip_keys_device_placement = list(CACHE_NAMES)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Luong et al. 2015, §4.1: uniform weights. Biases are zero but for forget gates (Jozefowicz et al. 2015)."""
        if not isinstance(module, (nn.Linear, nn.Embedding, nn.RNNBase)):
            return
        bound = self.config.initializer_range
        for name, parameter in module.named_parameters(recurse=False):
            if getattr(parameter, "_is_hf_initialized", False):
                continue  # loaded; the slices below do not carry the flag
            if "bias" in name:
                init.zeros_(parameter)
            else:
                init.uniform_(parameter, -bound, bound)
            if isinstance(module, nn.LSTM) and "bias_ih" in name:
                init.ones_(parameter[module.hidden_size : 2 * module.hidden_size])
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                init.zeros_(parameter[module.padding_idx])

    @property
    def dummy_inputs(self):
        input_ids = torch.tensor([[4, 5, 6], [4, 5, self.config.pad_token_id]])
        attention_mask = input_ids.ne(self.config.pad_token_id)
        return {"input_ids": input_ids, "attention_mask": attention_mask, "decoder_input_ids": input_ids}

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Returns `{tied: source}` parameter names. Unlike in the library, source and target embeddings can be shared
        without an output layer that is tied to them, so `config.tie_word_embeddings` alone does not decide."""
        if all_submodels:
            return super().get_expanded_tied_weights_keys(all_submodels=True)
        return dict(self._tied_weights_keys or {})


class PaddedLayer(GradientCheckpointingLayer):
    """Runs one of torch's recurrent layers over rows of different lengths."""

    def forward(
        self, cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the outputs (B, S, M) and the final state (B, parts, M)."""
        if torch.compiler.is_exporting():
            return _scan_layer(cell, layer, inputs, lengths)
        # for a gradient on the CPU torch's layer forms and adds up the weights' at every step, half of the time
        wants_gradient = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        by_steps = wants_gradient and inputs.device.type == "cpu" and isinstance(layer, StepLayer)
        if lengths is None and not by_steps:
            output, state = layer(inputs)
        else:
            lengths = torch.full(inputs.shape[:1], inputs.shape[1]) if lengths is None else lengths
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            packed, state = run_packed(cell, layer, packed) if by_steps else layer(packed)
            output, _ = pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])
        parts = state if isinstance(state, tuple) else (state,)
        return output, torch.stack([part.transpose(0, 1).flatten(1) for part in parts], 1)


class RnnAttnEncoder(RnnAttnPreTrainedModel):
    """A stack of (bidirectional) recurrent layers. Padding, wherever it stands, is never read.

    Args:
        config ([`RnnAttnConfig`])
    """

    def __init__(self, config: RnnAttnConfig):
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
        self.input_dropout = InputDropout(config.word_dropout, config.encoder_dropout, config.variational_dropout)
        self.dropout = SequenceDropout(config.encoder_dropout, config.variational_dropout)
        self.run_layer = PaddedLayer()
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.embed_tokens = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> RnnAttnEncoderOutput:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, source_length)`, *optional*): source words.
            attention_mask (`torch.Tensor` of shape `(batch_size, source_length)`, *optional*):
                1 for words, 0 for padding on the left, on the right or between them. Defaults to words everywhere.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, source_length, encoder_embedding_size)`,
                *optional*): embeddings instead of `input_ids`.
            output_hidden_states (`bool`, *optional*): whether to return the output of every layer.
        """
        embeddings = embed_tokens(self.embed_tokens, input_ids, inputs_embeds, "")
        keep_mask = _keep_mask(attention_mask, embeddings)
        order = reading_order(keep_mask, self.config.reverse_source).unsqueeze(-1)
        hidden = self.input_dropout(embeddings)
        hidden = hidden.gather(1, order.expand_as(hidden))
        # packing needs a word in every row; a row of nothing but padding reads one and is blanked afterwards
        lengths = None if attention_mask is None else keep_mask.sum(-1).clamp(min=1).cpu()
        has_words = keep_mask.any(-1)
        all_hidden, final_states = [embeddings], []
        for index, layer in enumerate(self.layers):
            output, state = self.run_layer(self.cell, layer, self.dropout(hidden) if index else hidden, lengths)
            hidden = output + hidden if self.config.encoder_residual and index else output
            all_hidden.append(_restore_order(hidden, order) * keep_mask.unsqueeze(-1))
            final_states.append(state * has_words[:, None, None])
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        return RnnAttnEncoderOutput(
            last_hidden_state=all_hidden[-1],
            final_state=torch.stack(final_states, 1),
            hidden_states=tuple(all_hidden) if output_hidden_states else None,
            source_ids=input_ids if self.config.pointer_generator else None,
        )


class RnnAttnDecoder(RnnAttnPreTrainedModel):
    """Word embedding, bridge and [`AttentionalRecurrence`]; everything between the encoder and the output layer.

    Args:
        config ([`RnnAttnConfig`])
    """

    def __init__(self, config: RnnAttnConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.decoder_vocab_size, config.decoder_embedding_size, config.pad_token_id)
        self.bridge = RnnAttnBridge(config)
        self.recurrence = AttentionalRecurrence(config)
        self.input_dropout = InputDropout(config.word_dropout, config.decoder_dropout, config.variational_dropout)
        self.dropout = SequenceDropout(config.decoder_dropout, config.variational_dropout)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.embed_tokens = value

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        encoder_final_state: torch.Tensor | None = None,
        cache: RnnAttnCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, target_length)`, *optional*):
                The words before each prediction; with a cache, only those it has not seen.
            attention_mask (`torch.Tensor` of shape `(batch_size, target_length)`, *optional*):
                0 where an input is padding, which leaves the state as it was. With a cache, earlier columns may stand
                before those of `input_ids`.
            encoder_hidden_states (`torch.FloatTensor` of shape `(batch_size, source_length, memory_size)`):
                The memory.
            encoder_attention_mask (`torch.Tensor` of shape `(batch_size, source_length)`, *optional*):
                1 for words, 0 for padding.
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
        keep_mask = None if attention_mask is None else attention_mask[:, -embeddings.shape[1] :].bool()
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and cache is None:
            cache = RnnAttnCache(self.config.decoder_layers)
        memory = SourceMemory(encoder_hidden_states, _keep_mask(encoder_attention_mask, encoder_hidden_states))
        state = None if cache is None else cache.read()
        if state is None:
            state = self.recurrence.start(self.bridge(encoder_final_state, memory.states), memory)
        output = self._run(self.input_dropout(embeddings), state, memory, keep_mask, cache)
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        cross_attentions = () if output.weights is None else (output.weights.unsqueeze(1),)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.dropout(output.attentional),
            **cache_field(cache),
            hidden_states=(embeddings, *output.hidden) if output_hidden_states else None,
            attentions=() if output_attentions else None,
            cross_attentions=cross_attentions if output_attentions else None,
        )

    def _run(self, inputs, state, memory, keep_mask, cache) -> RecurrenceOutput:
        """Runs the recurrence over `inputs` (B, T, E) and leaves its last state in the cache, if there is one.

        In one call, unless the states in between are wanted: a cache that records takes them one by one, and under
        gradient checkpointing only those between pieces of about the square root of T steps are kept.
        """
        run, pieces = self.recurrence, [(inputs, keep_mask)]
        if self.gradient_checkpointing and self.training:
            run, pieces = self._run_checkpointed, _split(inputs, keep_mask, math.isqrt(inputs.shape[1] - 1) + 1)
        if cache is not None and cache.records_past:
            pieces = _split(inputs, keep_mask, 1)
        outputs = []
        for piece, piece_mask in pieces:
            outputs.append(run(piece, state, memory, piece_mask))
            state = outputs[-1].state
            if cache is not None:
                cache.write(state, piece.shape[1])
        return outputs[0] if len(outputs) == 1 else RecurrenceOutput.join(outputs)

    def _run_checkpointed(self, *arguments) -> RecurrenceOutput:
        # reentrant checkpointing follows tensors that are arguments or outputs themselves, not those inside of tuples
        leaves, structure = tree_flatten(arguments)
        output_structure = None

        def run(*leaves):
            nonlocal output_structure
            output_leaves, output_structure = tree_flatten(self.recurrence(*tree_unflatten(leaves, structure)))
            return tuple(output_leaves)

        output_leaves = self._gradient_checkpointing_func(run, *leaves)
        return tree_unflatten(output_leaves, output_structure)


class RnnAttnModel(RnnAttnPreTrainedModel):
    """The bare RNN encoder-decoder with Luong attention, without an output layer.

    Args:
        config ([`RnnAttnConfig`])
    """

    def __init__(self, config: RnnAttnConfig):
        super().__init__(config)
        self.encoder = RnnAttnEncoder(config)
        self.decoder = RnnAttnDecoder(config)
        if config.share_encoder_decoder_embeddings:
            self._tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.encoder.embed_tokens = value
        if self.config.share_encoder_decoder_embeddings:
            self.decoder.embed_tokens = value

    def _resize_token_embeddings(self, new_num_tokens, pad_to_multiple_of=None, mean_resizing=True):
        is_joint = self.config.vocab_size == self.config.decoder_vocab_size
        self.encoder._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if is_joint:
            self._resize_decoder_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        return self.encoder.embed_tokens

    def _resize_decoder_embeddings(self, *sizes):
        self.decoder._resize_token_embeddings(*sizes)
        self.config.decoder_vocab_size = self.decoder.embed_tokens.num_embeddings

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: RnnAttnEncoderOutput | tuple[torch.Tensor, ...] | None = None,
        cache: RnnAttnCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> Seq2SeqModelOutput:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, source_length)`, *optional*): source words.
            attention_mask (`torch.Tensor` of shape `(batch_size, source_length)`, *optional*):
                1 for words, 0 for padding, on either side or both.
            decoder_input_ids (`torch.LongTensor` of shape `(batch_size, target_length)`, *optional*):
                The words before each prediction, the first being `config.decoder_start_token_id`. With
                `cache`, only those that it has not seen.
            decoder_attention_mask (`torch.Tensor` of shape `(batch_size, target_length)`, *optional*):
                0 where a decoder input is padding. Padding after the last word needs no mask.
            encoder_outputs ([`RnnAttnEncoderOutput`] or `tuple`, *optional*):
                What the encoder returned, to be used instead of running it again. A tuple holds `last_hidden_state`
                and `final_state`.
            cache ([`RnnAttnCache`], *optional*):
                The decoder's state so far; it is updated. `past_key_values` is another name for it.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor` of shape `(batch_size, length, embedding_size)`,
                *optional*): embeddings instead of ids.
            use_cache (`bool`, *optional*): whether to return the state.
            output_attentions, output_hidden_states (`bool`, *optional*): whether to return them.

        Example:

        ```python
        >>> import torch
        >>> from hf_rnn_attn import RnnAttnConfig, RnnAttnModel

        >>> model = RnnAttnModel(RnnAttnConfig(vocab_size=10, decoder_hidden_size=32))
        >>> outputs = model(input_ids=torch.tensor([[4, 5, 2]]), decoder_input_ids=torch.tensor([[1, 6]]))
        >>> list(outputs.last_hidden_state.shape)
        [1, 2, 32]

        ```"""
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
        elif not isinstance(encoder_outputs, ModelOutput):
            encoder_outputs = RnnAttnEncoderOutput(*encoder_outputs[:2])
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_attention_mask=attention_mask,
            encoder_final_state=encoder_outputs.get("final_state"),
            cache=cache,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            **cache_field(cache_of(decoder_outputs)),
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
        )


class RnnAttnForConditionalGeneration(RnnAttnPreTrainedModel, GenerationMixin):
    """The RNN encoder-decoder with Luong attention and an output layer: trains on pairs, translates with `generate`.

    Beyond the library's generation parameters, beam search knows two of Wu et al. 2016 (section 7), as arguments of
    `generate` or in the `generation_config`:

    * `gnmt_length_penalty` (`float`, *optional*): alpha of their length normalisation, in place of `length_penalty`;
      0.6 to 0.7 in the paper, larger for longer translations.
    * `coverage_penalty` (`float`, *optional*): beta of their penalty for source words that were hardly attended to;
      0.2 in the paper.

    Args:
        config ([`RnnAttnConfig`])
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}

    def __init__(self, config: RnnAttnConfig):
        super().__init__(config)
        self.model = RnnAttnModel(config)
        self.lm_head = nn.Linear(config.attentional_size, config.decoder_vocab_size, bias=config.output_bias)
        self.pointer = PointerGenerator(config) if config.pointer_generator else None
        side = "encoder" if config.share_encoder_decoder_embeddings else "decoder"
        tied = {"lm_head.weight": f"model.{side}.embed_tokens.weight"} if config.tie_word_embeddings else {}
        self._tied_weights_keys = tied
        self.generation_config.max_length = 256
        for name in PENALTIES:
            setattr(self.generation_config, name, None)
        # without this mark, parameters that the library does not know are read from the checkpoint too
        self.generation_config._from_model_config = False
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding):
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear):
        self.lm_head = new_embeddings

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the source embeddings, and the target side with them where both have one vocabulary, that is, where
        `config.vocab_size` and `config.decoder_vocab_size` are equal. See [`resize_decoder_token_embeddings`] for
        separate ones, and the library's method of this name for the arguments. Returns the source embeddings."""
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    def resize_decoder_token_embeddings(
        self, new_num_tokens: int, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the target embeddings and the output layer alone; arguments as in `resize_token_embeddings`.

        Returns:
            `nn.Embedding`: the target embeddings.

        Raises:
            ValueError: if source and target embeddings are shared, or source words are copied.
        """
        for name in ONE_VOCABULARY_OPTIONS:
            if getattr(self.config, name):
                raise ValueError(
                    f"With `{name}=True` source and target have one vocabulary, and their embeddings cannot be resized "
                    "apart; call `resize_token_embeddings`."
                )
        self.model._resize_decoder_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        self._resize_lm_head(mean_resizing)
        self.tie_weights()
        return self.model.decoder.embed_tokens

    def _resize_token_embeddings(self, new_num_tokens, pad_to_multiple_of=None, mean_resizing=True):
        table = self.model._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        self._resize_lm_head(mean_resizing)
        return table

    def _resize_lm_head(self, mean_resizing):
        requires_grad = self.lm_head.weight.requires_grad
        size = self.config.decoder_vocab_size
        self.lm_head = self._get_resized_lm_head(self.lm_head, size, mean_resizing=mean_resizing)
        self.lm_head.requires_grad_(requires_grad)

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: RnnAttnEncoderOutput | tuple[torch.Tensor, ...] | None = None,
        cache: RnnAttnCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        teacher_forcing_ratio: float | None = None,
        smoothing_factor: float = 0.0,
        consistency: float = 0.0,
        num_items_in_batch: torch.Tensor | int | None = None,
        skip_logits: bool = False,
        output_words: OutputWords | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        r"""
        Args beyond those of [`RnnAttnModel`]:
            labels (`torch.LongTensor` of shape `(batch_size, target_length)`, *optional*):
                The words to predict, -100 where there is padding. Without decoder inputs, they are the labels moved
                one step to the right. In training mode, the steps after the last label of a row may be left out.
            teacher_forcing_ratio (`float`, *optional*):
                Probability of each decoder input after the first to be the true word; the others are the model's own
                predictions (scheduled sampling, Bengio et al. 2015). `None` or 1.0 is plain teacher forcing.
            smoothing_factor (`float`, *optional*, defaults to 0.0):
                The share of the target that the loss spreads over all words: label smoothing (Szegedy et al. 2016).
            consistency (`float`, *optional*, defaults to 0.0):
                With `skip_logits` only: the second half of the batch are the pairs of the first, and how much the
                predictions of both differ under their dropout is a part of the loss with this weight (R-Drop, Liang et
                al. 2021); see [`output_layer_loss`].
            num_items_in_batch (`int`, *optional*):
                The number of labels to average the loss over, where the batch is a part of a larger one.
            skip_logits (`bool`, *optional*, defaults to `False`):
                Whether to compute the loss alone, faster and in less memory; the output then has no `logits`.
            output_words ([`OutputWords`], *optional*):
                What [`~RnnAttnForConditionalGeneration.select_output_words`] returned: the only words that `generate`
                may use. The logits of all others are minus infinity, and are not computed.

        Example:

        ```python
        >>> import torch
        >>> from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration

        >>> model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=10))
        >>> outputs = model(input_ids=torch.tensor([[4, 5, 2]]), labels=torch.tensor([[6, 7, 2]]))
        >>> list(outputs.logits.shape)
        [1, 3, 10]
        >>> generated = model.generate(torch.tensor([[4, 5, 2]]), max_new_tokens=5)

        ```"""
        if labels is not None:
            if use_cache:
                logger.warning_once("`use_cache=True` has no use together with `labels`; it is set to `False`.")
            use_cache = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if encoder_outputs is None:
            encoder_outputs = self.model.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
        if teacher_forcing_ratio is not None and teacher_forcing_ratio < 1:
            decoder_input_ids = self._mix_in_predictions(
                decoder_input_ids, encoder_outputs, attention_mask, teacher_forcing_ratio
            )
        if decoder_attention_mask is None and self._leaves_padding_out(labels):
            decoder_attention_mask = _up_to_the_last_label(labels)
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        outputs = self.model(
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions or self.pointer is not None,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        # what has taken the place of the plain layer, such as an adapter, has more than weights
        skip_logits = skip_logits and labels is not None and isinstance(self.lm_head, nn.Linear)
        if consistency and (not skip_logits or self.pointer is not None):
            raise ValueError(
                "consistency: expected skip_logits=True, labels, and a plain nn.Linear as output layer without "
                "pointer_generator"
            )
        copying = self._copying(outputs, encoder_outputs)
        logits = None if skip_logits else self._word_scores(outputs, copying, output_words)
        loss = None
        if labels is not None:
            if skip_logits:
                head = self.lm_head
                states = outputs.last_hidden_state
                loss = output_layer_loss(states, head.weight, head.bias, labels, smoothing_factor, consistency, copying)
            else:
                loss = logits_loss(logits, labels, smoothing_factor)
            loss = loss / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            **cache_field(cache_of(outputs)),
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions if output_attentions else None,
            cross_attentions=outputs.cross_attentions if output_attentions else None,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
        )

    def _copying(self, outputs, encoder_outputs) -> Copying | None:
        if self.pointer is None:
            return None
        weights = outputs.cross_attentions[-1].squeeze(1)
        return self.pointer(outputs.last_hidden_state, weights, self._source_ids(encoder_outputs))

    def _word_scores(self, outputs, copying, output_words=None):
        """Returns the logits (B, T, V); with `config.pointer_generator` they are log probabilities."""
        output_layer = self.lm_head if output_words is None else output_words.logits
        logits = output_layer(outputs.last_hidden_state)
        return logits if copying is None else copying.mix(logits)

    def _source_ids(self, encoder_outputs) -> torch.LongTensor:
        source_ids = getattr(encoder_outputs, "source_ids", None)
        if source_ids is None:
            raise ValueError(
                "`pointer_generator=True` copies words of `input_ids`: pass those and not `inputs_embeds`, or as "
                "`encoder_outputs` what `model.get_encoder()(input_ids, ...)` returned, not a tuple."
            )
        return source_ids

    def _leaves_padding_out(self, labels):
        # without input feeding each layer is one call on the whole sentence
        return labels is not None and self.training and self.config.input_feeding and can_pack(labels)

    @torch.no_grad()
    def select_output_words(self, words: torch.LongTensor) -> OutputWords:
        """Chooses the words that `generate(..., output_words=...)` may use; the output layer then costs K / V as much.

        Args:
            words (`torch.LongTensor` of shape `(K,)`): different target words, the end of sentence among them.

        Raises:
            ValueError: for a word that is not in the vocabulary, or an output layer that has no rows to choose from, or
                one beside which others are copied.
        """
        if self.pointer is not None:
            raise ValueError(
                "words can be chosen of an output layer, but with `pointer_generator=True` any word of the source may "
                "be copied; choose no words, translate without a shortlist"
            )
        size = self.config.decoder_vocab_size
        words = words.to(self.device)
        if not ((words >= 0) & (words < size)).all():
            raise ValueError(f"expected target words from 0 to {size - 1}, got {words.min()} to {words.max()}")
        return OutputWords(words, _select_rows(self.lm_head, words), size)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)

    @accept_cache_names
    def prepare_inputs_for_generation(
        self, input_ids, cache=None, inputs_embeds=None, labels=None, next_sequence_length=None, **kwargs
    ):
        # What this model needs of the library's method, which looks up a signature each step. `inputs_embeds` are the
        # encoder's and `labels` a trainer's; a recurrent state must not read a word twice, as a key-value cache may
        seen = 0 if cache is None else cache.get_seq_length()
        return {"decoder_input_ids": input_ids[:, seen:], "cache": cache, **kwargs}

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, generation_mode, *args):
        rename_cache(model_kwargs)
        super()._prepare_cache_for_generation(generation_config, model_kwargs, generation_mode, *args)
        is_assisted = generation_config.is_assistant or generation_mode == GenerationMode.ASSISTED_GENERATION
        if is_assisted and generation_config.use_cache and model_kwargs.get(LIBRARY_CACHE_NAME) is None:
            # not left to the first step: assisted decoding wants a cache beforehand, and an assistant's rolls back
            model_kwargs[LIBRARY_CACHE_NAME] = RnnAttnCache(self.config.decoder_layers)
            if generation_config.is_assistant:
                model_kwargs[LIBRARY_CACHE_NAME].activate_past_recording()
        if generation_config.is_assistant and model_kwargs.get("output_words") is not None:
            # those of the model that it assists
            model_kwargs["output_words"] = self.select_output_words(model_kwargs["output_words"].words)

    @property
    def _hands_out_parts(self) -> bool:
        """Whether the parts of the decoder can be used one by one. Those that wait on other devices come only when the
        model is called whole."""
        return not hasattr(self, "hf_device_map")

    def _sample(
        self,
        input_ids,
        logits_processor,
        stopping_criteria,
        generation_config,
        synced_gpus=False,
        streamer=None,
        **model_kwargs,
    ):
        asked = (generation_config, logits_processor, stopping_criteria, synced_gpus, model_kwargs)
        if self._hands_out_parts and streamer is None and is_plain(*asked):
            return greedy_search(self, input_ids, stopping_criteria, generation_config, model_kwargs)
        return super()._sample(
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, streamer, **model_kwargs
        )

    def _beam_search(
        self, input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus=False, **model_kwargs
    ):
        # absent where the checkpoint's generation_config was replaced by one without them
        alpha, beta = (getattr(generation_config, name, None) for name in PENALTIES)
        beta = beta or 0.0
        self._check_penalties(alpha, beta, generation_config)
        exponent = generation_config.length_penalty
        if (
            self._hands_out_parts
            and not beta
            and is_plain(generation_config, logits_processor, stopping_criteria, synced_gpus, model_kwargs)
            and has_enough_words(self, generation_config, stopping_criteria, model_kwargs)
        ):
            penalty = functools.partial(length_penalty, alpha=alpha, exponent=exponent)
            return BeamSearch(self, input_ids, stopping_criteria, generation_config, penalty, model_kwargs).run()
        search = PenalisedBeamSearch(self, alpha, beta, exponent)
        return search.run(
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, **model_kwargs
        )

    def _check_penalties(self, alpha, beta, generation_config):
        if beta < 0 or (alpha is not None and alpha < 0):
            raise ValueError(
                f"`gnmt_length_penalty` and `coverage_penalty` must not be negative, got {alpha} and {beta}."
            )
        if beta and self.config.attention_score == "none":
            raise ValueError(
                f"`coverage_penalty={beta}` needs attention, and this model has none (`attention_score='none'`)."
            )
        if alpha is not None and generation_config.length_penalty != 1.0:
            raise ValueError(
                f"`gnmt_length_penalty={alpha}` takes the place of `length_penalty`, but that is set as well, to "
                f"{generation_config.length_penalty}. Leave one of them out."
            )

    @torch.no_grad()
    def _mix_in_predictions(self, decoder_input_ids, encoder_outputs, attention_mask, teacher_forcing_ratio):
        """Returns `decoder_input_ids` (B, T) with some words replaced by what the model predicts in their place.

        Runs free of the gradient, word by word; the mixed sentence then takes the ordinary teacher-forced path, whose
        gradient is the same, since none flows through a choice of words.
        """
        mixed = decoder_input_ids.clone()
        forced = torch.rand(mixed.shape, device=mixed.device) < teacher_forcing_ratio
        cache = RnnAttnCache(self.config.decoder_layers)
        for step in range(mixed.shape[1] - 1):
            outputs = self.model(
                attention_mask=attention_mask,
                decoder_input_ids=mixed[:, step : step + 1],
                encoder_outputs=encoder_outputs,
                cache=cache,
                output_attentions=self.pointer is not None,
                return_dict=True,
            )
            scores = self._word_scores(outputs, self._copying(outputs, encoder_outputs))
            predicted = scores[:, -1].argmax(-1)
            replace = ~forced[:, step + 1] & (mixed[:, step + 1] != self.config.pad_token_id)
            mixed[:, step + 1] = torch.where(replace, predicted, mixed[:, step + 1])
        return mixed


def _up_to_the_last_label(labels):
    """Returns a mask (B, T) of the steps that a loss on `labels` needs, or `None` where it needs all of them."""
    mask = (labels != -100).flip(1).cumsum(1).flip(1) > 0
    return None if mask.all() else mask


def _keep_mask(attention_mask, like):
    """Returns the mask as booleans (B, S); `True` everywhere where there is none."""
    if attention_mask is None:
        return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
    return attention_mask.bool()


def _select_rows(layer, rows):
    """Returns a function that computes some of the outputs of a linear layer; an int8 layer knows how by itself."""
    if hasattr(layer, "select_rows"):
        return layer.select_rows(rows)
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"words can be chosen of a linear output layer, but this one is of the type {type(layer).__name__}; merge "
            "an adapter into the model first (`model.merge_and_unload()`), or choose no words"
        )
    return functools.partial(F.linear, weight=layer.weight[rows], bias=None if layer.bias is None else layer.bias[rows])


def _split(inputs, keep_mask, size):
    """Returns consecutive pieces of `size` steps of the inputs (B, T, E) and their mask (B, T), if there is one."""
    pieces = inputs.split(size, 1)
    return list(zip(pieces, [None] * len(pieces) if keep_mask is None else keep_mask.split(size, 1), strict=True))


def _bridge_sources(config):
    """Returns for each decoder layer the encoder layers that it starts from."""
    depth = config.encoder_layers
    if config.bridge_source == "all":
        return [slice(0, depth)] * config.decoder_layers
    if config.bridge_source == "last":
        return [slice(depth - 1, depth)] * config.decoder_layers
    matched = (max(0, depth - config.decoder_layers + layer) for layer in range(config.decoder_layers))
    return [slice(layer, layer + 1) for layer in matched]


def _scan_layer(cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, lengths: torch.Tensor | None):
    """The same as [`PaddedLayer`] without packing, whose data-dependent shapes an exporter cannot follow."""
    keep_mask = inputs.new_ones(inputs.shape[:2], dtype=torch.bool)
    if lengths is not None:
        keep_mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths.to(inputs.device).unsqueeze(-1)
    suffixes = ("_l0", "_l0_reverse") if layer.bidirectional else ("_l0",)
    states, outputs = zip(*(scan_direction(cell, layer, inputs, keep_mask, name) for name in suffixes), strict=True)
    final = torch.stack([torch.cat(parts, -1) for parts in zip(*states, strict=True)], 1)
    return torch.cat(outputs, -1), final


def _restore_order(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Puts states (B, S, M) that stand in reading order back where their words stand."""
    return torch.zeros_like(states).scatter(1, order.expand_as(states), states)


RnnAttnModel.register_for_auto_class("AutoModel")
RnnAttnForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")

__all__ = ["RnnAttnEncoderOutput", "RnnAttnForConditionalGeneration", "RnnAttnModel", "RnnAttnPreTrainedModel"]
