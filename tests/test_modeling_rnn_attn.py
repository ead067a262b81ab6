# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The model against the papers' equations in plain loops, and against padding."""

import itertools

import pytest
import reference
import torch
from small_models import CELLS, SCORES, SOURCES, SPANS, TARGETS, gradients, make_model, mask_of, pad
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, RnnAttnModel
from hf_rnn_attn.model.cache_rnn_attn import cache_of
from hf_rnn_attn.model.encoder_rnn_attn import RnnAttnEncoderOutput, reading_order
from hf_rnn_attn.model.modeling_rnn_attn import shift_tokens_right


def check_against_reference(model):
    labels = pad(TARGETS, -100)
    outputs = model(input_ids=pad(SOURCES, 0), attention_mask=mask_of(SOURCES), labels=labels, output_attentions=True)
    losses = []
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        logits, weights = reference.logits(model, source, [1] + target[:-1])
        torch.testing.assert_close(outputs.logits[row, : len(target)], logits)
        if weights is not None:
            torch.testing.assert_close(outputs.cross_attentions[0][row, 0, : len(target), : len(source)], weights)
        losses.append(F.cross_entropy(logits, torch.tensor(target), reduction="sum"))
    expected_loss = sum(losses) / sum(map(len, TARGETS))
    torch.testing.assert_close(outputs.loss, expected_loss)
    expected = gradients(model, expected_loss)
    actual = gradients(model, F.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten()))
    assert actual.keys() >= expected.keys() and len(expected) > 5
    for name, gradient in actual.items():
        torch.testing.assert_close(gradient, expected.get(name, torch.zeros_like(gradient)), msg=name)


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize(
    ("score", "span"), [pair for pair in itertools.product(SCORES, SPANS) if pair[0] != "none" or pair[1] == "global"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_equal_the_reference(cell, score, span, input_feeding):
    check_against_reference(
        make_model(
            encoder_cell_type=cell,
            decoder_cell_type=cell,
            attention_score=score,
            attention_span=span,
            input_feeding=input_feeding,
        )
    )


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_layers": 3, "decoder_layers": 2, "encoder_residual": True, "decoder_residual": True},
        {"encoder_layers": 1, "decoder_layers": 3, "input_feeding": False, "decoder_residual": True},
        {"encoder_layers": 2, "reverse_source": True},
        {"encoder_bidirectional": False, "reverse_source": True, "decoder_hidden_size": 3},
        {"bridge": "copy", "encoder_layers": 2, "decoder_layers": 2},
        {"bridge": "copy", "encoder_cell_type": "gru"},
        {"bridge": "copy", "decoder_cell_type": "gru"},
        {"bridge": "dense", "encoder_cell_type": "rnn_tanh", "decoder_cell_type": "lstm"},
        {"bridge": "zero", "decoder_cell_type": "gru"},
        {"attention_score": "location", "location_size": 4},
        {"attentional_size": 6, "tie_word_embeddings": True},
        {"encoder_embedding_size": 6, "share_encoder_decoder_embeddings": True},
        {
            "encoder_embedding_size": 6,
            "attentional_size": 6,
            "share_encoder_decoder_embeddings": True,
            "tie_word_embeddings": True,
        },
        {"decoder_vocab_size": 15},
        {"bridge_source": "last", "encoder_layers": 2, "decoder_layers": 3, "bridge_activation": "none"},
        {"bridge_source": "all", "encoder_layers": 3, "decoder_layers": 2, "bridge_activation": "relu"},
        {"bridge_source": "all", "encoder_layers": 2, "encoder_cell_type": "gru", "decoder_layers": 1},
        {"attention_bias": True},
        {"attention_bias": True, "attention_score": "concat", "input_feeding": False},
        {"attention_bias": True, "attention_score": "concat", "attentional_activation": "none"},
        {"attentional_activation": "none", "attention_score": "none"},
        {"output_bias": True},
        {"output_bias": True, "attentional_size": 6, "tie_word_embeddings": True},
        {"pointer_generator": True},
        {"pointer_generator": True, "input_feeding": False, "attentional_size": 5},
        {"pointer_generator": True, "attention_span": "local-p", "output_bias": True},
    ],
    ids=str,
)
def test_other_options_equal_the_reference(options):
    check_against_reference(make_model(**options))


