# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Text of any number of sentences: split, translated sentence by sentence, and joined as it was."""

import json
import re
from typing import Any

from sentencex import segment  # pyright: ignore[reportAttributeAccessIssue] (compiled, and without types)

from . import BUNDLED
from .inference import translate_lines
from .model.pipeline_rnn_attn import TranslationPipeline, languages_of_task, sides_of, whole_characters


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
            "translation_de_to_en", or of the checkpoint, and English where neither says one.
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
    if not isinstance(text, str):
        raise TypeError(f"translate_text takes one str, got {type(text).__name__}; call it for each text.")
    if language is None:
        language = language_of(translator) or "en"
    parts = split_text(whole_characters(text), language)
    windows = translate_lines((sentence for sentence, _ in parts), translator, tokens_per_batch)
    translations = (translation for window in windows for translation in window)
    return "".join(translation.strip() + space for translation, (_, space) in zip(translations, parts, strict=True))
