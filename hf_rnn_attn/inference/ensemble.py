# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Several models that translate together: at each step, the mean of the probabilities that they give to a token.

This file knows how models, their encoders' outputs and their caches stand side by side for `generate()`. It does not
know how any of them computes.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache
from transformers.modeling_outputs import ModelOutput, Seq2SeqLMOutput
from transformers.utils import can_return_tuple

from ..model.cache_rnn_attn import accept_cache_names, cache_field
from ..model.checkpoint_rnn_attn import load_checkpoint
from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.decoder_rnn_attn import Decoding
from ..model.encoder_rnn_attn import RnnAttnEncoderOutput
from ..model.generation_rnn_attn import RnnAttnGenerationMixin
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.pipeline_rnn_attn import sides_of
from ..model.pretrained_rnn_attn import RnnAttnPreTrainedModel


# what members must agree on, for a token to mean the same to all of them
SHARED = ("vocab_size", "decoder_vocab_size", "pad_token_id", "eos_token_id", "decoder_start_token_id")
ENCODER_FIELDS = ("last_hidden_state", "final_state", "source_ids")


class EnsembleCache(Cache):
    """The caches of all members. What the library does to the layers of this one, it does to theirs.

    Args:
        caches (`Sequence[Cache]`): one for each member.
    """

    def __init__(self, caches: Sequence[Cache]) -> None:
        super().__init__(layers=[layer for cache in caches for layer in cache.layers])
        self.caches = caches


class EnsembleEncoder(nn.Module):
    """Runs the encoders of all members.

    Args:
        encoders (`Sequence[nn.Module]`): one of each member.
    """

    main_input_name = "input_ids"

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """Returns the fields of each member's output, `last_hidden_state`, `final_state` and where there are
        `source_ids`; those of the second member and the following end in its number, counted from 0. Flat, for beam
        search repeats flat fields only.
        """
        fields = {}
        for index, encoder in enumerate(self.encoders):
            outputs = encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
            fields |= {_field_name(name, index): outputs[name] for name in ENCODER_FIELDS if name in outputs}
        return ModelOutput(fields)