def test_reference_notices_a_wrong_weight():
    model = make_model()
    outputs = model(input_ids=torch.tensor([SOURCES[0]]), labels=torch.tensor([TARGETS[0]]))
    with torch.no_grad():
        model.model.decoder.recurrence.layers[0].bias_hh_l0[0] += 0.1
    logits, _ = reference.logits(model, SOURCES[0], [1] + TARGETS[0][:-1])
    assert not torch.allclose(outputs.logits[0], logits)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("score", ["dot", "general", "concat", "location"])
@pytest.mark.parametrize(("reverse", "bidirectional", "cell"), [(False, True, "lstm"), (True, False, "gru")])
def test_padding_and_company_change_nothing(score, span, reverse, bidirectional, cell):
    model = make_model(
        attention_score=score,
        attention_span=span,
        reverse_source=reverse,
        encoder_bidirectional=bidirectional,
        encoder_hidden_size=4 if bidirectional else 8,
        encoder_cell_type=cell,
        encoder_layers=2,
    ).float()
    words, target = SOURCES[0], torch.tensor([TARGETS[0]])
    alone = model(input_ids=torch.tensor([words]), decoder_input_ids=target, output_attentions=True)
    scattered = [0, 0, *words[:2], 0, *words[2:5], 0, 0, *words[5:], 0]
    where = [2, 3, 5, 6, 7, 10, 11]
    for ids, columns in [(words + [0] * 4, range(7)), ([0] * 4 + words, range(4, 11)), (scattered, where)]:
        batch = torch.tensor([ids, [3] * len(ids)])
        mask = torch.zeros_like(batch)
        mask[0, list(columns)] = 1
        mask[1, : len(ids) // 2] = 1
        outputs = model(
            input_ids=batch, attention_mask=mask, decoder_input_ids=target.repeat(2, 1), output_attentions=True
        )
        torch.testing.assert_close(outputs.logits[:1], alone.logits, atol=1e-5, rtol=0)
        weights = outputs.cross_attentions[0][:1]
        torch.testing.assert_close(weights[..., list(columns)], alone.cross_attentions[0], atol=1e-5, rtol=0)
        assert weights[..., mask[0] == 0].abs().max() == 0


def test_the_mask_is_what_keeps_padding_out():
    model = make_model().float()
    ids, target = torch.tensor([SOURCES[1] + [0] * 4]), torch.tensor([TARGETS[1]])
    masked = model(input_ids=ids, attention_mask=torch.tensor([[1, 1, 1, 0, 0, 0, 0]]), decoder_input_ids=target)
    unmasked = model(input_ids=ids, decoder_input_ids=target)
    assert not torch.allclose(masked.logits, unmasked.logits, atol=1e-5)


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("score", SCORES)
def test_degenerate_sentences_are_finite(score, span, input_feeding):
    if score == "none" and span != "global":
        span = "global"
    model = make_model(attention_score=score, attention_span=span, attention_window=9, input_feeding=input_feeding)
    model.train()
    ids = torch.tensor([[0, 0, 0], [5, 0, 0], [5, 6, 2]])
    mask = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 1]])
    # 14 target words: local-m looks past the end of the sentence and its window at last holds nothing
    labels = torch.randint(3, 12, (3, 14))
    outputs = model(input_ids=ids, attention_mask=mask, labels=labels, output_attentions=True)
    assert outputs.logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(model, outputs.loss).values())
    if score != "none":
        weights = outputs.cross_attentions[0][:, 0]
        assert weights[0].abs().max() == 0
        if span == "global":
            torch.testing.assert_close(weights[1, :, 0], torch.ones(14, dtype=torch.double))
        if span == "local-m":
            assert weights[1, 9, 0] == 1 and weights[1, 10:].abs().max() == 0


