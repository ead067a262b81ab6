# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Searches without the library's loops: the same tokens as with them, and the loops where they are needed."""

import itertools

import pytest
import torch
from small_models import SOURCES, make_model, mask_of, pad
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList, TextStreamer
from transformers.generation.stopping_criteria import MaxTimeCriteria, StoppingCriteriaList
from transformers.modeling_outputs import BaseModelOutput

from hf_rnn_attn import RnnAttnForConditionalGeneration
from hf_rnn_attn.model import generation_rnn_attn
from hf_rnn_attn.model.cache_rnn_attn import RnnAttnCache


INPUTS = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
OPTIONS = [
    {},
    {"decoder_cell_type": "gru", "decoder_layers": 3, "decoder_residual": True, "decoder_dropout": 0.5},
    {"attention_score": "concat", "input_feeding": False},
    {"attention_score": "dot", "attention_span": "local-m"},
    {"attention_score": "location", "attention_span": "local-p", "decoder_cell_type": "rnn_tanh"},
    {"attention_score": "none"},
    {"pointer_generator": True},
    {"pointer_generator": True, "input_feeding": False, "attention_span": "local-m"},
]
MORE_SOURCES = [*SOURCES, [4, 4, 8, 2], [9, 2], [6, 10, 11, 5, 5, 2]]
MANY = {"input_ids": pad(MORE_SOURCES, 0), "attention_mask": mask_of(MORE_SOURCES)}


@pytest.fixture
def searches(monkeypatch):
    """The names of the searches that were made."""
    made = []

    def recorded(name):
        search = getattr(generation_rnn_attn, name)
        return lambda *arguments: made.append(name) or search(*arguments)

    for name in ("greedy_search", "BeamSearch"):
        monkeypatch.setattr(generation_rnn_attn, name, recorded(name))
    return made


@pytest.fixture
def batch_sizes(monkeypatch):
    """The number of rows of each step."""
    sizes, step = [], RnnAttnForConditionalGeneration.step
    record = lambda self, tokens, decoding: sizes.append(len(tokens)) or step(self, tokens, decoding)  # noqa: E731
    monkeypatch.setattr(RnnAttnForConditionalGeneration, "step", record)
    return sizes


def by_the_library(model, monkeypatch, **arguments):
    with monkeypatch.context() as patch:
        for name in ("_sample", "_beam_search"):
            patch.setattr(type(model), name, getattr(GenerationMixin, name))
        return model.generate(**arguments)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_greedy_tokens_are_those_of_the_librarys_loop(options, searches, monkeypatch):
    torch.manual_seed(1)
    model = make_model(**options)
    # an end that one sentence reaches before the other
    free = model.generate(**INPUTS, max_new_tokens=9, eos_token_id=None)
    end = next((int(token) for token in free[0, 1:] if token not in free[1, 1:6]), int(free[0, 2]))
    for arguments in (
        {"max_new_tokens": 9, "eos_token_id": None},
        {"max_new_tokens": 9, "eos_token_id": end},
        {"max_new_tokens": 9, "eos_token_id": [end, int(free[1, 5])]},
        {"max_length": 6, "decoder_input_ids": torch.tensor([[1, 7, 4], [1, 5, 5]])},
    ):
        searches.clear()
        ours = model.generate(**INPUTS, **arguments)
        assert searches == ["greedy_search"]
        assert ours.tolist() == by_the_library(model, monkeypatch, **INPUTS, **arguments).tolist()


