# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation of files by the machines of a Ray cluster, which goes on where it stopped.

Ray Data reads, shares out, starts again what is lost, writes, and keeps which rows are written. This file knows how
files become rows with ids that stay, and how an actor translates them. It needs the extra `ray`.
"""

import contextlib
import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from fsspec.core import OpenFile, get_compression, url_to_fs
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.data.checkpoint import CheckpointConfig
from ray.exceptions import RayError

from ..model.pipeline_rnn_attn import translation_pipeline
from .bulk import WINDOW_LINES, cut_long_lines, read_lines, translate_lines
from .loading import load_model
from .quantization import quantize


ROW_ID, TRANSLATION = "row_id", "translation"
# of a file
MOST_ROWS = 2**40
# of a file that is written
ROWS_PER_SHARD = 16 * WINDOW_LINES


def translate_files(
    pattern: str, output: str, *, settings: dict[str, Any], column: str = "text", rows_per_shard: int = ROWS_PER_SHARD
):
    """Translates files by all machines of the cluster that Ray is connected with.

    Every row comes out once, whatever fails on the way: Ray computes again what an actor or a machine has lost, and a
    second call goes on where the first one stopped. Until all is written, `OUTPUT.partial` says which rows are.

    Args:
        pattern (`str`): the files to read, as [`read_rows`] takes them.
        output (`str`): the folder to write, on a file system that every machine sees.
        settings (`dict`): the arguments of [`Translator`].
        column (`str`): holds the text to translate; of a text file it is "text".
        rows_per_shard (`int`): the least rows of a Parquet file that is written, the last ones apart.

    Raises:
        ValueError: rows that cannot be read, a folder that holds something else, a cluster of one CPU.
    """
    filesystem, folder = url_to_fs(output)
    partial, about = f"{folder}.partial", {"files": _describe(pattern), "column": column, **settings}
    if _read_about(filesystem, partial) is None and filesystem.exists(folder) and filesystem.ls(folder):
        raise ValueError(f"{output}: expected a folder to write, got one that holds files; choose another")
    if _read_about(filesystem, partial) not in (None, about):
        raise ValueError(
            f"{output}: its rows are of other files, or another model or option; remove it and {partial}, or choose "
            "another folder"
        )
    filesystem.makedirs(partial, exist_ok=True)
    filesystem.pipe_file(f"{partial}/about.json", json.dumps(about).encode())
    context, arrow = DataContext.get_current(), PyFileSystem(FSSpecHandler(filesystem))
    context.checkpoint_config = CheckpointConfig(
        ROW_ID, f"{partial}/rows", override_filesystem=arrow, delete_checkpoint_on_success=False
    )
    try:
        rows = read_rows(pattern, column).map_batches(Translator, **pool(settings, column))
        rows.write_parquet(folder, filesystem=arrow, min_rows_per_file=rows_per_shard)
    except RayError as error:
        raise _user_error(error) from error
    finally:
        context.checkpoint_config = None
    filesystem.rm(partial, recursive=True)


def _describe(pattern: str) -> list[list[Any]]:
    filesystem, files = _find_files(pattern)
    return [[file, filesystem.size(file)] for file in files]


def _read_about(filesystem: Any, partial: str) -> Any:
    with contextlib.suppress(FileNotFoundError):
        return json.loads(filesystem.cat_file(f"{partial}/about.json"))
    return None


def _user_error(error: BaseException) -> Exception:
    """Returns what was wrong with a file where that has stopped the cluster, and else Ray's own words."""
    cause: Any = error
    while cause is not None and not (isinstance(cause, ValueError | OSError) and not isinstance(cause, RayError)):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause or OSError(f"the cluster failed; the same command goes on where it stopped: {error}")


def read_rows(pattern: str, column: str = "text") -> Dataset:
    """Returns the rows of files, with a number of each that stays: 2⁴⁰ times that of its file, from 0, plus its own.

    Args:
        pattern (`str`):
            Of paths that fsspec knows, such as `s3://bucket/part-*.parquet`: Parquet files, `.jsonl` files, or, with
            any other suffix, text files of one sentence a line, packed or not.
        column (`str`): has to be there.
    """
    filesystem, files = _find_files(pattern)
    rows = ray.data.read_datasource(_Files(filesystem, files, column), override_num_blocks=len(files))
    return rows.repartition(target_num_rows_per_block=WINDOW_LINES)


def _find_files(pattern: str) -> tuple[Any, list[str]]:
    filesystem, path = url_to_fs(pattern)
    files = sorted(file for file in filesystem.glob(path) if filesystem.isfile(file))
    if not files:
        raise FileNotFoundError(f"{pattern}: no such file")
    return filesystem, files