def test_a_row_of_padding_has_a_zero_thought_vector():
    encoded = make_model().get_encoder()(
        input_ids=torch.tensor([[5, 6], [5, 6]]), attention_mask=torch.tensor([[1, 1], [0, 0]])
    )
    assert encoded.final_state[1].abs().max() == 0 and encoded.last_hidden_state[1].abs().max() == 0
    assert encoded.final_state[0].abs().min() > 0


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_decoder_padding_leaves_the_state_as_it_was(cell, input_feeding):
    model = make_model(decoder_cell_type=cell, input_feeding=input_feeding, decoder_layers=2, attention_span="local-m")
    source = torch.tensor([SOURCES[0]])
    plain = model(input_ids=source, decoder_input_ids=torch.tensor([[1, 4, 8]]))
    padded = model(
        input_ids=source,
        decoder_input_ids=torch.tensor([[0, 1, 0, 4, 8, 0]]),
        decoder_attention_mask=torch.tensor([[0, 1, 0, 1, 1, 0]]),
    )
    torch.testing.assert_close(padded.logits[:, [1, 3, 4]], plain.logits)
    torch.testing.assert_close(cache_of(padded).state.layers, cache_of(plain).state.layers)


def test_without_input_feeding_each_layer_is_one_fused_call(monkeypatch):
    model = make_model(input_feeding=False, decoder_layers=2)
    calls = []
    for layer in model.model.decoder.recurrence.layers:
        forward = layer.forward
        monkeypatch.setattr(layer, "forward", lambda x, *a, f=forward: calls.append(x.shape[1]) or f(x, *a))
    model(input_ids=torch.tensor([SOURCES[0]]), labels=torch.tensor([TARGETS[0]]))
    assert calls == [5, 5]


def test_loss_honours_num_items_in_batch():
    model = make_model()
    ids, mask, labels = pad(SOURCES, 0), mask_of(SOURCES), pad(TARGETS, -100)
    whole = model(input_ids=ids, attention_mask=mask, labels=labels)
    parts = [
        model(input_ids=ids[i : i + 1], attention_mask=mask[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=8)
        for i in range(2)
    ]
    torch.testing.assert_close(parts[0].loss + parts[1].loss, whole.loss)


def test_hidden_states_and_attentions_have_the_shapes_of_the_library():
    model = make_model(encoder_layers=2, decoder_layers=3)
    outputs = model(
        input_ids=pad(SOURCES, 0),
        attention_mask=mask_of(SOURCES),
        decoder_input_ids=pad(TARGETS, 0),
        output_attentions=True,
        output_hidden_states=True,
    )
    assert [tuple(state.shape) for state in outputs.encoder_hidden_states] == [(2, 7, 5), (2, 7, 8), (2, 7, 8)]
    assert [tuple(state.shape) for state in outputs.decoder_hidden_states] == [(2, 5, 6)] + 3 * [(2, 5, 8)]
    assert [tuple(weights.shape) for weights in outputs.cross_attentions] == [(2, 1, 5, 7)]
    torch.testing.assert_close(outputs.encoder_hidden_states[-1], outputs.encoder_last_hidden_state)
    torch.testing.assert_close(outputs.cross_attentions[0].sum(-1), torch.ones(2, 1, 5, dtype=torch.double))


def test_nothing_is_returned_that_was_not_asked_for():
    outputs = make_model()(input_ids=torch.tensor([SOURCES[0]]), labels=torch.tensor([TARGETS[0]]))
    assert set(outputs) == {"loss", "logits", "encoder_last_hidden_state"}


def test_tuples_stand_in_for_output_classes():
    model = make_model()
    ids, labels = torch.tensor([SOURCES[0]]), torch.tensor([TARGETS[0]])
    expected = model(input_ids=ids, labels=labels)
    assert isinstance(model(input_ids=ids, labels=labels, return_dict=False), tuple)
    encoded = model.get_encoder()(input_ids=ids, return_dict=False)
    torch.testing.assert_close(model(encoder_outputs=encoded, labels=labels).loss, expected.loss)


def test_encoder_outputs_without_a_thought_vector_are_refused():
    model = make_model()
    memory = model.get_encoder()(input_ids=torch.tensor([SOURCES[0]])).last_hidden_state
    with pytest.raises(ValueError, match="final_state"):
        model(encoder_outputs=RnnAttnEncoderOutput(last_hidden_state=memory), labels=torch.tensor([TARGETS[0]]))


def test_input_ids_and_embeddings_exclude_each_other():
    model = make_model()
    ids = torch.tensor([SOURCES[0]])
    with pytest.raises(ValueError, match="exactly one of `input_ids` and `inputs_embeds`, got neither"):
        model(labels=ids)
    with pytest.raises(ValueError, match="got both"):
        model(input_ids=ids, inputs_embeds=torch.zeros(1, 7, 5), labels=ids)
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds, labels=ids).loss, model(input_ids=ids, labels=ids).loss)


