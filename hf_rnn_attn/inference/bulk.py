# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation of text of any length in constant memory.

Lines are read in windows; inside a window they are sorted by length into batches limited by tokens, and the order comes
back before the window is handed out.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO


WINDOW_LINES = 4096


def translate_lines(lines: Iterable[str], translator, tokens_per_batch: int) -> Iterator[list[str]]:
    """Translates lines as they come.

    Args:
        lines (`Iterable[str]`):
            One sentence each. An empty line has an empty translation. Never more than a window is read ahead.
        translator ([`TranslationPipeline`]): It is asked for the best translation alone, whatever the checkpoint says.
        tokens_per_batch (`int`):
            Most source tokens of a batch, padding included; a longer sentence is a batch by itself.

    Returns:
        `Iterator[list[str]]`: for each window the translations, one for each line, in the order of the lines.
    """
    lines = iter(lines)
    while window := list(itertools.islice(lines, WINDOW_LINES)):
        translations = [""] * len(window)
        for rows in batches_by_length(window, translator.tokenizer, tokens_per_batch):
            # a list in a list is one padded batch
            (records,) = translator([[window[row] for row in rows]], num_return_sequences=1)
            for row, record in zip(rows, records, strict=True):
                translations[row] = record["translation_text"]
        yield translations


def batches_by_length(lines: Sequence[str], tokenizer, tokens_per_batch: int) -> Iterator[list[int]]:
    """Yields the indices of the lines that are not empty, longest first, in batches of at most `tokens_per_batch`
    tokens.
    """
    rows = [row for row, line in enumerate(lines) if line.strip()]
    if not rows:
        return
    ids = tokenizer([lines[row] for row in rows])["input_ids"]
    lengths = {row: len(sentence) for row, sentence in zip(rows, ids, strict=True)}
    rows.sort(key=lambda row: lengths[row], reverse=True)
    while rows:
        # the first is the longest, so the others are padded to it
        size = max(1, tokens_per_batch // max(1, lengths[rows[0]]))
        yield rows[:size]
        rows = rows[size:]


@contextlib.contextmanager
def resumable_output(path: str | Path, settings: dict[str, Any] | None) -> Iterator[tuple[TextIO, int]]:
    """Opens a file of translations that takes its place when it is complete, and that a second start goes on with.

    Until then the lines are in `path.partial`, and `path` is what it was. Only whole windows count, so that a file that
    was gone on with has the batches, and the bytes, of one that was written at once.

    Args:
        path (`str` or `Path`): the file to write.
        settings (`dict`, *optional*): what the translations depend on, as JSON writes it. With other settings than
            those of the partial file, or with none, the start is anew.

    Yields:
        The file, and the number of lines that are in it already.
    """
    partial, about = Path(f"{path}.partial"), Path(f"{path}.partial.json")
    text, done = json.dumps(settings, sort_keys=True), 0
    if settings is not None and partial.is_file() and about.is_file() and about.read_text("utf-8") == text:
        with partial.open("rb") as file:
            done = sum(1 for line in file if line.endswith(b"\n")) // WINDOW_LINES * WINDOW_LINES
            file.seek(0)
            kept = sum(len(line) for line in itertools.islice(file, done))
        os.truncate(partial, kept)
    else:
        about.write_text(text, "utf-8")
        partial.write_bytes(b"")
    with partial.open("a", encoding="utf-8", newline="\n") as file:
        yield file, done
    os.replace(partial, path)
    about.unlink()