class _Files(Datasource):
    """Reads each file by itself; Ray filters the rows that were written by then right behind it."""

    def __init__(self, filesystem: Any, files: list[str], column: str):
        super().__init__()
        self.filesystem, self.files, self.column = filesystem, files, column

    def estimate_inmemory_data_size(self) -> int:
        return sum(self.filesystem.size(file) for file in self.files)

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None):
        return [
            ReadTask(
                functools.partial(_read_file, self.filesystem, file, number, self.column),
                BlockMetadata(num_rows=None, size_bytes=self.filesystem.size(file), exec_stats=None),
            )
            for number, file in enumerate(self.files)
        ]


def _read_file(filesystem: Any, file: str, number: int, column: str) -> Iterator[pa.Table]:
    row = number * MOST_ROWS
    with OpenFile(filesystem, file, compression=get_compression(file, "infer")) as stream:
        for table in _tables(stream, file):
            missing = {column} - set(table.column_names)
            taken = {ROW_ID, TRANSLATION} & set(table.column_names)
            if missing or taken:
                raise ValueError(
                    f"{file}: expected a column {column!r}, and none that is called {ROW_ID!r} or {TRANSLATION!r}; got "
                    f"{', '.join(table.column_names)}"
                )
            yield table.append_column(ROW_ID, pa.array(range(row, row + len(table)), pa.int64()))
            row += len(table)


def _tables(stream: Any, file: str) -> Iterator[pa.Table]:
    suffixes = PurePosixPath(file).suffixes
    if ".parquet" in suffixes:
        try:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=WINDOW_LINES):
                yield pa.Table.from_batches([batch])
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file}: not a Parquet file, or a damaged one ({error})") from error
        return
    lines = read_lines(stream, file)
    first = 1
    while window := list(itertools.islice(lines, WINDOW_LINES)):
        if ".jsonl" in suffixes:
            yield pa.Table.from_pylist([_parse(line, file, number) for number, line in enumerate(window, first)])
        else:
            yield pa.table({"text": window})
        first += len(window)


def _parse(line: str, file: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{file}:{number}: malformed JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"{file}:{number}: expected a JSON object, got {line:.100}")
    return record


def pool(settings: dict[str, Any], column: str = "text") -> dict[str, Any]:
    """Returns the arguments of `map_batches` for as many translators as the cluster has room for.

    They take a GPU each where there are some, and else a CPU each but for one, which reads and writes.
    """
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    device = "cpu" if settings.get("int8") or not gpus else "cuda"
    if cpus < 2:
        raise ValueError(f"expected a cluster of at least 2 CPUs, of which one reads and writes; it has {cpus}")
    return {
        "fn_constructor_kwargs": {**settings, "column": column, "device": device},
        "compute": ActorPoolStrategy(min_size=1, max_size=gpus if device == "cuda" else cpus - 1),
        "batch_size": WINDOW_LINES,
        "batch_format": "pyarrow",
        "num_gpus" if device == "cuda" else "num_cpus": 1,
    }


class Translator:
    """What an actor does: loads the model, once, and translates batches of rows.

    Args:
        model (`str`): checkpoint folder or Hub id, which every machine can read.
        device (`str`): "cuda" translates in bf16, "cpu" with weights of 8 bits.
        column (`str`): holds the text.
        beams (`int`, *optional*): default: what the checkpoint says.
        int8 (`bool`): on CPUs also where the cluster has GPUs; see [`pool`].
        tokens_per_batch (`int`): most source tokens at a time.
        max_characters (`int`): what is longer is cut.
    """

    def __init__(
        self,
        model: str,
        device: str = "cpu",
        column: str = "text",
        beams: int | None = None,
        int8: bool = False,
        tokens_per_batch: int = 1024,
        max_characters: int = 10_000,
    ):
        self.column, self.tokens_per_batch, self.max_characters = column, tokens_per_batch, max_characters
        loaded, tokenizer = load_model(model, dtype="float32" if device == "cpu" else "bfloat16")
        options = {} if beams is None else {"num_beams": beams}
        self.translator = translation_pipeline(model=loaded, tokenizer=tokenizer, device=device, **options)
        if device == "cpu":
            quantize(self.translator.model)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Returns the rows with their translations; a row without text has an empty one."""
        texts: Sequence[str | None] = batch[self.column].to_pylist()
        lines = cut_long_lines((text or "" for text in texts), self.max_characters, self.column)
        windows = translate_lines(lines, self.translator, self.tokens_per_batch)
        return batch.append_column(TRANSLATION, pa.array(itertools.chain.from_iterable(windows), pa.string()))
