# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What docs/guides/inspection-tools.md shows of other tools is so, where a tool is installed."""

import pytest
import torch
from documentation import ROOT, blocks_of
from transformers import pipeline

from hf_rnn_attn import BUNDLED


PAGE = (ROOT / "docs/guides/inspection-tools.md").read_text("utf-8")
SENTENCE = "Der Hund schläft im Garten."


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the block of a tool; returns its names."""

    def run_block(tool):
        pytest.importorskip(tool, reason=f"{tool} is no dependency of the tests")
        monkeypatch.chdir(tmp_path)
        (section,) = [part for part in PAGE.split("\n## ") if part.startswith(tool)]
        ((_, block),) = blocks_of(section)
        names = {}
        exec(compile(block, "the page", "exec"), names)
        return names

    return run_block


# it leaves its own files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_bertviz_draws_the_cross_attention(run, tmp_path):
    run("bertviz")
    assert "Hund" in (tmp_path / "bertviz.html").read_text("utf-8")


def test_integrated_gradients_add_up(run):
    names = run("captum")
    embeddings, parts = names["embeddings"], names["parts"].sum(-1)[0]
    with torch.no_grad():
        rise = names["score"](embeddings, 1) - names["score"](torch.zeros_like(embeddings), 1)
    assert names["missing"].abs().max() < 1e-4
    assert parts.sum().item() == pytest.approx(rise.item(), abs=1e-4)
    assert parts.argmax() == 1  # Hund


def test_inseq_shows_gradients_and_the_attention_of_the_pipeline(run):
    names = run("inseq")
    shares, weights = (names[name].sequence_attributions[0] for name in ("shares", "weights"))
    assert shares.source_attributions.shape[:2] == (7, 9) and shares.target_attributions.shape[:2] == (10, 9)
    translator = pipeline("translation", model=BUNDLED["de", "en"], device="cpu")
    attention = torch.tensor(translator(SENTENCE, output_attentions=True)[0]["attention"])
    torch.testing.assert_close(weights.source_attributions[..., 0, 0].T, attention, atol=1e-5, rtol=1e-4)
