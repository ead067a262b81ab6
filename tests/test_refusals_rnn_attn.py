# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Arguments that would be misread are refused by the model, with what was expected and what came."""

import pytest
import torch
from small_models import SOURCES, TARGETS, make_model, mask_of, pad

from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
LABELS = pad(TARGETS, -100)


@pytest.mark.parametrize("value", [-1, -1e9, float("-inf"), 2])
def test_a_mask_of_other_values_is_refused_and_not_read_inverted(value):
    mask = mask_of(SOURCES).float().masked_fill(mask_of(SOURCES) == 0, value)
    with pytest.raises(ValueError, match="1 for tokens and 0 for padding, got values from"):
        make_model()(input_ids=INPUTS["input_ids"], attention_mask=mask, labels=LABELS)
    with pytest.raises(ValueError, match="1 for tokens and 0 for padding, got values from"):
        make_model().generate(INPUTS["input_ids"], attention_mask=mask)


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32, torch.int8])
def test_masks_of_every_type_are_taken(dtype):
    model = make_model()
    expected = model(**INPUTS, labels=LABELS).logits
    mask = INPUTS["attention_mask"].to(dtype)
    logits = model(input_ids=INPUTS["input_ids"], attention_mask=mask, labels=LABELS).logits
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("shape", [(2, 6), (1, 7), (2, 7, 7)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"of shape \(2, 7\), one entry for each token, got"):
        make_model()(input_ids=INPUTS["input_ids"], attention_mask=torch.ones(shape), labels=LABELS)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_decoder_batch_of_another_size_is_refused_and_not_broadcast(rows):
    with pytest.raises(ValueError, match=f"as many rows of decoder inputs as of source sentences, got {rows} and 2"):
        make_model()(**INPUTS, decoder_input_ids=torch.ones(rows, 3, dtype=torch.long))


@pytest.mark.parametrize("skip_logits", [False, True])
def test_a_batch_without_a_label_has_a_loss_of_zero(skip_logits):
    model = make_model().train()
    loss = model(**INPUTS, labels=torch.full_like(LABELS, -100), skip_logits=skip_logits).loss
    loss.backward()
    assert loss == 0
    assert all(parameter.grad is None or parameter.grad.abs().max() == 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "nearest"), [("attention_maks", "attention_mask"), ("label_smoothing", "label_smoothing_factor")]
)
def test_an_argument_that_nothing_reads_is_refused(name, nearest):
    with pytest.raises(TypeError, match=f"unexpected argument `{name}`. Did you mean `{nearest}`"):
        make_model()(**INPUTS, labels=LABELS, **{name: 1})


def test_the_bare_model_refuses_it_too():
    with pytest.raises(TypeError, match="unexpected argument `labels`"):
        make_model().model(**INPUTS, decoder_input_ids=pad(TARGETS, 0), labels=LABELS)


# vocabularies of any two sizes: the library takes the source's for the width of the scores
SIZES = [(12, 30), (30, 12), (12, 12)]


@pytest.mark.parametrize("normalize_logits", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3, "num_return_sequences": 2}], ids=str)
@pytest.mark.parametrize(("source_size", "target_size"), SIZES)
def test_transition_scores_add_up_to_the_score_of_the_sequence(source_size, target_size, options, normalize_logits):
    torch.manual_seed(source_size)
    model = make_model(vocab_size=source_size, decoder_vocab_size=target_size)
    for judge in (model, RnnAttnEnsemble([model, model])):
        found = judge.generate(
            **{"inputs": INPUTS["input_ids"], "attention_mask": INPUTS["attention_mask"]},
            **options,
            max_new_tokens=8,
            length_penalty=0.0,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
        beam_indices = getattr(found, "beam_indices", None)
        scores = judge.compute_transition_scores(found.sequences, found.scores, beam_indices, normalize_logits)
        returned = options.get("num_return_sequences", 1)
        sources = {name: tensor.repeat_interleave(returned, 0) for name, tensor in INPUTS.items()}
        with torch.no_grad():
            logits = model(**sources, decoder_input_ids=found.sequences).logits[:, :-1]
        expected = logits.log_softmax(-1).gather(-1, found.sequences[:, 1:].unsqueeze(-1)).squeeze(-1)
        is_token = scores != 0
        if options or normalize_logits:
            torch.testing.assert_close(scores[is_token].double(), expected[is_token], atol=1e-5, rtol=1e-5)
        if options:
            torch.testing.assert_close(scores.sum(-1), found.sequences_scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"encoder_repetition_penalty": 1.5}, {"encoder_no_repeat_ngram_size": 2}], ids=lambda o: next(iter(o))
)
def test_what_compares_target_tokens_with_source_tokens_needs_one_vocabulary(options):
    (name,) = options
    model = make_model(decoder_vocab_size=30)
    with pytest.raises(ValueError, match=f"`{name}=.*` needs one vocabulary .*, got 12 source and 30 target tokens"):
        model.generate(INPUTS["input_ids"], **options)
    assert len(make_model().generate(INPUTS["input_ids"], max_new_tokens=4, **options)) == 2


@pytest.mark.parametrize(("source_size", "target_size"), SIZES)
def test_prompt_lookup_with_vocabularies_of_two_sizes(source_size, target_size):
    torch.manual_seed(0)
    model = make_model(vocab_size=source_size, decoder_vocab_size=target_size)
    source = torch.tensor([SOURCES[0]])
    plain = model.generate(source, max_new_tokens=20, min_new_tokens=20)
    assert torch.equal(model.generate(source, max_new_tokens=20, min_new_tokens=20, prompt_lookup_num_tokens=3), plain)
