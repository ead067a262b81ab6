# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What a model does while it translates a sentence, as plain data: attention, probabilities, and the beam.

A translation is the model's own or a given one. Either is read once more from start to end (forced decoding), which
gives attention and the distribution of every token; the search only adds how its beam went. Pages and pictures draw
this data, and `dataclasses.asdict` makes it JSON.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList
from transformers.modeling_outputs import ModelOutput

from .alignment import word_attention
from .model.pipeline_rnn_attn import TranslationPipeline, sides_of
from .model.search_rnn_attn import BeamSearch, has_enough_tokens, supports_fast_search


# of weights and probabilities
DECIMALS = 4

Span = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """The choice of one target token.

    Attributes:
        probability: of the token, given those before it.
        entropy: of the distribution over the vocabulary, in bits.
        top: the most probable tokens and their probabilities, best first.
    """

    probability: float
    entropy: float
    top: list[tuple[str, float]]


@dataclass(frozen=True)
class Hypothesis:
    """A translation and what the model did at each of its T tokens.

    Attributes:
        text: the translation.
        log_probability: log P of all tokens, the end included; natural logarithm.
        score: what the beam search ranks by, log P / T^length_penalty; the mean log P of a token without beam search.
        tokens, words: T tokens as they are shown, and the words between white space.
        word_of_token: the number of each token's word, `None` for a token without text such as the end.
        attention: T rows of S weights; row t generated token t.
        word_attention: the same between words, see [`alignment.word_attention`].
        steps: T choices.
        path: for each token its place in the columns of the beam; empty without a recorded beam.
    """

    text: str
    log_probability: float
    score: float
    tokens: list[str]
    words: list[str]
    word_of_token: list[int | None]
    attention: list[list[float]]
    word_attention: list[list[float]]
    steps: list[Step]
    path: list[int]


@dataclass(frozen=True)
class BeamNode:
    """A hypothesis in the beam after some step.

    Attributes:
        token: its last token.
        parent: its place in the column before, without that token.
        log_probability: of all its tokens.
        rank: where it ended, its place among the translations, from 0; `None` while it runs on.
    """

    token: str
    parent: int
    log_probability: float
    rank: int | None


@dataclass(frozen=True)
class Inspection:
    """A sentence, its translations, and how the search came to them.

    Attributes:
        source: the sentence.
        source_tokens, source_words: S tokens as they are shown, and the words between white space.
        word_of_source_token: the number of each token's word, `None` for a token without text.
        hypotheses: the translations, best first.
        beam: for each step what was in the beam, best first, then what ended there. Empty for greedy search, a given
            translation, and searches that the library's loop does, such as those with logits processors.
        is_given: whether the translation was given, and not searched for.
    """

    source: str
    source_tokens: list[str]
    source_words: list[str]
    word_of_source_token: list[int | None]
    hypotheses: list[Hypothesis]
    beam: list[list[BeamNode]]
    is_given: bool


def visible(token: str) -> str:
    """Returns the token with ␣ for a space and U+XXXX for other invisible characters; markers such as ▁ stay."""
    return "".join("␣" if c == " " else c if c.isprintable() else f"U+{ord(c):04X}" for c in token)


