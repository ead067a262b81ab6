# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The ways in which the library loads, places and compiles a model."""

import json

import pytest
import torch
from small_models import SOURCES, TARGETS, gradients, make_model, mask_of, pad
from transformers import AutoModelForSeq2SeqLM

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}


@pytest.fixture
def model():
    return make_model(encoder_layers=2, decoder_layers=2, attention_score="concat").float()


def test_sharded_weights(model, tmp_path):
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**INPUTS).logits, model(**INPUTS).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_data_types(model, tmp_path, dtype):
    model.to(dtype).save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype="auto")
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    outputs = loaded(**INPUTS)
    assert outputs.logits.dtype == dtype and outputs.loss.isfinite()
    other = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(other(**INPUTS).logits, outputs.logits.float(), atol=0.1, rtol=0)
    for options in ({}, {"num_beams": 3}, {"num_beams": 3, "repetition_penalty": 1.1}):
        assert loaded.generate(INPUTS["input_ids"], max_new_tokens=4, **options).shape[0] == 2


@pytest.mark.parametrize(
    "device_map",
    [
        "auto",
        {"": "cpu"},
        {"model.encoder": "disk", "model.decoder": "cpu", "lm_head": "cpu"},
        {"model.encoder": "cpu", "model.decoder": "disk", "lm_head": "disk"},
    ],
    ids=["auto", "cpu", "encoder on disk", "decoder on disk"],
)
def test_device_maps(model, tmp_path, device_map):
    model.save_pretrained(tmp_path / "model")
    offload = {"offload_folder": tmp_path / "offloaded"}
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model", device_map=device_map, **offload)
    on_disk = {name for name, parameter in loaded.named_parameters() if parameter.device.type == "meta"}
    assert bool(on_disk) == ("disk" in str(device_map))
    torch.testing.assert_close(loaded(**INPUTS).logits, model(**INPUTS).logits)
    for beams in (1, 3):
        arguments = {"attention_mask": INPUTS["attention_mask"], "max_new_tokens": 6, "num_beams": beams}
        expected = model.generate(INPUTS["input_ids"], **arguments)
        assert torch.equal(loaded.generate(INPUTS["input_ids"], **arguments), expected)


def test_a_model_made_on_the_meta_device_holds_no_memory():
    with torch.device("meta"):
        model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=12))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize("options", [{}, {"input_feeding": False}], ids=str)
def test_a_compiled_model_computes_the_same(options):
    model = make_model(**options)
    expected = model(**INPUTS)
    expected_gradients = gradients(model, expected.loss)
    torch.compiler.reset()
    outputs = torch.compile(model, backend="eager")(**INPUTS)
    torch.testing.assert_close(outputs.logits, expected.logits)
    for name, gradient in gradients(model, outputs.loss).items():
        torch.testing.assert_close(gradient, expected_gradients.pop(name))
    assert not expected_gradients


def test_a_compiled_forward_pass_generates_the_same():
    model = make_model()
    expected = model.generate(INPUTS["input_ids"], max_new_tokens=4)
    torch.compiler.reset()
    model.forward = torch.compile(model.forward, backend="eager", dynamic=True)
    assert torch.equal(model.generate(INPUTS["input_ids"], max_new_tokens=4), expected)
