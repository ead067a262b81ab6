# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Greedy and beam search without the library's work around every step, for calls that ask for nothing but words.

Holds the test for such calls and the two searches; the words are those of the library's loops. The memory of a
sentence is there once for all its hypotheses, the first step is taken once, and a sentence whose search is over leaves
the batch. Knows the decoder's parts, and nothing of text.
Shapes: B batch, T target so far, K hypotheses or candidates of a sentence, V words to choose from.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from .cache_rnn_attn import DecoderState
from .recurrence_rnn_attn import SourceMemory


PLAIN_CRITERIA = (EosTokenCriteria, MaxLengthCriteria)
PLAIN_ARGUMENTS = {"attention_mask", "encoder_outputs", "use_cache", "output_words"}
NO_WORD = -1  # stands after the end of a hypothesis


def is_plain(generation_config, logits_processor, stopping_criteria, synced_gpus, model_kwargs) -> bool:
    """Whether these arguments ask the library's search for nothing but the likeliest words."""
    asked = {name for name, value in model_kwargs.items() if value is not None and value is not False}
    return (
        asked <= PLAIN_ARGUMENTS
        and {"encoder_outputs", "use_cache"} <= asked
        and not (generation_config.do_sample or generation_config.return_dict_in_generate)
        and not (generation_config.is_assistant or generation_config.low_memory or synced_gpus or logits_processor)
        and all(type(criterion) in PLAIN_CRITERIA for criterion in stopping_criteria)
        and any(type(criterion) is MaxLengthCriteria for criterion in stopping_criteria)
    )


def has_enough_words(model, generation_config, stopping_criteria, model_kwargs) -> bool:
    """Whether there are as many words as [`BeamSearch`] needs candidates in its first step."""
    output_words = model_kwargs.get("output_words")
    size = model.config.decoder_vocab_size if output_words is None else len(output_words.words)
    return _candidate_count(generation_config.num_beams, _ends(stopping_criteria)) <= size


class _Decoding:
    """The decoder on its way through a batch, word by word. Rows are hypotheses, those of a sentence side by side.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): on one device.
        model_kwargs (`dict`): see [`is_plain`].
        repeats (`int`): how often they hold each sentence; here it is there once.
    """

    def __init__(self, model, model_kwargs, repeats: int = 1):
        decoder, encoder_outputs = model.model.decoder, model_kwargs["encoder_outputs"]
        states, mask = encoder_outputs[0][::repeats], model_kwargs.get("attention_mask")
        keep_mask = torch.ones_like(states[..., 0], dtype=torch.bool) if mask is None else mask[::repeats].bool()
        self._memory = SourceMemory(states, keep_mask)
        is_tuple = isinstance(encoder_outputs, tuple)
        final_state = encoder_outputs[1] if is_tuple else encoder_outputs.get("final_state")
        final_state = None if final_state is None else final_state[::repeats]
        self._state = decoder.recurrence.start(decoder.bridge(final_state, states), self._memory)
        self._decoder = decoder
        self._output_words = model_kwargs.get("output_words")
        self._output_layer = model.lm_head if self._output_words is None else self._output_words.layer
        self._pointer = model.pointer
        self._source_ids = None if model.pointer is None else model._source_ids(encoder_outputs)[::repeats]
        self._prepare()

    def _prepare(self):
        word_size = self._decoder.config.decoder_embedding_size
        self._advance = self._decoder.recurrence.stepper(word_size, self._state, self._memory)

    def step(self, words: torch.LongTensor) -> torch.Tensor:
        """Takes the next word of each row and returns the attentional states (rows, A)."""
        self._weights, self._state = self._advance(self._decoder.embed_tokens(words), self._state)
        return self._state.attentional

    def logits(self, words: torch.LongTensor) -> torch.Tensor:
        """Takes the next word of each row and returns the logits (rows, V) of the one after it."""
        states = self.step(words)
        logits = self._output_layer(states)
        if self._pointer is None:
            return logits
        # the hypotheses of a sentence as words of one target
        logits, states = (part.unflatten(0, self._weights.shape[:2]) for part in (logits, states))
        return self._pointer(states, self._weights, self._source_ids).mix(logits).flatten(0, 1)

    def words(self, index: torch.LongTensor) -> torch.LongTensor:
        """The words that stand at these places of the logits."""
        return index if self._output_words is None else self._output_words.words[index]

    def select(self, rows: torch.LongTensor, sentences: torch.LongTensor | None = None):
        """Goes on with these rows, and these sentences where not with all."""
        layers, attentional, positions, keys = self._state
        layers = tuple(tuple(part.index_select(0, rows) for part in layer) for layer in layers)
        if sentences is not None:
            self._memory = SourceMemory(*(part.index_select(0, sentences) for part in self._memory))
            self._source_ids = None if self._source_ids is None else self._source_ids.index_select(0, sentences)
            keys = None if keys is None else keys.index_select(0, sentences)
        is_prepared = sentences is None and len(rows) == len(positions)
        self._state = DecoderState(layers, attentional.index_select(0, rows), positions.index_select(0, rows), keys)
        if not is_prepared:
            self._prepare()


