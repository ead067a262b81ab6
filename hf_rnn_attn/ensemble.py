# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Several models that translate together: at each step, the mean of the probabilities that they give to a word.

This file knows how models, their encoders' outputs and their caches stand side by side for `generate()`. It does not
know how any of them computes.
"""

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.cache_utils import Cache
from transformers.modeling_outputs import ModelOutput, Seq2SeqLMOutput
from transformers.utils import can_return_tuple

from .model.cache_rnn_attn import LIBRARY_CACHE_NAME, RnnAttnCache, accept_cache_names, cache_field, rename_cache
from .model.modeling_rnn_attn import (
    OutputWords,
    RnnAttnEncoderOutput,
    RnnAttnForConditionalGeneration,
    RnnAttnPreTrainedModel,
)


# what members must agree on, for a word to mean the same to all of them
SHARED = ("vocab_size", "decoder_vocab_size", "pad_token_id", "eos_token_id", "decoder_start_token_id")
ENCODER_FIELDS = ("last_hidden_state", "final_state", "source_ids")


class EnsembleCache(Cache):
    """The caches of all members. What the library does to the layers of this one, it does to theirs.

    Args:
        caches (`list[RnnAttnCache]`): one for each member.
    """

    def __init__(self, caches: list[RnnAttnCache]):
        super().__init__(layers=[layer for cache in caches for layer in cache.layers])
        self.caches = caches


class EnsembleEncoder(nn.Module):
    """Runs the encoders of all members.

    Args:
        encoders (`Sequence[nn.Module]`): one of each member.
    """

    main_input_name = "input_ids"

    def __init__(self, encoders: Sequence[nn.Module]):
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> ModelOutput:
        """Returns the fields of each member's output, `last_hidden_state`, `final_state` and where there are
        `source_ids`; those of the second member and the following end in its number, counted from 0. Flat, for beam
        search repeats flat fields only."""
        fields = {}
        for index, encoder in enumerate(self.encoders):
            outputs = encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
            fields |= {_field_name(name, index): outputs[name] for name in ENCODER_FIELDS if name in outputs}
        return ModelOutput(fields)


def _field_name(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


class RnnAttnEnsemble(RnnAttnForConditionalGeneration):
    """Models with one vocabulary as one model for `generate()` and the translation pipeline.

    The probability of a word is the mean of the members' probabilities; attention is the mean over the members that
    have attention. Sizes, cells and scores of the members may differ. Generation defaults are those of the first. It is
    made of loaded models and has no checkpoint of its own.

    Args:
        members (`Sequence[RnnAttnForConditionalGeneration]`):
            At least one.

    Raises:
        ValueError: no member, or members whose vocabularies differ in size or special tokens.

    Example:

    ```python
    >>> ensemble = RnnAttnEnsemble([first, second])
    >>> ids = ensemble.generate(**tokenizer("ein Hund", return_tensors="pt"), num_beams=5)
    ```
    """

    def __init__(self, members: Sequence[RnnAttnForConditionalGeneration]):
        _check_members(members)
        # not that of the parent: the networks are there already
        RnnAttnPreTrainedModel.__init__(self, copy.deepcopy(members[0].config))
        self.generation_config = copy.deepcopy(members[0].generation_config)
        self.members = nn.ModuleList(members)
        self.encoder = EnsembleEncoder([member.get_encoder() for member in members])
        self.eval()

    def save_pretrained(self, *args, **kwargs):
        raise NotImplementedError("An ensemble has no checkpoint of its own; save its members, each in a folder.")

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: ModelOutput | None = None,
        cache: EnsembleCache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_words: Sequence[OutputWords] | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        r"""
        Args as those of [`RnnAttnForConditionalGeneration`], without labels; `encoder_outputs` is what
        [`EnsembleEncoder`] returned. `logits` are logarithms of the mean probabilities.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask)
        if use_cache and cache is None:
            cache = self._new_cache()
        outputs = [
            member(
                attention_mask=attention_mask,
                decoder_input_ids=decoder_input_ids,
                decoder_attention_mask=decoder_attention_mask,
                encoder_outputs=RnnAttnEncoderOutput(
                    **{name: encoder_outputs.get(_field_name(name, index)) for name in ENCODER_FIELDS}
                ),
                cache=None if cache is None else cache.caches[index],
                use_cache=cache is not None,
                output_attentions=output_attentions,
                output_words=None if output_words is None else output_words[index],
                return_dict=True,
            )
            for index, member in enumerate(self.members)
        ]
        log_probabilities = torch.stack([output.logits.log_softmax(-1) for output in outputs])
        return Seq2SeqLMOutput(
            logits=log_probabilities.logsumexp(0) - math.log(len(outputs)),
            **cache_field(cache),
            decoder_attentions=outputs[0].decoder_attentions,
            cross_attentions=_mean_attention(outputs) if output_attentions else None,
        )

    def select_output_words(self, words: torch.LongTensor) -> list[OutputWords]:
        """Of each member what its own method of this name returns."""
        return [member.select_output_words(words) for member in self.members]

    # a step of several models is not one that the parent's own searches know
    _hands_out_parts = False

    def _new_cache(self) -> EnsembleCache:
        return EnsembleCache([RnnAttnCache(member.config.decoder_layers) for member in self.members])

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args):
        rename_cache(model_kwargs)
        if generation_config.use_cache and model_kwargs.get(LIBRARY_CACHE_NAME) is None:
            model_kwargs[LIBRARY_CACHE_NAME] = self._new_cache()
        super()._prepare_cache_for_generation(generation_config, model_kwargs, *args)


