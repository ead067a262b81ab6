# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Text of any number of sentences: split, translated sentence by sentence, and joined as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sentencex import segment  # pyright: ignore[reportAttributeAccessIssue] (compiled, and without types)

from . import BUNDLED
from .inference.bulk import translate_lines
from .markup import Segment, Sentence, parse_html


if TYPE_CHECKING:
    from .model.pipeline_rnn_attn import TranslationPipeline

# what str.splitlines() takes for the end of a line
LINE_ENDS = re.compile("(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")


def split_text(text: str, language: str) -> list[tuple[str, str]]:
    r"""Splits text into sentences, each with the white space and line ends that follow it.

    White space before the first sentence, and on lines without one, follows an empty sentence. Joined, the parts are
    the text.

    Args:
        text (`str`): any number of lines; a line end is the end of a sentence.
        language (`str`): ISO 639-1 code of its language, for its abbreviations. English serves for an unknown one.

    Example:
    ```python
    >>> from hf_rnn_attn.text import split_text
    >>> split_text("Dr. Meier kommt am 3. Mai. Und du?\n", "de")
    [('Dr. Meier kommt am 3. Mai.', ' '), ('Und du?', '\n')]

    ```
    """
    parts: list[tuple[str, str]] = []
    for place, line in enumerate(LINE_ENDS.split(text)):
        for piece in [line] if place % 2 else segment(language, line):
            sentence = piece.strip()
            start = piece.find(sentence) if sentence else len(piece)
            if start > 0 and parts:
                parts[-1] = (parts[-1][0], parts[-1][1] + piece[:start])
            elif start > 0:
                parts.append(("", piece[:start]))
            if sentence:
                parts.append((sentence, piece[start + len(sentence) :]))
    return parts


def language_of(translator: TranslationPipeline) -> str | None:
    """Returns the language of the running text that a translator reads, and `None` where its checkpoint says none.

    It is that of the task's name, "translation_de_to_en", or of a checkpoint of the package. What is spelt letter by
    letter, as words for pronunciation are, is no running text.

    Args:
        translator ([`TranslationPipeline`]): of any model.
    """
    # not above: a server of exported graphs has no torch, and says the language
    from .model.pipeline_rnn_attn import languages_of_task, sides_of

    bundled = {folder: languages for languages, folder in BUNDLED.items()}
    languages = languages_of_task(translator.task) or bundled.get(translator.model.name_or_path)
    source_side: Any = sides_of(translator.tokenizer)[0]
    if languages is None:
        return None
    is_fast = getattr(source_side, "is_fast", False)
    is_spelt = is_fast and json.loads(source_side.backend_tokenizer.to_str())["model"].get("merges") == []
    return None if is_spelt else languages[0]


def translate_text(
    translator: TranslationPipeline, text: str, language: str | None = None, tokens_per_batch: int = 1024
) -> str:
    r"""Translates text sentence by sentence, and keeps its line ends and the white space between sentences.

    A sentence that is cut off at the length limit is warned of by the pipeline.

    Args:
        translator ([`TranslationPipeline`]): with one translation for each sentence.
        text (`str`): any number of sentences and lines.
        language (`str`, *optional*): that of the text, for its abbreviations; by default that of the task's name,
            "translation_de_to_en", and English where it names none.
        tokens_per_batch (`int`, *optional*, defaults to 1024): most source tokens at a time, padding included.

    Raises:
        TypeError: if `text` is no `str`.

    Example:
    ```python
    >>> from transformers import pipeline
    >>> from hf_rnn_attn.text import translate_text
    >>> translate_text(pipeline("translation_de_to_en"), "Guten Morgen! Wie geht es dir?\n\nBis bald.")
    'Good morning. How are you doing?\n\nSee you soon.'

    ```
    """
    parts = split_text(_checked(text, "translate_text"), language or language_of(translator) or "en")
    translations = _translate_sentences(translator, parts, tokens_per_batch)
    return "".join(translation + space for translation, (_, space) in zip(translations, parts, strict=True))


def translate_html(
    translator: TranslationPipeline, text: str, language: str | None = None, tokens_per_batch: int = 1024
) -> str:
    """Translates the running text of HTML sentence by sentence; all tags come back.

    Elements such as `<p>` and `<br>` end a sentence. A tag inside of one, such as `<b>`, is put around the words that
    attend to those that it was around: never inside a word, nested properly if the tags were so, each once. Scripts,
    styles, code, elements with `translate="no"` or the class `notranslate`, comments and attributes stay as they are.

    Args:
        translator ([`TranslationPipeline`]): as in [`translate_text`]; with a fast tokenizer, and with attention where
            tags stand inside of sentences.
        text (`str`): HTML, a page or a part of one; it may be malformed.
        language (`str`, *optional*): as in [`translate_text`].
        tokens_per_batch (`int`, *optional*, defaults to 1024): as in [`translate_text`].

    Raises:
        TypeError: if `text` is no `str`.
        ValueError: for tags inside of sentences and a model without attention.

    Example:
    ```python
    >>> from transformers import pipeline
    >>> from hf_rnn_attn.text import translate_html
    >>> translate_html(pipeline("translation_de_to_en"), "<p>Das ist <b>sehr</b> gut.</p>")
    "<p>That's <b>very</b> good.</p>"

    ```
    """
    language = language or language_of(translator) or "en"
    pieces = parse_html(_checked(text, "translate_html"))
    # those of a segment are neighbours
    split = [split_text(piece.text, language) if isinstance(piece, Segment) else [] for piece in pieces]
    parts = [part for some in split for part in some]
    translations = list(_translate_sentences(translator, parts, tokens_per_batch))
    has_tags = [bool(getattr(piece, "tags", ())) for piece, some in zip(pieces, split, strict=True) for _ in some]
    attention = _attend(translator, parts, translations, has_tags)
    sentences = (
        Sentence(source, space, translation, weights)
        for (source, space), translation, weights in zip(parts, translations, attention, strict=True)
    )
    return "".join(
        piece if isinstance(piece, str) else piece.render([next(sentences) for _ in some])
        for piece, some in zip(pieces, split, strict=True)
    )


def _checked(text: str, name: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{name} takes one str, got {type(text).__name__}; call it for each text.")
    # U+FFFD for halves of surrogate pairs, as in the pipeline
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _translate_sentences(
    translator: TranslationPipeline, parts: Sequence[tuple[str, str]], tokens_per_batch: int
) -> Iterator[str]:
    windows = translate_lines((sentence for sentence, _ in parts), translator, tokens_per_batch)
    return (translation.strip() for window in windows for translation in window)


def _attend(
    translator: TranslationPipeline, parts: Sequence[tuple[str, str]], translations: Sequence[str], wanted: list[bool]
) -> list[np.ndarray]:
    """Returns the attention between the words of the wanted sentences and their translations; nought for the others."""
    sources = [sentence for sentence, _ in parts]
    attention = [
        np.zeros((len(target.split()), len(source.split())))
        for source, target in zip(sources, translations, strict=True)
    ]
    rows = [row for row, is_wanted in enumerate(wanted) if is_wanted and attention[row].size]
    if not rows:
        return attention
    pairs = [sources[row] for row in rows], [translations[row] for row in rows]
    # one that stands for a model that is used elsewhere
    attend = getattr(translator, "attend_words", None)
    if attend is not None:
        found = attend(*pairs)
    else:
        # it reads what measures alignments too, and takes a second to load
        from .alignment import attend_words

        found = attend_words(translator.model, translator.tokenizer, *pairs)
    for row, weights in zip(rows, found, strict=True):
        attention[row] = weights
    return attention