def _field_name(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


class RnnAttnEnsemble(RnnAttnPreTrainedModel, RnnAttnGenerationMixin):
    """Several models with one vocabulary as one model for `generate()` and the translation pipeline.

    The probability of a token is the mean of the members' probabilities; attention is the mean over the members that
    have attention. Sizes, cells and scores of the members may differ. Generation defaults are those of the first. It is
    made of loaded models and has no checkpoint of its own.

    Args:
        members (`Sequence[RnnAttnForConditionalGeneration]`): At least one.

    Raises:
        ValueError: no member, or members whose vocabularies differ in size or special tokens.

    Example:
    ```python
    >>> ensemble = RnnAttnEnsemble([first, second])
    >>> ids = ensemble.generate(**tokenizer("ein Hund", return_tensors="pt"), num_beams=5)

    ```
    """

    def __init__(self, members: Sequence[RnnAttnForConditionalGeneration]) -> None:
        _check_members(members)
        super().__init__(copy.deepcopy(members[0].config))
        self.generation_config = copy.deepcopy(members[0].generation_config)
        self.members = cast(Sequence[RnnAttnForConditionalGeneration], nn.ModuleList(members))
        self.encoder = EnsembleEncoder([member.get_encoder() for member in members])
        self.eval()

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: an ensemble has no checkpoint of its own."""
        raise NotImplementedError("An ensemble has no checkpoint of its own; save its members, each in a folder.")

    @can_return_tuple
    @accept_cache_names
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: ModelOutput | None = None,
        cache: EnsembleCache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        r"""Args as those of [`RnnAttnForConditionalGeneration`], without labels; `encoder_outputs` is what
        [`EnsembleEncoder`] returned. `logits` are logarithms of the mean probabilities.
        """
        encoded: ModelOutput = self.encoder(input_ids, attention_mask) if encoder_outputs is None else encoder_outputs
        if use_cache and cache is None:
            cache = self.new_cache()
        outputs = [
            member(
                attention_mask=attention_mask,
                decoder_input_ids=decoder_input_ids,
                decoder_attention_mask=decoder_attention_mask,
                encoder_outputs=_outputs_of_member(encoded, index),
                cache=None if cache is None else cache.caches[index],
                use_cache=cache is not None,
                output_attentions=output_attentions,
                return_dict=True,
            )
            for index, member in enumerate(self.members)
        ]
        weights = [output.cross_attentions[-1] for output in outputs if output.cross_attentions]
        return Seq2SeqLMOutput(
            logits=_log_mean_probability([output.logits for output in outputs]),
            **cache_field(cache),
            decoder_attentions=outputs[0].decoder_attentions,
            cross_attentions=None if not output_attentions else (_mean(weights),) if weights else (),
        )

    def start(self, encoder_outputs: ModelOutput, attention_mask: torch.Tensor | None = None) -> list[Decoding]:
        """Begins to decode a batch; see [`RnnAttnForConditionalGeneration.start`]. Returns the batch of each member."""
        members = enumerate(self.members)
        return [member.start(_outputs_of_member(encoder_outputs, index), attention_mask) for index, member in members]

    def step(
        self, tokens: torch.Tensor, decodings: list[Decoding]
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[Decoding]]:
        """Reads the next tokens; see [`RnnAttnForConditionalGeneration.step`]. The scores are logarithms of the mean
        probabilities, the attention weights are the mean of the members'.
        """
        steps = [member.step(tokens, decoding) for member, decoding in zip(self.members, decodings, strict=True)]
        scores, weights, after = zip(*steps, strict=True)
        weights = [part for part in weights if part is not None]
        return _log_mean_probability(scores), _mean(weights) if weights else None, list(after)

    def select(self, decodings: list[Decoding], rows: torch.Tensor) -> list[Decoding]:
        """Keeps the hypotheses `rows`; see [`RnnAttnForConditionalGeneration.select`]."""
        return [member.select(decoding, rows) for member, decoding in zip(self.members, decodings, strict=True)]

    @property
    def can_step(self) -> bool:
        """Whether all members can be run step by step."""
        return all(member.can_step for member in self.members)

    def new_cache(self) -> EnsembleCache:
        """Returns an empty cache of each member."""
        return EnsembleCache([member.new_cache() for member in self.members])


def _outputs_of_member(encoder_outputs: ModelOutput, index: int) -> RnnAttnEncoderOutput:
    return RnnAttnEncoderOutput(**{name: encoder_outputs.get(_field_name(name, index)) for name in ENCODER_FIELDS})


def _mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(tensors)).mean(0)


def _log_mean_probability(scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns the logarithm of the mean of the members' probabilities, from their scores (..., V)."""
    wide = torch.promote_types(scores[0].dtype, torch.float32)
    total = scores[0].softmax(-1, dtype=wide)
    for other in scores[1:]:
        total += other.softmax(-1, dtype=wide)
    return total.div_(len(scores)).clamp_(min=torch.finfo(total.dtype).tiny).log_()


def _check_members(members: Sequence[RnnAttnForConditionalGeneration]) -> None:
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
        names (`Sequence[str | Path]`): Checkpoint folders or Hub ids.

    Raises:
        ValueError: no checkpoint, one of another kind of model, or checkpoints whose vocabularies differ.
    """
    models: list[Any] = []
    tokenizers: list[PreTrainedTokenizerBase] = []
    for name in names:
        model, tokenizer = load_checkpoint(name)
        models.append(model)
        tokenizers.append(tokenizer)
        if model.config.model_type != RnnAttnConfig.model_type:
            raise ValueError(f"ensemble: {name} is a model of the type {model.config.model_type}, expected rnn_attn")
        if _vocabularies(tokenizer) != _vocabularies(tokenizers[0]):
            raise ValueError(
                f"ensemble: {name} has another vocabulary than {names[0]}; models that translate together "
                "must share their vocabularies. Train them with one tokenizer."
            )
    return RnnAttnEnsemble(models), tokenizers[0]


def _vocabularies(tokenizer: PreTrainedTokenizerBase) -> list[dict[str, int]]:
    """Returns token to id, of the source and the target side."""
    return [side.get_vocab() for side in sides_of(tokenizer)]
