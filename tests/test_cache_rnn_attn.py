# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The recurrent cache: what goes in comes out, and every batch operation reaches every tensor."""

import pytest
import torch
from transformers.modeling_outputs import Seq2SeqLMOutput

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnn_attn.model.cache_rnn_attn import (
    CACHE_NAMES,
    LIBRARY_CACHE_NAME,
    DecoderState,
    RnnAttnCache,
    cache_field,
    cache_of,
)


KEYS = torch.arange(3.0).view(3, 1, 1).repeat(1, 4, 2) + 60


def make_state():
    rows = torch.arange(3.0).unsqueeze(1)
    layers = ((rows + 10, rows + 20), (rows + 30, rows + 40))
    return DecoderState(layers, rows + 50, torch.arange(3))


def tensors_of(state):
    return [*(part for layer in state.layers for part in layer), state.attentional, state.positions]


@pytest.mark.parametrize("with_keys", [True, False])
def test_what_is_written_is_read(with_keys):
    cache, state, keys = RnnAttnCache(2), make_state(), KEYS if with_keys else None
    assert cache.state is None and cache.get_seq_length() == 0 and len(cache) == 2
    cache.write(state, keys, new_tokens=3)
    cache.write(state, keys, new_tokens=1)
    assert (
        cache.get_seq_length() == 4 and cache.get_mask_sizes(2, 0) == (6, 0) and cache.layers[0].get_max_length() == -1
    )
    assert cache.keys is keys
    assert all(left is right for left, right in zip(tensors_of(cache.state), tensors_of(state), strict=True))


@pytest.mark.parametrize(
    ("operation", "argument", "rows"),
    [
        ("reorder_cache", torch.tensor([2, 2, 0]), [2, 2, 0]),
        ("batch_select_indices", torch.tensor([1]), [1]),
        ("batch_repeat_interleave", 2, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_batch_operations_reach_every_tensor(operation, argument, rows):
    cache, state = RnnAttnCache(2), make_state()
    cache.write(state, KEYS, new_tokens=1)
    getattr(cache, operation)(argument)
    changed = [*tensors_of(cache.state), cache.keys]
    assert len(changed) == 7
    for new, old in zip(changed, [*tensors_of(state), KEYS], strict=True):
        assert torch.equal(new, old[rows])


def shifted(state, by):
    layers = tuple(tuple(part + by for part in layer) for layer in state.layers)
    return DecoderState(layers, state.attentional + by, state.positions + by)


@pytest.mark.parametrize(("removed", "kept"), [(0, 3), (1, 2), (2, 1)])
def test_the_last_tokens_can_be_removed(removed, kept):
    cache, state = RnnAttnCache(2), make_state()
    cache.write(state, None, new_tokens=5)
    cache.activate_past_recording()
    for by in (1, 2, 3):
        cache.write(shifted(state, by), None, new_tokens=1)
    # beams are reordered as a whole, record and all
    cache.reorder_cache(torch.tensor([2, 1, 0]))
    cache.crop(-removed)
    assert cache.get_seq_length() == 5 + kept
    for new, old in zip(tensors_of(cache.state), tensors_of(shifted(state, kept)), strict=True):
        assert torch.equal(new, old[[2, 1, 0]])
    with pytest.raises(ValueError, match="Cannot remove 1 tokens: 0 are recorded"):
        cache.crop(-1)


def test_all_tokens_can_be_removed():
    cache = RnnAttnCache(2)
    cache.activate_past_recording()
    cache.write(make_state(), None, new_tokens=1)
    cache.crop(-1)
    assert cache.state is None and cache.get_seq_length() == 0


def test_a_record_takes_single_tokens_and_removes_from_the_end():
    cache = RnnAttnCache(2)
    cache.activate_past_recording()
    assert cache.records_past
    with pytest.raises(ValueError, match="one token at a time, got 2"):
        cache.write(make_state(), None, new_tokens=2)
    with pytest.raises(ValueError, match="as a negative int, got 1"):
        cache.crop(1)


def test_reset_forgets():
    cache = RnnAttnCache(2)
    cache.write(make_state(), KEYS, new_tokens=5)
    cache.reset()
    assert cache.state is None and cache.get_seq_length() == 0


def test_the_library_has_one_of_the_two_names():
    cache = RnnAttnCache(1)
    outputs = Seq2SeqLMOutput(**cache_field(cache))
    assert outputs.keys() == {LIBRARY_CACHE_NAME}
    assert cache_of(outputs) is cache
    # the former name stays readable as long as the library has it
    assert outputs.past_key_values is cache


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_the_models_take_a_cache_under_both_names(name):
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=9, decoder_hidden_size=8)).eval()
    inputs = {"input_ids": torch.tensor([[4, 5, 2]]), "decoder_input_ids": torch.tensor([[1]])}
    for part in (model, model.model):
        cache = RnnAttnCache(1)
        assert cache_of(part(**inputs, **{name: cache})) is cache
        assert cache.get_seq_length() == 1


def test_two_caches_are_one_too_many():
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=9, decoder_hidden_size=8))
    ids = torch.tensor([[4, 5, 2]])
    with pytest.raises(ValueError, match="got both `cache` and `past_key_values`"):
        model(input_ids=ids, decoder_input_ids=ids, cache=RnnAttnCache(1), past_key_values=RnnAttnCache(1))