def _mean_attention(outputs: list[Seq2SeqLMOutput]) -> tuple[torch.Tensor, ...]:
    weights = [output.cross_attentions[-1] for output in outputs if output.cross_attentions]
    return (torch.stack(weights).mean(0),) if weights else ()


def _check_members(members: Sequence[RnnAttnForConditionalGeneration]):
    if not members:
        raise ValueError("ensemble: expected at least one model, got none")
    first = members[0].config
    for index, member in enumerate(members[1:], start=1):
        for name in SHARED:
            expected, got = getattr(first, name), getattr(member.config, name)
            if expected != got:
                raise ValueError(
                    f"ensemble: model {index} has {name} {got}, model 0 has {expected}; models that translate together "
                    "must share their vocabularies. Train them with one tokenizer."
                )


def load_ensemble(names: Sequence[str | Path]) -> tuple[RnnAttnEnsemble, PreTrainedTokenizerBase]:
    """Loads checkpoints as one model, with their common tokenizer.

    Args:
        names (`Sequence[str | Path]`):
            Checkpoint folders or Hub ids.

    Raises:
        ValueError: no checkpoint, one of another kind of model, or checkpoints whose vocabularies differ.
    """
    tokenizers = [AutoTokenizer.from_pretrained(name) for name in names]
    for name, tokenizer in zip(names[1:], tokenizers[1:], strict=True):
        if _vocabularies(tokenizer) != _vocabularies(tokenizers[0]):
            raise ValueError(
                f"ensemble: {name} has other words in its vocabulary than {names[0]}; models that translate together "
                "must share their vocabularies. Train them with one tokenizer."
            )
    models = [AutoModelForSeq2SeqLM.from_pretrained(name) for name in names]
    for name, model in zip(names, models, strict=True):
        if model.config.model_type != RnnAttnForConditionalGeneration.config_class.model_type:
            raise ValueError(f"ensemble: {name} is a model of the type {model.config.model_type}, expected rnn_attn")
    return RnnAttnEnsemble(models), tokenizers[0]


def _vocabularies(tokenizer: PreTrainedTokenizerBase) -> list[dict[str, int]]:
    """Word to id, of the source and the target side."""
    return [tokenizer.get_vocab(), getattr(tokenizer, "target_tokenizer", tokenizer).get_vocab()]
