# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Int8 models against the float32 models that they came from."""

import copy
import math

import pytest
import torch
from small_models import CELLS, SOURCES, TARGETS, make_model, mask_of, pad
from torch import nn

from hf_rnn_attn.inference.quantization import Int8Layer, Int8Linear, load_quantized, quantize, save_quantized


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "decoder_input_ids": pad(TARGETS, 0)}
OPTIONS = [
    {},
    {"decoder_layers": 2, "encoder_layers": 2, "input_feeding": False},
    {"attention_score": "concat", "attention_span": "local-p", "decoder_layers": 2},
    {"attention_score": "none"},
    {"attentional_size": 6, "encoder_embedding_size": 6, "tie_word_embeddings": True}
    | {"share_encoder_decoder_embeddings": True},
]


def small_model(**options):
    return make_model(initializer_range=0.3, **options).float()


def test_weights_are_rounded_to_127_steps_a_row():
    layer = Int8Linear(torch.tensor([[1.27, -0.64, 0.004], [0.0, 0.0, 254.0]]), torch.tensor([0.5, 0.0]))
    assert layer.weight.tolist() == [[127, -64, 0], [0, 0, 127]]
    torch.testing.assert_close(layer.scale, torch.tensor([0.01, 2.0]))
    torch.testing.assert_close(layer(torch.tensor([[1.0, 0.0, 0.0]])), torch.tensor([[1.77, 0.0]]))


def test_a_linear_layer_is_near_to_the_one_it_replaces():
    layer, inputs = nn.Linear(64, 32), torch.randn(10, 64)
    expected = layer(inputs)
    error = (Int8Linear(layer.weight, layer.bias)(inputs) - expected).abs().max()
    assert 0 < error < 0.05 * expected.abs().max()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_an_encoder_layer_is_near_to_the_one_it_replaces(kind, bidirectional):
    layer = kind(16, 8, batch_first=True, bidirectional=bidirectional)
    inputs, quantized = torch.randn(3, 6, 16), Int8Layer(layer)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor([2, 6, 4]), True, enforce_sorted=False)
    for batch in (inputs, packed):
        (actual, actual_state), (expected, state) = quantized(batch), layer(batch)
        if batch is packed:
            actual, expected = actual.data, expected.data
        torch.testing.assert_close(actual, expected, atol=0.03, rtol=0)
        for left, right in zip(torch.atleast_3d(*actual_state), torch.atleast_3d(*state), strict=True):
            torch.testing.assert_close(left, right, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "options", OPTIONS + [{"encoder_cell_type": c, "decoder_cell_type": c} for c in CELLS], ids=str
)
def test_logits_are_near_and_not_equal(options):
    model = small_model(**options)
    with torch.no_grad():
        expected = model(**INPUTS).logits
        actual = quantize(copy.deepcopy(model))(**INPUTS).logits
    error = (actual - expected).abs().max()
    assert 0 < error < 0.1 * expected.abs().max()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_saving_and_loading_changes_nothing(options, tmp_path):
    model = quantize(small_model(**options))
    model.generation_config.max_length = 9
    save_quantized(model, tmp_path)
    loaded = load_quantized(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(**INPUTS).logits, model(**INPUTS).logits)
    assert loaded.generation_config.max_length == 9
    shared = loaded.model.encoder.embed_tokens.weight is loaded.model.decoder.embed_tokens.weight
    assert shared == bool(options.get("share_encoder_decoder_embeddings"))


def test_the_file_is_a_quarter_of_the_size_without_the_embeddings(tmp_path):
    model = small_model(encoder_hidden_size=64, decoder_hidden_size=128, attentional_size=128)
    model.save_pretrained(tmp_path / "float32")
    save_quantized(quantize(model), tmp_path / "int8")
    sizes = [(tmp_path / name).stat().st_size for name in ("int8/int8.safetensors", "float32/model.safetensors")]
    assert math.isclose(sizes[0] / sizes[1], 0.25, abs_tol=0.05)


@pytest.mark.parametrize("beams", [1, 3])
def test_generate_with_a_cache_equals_the_uncached_forward(beams):
    model = quantize(small_model(decoder_layers=2))
    source = {name: INPUTS[name] for name in ("input_ids", "attention_mask")}
    outputs = model.generate(**source, num_beams=beams, max_length=8)
    assert outputs.shape[0] == 2
    if beams == 1:
        one = {name: tensor[:1] for name, tensor in source.items()}
        words = torch.tensor([[1]])
        for _ in range(outputs.shape[1] - 1):
            step = model(**one, decoder_input_ids=words, use_cache=False).logits[:, -1].argmax(-1)
            words = torch.cat([words, step.unsqueeze(0)], 1)
        assert words[0, :3].tolist() == outputs[0, :3].tolist()


def test_what_cannot_be_quantised_is_refused(tmp_path):
    with pytest.raises(ValueError, match="float32 model on the CPU, got torch.float64"):
        quantize(make_model())
    with pytest.raises(ValueError, match="not quantised"):
        save_quantized(small_model(), tmp_path)
