# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Arguments that would be misread are refused by the model, with what was expected and what came."""

import pytest
import torch
from small_models import SOURCES, TARGETS, make_model, mask_of, pad

from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
LABELS = pad(TARGETS, -100)


@pytest.mark.parametrize("value", [-1, -1e9, float("-inf"), 2, 0.5, float("nan"), float("inf")])
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


@pytest.mark.parametrize("shape", [(2, 6), (1, 7), (2, 7, 7), (7, 2), (7,), (0, 7)])
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


BATCH = pad(SOURCES, 0)
NO_IDS = {
    "beyond": (BATCH + 5, "from 0 to 11, the tokens of the vocabulary, got ids from 5 to 14"),
    "negative": (BATCH - 1, "got ids from -1 to 8"),
    "float": (BATCH.float(), "of type int64, got torch.float32"),
    "booleans": (BATCH > 0, "of type int64, got torch.bool"),
    "one row": (BATCH[0], r"of shape \(sentences, length\) with at least one token, got \(7,\)"),
    "three dimensions": (BATCH[None], r"got \(1, 2, 7\)"),
    "no sentence": (BATCH[:0], r"got \(0, 7\)"),
    "no token": (BATCH[:, :0], r"got \(2, 0\)"),
}


@pytest.mark.parametrize("kind", NO_IDS)
@pytest.mark.parametrize("argument", ["input_ids", "decoder_input_ids"])
def test_ids_that_are_no_tokens_are_refused(argument, kind):
    ids, message = NO_IDS[kind]
    arguments = {"input_ids": BATCH, "decoder_input_ids": BATCH} | {argument: ids}
    with pytest.raises(ValueError, match=f"Expected `{argument}` .*{message}"):
        make_model()(**arguments)


@pytest.mark.parametrize("kind", NO_IDS)
def test_generate_refuses_them_too(kind):
    ids, message = NO_IDS[kind]
    with pytest.raises(ValueError, match=message):
        make_model().generate(ids, max_new_tokens=3)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_prompt_of_no_tokens_is_refused(beams):
    with pytest.raises(ValueError, match="Expected `decoder_input_ids` from 0 to 11"):
        make_model().generate(BATCH, decoder_input_ids=torch.tensor([[1, 50, 4]] * 2), num_beams=beams)


@pytest.mark.parametrize("shape", [(2, 7, 4), (2, 7), (2, 0, 5), (0, 7, 5)])
def test_embeddings_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected `inputs_embeds` of shape \(sentences, length, 5\)"):
        make_model()(inputs_embeds=torch.zeros(shape).double(), labels=LABELS)


@pytest.mark.parametrize("skip_logits", [False, True])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 9, "from 0 to 11, .* got labels from -91 to 18"),
        (LABELS.masked_fill(LABELS == 2, 12), ".* got labels from 4 to 12"),
        (LABELS.masked_fill(LABELS == 2, -1), ".* got labels from -1 to 9"),
        (LABELS.float(), "of type int64, got torch.float32"),
        (LABELS[0], r"of shape \(sentences, length\), got \(5,\)"),
    ],
    ids=["all", "beyond", "negative", "float", "one row"],
)
def test_labels_that_are_no_tokens_are_refused(labels, message, skip_logits):
    with pytest.raises(ValueError, match=f"Expected labels {message}"):
        make_model()(**INPUTS, labels=labels, skip_logits=skip_logits)


def test_labels_beside_decoder_inputs_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"Expected labels of shape \(2, 3\), that of the inputs, got \(2, 5\)"):
        make_model()(**INPUTS, decoder_input_ids=torch.ones(2, 3, dtype=torch.long), labels=LABELS)


def test_labels_beside_decoder_inputs_of_the_same_length_are_what_is_predicted():
    model = make_model()
    shifted = model.prepare_decoder_input_ids_from_labels(LABELS)
    torch.testing.assert_close(
        model(**INPUTS, decoder_input_ids=shifted, labels=LABELS).loss, model(**INPUTS, labels=LABELS).loss
    )


@pytest.mark.parametrize("value", [-1, 2, float("nan")])
def test_a_decoder_mask_of_other_values_is_refused(value):
    with pytest.raises(ValueError, match="1 for tokens and 0 for padding"):
        make_model()(**INPUTS, decoder_input_ids=BATCH, decoder_attention_mask=torch.full((2, 7), value))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("skip_logits", [False, True])
def test_a_share_of_smoothing_beyond_its_range_is_refused(value, skip_logits):
    with pytest.raises(ValueError, match="`label_smoothing_factor`: expected a number from 0 to 1, got"):
        make_model()(**INPUTS, labels=LABELS, label_smoothing_factor=value, skip_logits=skip_logits)


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "labels", "decoder_input_ids"])
@pytest.mark.parametrize("convert", [torch.Tensor.tolist, torch.Tensor.numpy, str], ids=["list", "array", "text"])
def test_what_is_no_tensor_is_refused(name, convert):
    arguments = {**INPUTS, "labels": LABELS} | ({name: BATCH} if name not in ("labels",) else {})
    with pytest.raises(ValueError, match=f"Expected `{name}` as a tensor, got a "):
        make_model()(**arguments | {name: convert(arguments[name])})


@pytest.mark.parametrize("shape", [(2, 6), (2, 9), (1, 7), (2, 7, 7)])
def test_a_decoder_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="one entry for each token, got"):
        make_model()(**INPUTS, decoder_input_ids=BATCH, decoder_attention_mask=torch.ones(shape))


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
