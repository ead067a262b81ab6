# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The programs of scripts/examples run, for a few steps, and are short."""

import runpy
import sys

import pytest
from documentation import ROOT


# that of Ray needs a cluster, and does what tests/test_cluster.py tests
EXAMPLES = sorted(
    set((ROOT / "scripts" / "examples").glob("*.py")) - {ROOT / "scripts" / "examples" / "ray_translate.py"}
)


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(program), "--steps", "2", "--output", str(tmp_path / "out")])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(program), run_name="__main__")
    assert "translation_text" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_there_are_five():
    assert [path.stem for path in EXAMPLES] == ["dates", "fine_tune", "inflection", "pronunciation", "transliteration"]
