# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Opening files of text, packed ones and members of ZIP archives among them. Knows nothing of what they hold."""

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa


# by the last part of a file's name
OPENERS: dict[str, Any] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": lambda path: pa.input_stream(str(path), compression="zstd"),
}

# what the readers of damaged files raise
DAMAGES = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, OSError)
# beside those at the opening, where a password is needed, or the way of packing unknown (a NotImplementedError)
DAMAGES_AT_OPENING = (*DAMAGES, RuntimeError)
# a packed file that grows beyond both is no text
MAX_UNPACKED_BYTES = 10**8
MAX_UNPACKED_RATIO = 100


class DataError(ValueError):
    """Data that cannot be used; the message names the file and the line, or the row of a data set."""


class Member(NamedTuple):
    """A file in a ZIP archive."""

    archive: Path
    name: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


def unpacked_suffix(path: str | Path | Member) -> str:
    """Returns what a file's name ends with, without the ending that packing adds."""
    name = str(path)
    return Path(name.removesuffix(Path(name).suffix) if Path(name).suffix in OPENERS else name).suffix


def list_members(archive: Path) -> list[Member]:
    """Returns the files of a ZIP archive that hold data: all but hidden ones, licences, notes and scores.

    Raises:
        DataError: if it is no ZIP archive, or is damaged.
    """
    with _explain(archive, DAMAGES_AT_OPENING), zipfile.ZipFile(archive) as file:
        names = file.namelist()
    notes = ("README", "LICENSE", "_", ".")
    return [
        Member(archive, name)
        for name in names
        if not Path(name).name.startswith(notes) and Path(name).suffix not in ("", ".xml", ".ids", ".scores", ".md")
    ]


@contextlib.contextmanager
def open_bytes(path: str | Path | Member) -> Iterator[Any]:
    """Opens a file for reading bytes, unpacked.

    Raises:
        DataError: if it is damaged, or grows more than a hundredfold beyond 100 MB.
        FileNotFoundError: if it does not exist.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(path, Member):
            stack.enter_context(_explain(path.archive, DAMAGES))
            archive = stack.enter_context(zipfile.ZipFile(path.archive))
            packed, opened = archive.getinfo(path.name).compress_size, lambda: archive.open(path.name)
        elif (suffix := Path(path).suffix) in OPENERS:
            stack.enter_context(_explain(path, DAMAGES))
            packed, opened = os.path.getsize(path), lambda: OPENERS[suffix](path)
        else:
            yield stack.enter_context(open(path, "rb"))
            return
        with _explain(path.archive if isinstance(path, Member) else path, DAMAGES_AT_OPENING), opened() as file:
            _check_unpacked(path, file, packed)
        yield stack.enter_context(opened())


@contextlib.contextmanager
def open_text(path: str | Path | Member) -> Iterator[io.TextIOWrapper]:
    """Opens a file for reading text in UTF-8, whose lines end at a newline alone; other bytes become surrogates."""
    with open_bytes(path) as file:
        yield io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


@contextlib.contextmanager
def _explain(path: str | Path, damages: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns what the readers of packed files raise for damaged ones into a DataError."""
    kind = Path(path).suffix.removeprefix(".")
    try:
        yield
    except damages as error:
        # those of the system have a number; a damaged place in an archive is an invalid one
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DataError(f"{path}: broken {kind} file ({error}); fetch or pack it again") from error


def _check_unpacked(path: str | Path | Member, file: Any, packed: int):
    unpacked = 0
    while part := file.read(2**20):
        unpacked += len(part)
        if unpacked > max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed):
            raise DataError(
                f"{path}: expected text, which packs to a tenth, got a file of {packed:,} bytes that grows more than "
                f"{MAX_UNPACKED_RATIO} times; unpack it if it is right"
            )
