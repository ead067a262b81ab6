# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Parallel text: reading and checking pairs, turning them into token ids, and grouping them into batches.

This file knows file formats, bad rows and lengths. It does not know any model, and of a tokenizer only how to call
it. White space of every text is squeezed as the tokenizers of [`train_tokenizer`] do it, so that a reference compares
with what they decode. Nothing else is changed: normalisation is the tokenizer's task.
"""

import contextlib
import csv
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from datasets import Dataset, Features, IterableDataset, List, Value, concatenate_datasets, load_dataset
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse
from pydantic import Field, PositiveInt
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from .packed import DataError, Member, list_members, open_bytes, open_text, unpacked_suffix
from .tokenization import squeeze


logger = logging.getLogger(__name__)

ADVICE = "Correct it, name the columns (source_column, target_column), or leave such rows out with on_bad_rows='skip'."

# characters of a text, and of a line, which may hold other columns
MAX_TEXT = 2**17
MAX_LINE = 2**20
ROWS_PER_TABLE = 10_000
# a first line of two of these names columns
HEADER_NAMES = {
    *LANGUAGES,
    *LANGUAGES.values(),
    *("source", "target", "src", "tgt", "trg", "input", "output", "text", "sentence", "translation", "reference"),
    *("lemma", "form", "word", "pronunciation", "graphemes", "phonemes", "phones", "grapheme", "phoneme", "id"),
}

PAIR_FEATURES = Features({"source": Value("string"), "target": Value("string"), "place": Value("string")})
TAGGED_PAIR_FEATURES = Features({**PAIR_FEATURES, "features": List(Value("string"))})
ENCODED_FEATURES = Features(
    {"input_ids": List(Value("int32")), "attention_mask": List(Value("int8")), "labels": List(Value("int32"))}
)


# made by pyarrow when it is imported, which static tools do not see
pc: Any = pyarrow.compute


class Row(NamedTuple):
    """One row of a file, not checked yet. `problem` says why it could not be parsed."""

    place: str
    source: Any = None
    target: Any = None
    features: Any = None
    problem: str | None = None


class Columns(NamedTuple):
    """Names or numbers, from 1, of the columns of a table."""

    source: str | int | None = None
    target: str | int | None = None
    features: str | int | None = None

    @property
    def has_numbers(self) -> bool:
        """Whether the columns are numbered."""
        return any(isinstance(column, int) for column in self)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are read."""
        features = () if self.features is None else (str(self.features),)
        return (str(self.source or "source"), str(self.target or "target"), *features)

    def check(self):
        """Raises for columns of which some have names and some have numbers."""
        given = [self.source, self.target, *([] if self.features is None else [self.features])]
        if self.has_numbers and not all(isinstance(column, int) and column >= 1 for column in given):
            raise DataError(f"expected names of columns, or numbers from 1 for all that are read, got {given}")


