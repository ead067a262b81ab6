# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the reader of recipes: any bytes are a recipe, or refused in one line.

python tests/fuzz/fuzz_recipe.py -max_total_time=1800 -rss_limit_mb=4096 -timeout=20
"""

import sys
import tempfile
from pathlib import Path

import atheris


with atheris.instrument_imports(include=["hf_rnn_attn.training.recipe", "yaml"]):
    from hf_rnn_attn.training.recipe import _SECTIONS, load_recipe


FOLDER = Path(tempfile.mkdtemp())
RECIPE = FOLDER / "recipe.yaml"
(FOLDER / "base.yaml").write_text("data: {train: t.tsv}\ntraining: {output_dir: o}\n")
KEYS = [f"{section}.{key}" for section, schema in _SECTIONS.items() for key in schema.model_fields]


def one_input(data: bytes):
    provider = atheris.FuzzedDataProvider(data)
    overrides = []
    if provider.ConsumeBool():
        overrides.append(f"{provider.PickValueInList(KEYS)}={provider.ConsumeUnicode(30)}")
    prefix = b"base: base.yaml\n" if provider.ConsumeBool() else b""
    RECIPE.write_bytes(prefix + provider.ConsumeBytes(provider.remaining_bytes()))
    try:
        load_recipe(RECIPE, overrides)
    except (ValueError, FileNotFoundError) as error:
        if "\n" in str(error) or isinstance(error, UnicodeError):
            raise RuntimeError(f"a refusal of several lines, or without a place: {error!r}") from error


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
