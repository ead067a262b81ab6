# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The recurrent cache: what goes in comes out, and every batch operation reaches every tensor."""

import pytest
import torch

from hf_rnn_attn.model.cache_rnn_attn import DecoderState, RnnAttnCache


def make_state(with_keys=True):
    rows = torch.arange(3.0).unsqueeze(1)
    layers = ((rows + 10, rows + 20), (rows + 30, rows + 40))
    keys = rows.unsqueeze(1).repeat(1, 4, 2) + 60 if with_keys else None
    return DecoderState(layers, rows + 50, torch.arange(3), keys)


def tensors_of(state):
    return [part for layer in state.layers for part in layer] + [part for part in state[1:] if part is not None]


@pytest.mark.parametrize("with_keys", [True, False])
def test_what_is_written_is_read(with_keys):
    cache, state = RnnAttnCache(2), make_state(with_keys)
    assert cache.read() is None and cache.get_seq_length() == 0 and len(cache) == 2
    cache.write(state, new_tokens=3)
    cache.write(state, new_tokens=1)
    assert cache.get_seq_length() == 4 and cache.get_mask_sizes(2, 0) == (6, 0) and cache.get_max_length() == -1
    read = cache.read()
    assert (read.keys is None) != with_keys
    assert all(left is right for left, right in zip(tensors_of(read), tensors_of(state), strict=True))


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
    cache.write(state, new_tokens=1)
    getattr(cache, operation)(argument)
    changed = tensors_of(cache.read())
    assert len(changed) == 7
    for new, old in zip(changed, tensors_of(state), strict=True):
        assert torch.equal(new, old[rows])


def test_reset_forgets():
    cache = RnnAttnCache(2)
    cache.write(make_state(), new_tokens=5)
    cache.reset()
    assert cache.read() is None and cache.get_seq_length() == 0
