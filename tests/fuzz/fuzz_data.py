# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the readers of parallel text: any bytes are pairs of clean texts, or refused in one line with the file.

python tests/fuzz/fuzz_data.py -max_total_time=1800 -rss_limit_mb=4096 -timeout=20
"""

import io
import logging
import sys
import tempfile
from pathlib import Path

import atheris
import pyarrow as pa
import pyarrow.parquet as pq


with atheris.instrument_imports(include=["hf_rnn_attn.data"]):
    from hf_rnn_attn.data import READERS, DataError, _good_rows
from hf_rnn_attn.tokenization import squeeze


FOLDER = Path(tempfile.mkdtemp())
NAMES = [f"x.{name}{packed}" for name in READERS for packed in ("", ".gz")] + ["aligned", "parquet"]
COLUMNS = [(None, None), (1, 2), (2, 4), ("source", "target"), ("a", "b")]
BUFFER = io.BytesIO()
pq.write_table(pa.table({"source": ["a", "b"], "target": ["c", None]}), BUFFER)
PARQUET = BUFFER.getvalue()


def one_input(data: bytes):
    provider = atheris.FuzzedDataProvider(data)
    name, columns = provider.PickValueInList(NAMES), provider.PickValueInList(COLUMNS)
    on_bad_rows = provider.PickValueInList(["error", "skip"])
    if name == "parquet":
        # a file whose head and foot are right
        place, name = provider.ConsumeIntInRange(0, len(PARQUET) - 1), "x.parquet"
        damage = provider.ConsumeBytes(8)
        content = PARQUET[:place] + damage + PARQUET[place + len(damage) :]
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
    return {"source_column": columns[0], "target_column": columns[1], "file_format": None, "streaming": False}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
