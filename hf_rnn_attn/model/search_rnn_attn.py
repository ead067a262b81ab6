# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Greedy and beam search without the library's work around every step, for calls that ask for token ids alone.

Holds the test for such calls and the two searches; the tokens are those of the library's loops. The memory of a
sentence is there once for all its hypotheses, the first step is taken once, and a sentence whose search is over leaves
the batch. Knows of a model its `start`, `step` and `select`, and nothing of text.
Shapes: B batch, T target so far, K hypotheses or candidates of a sentence, V target vocabulary.
"""

import math
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList
from transformers.modeling_outputs import ModelOutput


FAST_CRITERIA = (EosTokenCriteria, MaxLengthCriteria)
FAST_ARGUMENTS = {"attention_mask", "encoder_outputs", "use_cache"}
NO_TOKEN = -1  # stands after the end of a hypothesis

# a batch of sentences as a model keeps it between two steps, such as `Decoding` of decoder_rnn_attn
Batch = TypeVar("Batch")


class SteppingModel(Protocol[Batch]):
    """What the searches need of a model. R rows (hypotheses, those of a sentence side by side), V vocabulary."""

    def start(self, encoder_outputs: ModelOutput, attention_mask: torch.Tensor | None, /) -> Batch:
        """Returns a batch before its first target token, one hypothesis for each sentence."""
        ...

    def step(self, tokens: torch.Tensor, batch: Batch, /) -> tuple[torch.Tensor, torch.Tensor | None, Batch]:
        """Reads tokens (R, T); returns the scores (R, T, V) of those after them, attention weights, and the batch."""
        ...

    def select(self, batch: Batch, rows: torch.Tensor, /) -> Batch:
        """Keeps the hypotheses `rows` (B', K), a line for each sentence that goes on."""
        ...


def supports_fast_search(
    generation_config: GenerationConfig,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    synced_gpus: bool,
    model_kwargs: dict[str, Any],
) -> bool:
    """Returns whether a call of the library's search has no sampling, no processors and no extra outputs."""
    asked = {name for name, value in model_kwargs.items() if value is not None and value is not False}
    return (
        asked <= FAST_ARGUMENTS
        and {"encoder_outputs", "use_cache"} <= asked
        and not (generation_config.do_sample or generation_config.return_dict_in_generate)
        and not (generation_config.is_assistant or generation_config.low_memory or synced_gpus or logits_processor)
        and all(type(criterion) in FAST_CRITERIA for criterion in stopping_criteria)
        and any(type(criterion) is MaxLengthCriteria for criterion in stopping_criteria)
    )


def has_enough_tokens(
    vocab_size: int, generation_config: GenerationConfig, stopping_criteria: StoppingCriteriaList
) -> bool:
    """Returns whether the vocabulary has as many tokens as [`BeamSearch`] needs candidates in its first step."""
    return _candidate_count(generation_config.num_beams, _ends(stopping_criteria)) <= vocab_size


def _start(model: SteppingModel[Batch], model_kwargs: dict[str, Any], beams: int = 1) -> Batch:
    """Returns the batch before its first token; the arguments hold each sentence `beams` times, the batch once."""
    encoder_outputs, mask = model_kwargs["encoder_outputs"], model_kwargs.get("attention_mask")
    if beams > 1:
        fields = encoder_outputs.items()
        encoder_outputs = ModelOutput({name: part[::beams] for name, part in fields if isinstance(part, torch.Tensor)})
        mask = None if mask is None else mask[::beams]
    return model.start(encoder_outputs, mask)


def _read_prompt(model: SteppingModel[Batch], decoding: Batch, prompt: torch.Tensor) -> Batch:
    """Reads all tokens (B, T) of the prompt but the last."""
    return model.step(prompt[:, :-1], decoding)[2] if prompt.shape[1] > 1 else decoding


def greedy_search(
    model: SteppingModel[Batch],
    input_ids: torch.Tensor,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    model_kwargs: dict[str, Any],
) -> torch.Tensor:
    """Returns `input_ids` (B, T) continued by the most probable token at each step, as the library's `_sample` does.

    Args:
        model ([`SteppingModel`]): the model.
        input_ids (`torch.LongTensor` of shape `(B, T)`): the tokens so far.
        stopping_criteria (`StoppingCriteriaList`): the length, and the tokens that end a sentence.
        generation_config (`GenerationConfig`): gives the padding after such a token.
        model_kwargs (`dict`): see [`supports_fast_search`].
    """
    limit, ends = _limit(stopping_criteria), _ends(stopping_criteria)
    decoding = _read_prompt(model, _start(model, model_kwargs), input_ids)
    columns = list(input_ids.unbind(1))
    # the library keeps padding and ends as tensors nowhere else
    pad = generation_config._pad_token_tensor  # pyright: ignore[reportPrivateUsage]
    padding = None if pad is None else pad.expand(len(input_ids))
    tokens, places = columns[-1], None  # places in the batch, once some sentences have left it
    while True:
        scores, _, decoding = model.step(tokens.unsqueeze(1), decoding)
        tokens = scores[:, -1].argmax(-1)
        # sentences leave the batch at tokens for the end, and with those comes padding
        columns.append(
            tokens if places is None else padding.index_copy(0, places, tokens)  # pyright: ignore[reportOptionalMemberAccess]
        )
        goes_on = ~_has_ended(tokens, ends, len(columns) >= limit)
        if goes_on.all():
            continue
        staying = goes_on.nonzero().squeeze(1)
        if len(staying) == 0:
            return torch.stack(columns, 1)
        tokens, places = tokens[staying], staying if places is None else places[staying]
        decoding = model.select(decoding, staying.unsqueeze(1))


class _Hypotheses(NamedTuple):
    """Hypotheses of some sentences.

    Attributes:
        tokens: (B, K, T), `NO_TOKEN` after an end.
        scores: (B, K), log P of hypotheses that run; of those that have ended, divided by the length penalty.
    """

    tokens: torch.Tensor
    scores: torch.Tensor

    def best(self, count: int) -> tuple["_Hypotheses", torch.Tensor]:
        """Returns the best, in their order, and their numbers (B, count)."""
        scores, index = self.scores.topk(count)
        return _Hypotheses(_take(self.tokens, index), scores), index

    def joined(self, longer: "_Hypotheses") -> "_Hypotheses":
        """Returns these, and others that are one token longer."""
        tokens = torch.cat([F.pad(self.tokens, (0, 1), value=NO_TOKEN), longer.tokens], 1)
        return _Hypotheses(tokens, torch.cat([self.scores, longer.scores], 1))

    def select(self, sentences: torch.Tensor) -> "_Hypotheses":
        """Returns the hypotheses of these sentences."""
        return _Hypotheses(self.tokens[sentences], self.scores[sentences])


class BeamSearch(Generic[Batch]):
    r"""Searches with beams, and finds what the library's `_beam_search` finds.

    It serves calls of which [`supports_fast_search`] and [`has_enough_tokens`] are true. Each step, for each sentence:

    1. Of all hypotheses with one token more, the most probable are the candidates: as many as leave a full beam when
       all that end are taken out.
    2. Those among the first `num_beams` candidates that end join the best `num_beams` that have ended.
    3. The first `num_beams` of the candidates that do not end run on.
    4. The search is over when `num_beams` have ended and, unless `early_stopping` is `True`, the best that runs is not
       better than the worst of them.

    Args:
        model ([`SteppingModel`]): the model.
        input_ids (`torch.LongTensor` of shape `(B * num_beams, T)`): the tokens so far, for each beam the same.
        stopping_criteria (`StoppingCriteriaList`): the length, and the tokens that end a sentence.
        generation_config (`GenerationConfig`): the parameters of the search.
        model_kwargs (`dict`): see [`supports_fast_search`]; for each beam the same.
    """

    def __init__(
        self,
        model: SteppingModel[Batch],
        input_ids: torch.Tensor,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
    ) -> None:
        self._model, self._config = model, generation_config
        self._beams = beams = generation_config.num_beams
        self._limit, self._ends = _limit(stopping_criteria), _ends(stopping_criteria)
        self._prompt = prompt = input_ids[::beams]
        self._decoding = _read_prompt(model, _start(model, model_kwargs, beams), prompt)
        batch_size, device = len(prompt), prompt.device
        self._running = _Hypotheses(prompt.unsqueeze(1), torch.zeros(batch_size, 1, device=device))
        nothing = torch.full_like(prompt, NO_TOKEN).unsqueeze(1).expand(-1, beams, -1)
        self._ended = _Hypotheses(nothing, torch.full((batch_size, beams), -math.inf, device=device))
        self._places = torch.arange(batch_size, device=device)  # in the batch, of the sentences that are searched
        self._results: dict[int, torch.Tensor] = {}  # by place, tokens (num_return_sequences, T)

    def run(self) -> torch.Tensor:
        """Returns the tokens of the best hypotheses, (B * num_return_sequences, T)."""
        while len(self._places) > 0:
            rows = self._step()
            self._go_on(self._is_over(), rows)
        return self._join_results()

    def _step(self) -> torch.Tensor:
        """Makes the hypotheses one token longer; returns the rows (B, num_beams) from which the running ones come."""
        candidates, parents = self._candidates()
        self._length = candidates.tokens.shape[-1] - self._prompt.shape[-1]
        has_ended = _has_ended(candidates.tokens[..., -1], self._ends, candidates.tokens.shape[-1] >= self._limit)
        penalised = candidates.scores.masked_fill(~has_ended, -math.inf) / self._length_penalty(self._length)
        first = _Hypotheses(candidates.tokens[:, : self._beams], penalised[:, : self._beams])
        self._ended, _ = self._ended.joined(first).best(self._beams)
        going_on = candidates._replace(scores=candidates.scores.masked_fill(has_ended, -math.inf))
        rows = parents + self._running.scores.shape[1] * torch.arange(len(parents), device=parents.device).unsqueeze(1)
        self._running, index = going_on.best(self._beams)
        return rows.gather(1, index)

    def _candidates(self) -> tuple[_Hypotheses, torch.Tensor]:
        """Returns the most probable continuations, and the numbers (B, K) of the hypotheses that they continue."""
        tokens, scores = self._running
        logits, _, self._decoding = self._model.step(tokens[..., -1].flatten().unsqueeze(1), self._decoding)
        log_probs = logits[:, -1].float().log_softmax(-1).view(*scores.shape, -1).add_(scores.unsqueeze(-1))
        scores, index = log_probs.flatten(1).topk(_candidate_count(self._beams, self._ends))
        size = logits.shape[-1]
        parents, last = index // size, index % size
        return _Hypotheses(torch.cat([_take(tokens, parents), last.unsqueeze(-1)], -1), scores), parents

    def _length_penalty(self, length: int) -> float:
        """Returns what log P of a hypothesis of this length is divided by."""
        return length**self._config.length_penalty

    def _is_over(self) -> torch.Tensor:
        """Returns whether the search for a sentence is over, (B,)."""
        best, worst = self._running.scores[:, 0], self._ended.scores[:, -1]
        if self._config.early_stopping is True:
            is_over = worst > -math.inf
        else:
            divisor = self._length_penalty(self._length)
            if self._config.early_stopping == "never":
                # it may grow into the length that suits it best
                divisor = max(divisor, self._length_penalty(self._config.max_length - self._prompt.shape[1]))
            is_over = best / divisor <= worst
        return is_over | (best == -math.inf)  # at the limit nothing runs on

    def _go_on(self, is_over: torch.Tensor, rows: torch.Tensor) -> None:
        """Goes on from `rows` (B, num_beams), without the sentences whose search is over."""
        if not is_over.any():
            self._decoding = self._model.select(self._decoding, rows)
            return
        tokens = self._ended.tokens[is_over, : self._config.num_return_sequences]
        self._results.update(zip(self._places[is_over].tolist(), tokens, strict=True))
        staying = (~is_over).nonzero().squeeze(1)
        self._running, self._ended = self._running.select(staying), self._ended.select(staying)
        self._places = self._places[staying]
        if len(staying) > 0:
            self._decoding = self._model.select(self._decoding, rows[staying])

    def _join_results(self) -> torch.Tensor:
        """Returns the tokens of all sentences, in the order of the batch and padded."""
        hypotheses = [tokens for _, results in sorted(self._results.items()) for tokens in results]
        tokens = pad_sequence(hypotheses, batch_first=True, padding_value=NO_TOKEN)
        is_token = tokens != NO_TOKEN
        # as in `greedy_search`
        pad = self._config._pad_token_tensor  # pyright: ignore[reportPrivateUsage]
        ends = self._config._eos_token_tensor  # pyright: ignore[reportPrivateUsage]
        if ends is not None:
            # as in the library, where a padding of 0 counts as none
            tokens = tokens.where(is_token, pad or ends[0])
        return tokens[:, : is_token.sum(1).max()]


def _take(tokens: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Returns the tokens (B, index.shape[1], T) of those hypotheses."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def _limit(stopping_criteria: StoppingCriteriaList) -> int:
    """Returns how many tokens a hypothesis may have, the prompt included."""
    return next(criterion.max_length for criterion in stopping_criteria if type(criterion) is MaxLengthCriteria)


def _ends(stopping_criteria: StoppingCriteriaList) -> torch.Tensor | None:
    """Returns the tokens that end a sentence."""
    ends = [criterion.eos_token_id for criterion in stopping_criteria if type(criterion) is EosTokenCriteria]
    return torch.cat(ends) if ends else None


def _has_ended(tokens: torch.Tensor, ends: torch.Tensor | None, is_last: bool) -> torch.Tensor:
    """Returns which hypotheses end with these tokens; all do where the tokens are the last that fit."""
    if is_last or ends is None:
        return torch.full_like(tokens, is_last, dtype=torch.bool)
    return torch.isin(tokens, ends.to(tokens.device))


def _candidate_count(beams: int, ends: torch.Tensor | None) -> int:
    """Returns how many candidates leave a full beam, whichever of them end."""
    return beams * (1 if ends is None else 1 + len(ends))
