# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What `generate()` does of its own with our models: cache, inputs of a step, and the fast searches.

Holds the one list of the library's private methods that are overridden. Knows the model by its `start`, `step` and
`select`.
"""

import copy
from typing import Any, cast

import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.cache_utils import Cache
from transformers.generation import BaseStreamer, GenerationMode, LogitsProcessorList, StoppingCriteriaList

from .cache_rnn_attn import LIBRARY_CACHE_NAME, RnnAttnCache, accept_cache_names, rename_cache
from .configuration_rnn_attn import RnnAttnConfig
from .generation_arguments_rnn_attn import check_generation, check_inputs, check_lengths
from .search_rnn_attn import BeamSearch, SteppingModel, greedy_search, has_enough_tokens, supports_fast_search


# Private methods of the library that are overridden anywhere in this package, with the reason. A test compares the
# signatures of the library's methods with those that were met when the override was written.
OVERRIDDEN = {
    "_supports_default_dynamic_cache": "the library knows by their names which models bring a cache of their own",
    "_prepare_generation_config": "settings without meaning are refused, and one limit of length replaces the other",
    "_prepare_cache_for_generation": "assisted decoding wants the recurrent cache before the first step",
    "_sample": "greedy search without the library's work around every step",
    "_beam_search": "beam search likewise",
    "_resize_token_embeddings": "there are two vocabularies, or one for both sides",
    "_init_weights": "the way in which the library asks for initial weights",
}


class RnnAttnGenerationMixin(GenerationMixin):
    """Adapts the library's `GenerationMixin` to a recurrent decoder.

    The class that it is mixed into has `start(encoder_outputs, attention_mask)`, `step(tokens, decoding)` and
    `select(decoding, rows)`; see [`RnnAttnForConditionalGeneration`].
    """

    config: RnnAttnConfig

    @property
    def can_step(self) -> bool:
        """Whether the model can be run step by step from outside.

        Weights that wait on other devices come only when the model is called as a whole.
        """
        return not hasattr(self, "hf_device_map")

    def new_cache(self) -> Cache:
        """Returns an empty cache."""
        return RnnAttnCache(self.config.decoder_layers)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    @accept_cache_names
    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        next_sequence_length: int | None = None,
        is_first_iteration: bool | None = None,
        tokenizer: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Returns the arguments of `forward` for the next step: the tokens that the cache has not seen."""
        # `inputs_embeds` are the encoder's, `labels` a trainer's, the other three the loops' own. The library's own
        # method looks up a signature each step, and may feed a token twice, which a recurrent state must not read
        seen = 0 if cache is None else cache.get_seq_length()
        return {"decoder_input_ids": input_ids[:, seen:], "cache": cache, **kwargs}

    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Translates token ids as the library's method does, whose arguments and results these are.

        Raises:
            ValueError: if an argument has no meaning, or nothing is to be translated.
        """
        check_inputs({"inputs": inputs, **kwargs}, generation_config)
        return super().generate(inputs, generation_config, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        if generation_config is not None and generation_config.is_assistant:
            # the library passes both to an assistant, and warns of it
            generation_config = copy.deepcopy(generation_config)
            kwargs = generation_config.update(**kwargs)
        given = {**vars(generation_config or GenerationConfig()), **kwargs}
        given = {name: value for name, value in given.items() if value is not None}
        check_generation({**vars(self.generation_config), **given}, self.config)
        settings, model_kwargs = super()._prepare_generation_config(  # pyright: ignore[reportAttributeAccessIssue] (as in `_sample`)
            generation_config, **kwargs
        )
        # one limit of length takes the place of the model's other one
        if "max_new_tokens" in given and kwargs.get("max_length") is None:
            settings.max_length = None
        elif "max_length" in given and "max_new_tokens" not in given:
            settings.max_new_tokens = None
        prompt = model_kwargs.get("decoder_input_ids")
        check_lengths(settings, 1 if prompt is None else prompt.shape[1])
        return settings, model_kwargs

    # the library's method says that it returns a truth value, and returns nothing
    def _prepare_cache_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        *args: int,
    ) -> None:
        rename_cache(model_kwargs)
        super()._prepare_cache_for_generation(  # pyright: ignore[reportAttributeAccessIssue] (as in `_sample`)
            generation_config, model_kwargs, generation_mode, *args
        )
        is_assisted = generation_config.is_assistant or generation_mode == GenerationMode.ASSISTED_GENERATION
        if is_assisted and generation_config.use_cache and model_kwargs.get(LIBRARY_CACHE_NAME) is None:
            # not left to the first step: assisted decoding wants a cache beforehand, and an assistant's rolls back
            model_kwargs[LIBRARY_CACHE_NAME] = self.new_cache()
            if generation_config.is_assistant:
                model_kwargs[LIBRARY_CACHE_NAME].activate_past_recording()

    def _sample(
        self,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        streamer: BaseStreamer | None = None,
        **model_kwargs: Any,
    ) -> Any:
        asked = (generation_config, logits_processor, stopping_criteria, synced_gpus, model_kwargs)
        if self.can_step and streamer is None and supports_fast_search(*asked):
            return greedy_search(
                cast(SteppingModel[Any], self), input_ids, stopping_criteria, generation_config, model_kwargs
            )
        # the library's types want to see in `self` what the class has that this one is mixed into
        return super()._sample(  # pyright: ignore[reportAttributeAccessIssue]
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, streamer, **model_kwargs
        )

    def _beam_search(
        self,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        **model_kwargs: Any,
    ) -> Any:
        asked = (generation_config, logits_processor, stopping_criteria, synced_gpus, model_kwargs)
        vocab_size = cast(int, self.config.decoder_vocab_size)
        enough = has_enough_tokens(vocab_size, generation_config, stopping_criteria)
        if self.can_step and enough and supports_fast_search(*asked):
            model = cast(SteppingModel[Any], self)
            return BeamSearch(model, input_ids, stopping_criteria, generation_config, model_kwargs).run()
        return super()._beam_search(  # pyright: ignore[reportAttributeAccessIssue] (as in `_sample`)
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, **model_kwargs
        )