def test_dropout_works_in_training_only():
    model = make_model(encoder_dropout=0.5, decoder_dropout=0.5, encoder_layers=2, decoder_layers=2)
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
    assert model(**inputs).loss == model(**inputs).loss
    model.train()
    assert model(**inputs).loss != model(**inputs).loss


def test_shift_tokens_right():
    shifted = shift_tokens_right(torch.tensor([[7, 8, 2], [9, 2, -100], [2, -100, -100]]), 0, 1)
    assert shifted.tolist() == [[1, 7, 8], [1, 9, 2], [1, 2, 0]]


def test_reading_order():
    keep = torch.tensor([[False, True, True, False, True], [True, True, True, True, True]])
    assert reading_order(keep, reverse=False).tolist() == [[1, 2, 4, 0, 3], [0, 1, 2, 3, 4]]
    assert reading_order(keep, reverse=True).tolist() == [[4, 2, 1, 3, 0], [4, 3, 2, 1, 0]]


def test_weights_start_as_the_paper_says_and_forget_gates_open():
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=12, initializer_range=0.1))
    layer = model.model.decoder.recurrence.layers[0]
    assert 0.099 < layer.weight_hh_l0.abs().max() <= 0.1
    size = layer.hidden_size
    assert (layer.bias_ih_l0[size : 2 * size] == 1).all() and layer.bias_ih_l0.sum() == size
    assert (layer.bias_hh_l0 == 0).all() and (model.model.encoder.embed_tokens.weight[0] == 0).all()
    reverse = model.model.encoder.layers[0].bias_ih_l0_reverse
    assert reverse.sum() == 256


@pytest.mark.parametrize("tie", [True, False])
def test_weights_start_by_the_width_of_their_layer_where_no_range_is_given(tie):
    sizes = {"encoder_embedding_size": 64, "decoder_embedding_size": 64, "attentional_size": 64}
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=900, tie_word_embeddings=tie, **sizes))
    recurrence = model.model.decoder.recurrence
    embeddings = model.model.decoder.embed_tokens.weight
    assert embeddings.std().item() == pytest.approx(64**-0.5 if tie else 1, rel=0.02) and not embeddings[0].any()
    assert recurrence.layers[0].weight_hh_l0.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert recurrence.combine.weight.abs().max().item() == pytest.approx(1024**-0.5, rel=0.01)
    assert tie or model.lm_head.weight.abs().max().item() == pytest.approx(64**-0.5, rel=0.01)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("tie", [True, False])
def test_saving_and_loading_keeps_weights_and_ties(tmp_path, share, tie):
    options = {"encoder_embedding_size": 6, "attentional_size": 6}
    model = make_model(tie_word_embeddings=tie, share_encoder_decoder_embeddings=share, **options).float()
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).attentional_size == 6
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert isinstance(loaded, RnnAttnForConditionalGeneration)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor)
    decoder_table = loaded.model.decoder.embed_tokens.weight
    assert (loaded.model.encoder.embed_tokens.weight is decoder_table) == share
    assert (loaded.lm_head.weight is decoder_table) == tie
    assert loaded.generation_config.max_length == 256
    assert isinstance(AutoModel.from_pretrained(tmp_path), RnnAttnModel)