class Tally:
    """Counts rows by the reason they were set aside, and remembers the first places of each reason."""

    PLACES_SHOWN = 3

    def __init__(self):
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str):
        """Counts one more pair with this reason, and keeps the first places."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        places = self.places.setdefault(reason, [])
        if len(places) < self.PLACES_SHOWN:
            places.append(place)

    def __str__(self) -> str:
        parts = []
        for reason, count in self.counts.items():
            more = "; ..." if count > self.PLACES_SHOWN else ""
            parts.append(f"{count} x {reason} ({'; '.join(self.places[reason])}{more})")
        return ", ".join(parts)

    def warn(self, action: str, total: int):
        """Logs one warning if any row was counted; `total` is the number of rows seen."""
        if self.counts:
            logger.warning("%s %d of %d rows: %s", action, sum(self.counts.values()), total, self)


def read_pairs(
    data: str | Path | Mapping[str, Any] | list,
    *,
    source_column: str | PositiveInt | None = None,
    target_column: str | PositiveInt | None = None,
    features_column: str | PositiveInt | None = None,
    features_separator: Annotated[str, Field(min_length=1)] = ";",
    file_format: Literal["tsv", "csv", "jsonl", "parquet", "tmx"] | None = None,
    streaming: bool = False,
    on_bad_rows: Literal["error", "skip"] = "error",
) -> Dataset | IterableDataset:
    """Reads parallel text and checks every row.

    Args:
        data (`str`, `Path`, `dict` or `list` of these): What to read; a list is read in its order, as one corpus.

            - a `.tsv`, `.csv`, `.jsonl`, `.parquet` or `.tmx` file in UTF-8, also with `.gz`, `.bz2`, `.xz` or `.zst`
              behind it;
            - a `.zip` file with one such file, whose `.txt` is read as TSV, or with two texts whose names end in the
              names of the columns (`corpus.de`, `corpus.en`);
            - `{"source": file, "target": file}`: two text files, plain or packed, in which line n of one belongs to
              line n of the other;
            - the name of a data set on the Hub or a folder that `datasets.load_dataset` understands (its split
              "train"), or a dict of that function's keyword arguments: `{"path": "user/name", "name": "de-en",
              "split": "validation"}`.
        source_column, target_column (`str` or `int`, *optional*):
            Names of the columns, by default "source" and "target". Where a row has no such column but one named
            "translation" that holds a dict, they are keys of that dict (`"de"`, `"en"`). In TMX files and ZIP archives
            of two texts they are languages. Numbers, from 1, are for TSV and CSV files without a header. A TSV file
            has a header where a name is given; without names or numbers it has two columns and no header.
        features_column (`str` or `int`, *optional*):
            Column of tags such as `V;IND;PST`. They stand before the source as `[V][IND][PST]`, and are one token each
            for a tokenizer that was trained with them.
        features_separator (`str`, *optional*, defaults to `";"`): What stands between two tags.
        file_format (`str`, *optional*): Reads the files as this format whatever they are called.
        streaming (`bool`): Read while iterating, for what does not fit in memory. Bad rows are then reported in every
            pass. `shuffle` the data set after `encode_pairs`, not before.
        on_bad_rows (`str`): "error" raises at the first bad row. "skip" leaves bad rows out and logs one warning at the
            end, with the count by reason and the first places. A row is bad if a side is missing, empty, not text or
            not valid UTF-8, holds a NUL or more than 131,072 characters, if the row cannot be parsed, has more columns
            than the first one or a carriage return inside of its line, or if it is the first and looks like a header
            that was not asked for.

    Returns:
        `Dataset`, or `IterableDataset` with `streaming=True`: string columns "source", "target" and "place" ("a.tsv,
        line 7"); with `features_column` also "features", the list of the row's (`["[V]", "[IND]", "[PST]"]`).
        Lines count from 1; rows of Parquet files and data sets from 0, as they are indexed.

    Raises:
        DataError: a bad row; two text files with different numbers of lines (always: there is no telling which lines
            belong together); an unknown format or column; columns that are not told apart; a packed file that grows
            more than a hundredfold (unpack it where that is right); a corpus without a single usable row.
        FileNotFoundError: a file does not exist.

    Example:
    ```python
    >>> pairs = read_pairs({"source": "train.de", "target": "train.en.gz"}, on_bad_rows="skip")
    >>> pairs = read_pairs("wmt14-sample.jsonl", source_column="de", target_column="en")

    ```
    """
    if on_bad_rows not in ("error", "skip"):
        raise ValueError(f"on_bad_rows must be 'error' or 'skip', got {on_bad_rows!r}")
    # a tuple, because `from_generator` takes a list for shards, and each worker would count the bad rows of some files
    corpora = tuple(data) if isinstance(data, list) else (data,)
    columns = Columns(source_column, target_column, features_column)
    columns.check()
    for corpus in corpora:
        check_corpus(corpus)
        _check_files(corpus, file_format)
    options = {
        "corpora": corpora,
        "columns": columns,
        "features_separator": features_separator,
        "file_format": file_format,
        "streaming": streaming,
        "on_bad_rows": on_bad_rows,
    }
    schema = PAIR_FEATURES if features_column is None else TAGGED_PAIR_FEATURES
    return _build_dataset(_good_rows, options, schema, streaming)


def _build_dataset(rows: Callable[..., Iterator[dict]], options: dict, features: Features, streaming: bool):
    # `from_generator` without streaming would keep a copy on disk, and serve it again after the files have changed
    if streaming:
        return IterableDataset.from_generator(rows, features=features, gen_kwargs=options)
    # in parts, because a dict takes ten times the memory of its texts
    remaining, parts = rows(**options), []
    while part := list(islice(remaining, ROWS_PER_TABLE)):
        parts.append(Dataset.from_list(part, features=features))
    return concatenate_datasets(parts)


def check_corpus(corpus: Any):
    """Raises a ValueError for what [`read_pairs`] cannot read whatever files there are."""
    if isinstance(corpus, (str, Path)):
        return
    keys = {"source", "target"} if _is_aligned(corpus) else {"path"}
    if not isinstance(corpus, Mapping) or any(not isinstance(corpus.get(key), (str, Path)) for key in keys):
        raise DataError(
            "expected a file, {'source': file, 'target': file}, or keyword arguments of datasets.load_dataset with "
            f"'path', got {corpus!r:.100}"
        )


def _check_files(corpus: str | Path | Mapping, file_format: str | None):
    """Raises for a file that does not exist, at the call and not in the first pass of a stream."""
    files = [corpus] if _format_of(corpus, file_format) else []
    if isinstance(corpus, Mapping) and _is_aligned(corpus):
        files = list(corpus.values())
    for file in files:
        if not os.path.isfile(str(file)):
            raise FileNotFoundError(f"{file}: {'is a folder' if os.path.isdir(str(file)) else 'no such file'}")


def _is_aligned(corpus: Any) -> bool:
    return isinstance(corpus, Mapping) and set(corpus) == {"source", "target"}


def _format_of(corpus: str | Path | Mapping, file_format: str | None) -> str | None:
    """Returns the format of a file, or None for everything that is not one file."""
    if isinstance(corpus, Mapping):
        return None
    if file_format is not None and file_format not in TABLES:
        raise DataError(f"file_format must be one of {', '.join(TABLES)}, got {file_format!r}")
    suffix = unpacked_suffix(str(corpus)).removeprefix(".")
    if file_format or suffix in TABLES or Path(str(corpus)).suffix == ".zip":
        return file_format or suffix
    if os.path.isfile(str(corpus)):
        raise DataError(f"{corpus}: unknown format '.{suffix}'; pass file_format, one of {', '.join(TABLES)}")
    return None


def _rows_of(corpus, columns: Columns, file_format: str | None, streaming: bool) -> Iterator[Row]:
    if _is_aligned(corpus):
        return _read_aligned(corpus["source"], corpus["target"])
    name = _format_of(corpus, file_format)
    if name is not None:
        return READERS[name](Path(corpus), columns)
    arguments = corpus if isinstance(corpus, Mapping) else {"path": str(corpus)}
    return _read_dataset({"split": "train", **arguments, "streaming": streaming}, columns)


def _good_rows(corpora: tuple, on_bad_rows: str, features_separator: str, **options) -> Iterator[dict[str, Any]]:
    """Yields the checked and cleaned rows of all corpora, and warns even if the reader of a stream stops early."""
    tally, total = Tally(), 0
    try:
        for row in chain.from_iterable(_rows_of(corpus, **options) for corpus in corpora):
            total += 1
            problem, source, target = row.problem or _problem_of(row), "", ""
            if problem is None:
                source, target = squeeze(row.source), squeeze(row.target)
                problem = "empty source" if not source else "empty target" if not target else None
            if problem is None:
                tags = _tags(row.features, features_separator)
                pair = {"source": "".join(tags) + source, "target": target, "place": row.place}
                yield pair if options["columns"].features is None else {**pair, "features": tags}
            elif on_bad_rows == "error":
                raise DataError(f"{row.place}: {problem}. {ADVICE}")
            else:
                tally.add(problem, row.place)
    finally:
        tally.warn("left out", total)
    if total == sum(tally.counts.values()):
        names = ", ".join(str(corpus) for corpus in corpora)
        raise DataError(f"{names}: no usable pair in {total} rows" + (f": {tally}" if total else ""))


def _tags(features: str | None, separator: str) -> list[str]:
    return [f"[{squeeze(tag)}]" for tag in (features or "").split(separator) if squeeze(tag)]


def _problem_of(row: Row) -> str | None:
    for side, text in (("source", row.source), ("target", row.target), ("features", row.features)):
        if side == "features" and not text:
            return None
        if text is None:
            return f"missing {side}"
        if not isinstance(text, str):
            return f"{side} is not text but {type(text).__name__}"
        if not text:
            return f"empty {side}"
        if len(text) > MAX_TEXT:
            return f"{side} of more than {MAX_TEXT:,} characters"
        if not _is_unicode(text):
            return f"broken UTF-8 in {side}"
        if "\0" in text:
            return f"NUL character in {side}"
    return None


def _is_unicode(text: str) -> bool:
    """Returns whether every byte was UTF-8; others are read as lone surrogates (`errors="surrogateescape"`)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


File = str | Path | Member
Line = tuple[int, str, str | None]


@contextlib.contextmanager
def _open_lines(path: File) -> Iterator[Iterator[Line]]:
    """Opens a text as numbered lines, each with what is wrong with it.

    They end at a newline alone: U+2028 and form feeds are part of the text. A carriage return is no end of a line, and
    no part of a text either.
    """
    with open_text(path) as file:
        yield _lines(file)


def _lines(file: TextIO) -> Iterator[Line]:
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        problem, rest = None, line
        while len(rest) == MAX_LINE and rest[-1] != "\n":
            problem, rest = f"line of more than {MAX_LINE:,} characters", file.readline(MAX_LINE)
        line = line.rstrip("\r\n")
        yield number, line, problem or ("carriage return inside of the line" if "\r" in line else None)


def _read_aligned(source_path: File, target_path: File) -> Iterator[Row]:
    # counted first: in misaligned files every other complaint would be about the wrong thing
    counts = [_count_lines(source_path), _count_lines(target_path)]
    if counts[0] != counts[1]:
        raise DataError(
            f"{source_path} has {counts[0]} lines, {target_path} has {counts[1]}: line n of one must belong to line n "
            "of the other. Such files cannot be read in part; align them again."
        )
    with _open_lines(source_path) as sources, _open_lines(target_path) as targets:
        for (number, source, problem), (_, target, other) in zip(sources, targets, strict=True):
            yield Row(f"{source_path} and {target_path}, line {number}", source, target, problem=problem or other)


def _count_lines(path: File) -> int:
    with _open_lines(path) as lines:
        return sum(1 for _ in lines)


Record = tuple[int, list[str], str | None]


def _read_tsv(path: File, columns: Columns) -> Iterator[Row]:
    """Reads tab-separated columns without quoting: a quotation mark is text."""
    with _open_lines(path) as lines:
        records = ((number, line.split("\t"), problem) for number, line, problem in lines)
        named = any(columns) and not columns.has_numbers
        yield from _table_rows(path, records, columns, named)


def _read_csv(path: File, columns: Columns) -> Iterator[Row]:
    with _open_lines(path) as lines:
        yield from _table_rows(path, _csv_records(lines), columns, not columns.has_numbers)


def _csv_records(lines: Iterator[Line]) -> Iterator[Record]:
    problems: list[str] = []

    def texts() -> Iterator[str]:
        for _, line, problem in lines:
            problems.extend([problem] if problem else [])
            yield "" if problem else line + "\n"

    reader = csv.reader(texts(), strict=True)
    while True:
        # a quoted field may run over several lines; a row is known by its first
        number = reader.line_num + 1
        problems.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields, problems = [], [*problems, f"malformed CSV ({error})"]
        yield number, fields, problems[0] if problems else None


def _table_rows(path: File, records: Iterator[Record], columns: Columns, named: bool) -> Iterator[Row]:
    """Yields the rows of a table, whose first record is a header where the columns are `named`."""
    first = next(records, None)
    if first is None:
        return
    _, names, problem = first
    names = [name.strip() for name in names]
    if named:
        if problem:
            raise DataError(f"{path}, line 1: {problem}, where the names of the columns are expected")
        _check_columns(path, names, columns.names)
        indices = [names.index(column) for column in columns.names]
    elif columns.has_numbers:
        indices = [column - 1 for column in columns if isinstance(column, int)]
    elif len(names) > 2 and problem is None:
        raise DataError(
            f"{path}: expected two columns, got {len(names)}: {names!r:.200}. Say which with source_column and "
            "target_column: their numbers, from 1, or their names where this line has names."
        )
    else:
        indices = [0, 1]
    if not named:
        chosen = [names[index] for index in indices if index < len(names)]
        if problem is None and len(chosen) == len(indices) and all(name.lower() in HEADER_NAMES for name in chosen):
            first = (*first[:2], f"{' and '.join(map(repr, chosen))} look like names of columns")
        records = chain([first], records)
    # by numbers, the other columns may be as they like
    width = len(names) if named else math.inf if columns.has_numbers else 2
    for number, fields, problem in records:
        if problem is None and len(fields) > width:
            problem = f"{len(fields)} columns, more than {width}"
        texts = [fields[index] if index < len(fields) else None for index in indices]
        yield Row(f"{path}, line {number}", *texts, problem=problem)


def _column_names(where: Any, columns: Columns) -> tuple[str, ...]:
    if columns.has_numbers:
        raise DataError(f"{where}: expected names of columns, which this format has, got numbers")
    return columns.names


def _check_columns(path: File, names: Sequence[str], columns: tuple[str, ...]):
    twice = [column for column in columns if names.count(column) > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]!r} is there twice; give each column a name of its own")
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(
            f"{path}: no column {' or '.join(map(repr, missing))}; it has {', '.join(map(repr, names)) or 'none'}. "
            "Name the columns with source_column and target_column."
        )


def _read_jsonl(path: File, columns: Columns) -> Iterator[Row]:
    names = _column_names(path, columns)
    with _open_lines(path) as lines:
        for number, line, problem in lines:
            place = f"{path}, line {number}"
            try:
                record = None if problem else json.loads(line, object_pairs_hook=_without_repetition)
            # of numbers of thousands of digits, and of thousands of brackets
            except (ValueError, RecursionError) as error:
                record, problem = None, f"malformed JSON ({getattr(error, 'msg', error)})"
            if isinstance(record, dict):
                yield _record_row(place, record, names)
            else:
                yield Row(place, problem=problem or "not a JSON object")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key that is there twice")
    return record


def _record_row(place: str, record: dict[str, Any], columns: tuple[str, ...]) -> Row:
    if columns[0] not in record and isinstance(record.get("translation"), dict):
        record = record["translation"]
    for side, column in zip(Columns._fields, columns, strict=False):
        if column not in record:
            names = ", ".join(map(repr, record))
            return Row(place, problem=f"missing {side} (no {column!r} among {names:.200})")
    return Row(place, *(record[column] for column in columns))


def _read_parquet(path: File, columns: Columns) -> Iterator[Row]:
    names = _column_names(path, columns)
    with open_bytes(path) as file:
        try:
            yield from _parquet_rows(path, pq.ParquetFile(file), names)
        # pyarrow raises OSError for damaged pages, UnicodeDecodeError for damaged names of columns
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a Parquet file, or a damaged one ({' '.join(str(error).split())})") from error


def _parquet_rows(path: File, parquet: pq.ParquetFile, columns: tuple[str, ...]) -> Iterator[Row]:
    schema = parquet.schema_arrow
    nested = columns[0] not in schema.names and "translation" in schema.names
    _check_columns(path, _field_names(schema, nested), columns)
    number = 0
    names = ["translation"] if nested else list(dict.fromkeys(columns))
    # few rows at a time, because a long text that repeats is stored once and unpacked for each
    for batch in parquet.iter_batches(batch_size=32, columns=names):
        texts = [_parquet_texts(path, batch, column, nested) for column in columns]
        for row in zip(*texts, strict=True):
            yield Row(f"{path}, row {number}", *row)
            number += 1


def _field_names(schema: pa.Schema, nested: bool) -> list[str]:
    struct: Any = schema.field("translation").type if nested else None
    return [field.name for field in struct] if nested and pa.types.is_struct(struct) else schema.names


def _parquet_texts(path: File, batch: pa.RecordBatch, column: str, nested: bool) -> list[str | None]:
    array = pc.struct_field(batch["translation"], column) if nested else batch[column]
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise DataError(f"{path}: column {column!r} holds {array.type}, expected text (string)")
    # as bytes, because pyarrow raises on the whole batch when one text is not valid UTF-8
    binary = array.cast(pa.large_binary())
    # as much of a text as shows that it is too long, in characters of at most four bytes
    texts = pc.binary_slice(binary, 0, 4 * MAX_TEXT + 4).to_pylist()
    return [None if text is None else text.decode("utf-8", "surrogateescape") for text in texts]


def _read_dataset(arguments: dict, columns: Columns) -> Iterator[Row]:
    where = f"{arguments['path']} ({arguments['split']})"
    names = _column_names(where, columns)
    for number, record in enumerate(load_dataset(**arguments)):
        yield _record_row(f"{where}, row {number}", record, names)


def _read_tmx(path: File, columns: Columns) -> Iterator[Row]:
    """Reads translation units (TMX 1.4b); what stands for mark-up in a segment is no text."""
    names = _column_names(path, columns)
    with open_bytes(path) as file:
        body, number = None, 0
        try:
            for event, element in iterparse(file, events=("start", "end")):
                if event == "start":
                    body = element if element.tag == "body" else body
                elif element.tag == "tu":
                    number += 1
                    yield _record_row(f"{path}, unit {number}", _unit_texts(element, names), names)
                    if body is not None:
                        body.clear()
        except (ParseError, DefusedXmlException) as error:
            raise DataError(f"{path}: broken or hostile XML after unit {number} ({error}); fetch it again") from error


def _unit_texts(unit: Any, languages: tuple[str, ...]) -> dict[str, str]:
    """Returns the first text of each language; `de` stands for `de-AT` where only that is there."""
    texts: dict[str, str] = {}
    for variant in unit.iter("tuv"):
        language = variant.get("{http://www.w3.org/XML/1998/namespace}lang") or variant.get("lang") or "none"
        texts.setdefault(language.lower().replace("_", "-"), _segment_text(variant.find("seg")))
    general = {language.partition("-")[0]: text for language, text in reversed(texts.items())}
    found = {language: (general | texts).get(language.lower().replace("_", "-")) for language in languages}
    return {language: text for language, text in found.items() if text is not None} or texts


def _segment_text(segment: Any) -> str:
    if segment is None:
        return ""
    parts = [segment.text or ""]
    for child in segment:
        parts += [_segment_text(child) if child.tag in ("hi", "sub") else "", child.tail or ""]
    return "".join(parts)


def _read_zip(path: Path, columns: Columns) -> Iterator[Row]:
    """Reads the two texts of an archive that end in the names of the columns, or its one table."""
    members = list_members(path)
    sides = [[member for member in members if member.name.endswith(f".{name}")] for name in columns.names[:2]]
    tables = [(member, unpacked_suffix(member).removeprefix(".").replace("txt", "tsv")) for member in members]
    tables = [(member, kind) for member, kind in tables if kind in TABLES]
    if all(len(side) == 1 for side in sides):
        yield from _read_aligned(sides[0][0], sides[1][0])
    elif len(tables) == 1:
        yield from READERS[tables[0][1]](tables[0][0], columns)
    else:
        names = ", ".join(member.name for member in members)
        raise DataError(
            f"{path}: expected one table (.{', .'.join(TABLES)}), or two texts that end in .{columns.names[0]} and "
            f".{columns.names[1]}, got {names or 'none'}; name the languages with source_column and target_column"
        )


READERS = {
    "tsv": _read_tsv,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "tmx": _read_tmx,
    "zip": _read_zip,
}
# what a file can be read as whatever it is called
TABLES = tuple(READERS)[:-1]


# one token and the end of sentence
Length = Annotated[int, Field(ge=2)]


def encode_pairs(
    dataset: Dataset | IterableDataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_source_length: Length | None = None,
    max_target_length: Length | None = None,
    on_long: Literal["error", "skip", "truncate"] = "error",
) -> Dataset | IterableDataset:
    """Tokenizes pairs into the features that a model is trained on.

    Args:
        dataset (`Dataset` or `IterableDataset`): String columns "source" and "target"; messages use the column "place"
            where there is one, else the row number.
        tokenizer (`PreTrainedTokenizerBase`): Called as `tokenizer(sources, text_target=targets)`.
        max_source_length, max_target_length (`int`, *optional*):
            Most tokens of a side, special tokens included; no limit by default.
        on_long (`str`): What happens to a pair with a longer side: "error" raises, "skip" leaves it out, "truncate"
            lets the tokenizer cut it. The last two log one warning at the end, with the count and the first places.

    Returns:
        `Dataset` or `IterableDataset`, as came in: `input_ids`, `attention_mask` and `labels`, lists of int without
        padding.

    Raises:
        DataError: a side is too long, or with "skip" all pairs are.
    """
    if on_long not in ("error", "skip", "truncate"):
        raise ValueError(f"on_long must be 'error', 'skip' or 'truncate', got {on_long!r}")
    limits = {"source": max_source_length, "target": max_target_length}
    for side, limit in limits.items():
        if limit is not None and limit < 2:
            raise ValueError(f"max_{side}_length must be at least 2, one token and the end of sentence, got {limit}")
    options = {"dataset": dataset, "tokenizer": tokenizer, "limits": limits, "on_long": on_long}
    return _build_dataset(_encoded_rows, options, ENCODED_FEATURES, isinstance(dataset, IterableDataset))


def _encoded_rows(dataset, tokenizer, limits: dict[str, int | None], on_long: str) -> Iterator[dict[str, list[int]]]:
    tally, total = Tally(), 0
    try:
        for pair, example in _tokenized(dataset, tokenizer):
            place = pair.get("place", f"row {total}")
            total += 1
            lengths = {"source": len(example["input_ids"]), "target": len(example["labels"])}
            long_sides = [side for side, limit in limits.items() if limit is not None and lengths[side] > limit]
            if long_sides and on_long == "error":
                raise DataError(_describe_long(place, long_sides[0], lengths, limits))
            if long_sides:
                tally.add(f"{' and '.join(long_sides)} too long", place)
            if long_sides and on_long == "truncate":
                example = _truncate(pair, tokenizer, limits)
            if not long_sides or on_long == "truncate":
                yield example
    finally:
        tally.warn("truncated" if on_long == "truncate" else "left out", total)
    if on_long == "skip" and total == sum(tally.counts.values()):
        raise DataError(f"no pair is left of {total}: {tally}. Raise max_source_length or max_target_length.")


def _tokenized(dataset, tokenizer) -> Iterator[tuple[dict[str, str], dict[str, list[int]]]]:
    """Yields each pair with its encoding. Fast tokenizers are fast on many texts at a time only."""
    for batch in dataset.iter(batch_size=32):
        encoded = tokenizer(batch["source"], text_target=batch["target"])
        for index in range(len(batch["source"])):
            pair = {name: column[index] for name, column in batch.items()}
            yield pair, {name: encoded[name][index] for name in ENCODED_FEATURES}


def _truncate(pair: dict[str, str], tokenizer, limits: dict[str, int | None]) -> dict[str, list[int]]:
    cut = {side: {"truncation": limit is not None, "max_length": limit} for side, limit in limits.items()}
    source = tokenizer(pair["source"], **cut["source"])
    target = tokenizer(text_target=pair["target"], **cut["target"])
    return {"input_ids": source.input_ids, "attention_mask": source.attention_mask, "labels": target.input_ids}


def _describe_long(place: str, side: str, lengths: dict[str, int], limits: dict[str, int | None]) -> str:
    return (
        f"{place}: the {side} has {lengths[side]} tokens, more than max_{side}_length={limits[side]}. Raise the limit, "
        "or choose on_long='skip' or on_long='truncate'."
    )


def group_references(pairs: Dataset) -> Dataset:
    """Returns one row for each source, with all its targets as references.

    Args:
        pairs (`Dataset`): String columns "source" and "target", as [`read_pairs`] gives them.

    Returns:
        `Dataset`: the sources in the order of their first rows, "target" of that row, and "references", the list of
        different targets.
    """
    groups: dict[str, dict[str, Any]] = {}
    for source, target in zip(pairs["source"], pairs["target"], strict=True):
        group = groups.setdefault(source, {"source": source, "target": target, "references": []})
        if target not in group["references"]:
            group["references"].append(target)
    return Dataset.from_list(list(groups.values()))


def pair_lengths(dataset: Dataset) -> list[int]:
    """Returns the number of tokens of the longer side of each encoded row, for [`TokenBatchSampler`]."""
    table = dataset.select_columns(["input_ids", "labels"]).with_format("arrow")[:]
    sides = [pc.list_value_length(table[name]) for name in ("input_ids", "labels")]
    return pc.max_element_wise(*sides).to_pylist()


class TokenBatchSampler(Sampler[list[int]]):
    """Batches rows of similar length, limited by tokens instead of rows: for `DataLoader(dataset, batch_sampler=...)`.

    1. The rows are shuffled, then sorted by length; rows of the same length stay shuffled.
    2. The sorted rows are cut greedily, so that rows times longest length is at most `tokens_per_batch`.
    3. The batches are shuffled.

    Every row comes once an epoch. The order depends on `seed` and the epoch alone, so all processes agree on it and a
    run that resumes in the middle of an epoch finds the same batches. The cuts depend on the sorted lengths alone, so
    the number of batches is the same in every epoch, which the Trainer takes for granted.

    What to choose: memory grows with `tokens_per_batch` and not with the longest sentence of a chance batch; the
    logits alone take `tokens_per_batch` x vocabulary x 4 bytes, and their gradient the same again. A larger value
    runs faster and averages more sentences into fewer updates an epoch, so the learning rate has to follow. Sorting
    saves nearly all padding, but the sentences of a batch are alike, many when short and few when long, so that
    gradients vary more from batch to batch than with plain shuffling; very large batches and very few sentences of a
    length make it worse.

    Under `accelerate`, keep `even_batches=True` (its default, and the Trainer's): the processes take turns, and if
    the last turn is short, the first batches of the epoch are seen twice so that nobody waits. `batch_size` is None
    and `drop_last` False because accelerate reads them. When a run resumes in the middle of an epoch under several
    processes, the sampler is wrapped twice and neither library reaches `set_epoch`: whoever builds the loader calls it
    at the beginning of each epoch.

    Args:
        lengths (`Sequence[int]`): The length of each row with which it counts, in tokens; see [`pair_lengths`].
        tokens_per_batch (`int`): Most tokens of a batch, padding included, on one process.
        seed (`int`): Starting point of the shuffling.

    Raises:
        ValueError: no rows, or a row that is longer than a whole batch.
    """

    batch_size = None
    drop_last = False

    def __init__(self, lengths: Sequence[int], tokens_per_batch: int, *, seed: int = 0):
        self.lengths = np.asarray(lengths)
        if self.lengths.size == 0:
            raise ValueError("expected the lengths of at least one row, got none")
        longest = int(self.lengths.argmax())
        if self.lengths[longest] > tokens_per_batch:
            raise ValueError(
                f"row {longest} has {self.lengths[longest]} tokens, more than tokens_per_batch={tokens_per_batch}. "
                "Raise it, or limit the length with encode_pairs(max_source_length=..., max_target_length=...)."
            )
        self.cuts = _cuts(np.sort(self.lengths).tolist(), tokens_per_batch)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int):
        """Chooses the order of the next pass; accelerate and the Trainer call it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.cuts) + 1

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        batches = np.split(order, self.cuts)
        for index in generator.permutation(len(batches)):
            yield batches[index].tolist()


def _cuts(sorted_lengths: list[int], tokens_per_batch: int) -> list[int]:
    """Returns the rows at which a new batch begins. As lengths rise, the newest row is the longest of its batch."""
    cuts, start = [], 0
    for index, length in enumerate(sorted_lengths):
        if (index - start + 1) * length > tokens_per_batch:
            cuts.append(index)
            start = index
    return cuts
