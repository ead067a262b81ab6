# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Pieces of text that come out of a translation as they went in: numbers, URLs, emoji, code, rare names.

A model that is trained with placeholders never sees them. [`Placeholders.mask`] puts one character of Unicode's private
use area for each piece, [`restore`] puts the pieces back. In training, [`Placeholders.mask_pair`] does so with pieces
that stand on both sides of a pair as often. This file knows texts, and of a tokenizer only what it was trained with.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any


# one for each piece of a sentence, in their order; what is beyond the last stays as it is
PLACEHOLDERS = [chr(0xF0000 + number) for number in range(1, 10)]
PLACEHOLDER = re.compile(f"[{PLACEHOLDERS[0]}-{PLACEHOLDERS[-1]}]")
EMOJI = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
# Of each kind the expression; where several match, the first. They take linear time: what may be long begins where a
# word does, and no two parts of it that repeat can hold the same characters.
KINDS = {
    "code": r"`[^`\n]+`|\{\{?[^{}\s]+\}\}?|%(?:\(\w+\))?[sd]\b",
    "link": r"(?<=\])\([^()\s]+\)",
    "tag": r"</?[A-Za-z][^<>]*>|&(?:[a-zA-Z]{2,8}|#\d{1,7}|#x[0-9a-fA-F]{1,6});",
    "url": r"(?<![\w.@-])(?:(?:https?|ftp)://|www\.)[^\s<>\"`|]*[\w/#=&]",
    "email": r"(?<![\w.+-])\w[\w.+-]*@\w[\w-]*(?:\.\w[\w-]*)+",
    "path": r"(?<![\w./\\~:-])(?:[A-Za-z]:\\|~?/(?=\w)|\.\.?/)[\w./\\~-]*\w"
    r"|(?<![\w./\\-])\w[\w-]*\.[a-z][a-z0-9]{1,3}\b",
    "mention": r"(?<![\w&])[@#]\w+",
    "emoji": f"(?:[{EMOJI}]|[0-9#*]\ufe0f?\u20e3)[{EMOJI}\u200d\ufe0f\u20e3\U000e0020-\U000e007f]*"
    r"|(?<![\w:;])[:;]-?[()DP](?!\w)",
    "number": r"(?:(?<![\w)\]])[+\u2212-])?\d+(?:[.,:/'’\u2013\u00a0\u202f-]\d+)*",
    "name": r"(?<!\w)[^\W\d_]+(?:['’-][^\W\d_]+)*(?!\w)",
}
# letters of a word that another may end in, and of one that is found without its ending
SHORTEST_WORD, LONGEST_NAME = 4, 40
ENDINGS = ("", "e", "en", "n")


