# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Greedy search without the library's loop: the same words as with it, and the loop where it is needed."""

import pytest
import torch
from test_modeling_rnn_attn import SOURCES, make_model, mask_of, pad
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList, TextStreamer
from transformers.generation.stopping_criteria import MaxTimeCriteria, StoppingCriteriaList

from hf_rnn_attn.model import modeling_rnn_attn
from hf_rnn_attn.model.cache_rnn_attn import RnnAttnCache


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
OPTIONS = [
    {},
    {"decoder_cell_type": "gru", "decoder_layers": 3, "decoder_residual": True, "decoder_dropout": 0.5},
    {"attention_score": "concat", "input_feeding": False},
    {"attention_score": "dot", "attention_span": "local-m"},
    {"attention_score": "none"},
]


@pytest.fixture
def searches(monkeypatch):
    """How often the search was called."""
    calls, search = [], modeling_rnn_attn.greedy_search
    monkeypatch.setattr(modeling_rnn_attn, "greedy_search", lambda *arguments: calls.append(1) or search(*arguments))
    return calls


def by_the_library(model, monkeypatch, **arguments):
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "_sample", GenerationMixin._sample)
        return model.generate(**arguments)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_words_are_those_of_the_librarys_loop(options, searches, monkeypatch):
    torch.manual_seed(1)
    model = make_model(**options)
    # an end that one sentence reaches before the other
    free = model.generate(**INPUTS, max_new_tokens=9, eos_token_id=None)
    end = next((int(word) for word in free[0, 1:] if word not in free[1, 1:6]), int(free[0, 2]))
    for arguments in (
        {"max_new_tokens": 9, "eos_token_id": None},
        {"max_new_tokens": 9, "eos_token_id": end},
        {"max_new_tokens": 9, "eos_token_id": [end, int(free[1, 5])]},
        {"max_length": 6, "decoder_input_ids": torch.tensor([[1, 7, 4], [1, 5, 5]])},
    ):
        searches.clear()
        ours = model.generate(**INPUTS, **arguments)
        assert len(searches) == 1
        assert ours.tolist() == by_the_library(model, monkeypatch, **INPUTS, **arguments).tolist()


def test_the_cache_can_be_gone_on_from(searches):
    model = make_model()
    whole = model.generate(**INPUTS, max_new_tokens=8, eos_token_id=None)
    cache = RnnAttnCache(model.config.decoder_layers)
    start = model.generate(**INPUTS, max_new_tokens=3, eos_token_id=None, past_key_values=cache)
    assert cache.get_seq_length() == 3
    rest = model.generate(**INPUTS, decoder_input_ids=start, max_new_tokens=5, eos_token_id=None, past_key_values=cache)
    assert rest.tolist() == whole.tolist() and len(searches) == 3


class Nothing(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores


@pytest.mark.parametrize(
    "arguments",
    [
        {"do_sample": True, "top_k": 0},
        {"num_beams": 2},
        {"use_cache": False},
        {"return_dict_in_generate": True},
        {"output_attentions": True, "return_dict_in_generate": True},
        {"repetition_penalty": 1.5},
        {"logits_processor": LogitsProcessorList([Nothing()])},
        {"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(60.0)])},
        {"decoder_attention_mask": torch.tensor([[1, 1], [0, 1]]), "decoder_input_ids": torch.tensor([[1, 7], [0, 1]])},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_whatever_else_is_asked_for_takes_the_librarys_way(arguments, searches):
    model = make_model()
    outputs = model.generate(**INPUTS, **arguments, max_new_tokens=4)
    assert len(getattr(outputs, "sequences", outputs)) == 2
    assert searches == []


def test_a_streamer_takes_the_librarys_way(searches, capsys):
    class Tokenizer:
        def decode(self, ids, **kwargs):
            return " ".join(map(str, ids)) + " "

    streamer = TextStreamer(Tokenizer())
    ids = make_model().generate(torch.tensor([SOURCES[0]]), streamer=streamer, max_new_tokens=4)
    assert capsys.readouterr().out.split() == [str(word) for word in ids[0].tolist()]
    assert searches == []


def test_a_generation_config_is_honoured(searches):
    settings = GenerationConfig(max_new_tokens=2, eos_token_id=None, pad_token_id=0, decoder_start_token_id=1)
    assert make_model().generate(**INPUTS, generation_config=settings).shape == (2, 3)
    assert len(searches) == 1