def greedy_search(model, input_ids, stopping_criteria, generation_config, model_kwargs) -> torch.LongTensor:
    """Returns `input_ids` (B, T) with the likeliest words after them, as the library's `_sample` does.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): on one device.
        input_ids (`torch.LongTensor` of shape `(B, T)`): the words so far.
        stopping_criteria (`StoppingCriteriaList`): the length, and the words that end a sentence.
        generation_config (`GenerationConfig`): gives the padding after such a word.
        model_kwargs (`dict`): see [`is_plain`].
    """
    limit, ends = _limit(stopping_criteria), _ends(stopping_criteria)
    decoding = _Decoding(model, model_kwargs)
    columns = list(input_ids.unbind(1))
    for words in columns[:-1]:
        decoding.step(words)
    pad = generation_config._pad_token_tensor
    padding = None if pad is None else pad.expand(len(input_ids))
    words, places = columns[-1], None  # places in the batch, once some sentences have left it
    while True:
        words = decoding.words(decoding.logits(words).argmax(-1))
        columns.append(words if places is None else padding.index_copy(0, places, words))
        goes_on = ~_has_ended(words, ends, len(columns) >= limit)
        if goes_on.all():
            continue
        staying = goes_on.nonzero().squeeze(1)
        if len(staying) == 0:
            return torch.stack(columns, 1)
        words, places = words[staying], staying if places is None else places[staying]
        decoding.select(staying, staying)


class _Hypotheses(NamedTuple):
    """Hypotheses of some sentences.

    Attributes:
        words: (B, K, T), `NO_WORD` after an end.
        scores: (B, K), log P of hypotheses that run; of those that have ended, divided by the length penalty.
    """

    words: torch.LongTensor
    scores: torch.Tensor

    def best(self, count: int) -> tuple["_Hypotheses", torch.LongTensor]:
        """Returns the best, in their order, and their numbers (B, count)."""
        scores, index = self.scores.topk(count)
        return _Hypotheses(_take(self.words, index), scores), index

    def joined(self, longer: "_Hypotheses") -> "_Hypotheses":
        """These, and others that are one word longer."""
        words = torch.cat([F.pad(self.words, (0, 1), value=NO_WORD), longer.words], 1)
        return _Hypotheses(words, torch.cat([self.scores, longer.scores], 1))

    def select(self, sentences: torch.LongTensor) -> "_Hypotheses":
        return _Hypotheses(self.words[sentences], self.scores[sentences])


