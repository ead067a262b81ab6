# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The report of finished runs: its table by hand, and what its pictures show."""

import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def results_report(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import results_report

    return results_report


def write_run(folder, scores, losses):
    folder.mkdir()
    results = {"parameters": 1200, "steps": 30, "train_seconds": 90.0, "scores": scores}
    (folder / "results.json").write_text(json.dumps(results))
    log = [{"epoch": epoch, "eval_loss": loss} for epoch, loss in enumerate(losses, 1)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"epoch": 0.5, "loss": 9.0}, *log]}))


def test_runs_become_a_table_and_pictures(results_report, tmp_path, monkeypatch, capsys):
    by_length = [{"length": "1-8", "count": 3, "score": 50.0}, {"length": "9+", "count": 0, "score": None}]
    first = {"validation": {"sacrebleu": {"score": 40.126}, "by_length": by_length}}
    write_run(tmp_path / "first", first, [3.0, 2.5])
    write_run(tmp_path / "second", {"validation": {"sacrebleu": {"score": 39.0}}, "test": {"cer": {"score": 1}}}, [])
    arguments = ["results_report", *(str(tmp_path / name) for name in ("first", "second")), "--pictures", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    results_report.main()
    assert capsys.readouterr().out.splitlines() == [
        "| run | parameters | steps | minutes | validation sacrebleu | test cer |",
        "| --- | --: | --: | --: | --: | --: |",
        "| first | 1,200 | 30 | 2 | 40.13 |  |",
        "| second | 1,200 | 30 | 2 | 39.00 | 1.00 |",
    ]
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("learning.png", "length.png"))


def test_curves_are_those_of_the_logs(results_report):
    log = {"log_history": [{"epoch": 1, "loss": 9}, {"epoch": 1, "eval_loss": 3.0}, {"epoch": 2, "eval_loss": 2.5}]}
    (line,) = results_report.draw_learning({"a": log}).axes[0].get_lines()
    assert line.get_xydata().tolist() == [[1, 3.0], [2, 2.5]]
    rows = [{"length": "1-8", "score": 50.0}, {"length": "9+", "score": 40.0}]
    (line,) = results_report.draw_lengths({"a": {"scores": {"test": {"by_length": rows}}}}, "test").axes[0].get_lines()
    assert line.get_ydata().tolist() == [50.0, 40.0]