BEAMS = {"num_beams": 3, "max_new_tokens": 9}
BEAM_ARGUMENTS = [
    *(
        {**BEAMS, "early_stopping": early_stopping, "length_penalty": length_penalty, "num_return_sequences": returned}
        for early_stopping, length_penalty, returned in itertools.product(
            (True, False, "never"), (-1.0, 0.0, 1.0, 2.0), (1, 3)
        )
    ),
    {**BEAMS, "eos_token_id": None},
    {**BEAMS, "eos_token_id": [2, 7]},
    {**BEAMS, "eos_token_id": [2, 7], "pad_token_id": 6},
    {**BEAMS, "num_beams": 5, "num_return_sequences": 4, "max_new_tokens": 20},
    {**BEAMS, "max_new_tokens": 1},
    {**BEAMS, "decoder_input_ids": torch.tensor([[1, 7, 4], [1, 5, 5], [1, 5, 6], [1, 2, 4], [1, 1, 1]])},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_beams_are_those_of_the_librarys_loop(options, searches, batch_sizes, monkeypatch):
    for seed, arguments in enumerate(BEAM_ARGUMENTS):
        torch.manual_seed(seed)
        model = make_model(**options)
        ours = model.generate(**MANY, **arguments)
        assert ours.tolist() == by_the_library(model, monkeypatch, **MANY, **arguments).tolist(), arguments
    assert searches == ["BeamSearch"] * len(BEAM_ARGUMENTS)
    assert {6, 9, 12, 15} < set(batch_sizes)  # rows of three beams, as sentences leave


def test_sentences_leave_when_they_have_ended(batch_sizes, monkeypatch):
    torch.manual_seed(1)
    model = make_model()
    free = model.generate(**MANY, max_new_tokens=9, eos_token_id=None)
    assert batch_sizes == [5] * 9
    end = int(free[0, 3])
    ends_at = [next((i for i, token in enumerate(row) if i and token == end), 9) for row in free.tolist()]
    assert len(set(ends_at)) > 2
    batch_sizes.clear()
    ours = model.generate(**MANY, max_new_tokens=9, eos_token_id=end)
    assert batch_sizes == [sum(length >= step for length in ends_at) for step in range(1, max(ends_at) + 1)]
    assert ours.tolist() == by_the_library(model, monkeypatch, **MANY, max_new_tokens=9, eos_token_id=end).tolist()


def test_the_first_step_is_taken_once_for_all_beams(batch_sizes):
    make_model().generate(**MANY, num_beams=3, max_new_tokens=4, eos_token_id=None)
    assert batch_sizes == [5, 15, 15, 15]


def test_all_beams_look_at_one_memory(monkeypatch):
    shapes, model = set(), make_model()
    attention = model.model.decoder.recurrence.attention
    monkeypatch.setattr(
        attention,
        "forward",
        lambda *arguments: shapes.add(arguments[0].shape) or type(attention).forward(attention, *arguments),
    )
    model.generate(**MANY, num_beams=3, max_new_tokens=4, eos_token_id=None)
    assert shapes == {(5, 1, 8), (5, 3, 8)}


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=str)
def test_a_cache_that_is_passed_is_gone_on_from(options, searches):
    model = make_model()
    whole = model.generate(**INPUTS, max_new_tokens=8, eos_token_id=None)
    cache = RnnAttnCache(model.config.decoder_layers)
    start = model.generate(**INPUTS, max_new_tokens=3, eos_token_id=None, cache=cache)
    assert cache.get_seq_length() == 3
    rest = model.generate(**INPUTS, decoder_input_ids=start, max_new_tokens=5, eos_token_id=None, cache=cache)
    assert rest.tolist() == whole.tolist() and len(searches) == 1


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=str)
def test_encoder_outputs_need_no_thought_vector_where_nothing_starts_from_it(options, searches, monkeypatch):
    model = make_model(bridge="zero")
    memory = model.get_encoder()(**INPUTS).last_hidden_state
    inputs = {"attention_mask": INPUTS["attention_mask"], "max_new_tokens": 9, **options}
    outputs = BaseModelOutput(last_hidden_state=memory)
    ours = model.generate(encoder_outputs=outputs, **inputs)
    assert len(searches) == 1 and ours.tolist() == model.generate(INPUTS["input_ids"], **inputs).tolist()


class Nothing(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize(
    "arguments",
    [
        {"do_sample": True, "top_k": 0},
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
def test_whatever_else_is_asked_for_takes_the_librarys_way(arguments, num_beams, searches):
    model = make_model()
    outputs = model.generate(**INPUTS, **arguments, num_beams=num_beams, max_new_tokens=4)
    assert len(getattr(outputs, "sequences", outputs)) == 2
    assert searches == []


def test_beams_that_take_the_librarys_way(searches):
    # 7 beams could all end and then want 14 of 12 tokens to go on
    assert len(make_model().generate(**INPUTS, **{**BEAMS, "num_beams": 7})) == 2
    assert searches == []


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_model_on_several_devices_takes_the_librarys_way(num_beams, searches):
    model = make_model()
    model.hf_device_map = {"": "cpu"}
    model.generate(**INPUTS, num_beams=num_beams, max_new_tokens=4)
    assert searches == []


def test_a_streamer_takes_the_librarys_way(searches, capsys):
    class Tokenizer:
        def decode(self, ids, **kwargs):
            return " ".join(map(str, ids)) + " "

    streamer = TextStreamer(Tokenizer())
    ids = make_model().generate(torch.tensor([SOURCES[0]]), streamer=streamer, max_new_tokens=4)
    assert capsys.readouterr().out.split() == [str(token) for token in ids[0].tolist()]
    assert searches == []


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_generation_config_is_honoured(num_beams, searches):
    special = {"eos_token_id": None, "pad_token_id": 0, "decoder_start_token_id": 1}
    settings = GenerationConfig(max_new_tokens=2, num_beams=num_beams, **special)
    assert make_model().generate(**INPUTS, generation_config=settings).shape == (2, 3)
    assert len(searches) == 1