class BeamSearch:
    r"""
    The library's `_beam_search`, for the calls of which [`is_plain`] and [`has_enough_words`] are true. Each step, for
    each sentence:

    1. Of all hypotheses with one word more, the most probable are the candidates: as many as leave a full beam when all
       that end are taken out.
    2. Those among the first `num_beams` candidates that end join the best `num_beams` that have ended.
    3. The first `num_beams` of the candidates that do not end run on.
    4. The search is over when `num_beams` have ended and, unless `early_stopping` is `True`, the best that runs is not
       better than the worst of them.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): on one device.
        input_ids (`torch.LongTensor` of shape `(B * num_beams, T)`): the words so far, for each beam the same.
        stopping_criteria (`StoppingCriteriaList`): the length, and the words that end a sentence.
        generation_config (`GenerationConfig`): the parameters of the search.
        length_penalty (`Callable`): from the length of a hypothesis to what its log P is divided by.
        model_kwargs (`dict`): see [`is_plain`]; for each beam the same.
    """

    def __init__(
        self,
        model,
        input_ids,
        stopping_criteria,
        generation_config,
        length_penalty: Callable[[int], float],
        model_kwargs,
    ):
        self._config, self._length_penalty = generation_config, length_penalty
        self._beams = beams = generation_config.num_beams
        self._limit, self._ends = _limit(stopping_criteria), _ends(stopping_criteria)
        self._decoding = _Decoding(model, model_kwargs, beams)
        self._prompt = prompt = input_ids[::beams]
        batch_size, device = len(prompt), prompt.device
        self._running = _Hypotheses(prompt.unsqueeze(1), torch.zeros(batch_size, 1, device=device))
        nothing = torch.full_like(prompt, NO_WORD).unsqueeze(1).expand(-1, beams, -1)
        self._ended = _Hypotheses(nothing, torch.full((batch_size, beams), -math.inf, device=device))
        self._places = torch.arange(batch_size, device=device)  # in the batch, of the sentences that are searched
        self._results = {}  # by place, words (num_return_sequences, T)

    def run(self) -> torch.LongTensor:
        """Returns the words of the best hypotheses, (B * num_return_sequences, T)."""
        for words in self._prompt[:, :-1].unbind(1):
            self._decoding.step(words)
        while len(self._places) > 0:
            rows = self._step()
            self._go_on(self._is_over(), rows)
        return self._join_results()

    def _step(self) -> torch.LongTensor:
        """Makes the hypotheses one word longer; returns the rows (B, num_beams) from which the running ones come."""
        candidates, parents = self._candidates()
        self._length = candidates.words.shape[-1] - self._prompt.shape[-1]
        has_ended = _has_ended(candidates.words[..., -1], self._ends, candidates.words.shape[-1] >= self._limit)
        penalised = candidates.scores.masked_fill(~has_ended, -math.inf) / self._length_penalty(self._length)
        first = _Hypotheses(candidates.words[:, : self._beams], penalised[:, : self._beams])
        self._ended, _ = self._ended.joined(first).best(self._beams)
        going_on = candidates._replace(scores=candidates.scores.masked_fill(has_ended, -math.inf))
        rows = parents + self._running.scores.shape[1] * torch.arange(len(parents), device=parents.device).unsqueeze(1)
        self._running, index = going_on.best(self._beams)
        return rows.gather(1, index)

    def _candidates(self) -> tuple[_Hypotheses, torch.LongTensor]:
        """Returns the most probable continuations, and the numbers (B, K) of the hypotheses that they continue."""
        words, scores = self._running
        logits = self._decoding.logits(words[..., -1].flatten())
        log_probs = logits.float().log_softmax(-1).view(*scores.shape, -1).add_(scores.unsqueeze(-1))
        scores, index = log_probs.flatten(1).topk(_candidate_count(self._beams, self._ends))
        size = logits.shape[-1]
        parents, last = index // size, self._decoding.words(index % size)
        return _Hypotheses(torch.cat([_take(words, parents), last.unsqueeze(-1)], -1), scores), parents

    def _is_over(self) -> torch.BoolTensor:
        """Whether the search for a sentence is over, (B,)."""
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

    def _go_on(self, is_over: torch.BoolTensor, rows: torch.LongTensor):
        """Goes on from `rows` (B, num_beams), without the sentences whose search is over."""
        if not is_over.any():
            self._decoding.select(rows.flatten())
            return
        words = self._ended.words[is_over, : self._config.num_return_sequences]
        self._results.update(zip(self._places[is_over].tolist(), words, strict=True))
        staying = (~is_over).nonzero().squeeze(1)
        self._running, self._ended = self._running.select(staying), self._ended.select(staying)
        self._places = self._places[staying]
        if len(staying) > 0:
            self._decoding.select(rows[staying].flatten(), staying)

    def _join_results(self) -> torch.LongTensor:
        hypotheses = [words for _, results in sorted(self._results.items()) for words in results]
        words = pad_sequence(hypotheses, batch_first=True, padding_value=NO_WORD)
        is_word = words != NO_WORD
        pad, ends = self._config._pad_token_tensor, self._config._eos_token_tensor
        if ends is not None:
            # as in the library, where a padding of 0 counts as none
            words = words.where(is_word, pad or ends[0])
        return words[:, : is_word.sum(1).max()]


def _take(words, index):
    """Words (B, index.shape[1], T) of those hypotheses."""
    return words.gather(1, index.unsqueeze(-1).expand(-1, -1, words.shape[-1]))


def _limit(stopping_criteria) -> int:
    return next(criterion.max_length for criterion in stopping_criteria if type(criterion) is MaxLengthCriteria)


def _ends(stopping_criteria) -> torch.LongTensor | None:
    """The words that end a sentence."""
    ends = [criterion.eos_token_id for criterion in stopping_criteria if type(criterion) is EosTokenCriteria]
    return torch.cat(ends) if ends else None


def _has_ended(words, ends, is_last: bool) -> torch.BoolTensor:
    """Which hypotheses end with these words, the last that fit or not."""
    if is_last or ends is None:
        return torch.full_like(words, is_last, dtype=torch.bool)
    return torch.isin(words, ends.to(words.device))


def _candidate_count(beams: int, ends: torch.LongTensor | None) -> int:
    """How many candidates leave a full beam, whichever of them end."""
    return beams * (1 if ends is None else 1 + len(ends))
