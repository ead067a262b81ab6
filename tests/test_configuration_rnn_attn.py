# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The configuration: defaults, what it refuses and in which words, saving."""

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig

from hf_rnn_attn import RnnAttnConfig


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (
            {"attention_score": "dot", "decoder_hidden_size": 100},
            "`decoder_hidden_size=512` or choose `attention_score",
        ),
        ({"attention_score": "none", "attention_span": "local-p"}, "set `attention_span='global'`"),
        ({"attention_score": "none", "bridge": "zero"}, "Set `bridge='dense'`"),
        ({"bridge": "copy", "decoder_hidden_size": 100}, "Set `bridge='dense'`, or `decoder_hidden_size=512`"),
        ({"tie_word_embeddings": True}, "Set `attentional_size=256`"),
        ({"share_encoder_decoder_embeddings": True, "decoder_vocab_size": 9}, "Train a joint tokenizer"),
        ({"share_encoder_decoder_embeddings": True, "decoder_embedding_size": 9}, "Make them equal"),
        ({"bridge": "zero", "bridge_source": "all"}, "Set `bridge='dense'`, or leave `bridge_source` at 'matched'"),
        ({"bridge": "copy", "bridge_activation": "relu"}, "or leave `bridge_activation` at 'tanh'"),
        ({"attention_score": "none", "attention_bias": True}, "set `attention_bias=False`"),
        ({"attention_score": "none", "pointer_generator": True}, "set `pointer_generator=False`"),
        ({"decoder_vocab_size": 9, "pointer_generator": True}, "Train a joint tokenizer"),
        ({"encoder_layers": 0}, "`encoder_layers` must be at least 1, got 0"),
        ({"attention_window": -1}, "`attention_window` must be at least 1"),
        ({"decoder_dropout": 1.0}, r"must lie in \[0, 1\), got 1.0"),
    ],
)
def test_contradictions_are_refused_with_advice(options, advice):
    with pytest.raises(ValueError, match=advice):
        RnnAttnConfig(**options)


def test_the_advice_given_is_accepted():
    RnnAttnConfig(tie_word_embeddings=True, attentional_size=256)
    RnnAttnConfig(attention_score="dot", decoder_hidden_size=512)
    RnnAttnConfig(attention_score="dot", encoder_bidirectional=False, decoder_hidden_size=256)


@pytest.mark.parametrize("options", [{"encoder_cell_type": "sru"}, {"bridge": "mean"}, {"vocab_size": "many"}])
def test_wrong_values_and_types_are_refused(options):
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(options))):
        RnnAttnConfig(**options)


COUNTS = [name for name in RnnAttnConfig(vocab_size=9).to_dict() if name.endswith(("_size", "_layers", "_window"))]
DEFAULTS = RnnAttnConfig().to_dict().items()
SWITCHES = [name for name, value in DEFAULTS if isinstance(value, bool) and name in vars(RnnAttnConfig)]


@pytest.mark.parametrize("value", [0, -1, 10**12, 2.5, "8", True, [8], float("nan")], ids=str)
@pytest.mark.parametrize("name", COUNTS)
def test_a_size_is_a_whole_number_in_its_range(name, value):
    with pytest.raises(ValueError, match=f"`{name}`") as caught:
        RnnAttnConfig(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [1, "yes", None, 0.0], ids=str)
@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_true_or_false(name, value):
    with pytest.raises(ValueError, match=f"`{name}`: expected bool, got"):
        RnnAttnConfig(**{name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.0, "0.1", None, True], ids=str)
@pytest.mark.parametrize("name", ["encoder_dropout", "decoder_dropout"])
def test_a_probability_lies_in_its_range(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        RnnAttnConfig(**{name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, "0.1"], ids=str)
def test_an_initial_range_is_a_number(value):
    with pytest.raises(ValueError, match="`initializer_range`"):
        RnnAttnConfig(initializer_range=value)


@pytest.mark.parametrize("value", [-1, 8000, "0", 1.5, True], ids=str)
@pytest.mark.parametrize("name", ["pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"])
def test_a_special_token_is_in_the_vocabulary(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        RnnAttnConfig(**{name: value})


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        ({"encoder_cell_type": "LSTM "}, None),
        ({"encoder_cell_type": "ltsm"}, "'lstm'"),
        ({"attention_score": "genera"}, "'general'"),
        ({"attention_span": "local_p"}, "'local-p'"),
        ({"bridge": "dence"}, "'dense'"),
        ({"bridge_activation": "tahn"}, "'tanh'"),
        ({"encoder_layer": 2}, "`encoder_layers`"),
        ({"decoder_hiden_size": 2}, "`decoder_hidden_size`"),
        ({"input_feading": True}, "`input_feeding`"),
    ],
    ids=str,
)
def test_the_nearest_value_or_name_is_offered(options, nearest):
    with pytest.raises(ValueError, match="Did you mean" if nearest else "expected one of") as caught:
        RnnAttnConfig(**options)
    assert nearest is None or f"Did you mean {nearest}?" in str(caught.value)


def test_sizes_that_follow_from_others():
    config = RnnAttnConfig(vocab_size=10, encoder_hidden_size=3, decoder_hidden_size=7)
    assert (config.decoder_vocab_size, config.memory_size, config.attentional_size) == (10, 6, 7)
    assert RnnAttnConfig(encoder_hidden_size=3, encoder_bidirectional=False).memory_size == 3
    assert (config.hidden_size, config.num_hidden_layers) == (7, 1)


def test_a_configuration_comes_back_as_it_was_saved(tmp_path):
    config = RnnAttnConfig(vocab_size=10, attention_span="local-p", encoder_cell_type="gru", decoder_layers=3)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, RnnAttnConfig)
    assert loaded.to_diff_dict().keys() - {"_name_or_path"} == config.to_diff_dict().keys() - {"_name_or_path"}
    assert (loaded.attention_span, loaded.encoder_cell_type, loaded.decoder_layers) == ("local-p", "gru", 3)


@pytest.mark.parametrize("options", [{"attention_heads": 4}, {"attention_scaling": True}], ids=str)
def test_an_option_of_version_0_1_that_changes_what_is_computed_is_refused(options):
    with pytest.raises(ValueError, match="the only value since version 0.2"):
        RnnAttnConfig(**options)


def test_an_option_of_version_0_1_that_changes_nothing_is_left_out():
    config = RnnAttnConfig(attention_heads=1, attention_scaling=False, variational_dropout=True, word_dropout=0.1)
    assert not {"attention_heads", "attention_scaling", "variational_dropout", "word_dropout"} & vars(config).keys()
