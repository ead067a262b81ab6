# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end, with a corpus and a recipe small enough for a test."""

import json

import pytest

from hf_rnn_attn.demo import demo
from hf_rnn_attn.training.recipe import load_recipe


@pytest.fixture
def small_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TRAIN", 300)
    monkeypatch.setattr(demo, "VALIDATION", 20)
    monkeypatch.setattr(demo, "TEST", 30)
    monkeypatch.setattr(demo, "load_recipe", lambda path, overrides: load_recipe(path, [*overrides, *SMALL]))
    return tmp_path / "demo"


SMALL = ["training.num_train_epochs=1", "model.encoder_hidden_size=16", "model.decoder_hidden_size=32"]


def test_the_demo_leaves_corpus_checkpoint_scores_and_picture(small_demo, capsys):
    exact = demo.run_demo(small_demo)
    splits = {name: (small_demo / f"{name}.tsv").read_text("utf-8").splitlines() for name in ("train", "test")}
    assert (len(splits["train"]), len(splits["test"])) == (300, 30)
    assert not {line.partition("\t")[2] for line in splits["train"]} & {
        line.partition("\t")[2] for line in splits["test"]
    }
    results = json.loads((small_demo / "model/results.json").read_text("utf-8"))
    assert results["scores"]["held_out"]["exact_match"]["score"] == exact
    assert (small_demo / "model/model.safetensors").is_file()
    assert (small_demo / "attention.png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert str(small_demo / "attention.png") in printed
    assert all(text in printed for text in demo.EXAMPLES)
    before = {file: file.stat().st_mtime_ns for file in small_demo.rglob("*")}
    with pytest.raises(ValueError, match="holds an earlier demo; remove it, or choose another folder"):
        demo.run_demo(small_demo)
    assert {file: file.stat().st_mtime_ns for file in small_demo.rglob("*")} == before