class _Recorder:
    """Stands between a beam search of one sentence and its model, and notes the hypotheses of each step."""

    def __init__(self) -> None:
        self.model: Any = None
        self.length_penalty = 1.0
        # for each step the fields of `BeamNode`, with the id of the token
        self.columns: list[list[tuple[int, int, float, int | None]]] = []
        self._parents, self._scores, self._totals = [0], torch.empty(0), torch.zeros(1)

    def search(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Takes the place of the loop in `generate()`: the same tokens, and all hypotheses that ended."""
        asked = (generation_config, logits_processor, stopping_criteria, synced_gpus, kwargs)
        if generation_config.num_beams == 1:
            return model._sample(
                input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, **kwargs
            )
        generation_config.num_return_sequences = generation_config.num_beams
        self.length_penalty = generation_config.length_penalty
        if (
            getattr(model, "can_step", False)
            and supports_fast_search(*asked)
            and has_enough_tokens(model.config.decoder_vocab_size, generation_config, stopping_criteria)
        ):
            self.model = model
            return BeamSearch(self, input_ids, stopping_criteria, generation_config, kwargs).run()
        return model._beam_search(
            input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, **kwargs
        )

    def start(self, encoder_outputs: ModelOutput, attention_mask: torch.Tensor | None, /) -> Any:
        return self.model.start(encoder_outputs, attention_mask)

    def step(self, tokens: torch.Tensor, batch: Any, /) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
        if len(self._scores):
            parents = torch.tensor(self._parents)
            self._totals = self._totals[parents] + self._scores[parents, tokens[:, -1].cpu()]
            nodes = zip(tokens[:, -1].tolist(), self._parents, self._totals.tolist(), strict=True)
            self.columns.append([(*node, None) for node in nodes])
        scores, weights, batch = self.model.step(tokens, batch)
        self._scores = scores[:, -1].float().log_softmax(-1).cpu()
        return scores, weights, batch

    def select(self, batch: Any, rows: torch.Tensor, /) -> Any:
        self._parents = rows.flatten().tolist()
        return self.model.select(batch, rows)

    def end(self, ids: Sequence[int], total: float, rank: int) -> list[int]:
        """Adds the end of a translation to the columns; returns its place in each, nothing if no beam was recorded."""
        if self.model is None:
            return []
        path, parent = [], 0
        for column, token in zip(self.columns, ids[:-1], strict=False):
            parent = next(place for place, node in enumerate(column) if node[:2] == (token, parent))
            path.append(parent)
        if len(self.columns) < len(ids):  # the last step of a search is not read
            self.columns.append([])
        self.columns[len(ids) - 1].append((ids[-1], parent, total, rank))
        return [*path, len(self.columns[len(ids) - 1]) - 1]


@torch.no_grad()
def inspect_translations(
    translator: TranslationPipeline,
    texts: Sequence[str],
    translations: Sequence[str] | None = None,
    top_k: int = 8,
) -> list[Inspection]:
    """Translates sentences, or reads given translations, and notes what the model did at each token.

    Args:
        translator ([`TranslationPipeline`]): `pipeline("translation", ...)`, of one model or an ensemble. Its settings
            are those of the search; with beam search all hypotheses that ended are kept.
        texts (`Sequence[str]`): the sentences.
        translations (`Sequence[str]`, *optional*): read by force instead of what the model would write, one for each.
        top_k (`int`, *optional*, defaults to 8): tokens of each step's distribution to keep.

    Raises:
        ValueError: for a blank text, another number of translations than texts, or a model without attention.

    Example:
    ```python
    >>> import hf_rnn_attn
    >>> from hf_rnn_attn.inspection import inspect_translations
    >>> from transformers import pipeline

    >>> translator = pipeline("translation", model="path/to/checkpoint")
    >>> (inspection,) = inspect_translations(translator, ["Ich lese das Buch."])
    >>> best = inspection.hypotheses[0]
    >>> best.text, best.tokens[:2]
    ('I read the book.', ['▁I', '▁read'])
    >>> best.steps[1].top[0]
    ('▁read', 0.77...)
    >>> inspection.source_words[max(range(4), key=lambda word: best.word_attention[3][word])]
    'Buch.'

    ```
    """
    if isinstance(texts, str) or isinstance(translations, str):
        raise ValueError("expected lists of texts and of translations, got one string; put it into a list")
    if not texts:
        raise ValueError("expected at least one text, got none")
    if translations is not None and len(translations) != len(texts):
        raise ValueError(f"expected one translation for each text, got {len(translations)} for {len(texts)} texts")
    for name, given in {"text": texts, "translation": translations or []}.items():
        for number, text in enumerate(given, 1):
            if not text.strip():
                raise ValueError(f"expected words to look at, got a blank {name}: number {number} of {len(given)}")
    return [
        _inspect(translator, text, translations[index] if translations else None, top_k)
        for index, text in enumerate(texts)
    ]


def _inspect(translator: TranslationPipeline, text: str, translation: str | None, top_k: int) -> Inspection:
    source_side, target_side = sides_of(translator.tokenizer)
    recorder, pad = _Recorder(), translator.tokenizer.pad_token_id
    start = translator.model.generation_config.decoder_start_token_id
    if translation is None:
        # attention is found below, for a search that returns it is the library's
        options = {"return_tensors": True, "output_attentions": False, "custom_generate": recorder.search}
        records = translator(text, **options)
        ends = np.atleast_1d(translator.model.generation_config.eos_token_id).tolist()
        found = [record["translation_token_ids"].tolist() for record in records]
        sequences = [_until_end(ids, ends, pad) for ids in found]
    else:
        sequences = [[start, *target_side(text_target=translation)["input_ids"]]]
    features = translator.preprocess(text)
    scores, attention = _read(translator.model, features, sequences, pad)
    source_ids = features["input_ids"][0].tolist()
    source_text = translator.prefix + text
    if source_side.is_fast:
        source_spans = source_side(source_text, return_offsets_mapping=True)["offset_mapping"]
    else:
        source_spans, source_text = _spans_of(source_side, source_ids)
    hypotheses = []
    for row, (_, *ids) in enumerate(sequences):
        spans, target_text = _spans_of(target_side, ids)
        log_probs, weights = scores[row, : len(ids)], attention[row, : len(ids)]
        chosen = log_probs.gather(-1, torch.tensor(ids).unsqueeze(-1)).squeeze(-1)
        total = chosen.sum().item()
        hypotheses.append(
            Hypothesis(
                text=translation or translator.tokenizer.decode(ids, skip_special_tokens=True),
                log_probability=total,
                score=total / len(ids) ** recorder.length_penalty,
                tokens=[_name(target_side, token) for token in ids],
                words=target_text.split(),
                word_of_token=_words_of(spans, target_text),
                attention=_rounded(weights),
                word_attention=_rounded(word_attention(weights.numpy(), source_spans, source_text, spans, target_text)),
                steps=[_step(*step, target_side, top_k) for step in zip(log_probs, chosen.tolist(), strict=True)],
                path=recorder.end(ids, total, row),
            )
        )
    return Inspection(
        source=text,
        source_tokens=[visible(token) for token in translator._source_tokens(source_ids)],
        source_words=source_text.split(),
        word_of_source_token=_words_of(source_spans, source_text),
        hypotheses=hypotheses,
        beam=[
            [BeamNode(_name(target_side, token), parent, total, rank) for token, parent, total, rank in column]
            for column in recorder.columns
        ],
        is_given=translation is not None,
    )


def _until_end(ids: list[int], ends: Collection[int], pad_token_id: int | None) -> list[int]:
    """Returns the tokens up to the first end, without padding; the decoder's first may be either, and stays."""
    # the library pads with the end where padding is token 0
    length = next((place for place, token in enumerate(ids[1:], 2) if token in ends), len(ids))
    while length > 2 and ids[length - 1] == pad_token_id:
        length -= 1
    return ids[:length]


def _read(
    model: Any, features: Any, sequences: list[list[int]], pad_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads translations of one sentence; returns log probabilities (K, T, V) and attention (K, T, S), on the CPU."""
    longest = max(map(len, sequences))
    rows = torch.tensor([ids + [pad_token_id] * (longest - len(ids)) for ids in sequences])
    outputs = model(
        input_ids=features["input_ids"].expand(len(rows), -1).to(model.device),
        attention_mask=features["attention_mask"].expand(len(rows), -1).to(model.device),
        decoder_input_ids=rows[:, :-1].to(model.device),
        output_attentions=True,
    )
    if not outputs.cross_attentions or outputs.cross_attentions[-1] is None:
        raise ValueError(
            f"expected a model that returns cross attention, {type(model).__name__} returned none; choose one with "
            'attention, and load a Transformer with attn_implementation="eager"'
        )
    return outputs.logits.float().log_softmax(-1).cpu(), outputs.cross_attentions[-1].float().mean(1).cpu()


def _name(side: PreTrainedTokenizerBase, token_id: int) -> str:
    # an output layer may have more rows than the vocabulary has tokens
    return visible(str(side.convert_ids_to_tokens(token_id) or f"#{token_id}"))


def _step(log_probs: torch.Tensor, chosen: float, side: PreTrainedTokenizerBase, top_k: int) -> Step:
    best = log_probs.topk(min(top_k, len(log_probs)))
    top = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return Step(
        probability=round(math.exp(chosen), DECIMALS),
        # entr(p) = -p ln p, and 0 for a token that cannot come
        entropy=round(torch.special.entr(log_probs.exp()).sum().item() / math.log(2), DECIMALS),
        top=[(_name(side, token), round(probability, DECIMALS)) for token, probability in top],
    )


def _rounded(weights: Any) -> list[list[float]]:
    return np.asarray(weights, dtype=float).round(DECIMALS).tolist()


def _spans_of(side: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[list[Span], str]:
    """Returns where each token stands in the text that the tokens decode to, and that text."""
    special = set(side.all_special_ids).difference([side.unk_token_id])
    spans, text, kept = [], "", []
    for token in ids:
        start = len(text)
        if token not in special:
            kept.append(token)
            text = str(side.decode(kept, clean_up_tokenization_spaces=False))
        spans.append((start, len(text)))
    return spans, text


def _words_of(spans: Sequence[Span], text: str) -> list[int | None]:
    """Returns the number of the word that each token ends in, `None` for a token without characters of a word."""
    return [len(text[:end].split()) - 1 if text[start:end].strip() else None for start, end in spans]
