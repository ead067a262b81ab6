# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Pronunciation dictionaries in the formats that speech toolkits read.

Words of a user's dictionary are said as they stand there, the others as a model of letters to phones says them. A
phone is what stands between white space in the model's output; stress marks belong to it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .inference.bulk import search_lines
from .model.pipeline_rnn_attn import sides_of


# CMUdict, lexicon.txt of Kaldi and sherpa, lexiconp.txt of Kaldi
FORMATS = ("cmudict", "kaldi", "lexiconp")
Phones = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A word and how it is said.

    Args:
        word (`str`): as it was asked for.
        pronunciations (`dict[tuple[str, ...], float]`): phones of each variant, the likeliest first, with its
            probability divided by that of the likeliest; empty for a word that could not be said.
    """

    word: str
    pronunciations: Mapping[Phones, float]


def read_dictionary(lines: Iterable[str], name: str) -> dict[str, dict[Phones, float]]:
    """Reads a dictionary of CMUdict's or Kaldi's form, or of word, tab, phones: a word, white space, its phones.

    `WORD(2)` is another pronunciation of `WORD`, as is a second line. Lines from `;;;` and what follows ` #` are
    comments.

    Raises:
        ValueError: names a line without phones.
    """
    entries: dict[str, dict[Phones, float]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split(" #")[0].split()
        if not fields or fields[0].startswith(";;;"):
            continue
        word, *phones = fields
        if not phones:
            raise ValueError(f"{name}:{number}: expected a word and its phones, got {line!r}")
        entries.setdefault(re.sub(r"(?<=.)\(\d+\)$", "", word), {})[tuple(phones)] = 1.0
    return entries


def distinct_words(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yields the words of a list as they come, each once, without empty lines.

    Raises:
        ValueError: names a line of more than one word, which no lexicon can hold.
    """
    seen = set()
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if len(word.split()) > 1:
            raise ValueError(f"{name}:{number}: expected one word a line, got {line!r}")
        if word and word not in seen:
            seen.add(word)
            yield word


def pronounce(
    words: Iterable[str],
    translator: Any,
    dictionary: Mapping[str, Mapping[Phones, float]],
    tokens_per_batch: int = 1024,
    count: int = 1,
) -> Iterator[Entry]:
    """Says words as they come, in their order.

    A word with letters that the model does not know is tried in lower case.

    Args:
        words (`Iterable[str]`): what to say.
        translator ([`TranslationPipeline`]): of a model of letters to phones.
        dictionary (`Mapping`): words that the model is not asked for, as [`read_dictionary`] returns them; a word that
            it lacks is looked for in other case.
        tokens_per_batch (`int`, *optional*, defaults to 1024): most letters at a time, padding included.
        count (`int`, *optional*, defaults to 1): most variants of a word.
    """
    source_side, _ = sides_of(translator.tokenizer)
    folded = {word.casefold(): said for word, said in dictionary.items()}

    def spelling(word: str) -> str:
        for form in (word, word.lower()):
            if source_side.unk_token_id not in source_side(form)["input_ids"]:
                return form
        return ""

    asked: list[tuple[str, Mapping[Phones, float]]] = []

    def lines() -> Iterator[str]:
        for word in words:
            known = dictionary.get(word) or folded.get(word.casefold(), {})
            asked.append((word, known))
            yield "" if known else spelling(word)

    for window in search_lines(lines(), translator, tokens_per_batch, count, return_scores=True):
        for (word, known), (_, records) in zip(asked, window, strict=True):
            yield Entry(word, known or _variants(records))
        asked.clear()


def _variants(records: list[dict[str, Any]]) -> dict[Phones, float]:
    """Returns the distinct pronunciations of a word's hypotheses, the likeliest first."""
    scores: dict[Phones, float] = {}
    for record in sorted(records, key=lambda record: record["score"], reverse=True):
        if phones := tuple(record["translation_text"].split()):
            scores.setdefault(phones, record["score"])
    best = max(scores.values(), default=0.0)
    return {phones: math.exp(score - best) for phones, score in scores.items()}


def format_entry(kind: str, entry: Entry) -> list[str]:
    """Returns the lines of a word in one of `FORMATS`, one for each pronunciation; none for a word without any."""
    lines = []
    for number, (phones, probability) in enumerate(entry.pronunciations.items(), 1):
        said = " ".join(phones)
        if kind == "cmudict":
            lines.append(f"{entry.word}{f'({number})' if number > 1 else ''}  {said}")
        elif kind == "lexiconp":
            lines.append(f"{entry.word} {probability:.6g} {said}")
        else:
            lines.append(f"{entry.word} {said}")
    return lines
