# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation of text of any length in constant memory.

Lines are read in windows; inside a window they are sorted by length into batches limited by tokens, and the order comes
back before the window is handed out.
"""

import codecs
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO


logger = logging.getLogger(__name__)

# a line, and the records of its translations
Hypotheses = tuple[str, list[dict[str, Any]]]
EMPTY = {"translation_text": "", "score": 0.0}
# a window ends with the first of the two
WINDOW_LINES, WINDOW_CHARACTERS = 4096, 2**20
# what is longer is no line of text
LINE_BYTES = 2**26


def read_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Yields the lines of a text in UTF-8 as they come, without their ends; nothing but a newline ends a line.

    A byte order mark at the beginning is no part of the text.

    Args:
        file (`BinaryIO`): open for reading.
        name (`str`): what errors call it.

    Raises:
        ValueError: names the line that is not UTF-8, or longer than `LINE_BYTES`.
    """
    for number in itertools.count(1):
        line = file.readline(LINE_BYTES + 1)
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line:
            return
        if len(line) > LINE_BYTES:
            raise ValueError(f"{name}:{number}: expected lines of text, got one of more than {LINE_BYTES:,} bytes")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}:{number}: expected UTF-8, got the byte 0x{line[error.start]:02x} after {error.start} others; "
                "correct the line, or convert the text to UTF-8"
            ) from error
        yield text.rstrip("\r\n")


def cut_long_lines(lines: Iterable[str], most: int, name: str, start: int = 1) -> Iterator[str]:
    """Yields the lines, those of more than `most` characters cut at a space; a warning names each by its number.

    Args:
        lines (`Iterable[str]`): the lines.
        most (`int`): characters.
        name (`str`): what warnings call the text.
        start (`int`, *optional*, defaults to 1): number of the first line.
    """
    for number, line in enumerate(lines, start):
        if len(line) > most:
            logger.warning("%s:%d: only the first %d of %d characters are translated", name, number, most, len(line))
            line = line[: most + 1].rsplit(maxsplit=1)[0][:most]
        yield line


def translate_lines(lines: Iterable[str], translator, tokens_per_batch: int) -> Iterator[list[str]]:
    """Translates lines as they come.

    Args:
        lines (`Iterable[str]`):
            One sentence each. An empty line has an empty translation. Never more than a window is read ahead. Where
            reading raises a ValueError, it is raised again behind the translations of the lines before it.
        translator ([`TranslationPipeline`]): It is asked for the best translation alone, whatever the checkpoint says.
        tokens_per_batch (`int`):
            Most source tokens of a batch, padding included; a longer sentence is a batch by itself.

    Returns:
        `Iterator[list[str]]`: for each window the translations, one for each line, in the order of the lines.
    """
    for window in search_lines(lines, translator, tokens_per_batch):
        yield [best["translation_text"] for _, (best,) in window]


def search_lines(
    lines: Iterable[str],
    translator,
    tokens_per_batch: int,
    count: int = 1,
    name: str | None = None,
    start: int = 1,
    **options: Any,
) -> Iterator[list[Hypotheses]]:
    """Finds the best translations of lines as they come; `lines`, `translator`, batches as for [`translate_lines`].

    Args:
        count (`int`, *optional*, defaults to 1): translations of each line.
        name (`str`, *optional*): what warnings call the text; without it they quote the line.
        start (`int`, *optional*, defaults to 1): number of the first line.
        options: of the pipeline's call, such as `return_scores`.

    Returns:
        `Iterator[list[tuple[str, list[dict]]]]`: for each window its lines, each with the pipeline's records in the
        order of the search. Those of an empty line are empty.
    """
    for window in _windows(iter(lines)):
        found: list[Hypotheses] = [(line, [EMPTY] * count) for line in window]
        for rows in batches_by_length(window, translator.tokenizer, tokens_per_batch):
            named = {"names": [f"{name}:{start + row}" for row in rows]} if name else {}
            # a list in a list is one padded batch
            (records,) = translator([[window[row] for row in rows]], num_return_sequences=count, **named, **options)
            for place, row in enumerate(rows):
                found[row] = (window[row], records[place * count : (place + 1) * count])
        start += len(window)
        yield found


def format_hypotheses(kind: str, number: int, hypotheses: Hypotheses) -> list[str]:
    """Returns what is written of a line's translations.

    Args:
        kind (`str`): `"text"` and `"tsv"` have a line for each translation: the text alone; number of the source line,
            score, text. `"jsonl"` has one object for all.
        number (`int`): that of the line, from 1.
        hypotheses (`tuple[str, list[dict]]`): a line and its records, with scores unless they are `"text"`.
    """
    source, records = hypotheses
    if kind == "jsonl":
        found = [{"text": record["translation_text"], "score": record["score"]} for record in records]
        return [json.dumps({"line": number, "source": source, "hypotheses": found}, ensure_ascii=False)]
    if kind == "tsv":
        texts = [record["translation_text"].replace("\t", " ") for record in records]
        return [f"{number}\t{record['score']:.6f}\t{text}" for record, text in zip(records, texts, strict=True)]
    return [record["translation_text"] for record in records]


