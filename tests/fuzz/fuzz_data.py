# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the readers of parallel text: any bytes are pairs of clean texts, or refused in one line with the file.

python tests/fuzz/fuzz_data.py -max_total_time=1800 -rss_limit_mb=4096 -timeout=20
"""

import bz2
import gzip
import io
import logging
import lzma
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris
import pyarrow as pa
import pyarrow.parquet as pq


with atheris.instrument_imports(include=["hf_rnn_attn.data", "hf_rnn_attn.packed"]):
    from hf_rnn_attn.data import READERS, Columns, DataError, _good_rows
from hf_rnn_attn.packed import OPENERS
from hf_rnn_attn.tokenization import squeeze


FOLDER = Path(tempfile.mkdtemp())
NAMES = [f"x.{name}{packed}" for name in READERS for packed in ("", *OPENERS)] + ["aligned", "whole"]
COLUMNS = [(), (1, 2), (2, 4), (1, 2, 3), ("source", "target"), ("a", "b"), ("source", "target", "a")]
UNIT = '<tu><tuv xml:lang="source"><seg>a <ph>b</ph></seg></tuv><tuv xml:lang="target-C"><seg>&amp;</seg></tuv></tu>'


def whole_files() -> dict[str, bytes]:
    """Returns files of which a few bytes are damaged: any other bytes do not get far in their readers."""
    table, archive = io.BytesIO(), io.BytesIO()
    pq.write_table(pa.table({"source": ["a", "b"], "target": ["c", None]}), table)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("README", "c.source", "c.target", "x.tsv"):
            file.writestr(name, "a\tb\n")
    memory = f"<tmx><body>{UNIT}</body></tmx>".encode()
    packed = {f"x.tsv.{kind}": pack(b"a\tb\n") for kind, pack in PACKERS.items()}
    return {"x.parquet": table.getvalue(), "x.zip": archive.getvalue(), "x.tmx": memory, **packed}


PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
WHOLE = whole_files()


def one_input(data: bytes):
    provider = atheris.FuzzedDataProvider(data)
    name, columns = provider.PickValueInList(NAMES), provider.PickValueInList(COLUMNS)
    on_bad_rows = provider.PickValueInList(["error", "skip"])
    if name == "whole":
        name = provider.PickValueInList(list(WHOLE))
        place = provider.ConsumeIntInRange(0, len(WHOLE[name]) - 1)
        damage = provider.ConsumeBytes(8)
        content = WHOLE[name][:place] + damage + WHOLE[name][place + len(damage) :]
    else:
        content = provider.ConsumeBytes(provider.remaining_bytes())
    (FOLDER / name).write_bytes(content)
    corpus = {"source": FOLDER / name, "target": FOLDER / name} if name == "aligned" else FOLDER / name
    try:
        rows = list(_good_rows((corpus,), on_bad_rows, **options(columns)))
    except DataError as error:
        if "\n" in str(error) or str(FOLDER) not in str(error):
            raise RuntimeError(f"a refusal of several lines, or without its file: {error!r}") from error
        return
    for row in rows:
        assert row["source"] == squeeze(row["source"]) != "" and row["target"] == squeeze(row["target"]) != ""


def options(columns):
    return {"columns": Columns(*columns), "features_separator": ";", "file_format": None, "streaming": False}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
