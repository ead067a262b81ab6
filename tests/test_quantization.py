# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Int8 models against the float32 models that they came from."""

import copy
import math

import pytest
import safetensors.torch
import torch
from small_models import CELLS, SOURCES, TARGETS, make_model, mask_of, pad
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import hf_rnn_attn
from hf_rnn_attn.inference.quantization import (
    WEIGHTS_NAME,
    Int8Layer,
    Int8Linear,
    load_quantized,
    quantize,
    save_quantized,
)


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


def test_the_product_without_the_kernel_is_the_same(monkeypatch):
    layer, inputs = Int8Linear(torch.randn(7, 33), torch.randn(7)), torch.randn(5, 33)
    expected = layer(inputs)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    layer.pack()
    assert layer.product.packed is None
    assert torch.equal(layer(inputs), expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_an_encoder_layer_is_near_to_the_one_it_replaces(kind, bidirectional):
    layer = kind(16, 8, batch_first=True, bidirectional=bidirectional)
    inputs, quantized = torch.randn(3, 6, 16), Int8Layer(layer)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor([2, 6, 4]), True, enforce_sorted=False)
    for batch in (inputs, packed):
        (actual, actual_state), (expected, state) = quantized(batch), layer(batch)
        if batch is packed:
            actual, expected = actual.data, expected.data
        # half a step (1/128) of 8 states with weights of up to 8 ** -0.5 each, and as much from the inputs
        torch.testing.assert_close(actual, expected, atol=0.045, rtol=0)
        for left, right in zip(torch.atleast_3d(*actual_state), torch.atleast_3d(*state), strict=True):
            torch.testing.assert_close(left, right, atol=0.045, rtol=0)


@pytest.mark.parametrize(
    "options", OPTIONS + [{"encoder_cell_type": c, "decoder_cell_type": c} for c in CELLS], ids=str
)
def test_logits_are_near_and_not_equal(options):
    model = small_model(**options)
    with torch.no_grad():
        expected = model(**INPUTS).logits
        actual = quantize(copy.deepcopy(model))(**INPUTS).logits
    # one step of an activation; the states of an untrained model are a few steps large, so no relation to the logits
    error = (actual - expected).abs().max()
    assert 0 < error < 1 / 64


def test_embeddings_beyond_the_range_of_the_table_count_as_its_ends():
    model = quantize(small_model())
    limit = model.get_decoder().embed_tokens.weight.abs().max()
    embeddings = torch.randn(2, 3, model.config.decoder_embedding_size) * 10 * limit
    source = {name: INPUTS[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        beyond, ends = (
            model(**source, decoder_inputs_embeds=inputs).logits
            for inputs in (embeddings, embeddings.clamp(-limit, limit))
        )
    assert torch.equal(beyond, ends)


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


@pytest.mark.parametrize("sizes", [{}, {"encoder_hidden_size": 50, "decoder_hidden_size": 100}], ids=str)
@pytest.mark.parametrize(
    "options",
    OPTIONS
    + [{"encoder_cell_type": c, "decoder_cell_type": c} for c in CELLS]
    + [{"attention_score": "location"}, {"attentional_activation": "none"}, {"bridge_activation": "none"}],
    ids=str,
)
def test_logits_do_not_depend_on_the_batch(options, sizes):
    model = quantize(small_model(**(sizes | options)))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 20, (20,), generator=generator).tolist()
    sources = [torch.randint(4, 12, (length,), generator=generator).tolist() for length in lengths]
    targets = torch.randint(4, 12, (20, 4), generator=generator)

    def score(numbers):
        rows = [sources[number] for number in numbers]
        return model(pad(rows, 0), attention_mask=mask_of(rows), decoder_input_ids=targets[numbers]).logits

    with torch.no_grad():
        together = score(list(range(20)))
        assert torch.equal(together, torch.cat([score([number]) for number in range(20)]))
        assert torch.equal(together[7:], score(list(range(7, 20))))


SENTENCES = [
    f"{subject} {verb} {rest}"
    for subject in ("Ich", "Mein Bruder, der in Berlin wohnt,", "Die alte Frau", "Tom", "Niemand")
    for verb in ("kauft", "sieht heute", "wollte gestern nicht", "hat noch nie")
    for rest in ("das Haus.", "im Garten einen Hund gesehen.", "mit uns ins Kino gehen, weil es so stark regnete!")
]


def test_translations_of_a_trained_model_do_not_depend_on_their_batch():
    folder = hf_rnn_attn.BUNDLED["de", "en"]
    model, tokenizer = quantize(AutoModelForSeq2SeqLM.from_pretrained(folder)), AutoTokenizer.from_pretrained(folder)

    def translate(lines):
        batch = tokenizer(lines, padding=True, return_tensors="pt")
        words = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_length=24)
        return tokenizer.batch_decode(words, skip_special_tokens=True)

    alone = [translate([line])[0] for line in SENTENCES]
    for size in (60, 32, 7):
        batches = [SENTENCES[start : start + size] for start in range(0, 60, size)]
        assert [text for batch in batches for text in translate(batch)] == alone


@pytest.mark.slow
@pytest.mark.parametrize("languages", hf_rnn_attn.BUNDLED, ids="-".join)
@pytest.mark.parametrize("beams", [1, 5])
def test_a_translation_does_not_depend_on_its_batch(languages, beams):
    model = quantize(AutoModelForSeq2SeqLM.from_pretrained(hf_rnn_attn.BUNDLED[languages]))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 16, (120,), generator=generator).tolist()
    rows = [torch.randint(4, model.config.vocab_size, (n,), generator=generator).tolist() + [2] for n in lengths]

    def translate(numbers):
        chosen = [rows[number] for number in numbers]
        source = {"inputs": pad(chosen, 0), "attention_mask": mask_of(chosen)}
        outputs = model.generate(**source, num_beams=beams, max_length=24)
        # what comes after the end fills up the batch
        texts = [row[: row.index(2) if 2 in row else None] for row in outputs.tolist()]
        return dict(zip(numbers, texts, strict=True))

    alone = {number: translate([number])[number] for number in range(len(rows))}
    for size in (120, 32, 7):
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order), size):
            for number, tokens in translate(order[start : start + size]).items():
                assert tokens == alone[number]


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = small_model()
    save_quantized(quantize(copy.deepcopy(model)), tmp_path)
    file = tmp_path / WEIGHTS_NAME
    weights = safetensors.torch.load_file(file)
    weights["lm_head.scale"][0] = torch.nan
    safetensors.torch.save_file(weights, file)
    with pytest.raises(ValueError, match=r"`lm_head.scale` of .*int8.safetensors"):
        load_quantized(tmp_path)
    model.lm_head.weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match="`lm_head.weight` of the model"):
        quantize(model)


def test_a_folder_without_whole_int8_weights_is_refused(tmp_path):
    save_quantized(quantize(small_model()), tmp_path)
    file = tmp_path / WEIGHTS_NAME
    safetensors.torch.save_file({"other": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="does not belong to the config.json beside it"):
        load_quantized(tmp_path)
    file.write_bytes(b"cut off")
    with pytest.raises(ValueError, match="no whole file of int8 weights"):
        load_quantized(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="there is no int8.safetensors in"):
        load_quantized(tmp_path)