class Placeholders:
    """Finds the pieces of some kinds, and puts placeholders for them.

    Args:
        kinds (`Sequence[str]`): names in `KINDS`.
        known_words (`Collection[str]`, *optional*): the words of the training's sources in small letters, by which a
            name is told from another word that begins with a capital.
        glossary (`Sequence[str]`, *optional*): words and phrases that are pieces too.
    """

    def __init__(
        self, kinds: Sequence[str], known_words: Collection[str] = frozenset(), glossary: Sequence[str] = ()
    ) -> None:
        self.known_words = known_words
        # the longest first, as the first that matches is taken
        words = "|".join(re.escape(word) for word in sorted(glossary, key=len, reverse=True))
        found = {"glossary": rf"(?<!\w)(?:{words})(?!\w)"} if words else {}
        found |= {"reserved": PLACEHOLDER.pattern} | {kind: KINDS[kind] for kind in KINDS if kind in kinds}
        self._pattern = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in found.items()))

    @classmethod
    def of(cls, tokenizer: Any) -> "Placeholders | None":
        """Returns those that a tokenizer, and the model with it, was trained with; `None` for others."""
        kinds = tokenizer.init_kwargs.get("placeholders")
        return cls(kinds, frozenset(tokenizer.init_kwargs["known_words"].split())) if kinds else None

    def with_glossary(self, glossary: Sequence[str]) -> "Placeholders":
        """Returns these, and one kind more: the words of a glossary."""
        kinds = [kind for kind in self._pattern.groupindex if kind in KINDS]
        return Placeholders(kinds, self.known_words, glossary)

    def find(self, text: str, any_name: bool = False) -> list[tuple[int, int]]:
        """Returns where the pieces of a text begin and end; with `any_name`, names are the known words too, but the
        first of the text.
        """
        return [
            match.span()
            for match in self._pattern.finditer(text)
            if match.lastgroup != "name"
            or (_has_capital(match[0]) and ((any_name and match.start() > 0) or self._is_new(match[0].lower())))
        ]

    def _is_new(self, word: str) -> bool:
        """Returns whether a word is not known, is no other ending of a known one, and does not end in one."""
        ends = (word[start:] for start in range(2, len(word) - SHORTEST_WORD + 1))
        stems = (
            word[:length] + end for length in range(max(SHORTEST_WORD, len(word) - 2), len(word)) for end in ENDINGS
        )
        return not any(part in self.known_words for part in (word, *ends, *stems))

    def mask(self, text: str) -> tuple[str, list[str]]:
        """Returns a text with placeholders, and the pieces that they stand for; a text without letters is one piece."""
        spans = self.find(text)
        if len(spans) > len(PLACEHOLDERS):
            spans = _joined(text, spans)
        masked = _masked(text, dict(zip(spans, PLACEHOLDERS, strict=False)))
        if text and not _has_letters(_masked(text, dict.fromkeys(spans, ""))):
            return PLACEHOLDERS[0], [text]
        return masked, [text[start:end] for start, end in spans[: len(PLACEHOLDERS)]]

    def mask_pair(self, source: str, target: str, any_name: bool = False) -> tuple[str, str]:
        """Returns a text and its translation with placeholders for the pieces that both hold, and hold as often."""
        spans, other_spans = self.find(source, any_name), self.find(target, any_name)
        counts = Counter(source[start:end] for start, end in spans)
        other_counts = Counter(target[start:end] for start, end in other_spans)
        shared = [span for span in spans if counts[source[slice(*span)]] == other_counts[source[slice(*span)]]]
        given = dict(zip(shared, PLACEHOLDERS, strict=False))
        left: dict[str, list[str]] = {}
        for (start, end), placeholder in given.items():
            left.setdefault(source[start:end], []).append(placeholder)
        taken = {}
        for start, end in other_spans:
            if left.get(target[start:end]):
                taken[start, end] = left[target[start:end]].pop(0)
        return _masked(source, given), _masked(target, taken)


def _joined(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the pieces, those without a letter between them as one."""
    joined = [spans[0]]
    for start, end in spans[1:]:
        if _has_letters(text[joined[-1][1] : start]):
            joined.append((start, end))
        else:
            joined[-1] = (joined[-1][0], end)
    return joined


def _masked(text: str, replacements: Mapping[tuple[int, int], str]) -> str:
    parts, last = [], 0
    for (start, end), replacement in replacements.items():
        parts += [text[last:start], replacement]
        last = end
    return "".join([*parts, text[last:]])


def restore(text: str, masked: str, pieces: Sequence[str], places: Mapping[int, int]) -> str:
    """Returns a translation with each piece once in it.

    A placeholder that comes again, or stands for nothing, is left out. A piece without a placeholder comes first or
    last if no letter stood before or behind it, else behind the word at its place.

    Args:
        text (`str`): the translation with placeholders.
        masked (`str`): what was translated.
        pieces (`Sequence[str]`): the pieces of `masked`.
        places (`Mapping[int, int]`): for the number of a piece a place in `text`; the end where there is none.
    """
    inserted: dict[int, str] = {}
    for number, placeholder in enumerate(PLACEHOLDERS[: len(pieces)]):
        if placeholder in text:
            continue
        before, _, behind = masked.partition(placeholder)
        if not _has_letters(before):
            place, lead, trail = 0, "", " " * (behind[:1].isspace() and text != "")
        elif not _has_letters(behind):
            place, lead, trail = len(text), " " * before[-1:].isspace(), ""
        else:
            place, lead, trail = _end_of_word(text, places.get(number, len(text))), " ", ""
        inserted[place] = inserted.get(place, "") + lead + placeholder + trail
    for place in sorted(inserted, reverse=True):
        text = text[:place] + inserted[place] + text[place:]
    left = dict(zip(PLACEHOLDERS, pieces, strict=False))

    def replacement(match: re.Match[str]) -> str:
        return match[1] + left.pop(match[2]) if match[2] in left else ""

    return re.sub(f"( ?)({PLACEHOLDER.pattern})", replacement, text)


def _has_capital(word: str) -> bool:
    """Returns whether a word begins with a capital and ends in a small letter."""
    return word[0].isupper() and word[-1].islower() and len(word) <= LONGEST_NAME


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _end_of_word(text: str, place: int) -> int:
    rest = re.compile(r"[\w'’-]*").match(text, place)
    return rest.end() if rest else place
