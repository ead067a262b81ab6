# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""LoRA on linear layers and recurrent weights: training, saving, loading, merging; and the example of the docs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import SOURCES, TARGETS, make_model, mask_of, pad

import hf_rnn_attn_cli


peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")

ROOT = Path(__file__).parents[1]
INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
RECURRENT = [
    "recurrence.layers.0.weight_hh_l0",
    "recurrence.layers.0.weight_ih_l0",
    "encoder.layers.0.weight_hh_l0",
    "encoder.layers.0.weight_ih_l0_reverse",
]


def base_model(**options):
    torch.manual_seed(0)
    return make_model(**options).float()


def adapted_model(**options):
    settings = {"target_modules": ["memory_projection", "combine"], "target_parameters": RECURRENT}
    return peft.get_peft_model(base_model(**options), peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, **settings))


def train(model, steps=5):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.05)
    losses = []
    for _ in range(steps):
        losses.append(model(**INPUTS).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    return losses


OPTIONS = [{}, {"input_feeding": False}, {"encoder_cell_type": "gru", "decoder_cell_type": "gru"}]
TIED = {"attentional_size": 6, "tie_word_embeddings": True}


@pytest.mark.parametrize("options", OPTIONS + [TIED], ids=str)
def test_an_adapter_trains_saves_loads_and_merges(options, tmp_path):
    model = adapted_model(**options)
    losses = train(model)
    assert losses[-1] < losses[0]
    # every adapted weight takes part: B starts at zero and moves only where a gradient arrives
    moved = {name: p.abs().max() > 0 for name, p in model.named_parameters() if "lora_B" in name}
    assert len(moved) == 6 and all(moved.values())
    model.eval().save_pretrained(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(base_model(**options), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = model(**INPUTS).logits
        torch.testing.assert_close(loaded(**INPUTS).logits, expected)
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(**INPUTS).logits, expected)
        assert not torch.allclose(base_model(**options)(**INPUTS).logits, expected, atol=1e-3)
    # peft compares the output layer with the source embeddings and takes a model tied on the target side for untied
    merged.config.tie_word_embeddings = bool(options.get("tie_word_embeddings"))
    merged.save_pretrained(tmp_path / "merged")
    again = type(merged).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(again(**INPUTS).logits, expected)


def test_generation_with_an_adapter_equals_the_merged_model():
    model = adapted_model()
    train(model)
    source = {name: INPUTS[name] for name in ("input_ids", "attention_mask")}
    words = model.eval().generate(**source, max_length=8)
    assert words.tolist() == model.merge_and_unload().generate(**source, max_length=8).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["peft.md", "export.md"])
def test_the_examples_of_the_docs_run(page, tmp_path):
    if page == "export.md":
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
        assert hf_rnn_attn_cli.main(["export", "de-en", str(tmp_path / "onnx-de-en"), "--int8"]) == 0
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        ran = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
