# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translates files on a Ray cluster, to change as one likes: rows in, rows out, by Ray Data's own means.

    python scripts/examples/ray_translate.py "s3://bucket/part-*.parquet" s3://bucket/translated --column text

`hf-rnn-attn translate --ray` does the same, and also refuses to mix two jobs.
"""

import argparse

import ray
from ray.data.checkpoint import CheckpointConfig

from hf_rnn_attn import BUNDLED
from hf_rnn_attn.inference.cluster import ROW_ID, Translator, pool, read_rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="pattern of Parquet, JSONL or text files")
    parser.add_argument("output", help="folder that every machine can write")
    parser.add_argument("--model", default=str(BUNDLED["de", "en"]))
    parser.add_argument("--column", default="text")
    parser.add_argument("--address", default="auto")
    arguments = parser.parse_args()
    ray.init(arguments.address)
    # a second start leaves out the rows that are written
    ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(ROW_ID, f"{arguments.output}.rows")
    rows = read_rows(arguments.input, arguments.column)
    rows = rows.map_batches(Translator, **pool({"model": arguments.model}, arguments.column))
    rows.write_parquet(arguments.output, min_rows_per_file=2**16)


if __name__ == "__main__":
    main()
