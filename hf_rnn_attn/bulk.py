# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation of text of any length in constant memory, in one process or several.

Lines are read in windows; inside a window they are sorted by length into batches limited by tokens, and the order comes
back before the window is handed out. Holds the windows, the batches and the processes; knows files and models only as
iterables of lines and as what translates a batch.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


WINDOW_LINES = 4096


def translate_lines(lines: Iterable[str], translator, tokens_per_batch: int) -> Iterator[list[str]]:
    """Translates lines as they come.

    Args:
        lines (`Iterable[str]`):
            One sentence each. An empty line has an empty translation. Never more than a window is read ahead.
        translator ([`TranslationPipeline`]):
            What translates, one translation for a sentence.
        tokens_per_batch (`int`):
            Most source tokens of a batch, padding included; a longer sentence is a batch by itself.

    Returns:
        `Iterator[list[str]]`: for each window the translations, one for each line, in the order of the lines.
    """

    def submit(texts):
        return functools.partial(_translate_batch, translator, texts)

    return _translate_windows(lines, translator.tokenizer, tokens_per_batch, submit, ahead=0)


def translate_lines_in_processes(
    lines: Iterable[str], load_translator: Callable, tokenizer, tokens_per_batch: int, processes: int
) -> Iterator[list[str]]:
    """Translates lines as they come, the batches shared by several processes, which share this one's threads.

    Args:
        lines (`Iterable[str]`):
            As in [`translate_lines`], but two windows are read ahead, so that no process waits for another.
        load_translator (`Callable`):
            Returns the pipeline; called once by each process, and therefore picklable.
        tokenizer:
            The pipeline's.
        tokens_per_batch (`int`):
            As in [`translate_lines`].
        processes (`int`):
            How many.

    Returns:
        `Iterator[list[str]]`: as in [`translate_lines`].
    """
    import torch

    start = (load_translator, max(1, torch.get_num_threads() // processes))
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_process, start) as pool:

        def submit(texts):
            return pool.submit(_translate_in_process, texts).result

        yield from _translate_windows(lines, tokenizer, tokens_per_batch, submit, ahead=1)


def _translate_windows(lines, tokenizer, tokens_per_batch, submit, ahead):
    """Hands the batches of a window to `submit`, which returns a function that waits for their translations; `ahead`
    more windows are handed over before the first is waited for."""
    pending = deque()
    for window in _windows(lines):
        batches = batches_by_length(window, tokenizer, tokens_per_batch)
        pending.append((len(window), [(rows, submit([window[row] for row in rows])) for rows in batches]))
        if len(pending) > ahead:
            yield _collect(*pending.popleft())
    while pending:
        yield _collect(*pending.popleft())


def _windows(lines: Iterable[str]) -> Iterator[list[str]]:
    lines = iter(lines)
    while window := list(itertools.islice(lines, WINDOW_LINES)):
        yield window


def batches_by_length(lines: Sequence[str], tokenizer, tokens_per_batch: int) -> Iterator[list[int]]:
    """The indices of the lines that are not empty, longest first, in batches of at most `tokens_per_batch` tokens."""
    rows = [row for row, line in enumerate(lines) if line.strip()]
    if not rows:
        return
    ids = tokenizer([lines[row] for row in rows])["input_ids"]
    lengths = {row: len(sentence) for row, sentence in zip(rows, ids, strict=True)}
    rows.sort(key=lengths.get, reverse=True)
    while rows:
        # the first is the longest, so the others are padded to it
        size = max(1, tokens_per_batch // max(1, lengths[rows[0]]))
        yield rows[:size]
        rows = rows[size:]


def _collect(count, batches) -> list[str]:
    translations = [""] * count
    for rows, wait in batches:
        for row, translation in zip(rows, wait(), strict=True):
            translations[row] = translation
    return translations


def _translate_batch(translator, texts: list[str]) -> list[str]:
    # a list in a list is one padded batch
    (records,) = translator([texts])
    return [record["translation_text"] for record in records]


def _start_process(load_translator, threads):
    import torch

    global _translator
    torch.set_num_threads(threads)
    _translator = load_translator()


def _translate_in_process(texts: list[str]) -> list[str]:
    return _translate_batch(_translator, texts)
