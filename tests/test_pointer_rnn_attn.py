# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The pointer-generator: what it learns and what it goes with. Its values are in test_modeling_rnn_attn.py."""

import math

import pytest
import torch
from small_models import SOURCES, TARGETS, make_model, mask_of, pad

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble
from hf_rnn_attn.inference.quantization import load_quantized, quantize, save_quantized
from hf_rnn_attn.model.pointer_rnn_attn import PointerGenerator


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
MARK, FILLERS, SEEN, UNSEEN, VOCABULARY = 7, (10, 15), (20, 50), (50, 60), 60


def names_in_sentences(names, count):
    """Sentences of seven words in which a name follows the mark, and their translations: the name between 8 and 9."""
    source, name = torch.randint(*FILLERS, (count, 8)), torch.randint(*names, (count,))
    rows, place = torch.arange(count), torch.randint(1, 7, (count,))
    source[rows, place - 1], source[rows, place], source[:, -1] = MARK, name, 2
    begin, middle, end = torch.tensor([8, 9, 2]).expand(count, 3).T
    return source, torch.stack([begin, name, middle, end], 1)


@pytest.mark.parametrize(("pointer_generator", "least", "most"), [(True, 0.9, 1.0), (False, 0.0, 0.05)])
def test_names_that_training_never_saw_are_copied(pointer_generator, least, most):
    torch.manual_seed(0)
    sizes = {"encoder_embedding_size": 16, "encoder_hidden_size": 16, "encoder_dropout": 0.0}
    sizes |= {"decoder_embedding_size": 16, "decoder_hidden_size": 32, "decoder_dropout": 0.0, "initializer_range": 0.2}
    model = RnnAttnForConditionalGeneration(
        RnnAttnConfig(vocab_size=VOCABULARY, pointer_generator=pointer_generator, **sizes)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        source, target = names_in_sentences(SEEN, 64)
        optimizer.zero_grad()
        model(input_ids=source, labels=target, skip_logits=True).loss.backward()
        optimizer.step()
    source, target = names_in_sentences(UNSEEN, 200)
    found = model.eval().generate(source, max_length=5, min_length=5)
    assert least <= (found[:, 2] == target[:, 1]).float().mean() <= most


def test_probabilities_add_up_to_one():
    model = make_model(pointer_generator=True)
    probabilities = model(**INPUTS, labels=pad(TARGETS, -100)).logits.exp()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))


def test_a_copied_token_checked_by_hand():
    # the output layer gives 3/4 to token 1, the attention all of its weight; a quarter is copied
    pointer = PointerGenerator(RnnAttnConfig(vocab_size=3, attentional_size=1))
    with torch.no_grad():
        pointer.gate.weight.zero_()
        pointer.gate.bias.fill_(math.log(3))
    logits, weights = torch.tensor([[[0.0, math.log(3)]]]), torch.ones(1, 1, 1)
    log_probabilities = pointer(logits, torch.zeros(1, 1, 1), weights, torch.tensor([[1]]))
    assert log_probabilities.exp().flatten().tolist() == pytest.approx([0.75 * 0.25, 0.75 * 0.75 + 0.25])


def test_the_loss_alone_is_the_loss():
    model = make_model(pointer_generator=True).train()
    labels = pad(TARGETS, -100)
    expected = model(**INPUTS, labels=labels, label_smoothing_factor=0.1)
    alone = model(**INPUTS, labels=labels, label_smoothing_factor=0.1, skip_logits=True)
    torch.testing.assert_close(alone.loss, expected.loss)


@pytest.mark.parametrize("skip_logits", [False, True])
def test_a_word_without_any_probability_has_a_finite_loss_and_gradient(skip_logits):
    model = make_model(pointer_generator=True, output_bias=True)
    with torch.no_grad():
        model.lm_head.bias[TARGETS[0][0]] = -1e9
        model.pointer.gate.bias.fill_(1e9)
    loss = model(**INPUTS, labels=pad(TARGETS, -100), skip_logits=skip_logits).loss
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_attention_is_returned_only_where_it_is_asked_for():
    model = make_model(pointer_generator=True)
    assert model(**INPUTS, labels=pad(TARGETS, -100)).cross_attentions is None
    assert len(model(**INPUTS, labels=pad(TARGETS, -100), output_attentions=True).cross_attentions) == 1


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": False}], ids=str)
def test_an_ensemble_knows_the_words_of_the_source(options):
    torch.manual_seed(1)
    copying, plain = make_model(pointer_generator=True), make_model()
    options = {**options, "max_length": 12}
    alone = copying.generate(**INPUTS, **options)
    assert RnnAttnEnsemble([copying]).generate(**INPUTS, **options).tolist() == alone.tolist()
    inputs = {**INPUTS, "decoder_input_ids": torch.tensor([[1, 5]] * len(SOURCES))}
    mean = sum(member(**inputs).logits.softmax(-1) for member in (plain, copying)) / 2
    torch.testing.assert_close(RnnAttnEnsemble([plain, copying])(**inputs).logits.exp(), mean)


def test_an_int8_model_copies_too(tmp_path):
    model = make_model(pointer_generator=True).float()
    expected = model(**INPUTS, labels=pad(TARGETS, -100)).logits
    torch.testing.assert_close(quantize(model)(**INPUTS, labels=pad(TARGETS, -100)).logits, expected, atol=0.1, rtol=0)
    save_quantized(model, tmp_path)
    loaded = load_quantized(tmp_path)
    assert torch.equal(loaded.generate(**INPUTS, num_beams=3), model.generate(**INPUTS, num_beams=3))


def test_without_the_words_of_the_source_there_is_nothing_to_copy():
    model = make_model(pointer_generator=True)
    embeddings = model.get_input_embeddings()(INPUTS["input_ids"])
    encoded = model.get_encoder()(**INPUTS)
    for inputs in ({"inputs_embeds": embeddings}, {"encoder_outputs": (encoded[0], encoded[1])}):
        with pytest.raises(ValueError, match="copies tokens of `input_ids`: pass those"):
            model(**inputs, attention_mask=INPUTS["attention_mask"], labels=pad(TARGETS, -100))
        with pytest.raises(ValueError, match="copies tokens of `input_ids`: pass those"):
            model.generate(**inputs, attention_mask=INPUTS["attention_mask"])


def test_what_does_not_go_together_with_copying():
    model = make_model(pointer_generator=True)
    with pytest.raises(ValueError, match="With `pointer_generator=True` source and target have one vocabulary"):
        model.resize_decoder_token_embeddings(20)
    model.resize_token_embeddings(20)
    assert model(**INPUTS, labels=pad(TARGETS, -100)).logits.shape[-1] == 20


def test_under_autocast_probabilities_are_in_float32():
    model = make_model(pointer_generator=True).float()
    labels = pad(TARGETS, -100)
    expected = model(**INPUTS, labels=labels)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(**INPUTS, labels=labels)
    assert outputs.logits.dtype == torch.float32
    torch.testing.assert_close(outputs.loss, expected.loss, atol=0.05, rtol=0)
