# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The RNN encoder-decoder with Luong attention as a `transformers` model: the bare model, and the one with an output
layer. Knows nothing of text.
"""

from typing import Any, cast

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.utils import can_return_tuple, logging

from .cache_rnn_attn import RnnAttnCache, accept_cache_names, cache_field, cache_of
from .configuration_rnn_attn import ONE_VOCABULARY_OPTIONS, RnnAttnConfig
from .decoder_rnn_attn import Decoding, RnnAttnDecoder
from .encoder_rnn_attn import RnnAttnEncoder, RnnAttnEncoderOutput
from .generation_rnn_attn import RnnAttnGenerationMixin
from .loss_rnn_attn import logits_loss, output_layer_loss
from .pointer_rnn_attn import PointerGenerator
from .pretrained_rnn_attn import RnnAttnPreTrainedModel, check_known_arguments, check_labels, check_tensor, look_up


logger = logging.get_logger(__name__)

# what `forward` of the model with the output layer takes beside its named arguments
FORWARD_OPTIONS = {"label_smoothing_factor", "num_items_in_batch", "output_attentions", "output_hidden_states"}


def shift_tokens_right(labels: torch.Tensor, pad_token_id: int, decoder_start_token_id: int) -> torch.Tensor:
    """Returns the decoder's inputs for `labels` (B, T): the start token, then every label but the last."""
    shifted = labels.roll(1, dims=-1)
    shifted[:, 0] = decoder_start_token_id
    return shifted.masked_fill(shifted == -100, pad_token_id)


def as_encoder_output(encoder_outputs: ModelOutput | tuple[Any, ...]) -> ModelOutput:
    """Returns the encoder's outputs by name; a tuple holds `last_hidden_state` and `final_state`."""
    if isinstance(encoder_outputs, ModelOutput):
        return encoder_outputs
    return RnnAttnEncoderOutput(*encoder_outputs[:2])


class RnnAttnModel(RnnAttnPreTrainedModel):
    """The bare RNN encoder-decoder with Luong attention, without an output layer.

    Args:
        config ([`RnnAttnConfig`])
    """

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__(config)
        self.encoder = RnnAttnEncoder(config)
        self.decoder = RnnAttnDecoder(config)
        if config.share_encoder_decoder_embeddings:
            self._tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Returns the source embeddings."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the source embeddings, and the target embeddings where the two are shared."""
        self.encoder.set_input_embeddings(value)
        if self.config.share_encoder_decoder_embeddings:
            self.decoder.set_input_embeddings(value)

    def _resize_token_embeddings(
        self, new_num_tokens: int | None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        is_joint = self.config.vocab_size == self.config.decoder_vocab_size
        self.encoder._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if is_joint:
            self._resize_decoder_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        # the library sets the size of what `get_text_config` returns, which may be a copy
        self.config.vocab_size = self.encoder.embed_tokens.num_embeddings
        return self.encoder.embed_tokens

    def _resize_decoder_embeddings(self, *sizes: Any) -> None:
        """Resizes the target embeddings alone; arguments as of `_resize_token_embeddings`."""
        self.decoder._resize_token_embeddings(*sizes)
        self.config.decoder_vocab_size = self.decoder.embed_tokens.num_embeddings

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: RnnAttnEncoderOutput | tuple[Any, ...] | None = None,
        cache: RnnAttnCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        r"""Encodes the source sentences and reads target tokens.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, source_length)`, *optional*): source tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, source_length)`, *optional*):
                1 for tokens, 0 for padding, on either side or both.
            decoder_input_ids (`torch.LongTensor` of shape `(batch_size, target_length)`, *optional*):
                The tokens before each prediction, the first being `config.decoder_start_token_id`. With
                `cache`, only those that it has not seen.
            decoder_attention_mask (`torch.Tensor` of shape `(batch_size, target_length)`, *optional*):
                0 where a decoder input is padding. Padding after the last token needs no mask.
            encoder_outputs ([`RnnAttnEncoderOutput`] or `tuple`, *optional*): What the encoder returned, to be used
                instead of running it again. A tuple holds `last_hidden_state` and `final_state`.
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

        ```
        """
        check_known_arguments(self.forward, kwargs, set())
        encoded: Any  # of a class that has these fields
        if encoder_outputs is None:
            encoded = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
        else:
            encoded = as_encoder_output(encoder_outputs)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=attention_mask,
            encoder_final_state=encoded.get("final_state"),
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
            encoder_last_hidden_state=encoded.last_hidden_state,
            encoder_hidden_states=encoded.hidden_states,
        )