def test_missing_weights_are_initialised_and_not_left_to_chance(tmp_path):
    model = make_model(decoder_layers=1).float()
    model.save_pretrained(tmp_path)
    config = RnnAttnConfig.from_pretrained(tmp_path, decoder_layers=2)
    loaded = RnnAttnForConditionalGeneration.from_pretrained(tmp_path, config=config)
    layer = loaded.model.decoder.recurrence.layers[1]
    assert (layer.bias_ih_l0[8:16] == 1).all() and (layer.bias_hh_l0 == 0).all()
    assert layer.weight_hh_l0.abs().max() <= 0.8


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("score", ["general", "concat", "none"])
def test_gradient_checkpointing_changes_no_gradient(score, input_feeding, use_reentrant):
    model = make_model(attention_score=score, input_feeding=input_feeding, encoder_layers=2, decoder_layers=2)
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
    model.train()
    plain = model(**inputs).loss
    expected = gradients(model, plain)
    # the name from 5.23 on, and the one before
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": use_reentrant})
    # T = 5 in two pieces of three and two steps, and as many again when the gradient is wanted
    calls = []
    model.model.decoder.recurrence.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[1]))
    loss = model(**inputs).loss
    assert calls == [3, 2]
    torch.testing.assert_close(loss, plain)
    for name, gradient in gradients(model, loss).items():
        torch.testing.assert_close(gradient, expected.pop(name))
    assert not expected and sorted(calls) == [2, 2, 3, 3]


def table_sizes(model):
    tables = (model.model.encoder.embed_tokens, model.model.decoder.embed_tokens, model.lm_head)
    return [table.weight.shape[0] for table in tables]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("tie", [True, False])
def test_resizing_a_joint_vocabulary(tmp_path, share, tie):
    options = {"encoder_embedding_size": 6, "attentional_size": 6}
    model = make_model(tie_word_embeddings=tie, share_encoder_decoder_embeddings=share, **options).float()
    before = model(input_ids=pad(SOURCES, 0), labels=pad(TARGETS, -100)).logits
    assert model.resize_token_embeddings(15) is model.model.encoder.embed_tokens
    assert table_sizes(model) == [15] * 3 and model.config.vocab_size == model.config.decoder_vocab_size == 15
    decoder_table = model.model.decoder.embed_tokens.weight
    assert (model.model.encoder.embed_tokens.weight is decoder_table) == share
    assert (model.lm_head.weight is decoder_table) == tie
    logits = model(input_ids=pad(SOURCES, 0), labels=pad(TARGETS, -100)).logits
    torch.testing.assert_close(logits[..., :12], before)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(input_ids=pad(SOURCES, 0), labels=pad(TARGETS, -100)).logits, logits)
    assert model.model.resize_token_embeddings(13).num_embeddings == 13
    assert table_sizes(model)[:2] == [13, 13]


@pytest.mark.parametrize("tie", [True, False])
def test_resizing_separate_vocabularies(tmp_path, tie):
    model = make_model(decoder_vocab_size=10, attentional_size=6, tie_word_embeddings=tie).float()
    model.resize_token_embeddings(15)
    assert table_sizes(model) == [15, 10, 10]
    model.lm_head.requires_grad_(False)
    assert model.resize_decoder_token_embeddings(11, pad_to_multiple_of=8) is model.model.decoder.embed_tokens
    assert table_sizes(model) == [15, 16, 16]
    assert (model.config.vocab_size, model.config.decoder_vocab_size) == (15, 16)
    assert not model.lm_head.weight.requires_grad
    assert (model.lm_head.weight is model.model.decoder.embed_tokens.weight) == tie
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert table_sizes(loaded) == [15, 16, 16]


def test_shared_embeddings_are_not_resized_apart():
    model = make_model(encoder_embedding_size=6, share_encoder_decoder_embeddings=True)
    with pytest.raises(ValueError, match="call `resize_token_embeddings`"):
        model.resize_decoder_token_embeddings(15)