def batches_by_length(lines: Sequence[str], tokenizer, tokens_per_batch: int) -> Iterator[list[int]]:
    """Yields the indices of the lines that are not empty, longest first, in batches of at most `tokens_per_batch`
    tokens.
    """
    rows = [row for row, line in enumerate(lines) if line.strip()]
    if not rows:
        return
    ids = tokenizer([lines[row] for row in rows])["input_ids"]
    yield from cut_batches({row: len(sentence) for row, sentence in zip(rows, ids, strict=True)}, tokens_per_batch)


def cut_batches(lengths: Mapping[int, int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Yields rows in batches of at most `tokens_per_batch` tokens, padding included; the longest come first."""
    rows = sorted(lengths, key=lambda row: lengths[row], reverse=True)
    while rows:
        # the first is the longest, so the others are padded to it
        size = max(1, tokens_per_batch // max(1, lengths[rows[0]]))
        yield rows[:size]
        rows = rows[size:]


def _windows(lines: Iterator[str]) -> Iterator[list[str]]:
    while True:
        window, characters, problem = [], 0, None
        try:
            for line in lines:
                window.append(line)
                characters += len(line)
                if len(window) == WINDOW_LINES or characters >= WINDOW_CHARACTERS:
                    break
        except ValueError as error:
            problem = error
        if window:
            yield window
        if problem is not None:
            raise problem
        if not window:
            return


class CountedLines:
    """Lines that count themselves and make a digest of what was read, by which a second start knows them again.

    Args:
        lines (`Iterator[str]`): the lines.
    """

    def __init__(self, lines: Iterator[str]):
        self.lines = lines
        self.count = 0
        self.digest = hashlib.sha256()
        self.is_broken = False

    def __iter__(self) -> "CountedLines":
        return self

    def __next__(self) -> str:
        try:
            line = next(self.lines)
        except ValueError:
            self.is_broken = True
            raise
        self.count += 1
        self.digest.update(line.encode() + b"\n")
        return line


class ResumableOutput:
    """A file of translations that takes its place when it is complete, and that a second start goes on with.

    Until then the lines are in `path.partial`, and `path` is what it was. `path.partial.json` says up to where whole
    windows were written, and of which lines: only these count, so that a file that was gone on with has the batches,
    and the bytes, of one that was written at once.

    Args:
        path (`str` or `Path`): the file to write.
        settings (`dict`, *optional*): what the translations depend on beside the lines, in types of JSON. With other
            settings or lines than those of the partial file, or without settings, the start is anew.
        open_lines (`Callable`): reads the lines from their beginning; called twice if there are settings.
    """

    def __init__(
        self, path: str | Path, settings: dict[str, Any] | None, open_lines: Callable[[], Iterator[str]]
    ) -> None:
        self.path = Path(os.path.realpath(path))
        self.partial, self.about = _partial_files(self.path)
        self.settings = settings
        self.lines = CountedLines(open_lines())
        if not self._skip_done():
            if settings is not None and read_progress(path).get("lines"):
                logger.warning("%s is of another text, model or option; starting anew", self.partial)
            self.lines = CountedLines(open_lines()) if self.lines.count else self.lines
            self.about.unlink(missing_ok=True)
            self.partial.write_bytes(b"")

    def _skip_done(self) -> bool:
        """Reads over the lines that are done and drops what was written after them; `False` if they differ."""
        before = read_progress(self.path)
        if self.settings is None or before.get("settings") != self.settings or not self.partial.is_file():
            return False
        for _ in itertools.islice(self.lines, before["lines"]):
            pass
        if self._progress() | {"bytes": before["bytes"]} != before or self.partial.stat().st_size < before["bytes"]:
            return False
        os.truncate(self.partial, before["bytes"])
        return True

    def _progress(self) -> dict[str, Any]:
        return {"settings": self.settings, "lines": self.lines.count, "digest": self.lines.digest.hexdigest()}

    def write(self, windows: Iterable[list[str]]) -> None:
        """Writes all windows of translations of the remaining `lines`; the file then takes its place."""
        with self.partial.open("ab") as file:
            for translations in windows:
                file.write(encode_lines(translations))
                file.flush()
                # a window that an unreadable line cut short has other batches than a whole one
                if self.settings is not None and not self.lines.is_broken:
                    progress = json.dumps(self._progress() | {"bytes": file.tell()})
                    new = Path(f"{self.about}.new")
                    new.write_text(progress, "utf-8")
                    os.replace(new, self.about)
        os.replace(self.partial, self.path)
        self.about.unlink(missing_ok=True)


def _partial_files(path: str | Path) -> tuple[Path, Path]:
    path = os.path.realpath(path)
    return Path(f"{path}.partial"), Path(f"{path}.partial.json")


def read_progress(path: str | Path) -> dict[str, Any]:
    """Returns what [`ResumableOutput`] noted beside a file that is not complete; empty without it."""
    try:
        progress = json.loads(_partial_files(path)[1].read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return progress if isinstance(progress, dict) and {"settings", "lines", "bytes"} <= progress.keys() else {}


def encode_lines(translations: Iterable[str]) -> bytes:
    """Returns one line for each translation; a newline inside of one, which only an odd vocabulary has, is a space."""
    return "".join(f"{translation.replace(chr(10), ' ')}\n" for translation in translations).encode()