class RnnAttnForConditionalGeneration(RnnAttnPreTrainedModel, RnnAttnGenerationMixin):
    """The RNN encoder-decoder with Luong attention and an output layer: trains on pairs, translates with `generate`.

    Args:
        config ([`RnnAttnConfig`])
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__(config)
        self.model = RnnAttnModel(config)
        sizes = cast(int, config.attentional_size), cast(int, config.decoder_vocab_size)
        self.lm_head = nn.Linear(*sizes, bias=config.output_bias)
        self.pointer = PointerGenerator(config) if config.pointer_generator else None
        side = "encoder" if config.share_encoder_decoder_embeddings else "decoder"
        tied = {"lm_head.weight": f"model.{side}.embed_tokens.weight"} if config.tie_word_embeddings else {}
        self._tied_weights_keys = tied
        self.generation_config.max_length = 256
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Returns the source embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the source embeddings, and the target embeddings where the two are shared."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        """Returns the output layer."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replaces the output layer."""
        self.lm_head = new_embeddings

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the source embeddings, and the target side with them where both have one vocabulary.

        They have one where `config.vocab_size` and `config.decoder_vocab_size` are equal. See
        [`resize_decoder_token_embeddings`] for separate ones, and the library's method of this name for the arguments.

        Returns:
            `nn.Embedding`: the source embeddings.
        """
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    def resize_decoder_token_embeddings(
        self, new_num_tokens: int, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the target embeddings and the output layer alone; arguments as in `resize_token_embeddings`.

        Returns:
            `nn.Embedding`: the target embeddings.

        Raises:
            ValueError: if source and target embeddings are shared, or source tokens are copied.
        """
        for name in ONE_VOCABULARY_OPTIONS:
            if getattr(self.config, name):
                raise ValueError(
                    f"With `{name}=True` source and target have one vocabulary, and their embeddings cannot be resized "
                    "apart; call `resize_token_embeddings`."
                )
        # a part of this model, whose parts are resized together
        self.model._resize_decoder_embeddings(  # pyright: ignore[reportPrivateUsage]
            new_num_tokens, pad_to_multiple_of, mean_resizing
        )
        self._resize_lm_head(mean_resizing)
        self.tie_weights()
        return self.model.decoder.embed_tokens

    def _resize_token_embeddings(
        self, new_num_tokens: int | None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        # as in `resize_decoder_token_embeddings`
        table = self.model._resize_token_embeddings(  # pyright: ignore[reportPrivateUsage]
            new_num_tokens, pad_to_multiple_of, mean_resizing
        )
        self._resize_lm_head(mean_resizing)
        return table

    def _resize_lm_head(self, mean_resizing: bool) -> None:
        """Makes the output layer as large as the target vocabulary."""
        requires_grad = self.lm_head.weight.requires_grad
        size = self.config.decoder_vocab_size
        self.lm_head = self._get_resized_lm_head(self.lm_head, size, mean_resizing=mean_resizing)
        self.lm_head.requires_grad_(requires_grad)

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: RnnAttnEncoderOutput | tuple[Any, ...] | None = None,
        cache: RnnAttnCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        r"""Encodes the source sentences, reads target tokens and scores the tokens after them; with labels, their loss.

        Args beyond those of [`RnnAttnModel`]:
            labels (`torch.LongTensor` of shape `(batch_size, target_length)`, *optional*): The tokens to predict, -100
                where there is padding. Without decoder inputs, they are the labels moved one step to the right.
            skip_logits (`bool`, *optional*, defaults to `False`):
                Whether to compute the loss alone, faster and in less memory; the output then has no `logits`.
            label_smoothing_factor (`float`, *optional*, defaults to 0.0):
                The share of the target that the loss spreads over the vocabulary (Szegedy et al. 2016).
            num_items_in_batch (`int`, *optional*):
                The number of labels to average the loss over, where the batch is a part of a larger one.

        Example:
        ```python
        >>> import torch
        >>> from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration

        >>> model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=10))
        >>> outputs = model(input_ids=torch.tensor([[4, 5, 2]]), labels=torch.tensor([[6, 7, 2]]))
        >>> list(outputs.logits.shape)
        [1, 3, 10]
        >>> generated = model.generate(torch.tensor([[4, 5, 2]]), max_new_tokens=5)

        ```
        """
        if labels is not None:
            given = decoder_inputs_embeds if decoder_input_ids is None else decoder_input_ids
            if given is not None:
                check_tensor(given, "decoder_inputs_embeds" if decoder_input_ids is None else "decoder_input_ids")
            check_labels(labels, cast(int, self.config.decoder_vocab_size), None if given is None else given.shape[:2])
            if use_cache:
                logger.warning_once("`use_cache=True` has no use together with `labels`; it is set to `False`.")
            use_cache = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        check_known_arguments(self.forward, kwargs, FORWARD_OPTIONS)
        output_attentions = kwargs.pop("output_attentions", None)
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            # the pointer-generator copies by the attention
            output_attentions=output_attentions or self.pointer is not None,
            output_hidden_states=kwargs.get("output_hidden_states"),
            return_dict=True,
        )
        states = outputs.last_hidden_state
        # what has taken the place of the plain layer, such as an adapter, has more than weights
        skip_logits = (
            skip_logits and labels is not None and self.pointer is None and isinstance(self.lm_head, nn.Linear)  # pyright: ignore[reportUnnecessaryIsInstance]
        )
        logits = None
        if not skip_logits:
            weights = outputs.cross_attentions[-1].squeeze(1) if self.pointer is not None else None
            logits = self._scores(states, weights, _source_ids(input_ids, encoder_outputs))
        return Seq2SeqLMOutput(
            loss=None if labels is None else self._loss(states, logits, labels, **kwargs),
            logits=logits,
            **cache_field(cache_of(outputs)),
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions if output_attentions else None,
            cross_attentions=outputs.cross_attentions if output_attentions else None,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
        )

    def start(
        self, encoder_outputs: ModelOutput | tuple[Any, ...], attention_mask: torch.Tensor | None = None
    ) -> Decoding:
        """Prepares a batch for decoding.

        Args:
            encoder_outputs ([`RnnAttnEncoderOutput`] or `tuple`): what the encoder returned for B sentences.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for source tokens, 0 for padding.

        Returns:
            [`Decoding`]: the batch before its first target token, one hypothesis for each sentence.
        """
        encoder_outputs = as_encoder_output(encoder_outputs)
        return self.model.decoder.start(
            encoder_outputs["last_hidden_state"],
            attention_mask,
            encoder_outputs.get("final_state"),
            encoder_outputs.get("source_ids"),
        )

    def step(self, tokens: torch.Tensor, decoding: Decoding) -> tuple[torch.Tensor, torch.Tensor | None, Decoding]:
        """Reads the next tokens of each hypothesis, and scores the tokens after them.

        Args:
            tokens (`torch.LongTensor` of shape `(R, T)`): what comes next in each row.
            decoding ([`Decoding`]): what `start`, `select` or the last step returned.

        Returns:
            The scores (R, T, V), logits or with `config.pointer_generator` log probabilities; the attention weights
            (R, T, S) or `None`; and the batch after these tokens.
        """
        decoder = self.model.decoder
        output, decoding = decoder.step(look_up(decoder.embed_tokens, tokens, "decoder_"), decoding)
        return self._scores(output.attentional, output.weights, decoding.memory.source_ids), output.weights, decoding

    def select(self, decoding: Decoding, rows: torch.Tensor) -> Decoding:
        """Keeps the hypotheses `rows` (B', K): a line for each sentence that goes on; see [`RnnAttnDecoder.select`]."""
        return self.model.decoder.select(decoding, rows)

    def _scores(
        self, states: torch.Tensor, weights: torch.Tensor | None, source_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Returns the scores (R, T, V) of the next tokens from attentional states (R, T, A)."""
        logits = self.lm_head(states)
        if self.pointer is None:
            return logits
        if source_ids is None:
            raise ValueError(
                "`pointer_generator=True` copies tokens of `input_ids`: pass those and not `inputs_embeds`, or as "
                "`encoder_outputs` what `model.get_encoder()(input_ids, ...)` returned, not a tuple."
            )
        # hypotheses of one sentence look at its tokens together, like steps of one target; a pointer has weights
        rows = (
            part.reshape(source_ids.shape[0], -1, part.shape[-1])  # pyright: ignore[reportOptionalMemberAccess]
            for part in (logits, states, weights)
        )
        return self.pointer(*rows, source_ids).view_as(logits)

    def _loss(
        self,
        states: torch.Tensor,
        logits: torch.Tensor | None,
        labels: torch.Tensor,
        label_smoothing_factor: float = 0.0,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Returns the mean loss of the labels, without logits from the states (B, T, A) and the output layer."""
        if not 0 <= label_smoothing_factor <= 1:
            raise ValueError(f"`label_smoothing_factor`: expected a number from 0 to 1, got {label_smoothing_factor}.")
        if logits is None:
            loss = output_layer_loss(states, self.lm_head.weight, self.lm_head.bias, labels, label_smoothing_factor)
        else:
            loss = logits_loss(logits, labels, label_smoothing_factor)
        # a batch without a label has a loss of 0
        return loss / ((labels != -100).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Returns the decoder's inputs for `labels` (B, T), as the library's collator asks for them."""
        pad, start = cast(int, self.config.pad_token_id), cast(int, self.config.decoder_start_token_id)
        return shift_tokens_right(labels, pad, start)


def _source_ids(
    input_ids: torch.Tensor | None, encoder_outputs: ModelOutput | tuple[Any, ...] | None
) -> torch.Tensor | None:
    """Returns the source tokens, which the encoder's outputs hold where they are given."""
    return input_ids if encoder_outputs is None else as_encoder_output(encoder_outputs).get("source_ids")


RnnAttnModel.register_for_auto_class("AutoModel")
RnnAttnForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")

__all__ = ["RnnAttnEncoderOutput", "RnnAttnForConditionalGeneration", "RnnAttnModel", "RnnAttnPreTrainedModel"]
