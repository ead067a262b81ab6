# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Arguments of `generate()`: what means nothing is refused, what is right says nothing, whatever the vocabularies."""

import math
import subprocess
import sys

import pytest
import torch
from small_models import SOURCES, make_model, mask_of, pad
from transformers import GenerationConfig, SynthIDTextWatermarkingConfig, WatermarkDetector, WatermarkingConfig

from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble
from hf_rnn_attn.model.generation_arguments_rnn_attn import MOST_BEAMS, MOST_TOKENS


INPUTS = {"inputs": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES)}
ONE = {"inputs": torch.tensor([SOURCES[0]])}
WRONG = {
    "num_beams": [0, -1, "3", 2.5, True, 100_000, MOST_BEAMS + 1, math.nan],
    "num_return_sequences": [0, -1, "2", 1.5],
    "max_length": [0, -5, "9", 9.5, 10**6, MOST_TOKENS + 1],
    "max_new_tokens": [0, -1, "9", 1e6, 10**6, math.inf],
    "min_length": [-1, "2", 2.5],
    "min_new_tokens": [-1, "2", 10**9],
    "length_penalty": [1e308, -1e308, math.nan, math.inf, -math.inf, "x", True, [1.0]],
    "temperature": [0, 1e-320, 0.0, -1.0, math.nan, math.inf, "1"],
    "top_k": [-1, 1.5, "3"],
    "top_p": [-0.1, 1.1, math.nan, "x"],
    "min_p": [-0.1, 1.1, math.nan],
    "typical_p": [math.nan, 2.0],
    "epsilon_cutoff": [math.nan, -1.0],
    "eta_cutoff": [math.nan, 2.0],
    "repetition_penalty": [0.0, -1.0, math.nan, math.inf, "x"],
    "encoder_repetition_penalty": [0.0, math.nan, "x"],
    "no_repeat_ngram_size": [-1, 1.5, "2"],
    "encoder_no_repeat_ngram_size": [-1, 1.5],
    "prompt_lookup_num_tokens": [0, -1, "3"],
    "guidance_scale": [math.nan, "x", 2.0],
    "bad_words_ids": [5, "word", [[]], [5], [[12]], [[-1]], [["a"]], {}],
    "sequence_bias": [{(5,): math.nan}, {(5,): "x"}, {(): 1.0}, {5: 1.0}, {(12,): 1.0}, 5, "word", [[[5]]], [5]],
    "exponential_decay_length_penalty": [5, (1, math.nan), (1,), ("a", 1.0)],
    "max_time": [0, -1.0, math.nan],
    "do_sample": ["yes", 1, 2],
    "use_cache": ["no", 1],
    "output_scores": ["yes"],
    "eos_token_id": [[], -1, 12, 10**9, "2", [2, 99], True, 1.5],
    "pad_token_id": [-1, 12],
    "bos_token_id": [-1, 12],
    "decoder_start_token_id": [-1, 12, "1"],
    "forced_bos_token_id": [-1, 12],
    "forced_eos_token_id": [-1, [3, 12]],
    "suppress_tokens": [[-1], [12], 5, ["a"]],
    "begin_suppress_tokens": [[12], 5],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda part: str(part))
def test_a_setting_without_meaning_is_refused(name, value):
    model = make_model()
    for arguments in ({name: value}, {"do_sample": True, name: value}):
        with pytest.raises(ValueError, match=f"`{name}`: expected .*, got") as caught:
            model.generate(**ONE, **({"max_new_tokens": 3} if "length" not in name else {}) | arguments)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("num_beams", 0), ("length_penalty", math.nan), ("max_length", 10**6)])
def test_it_is_refused_wherever_it_comes_from(name, value):
    model = make_model()
    config = GenerationConfig()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=f"`{name}`: expected"):
        model.generate(**ONE, generation_config=config)
    with pytest.raises(ValueError, match=f"`{name}`: expected"):
        RnnAttnEnsemble([model, model]).generate(**ONE, **{name: value})
    setattr(model.generation_config, name, value)
    with pytest.raises(ValueError, match=f"`{name}`: expected"):
        model.generate(**ONE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_length": 9, "max_length": 5}, "`min_length=9` asks for more tokens than `max_length=5` allows"),
        ({"min_new_tokens": 9, "max_new_tokens": 5}, "`min_new_tokens=9` asks for more tokens than `max_new_tokens=5`"),
        ({"min_new_tokens": 5, "max_length": 5}, "`min_new_tokens=5` asks for more tokens than `max_length=5`"),
        ({"min_length": 300}, "`min_length=300` asks for more tokens than `max_length=256`"),
        ({"num_return_sequences": 3, "num_beams": 2}, "`num_return_sequences` .* `num_beams`"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"num_beam": 3}, "num_beam"),
        ({"beam_size": 3}, "beam_size"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"early_stopping": "always"}, "early_stopping"),
        ({"bad_words_ids": []}, "bad_words_ids"),
        ({"bad_words_ids": [[99]]}, "99"),
        ({"sequence_bias": {(99,): 1.0}}, "99"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model().generate(**ONE, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Expected something to translate, one of inputs, input_ids"),
        ({"inputs": [[1, 2]]}, "`inputs`: expected a tensor, got a list"),
        ({"input_ids": "ein Hund"}, "`input_ids`: expected a tensor, got a str"),
        ({**ONE, "attention_mask": [[1] * 7]}, "`attention_mask`: expected a tensor, got a list"),
        ({**ONE, "decoder_input_ids": [[1]]}, "`decoder_input_ids`: expected a tensor, got a list"),
        ({**ONE, "decoder_input_ids": torch.ones(3, 1).long()}, "rows of `decoder_input_ids` .* got 3 and 1"),
        (
            {**ONE, "generation_config": {"num_beams": 2}},
            "`generation_config`: .* got a dict",
        ),
        ({**ONE, "cache_implementation": "paged"}, "`cache_implementation`: expected none"),
        ({**ONE, "logits_processor": 5}, "`logits_processor`: expected an object with .* got a int"),
        ({**ONE, "stopping_criteria": "word"[0].isalpha}, "`stopping_criteria`: expected an object with"),
        ({**ONE, "prefix_allowed_tokens_fn": [5]}, "`prefix_allowed_tokens_fn`: expected an object with __call__"),
        ({**ONE, "assistant_model": "model"}, "`assistant_model`: expected an object with generate, got a str"),
        ({**ONE, "streamer": print}, "`streamer`: expected an object with put and end, got a builtin_function_or_meth"),
    ],
    ids=lambda part: next(iter(reversed(part)), "none") if isinstance(part, dict) else "",
)
def test_inputs_of_other_types_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model().generate(**arguments)


@pytest.mark.parametrize("beams", [11, 12, 13, 50])
def test_a_beam_wider_than_the_vocabulary_finds_what_a_full_search_finds(beams):
    model = make_model(eos_token_id=11)
    found = model.generate(**ONE, num_beams=beams, max_new_tokens=2, num_return_sequences=beams, length_penalty=0.0)
    assert len({tuple(row) for row in found.tolist()}) == beams


def test_the_longest_is_bounded_without_an_end():
    model = make_model()
    found = model.generate(torch.tensor([[5, 2]]), eos_token_id=None, max_length=2000)
    assert found.shape == (1, 2000)


RIGHT = [
    {},
    {"max_new_tokens": 5},
    {"max_length": 5},
    {"num_beams": 3},
    {"num_beams": 3, "max_new_tokens": 5, "early_stopping": True, "length_penalty": 0.6, "num_return_sequences": 2},
    {"do_sample": True, "temperature": 0.7, "top_k": 3, "top_p": 0.9, "max_new_tokens": 5},
    {"num_beams": 2, "do_sample": True, "max_new_tokens": 5},
    {"min_new_tokens": 2, "max_new_tokens": 5},
    {"min_length": 3, "max_length": 6},
    {"max_new_tokens": 5, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
    {"max_new_tokens": 5, "output_scores": True, "return_dict_in_generate": True},
    {"generation_config": GenerationConfig(max_new_tokens=5, num_beams=2)},
    {"prompt_lookup_num_tokens": 3, "max_new_tokens": 5},
]


@pytest.mark.parametrize("arguments", RIGHT, ids=str)
def test_a_usual_call_says_nothing(arguments, recwarn, caplog):
    model = make_model()
    inputs = ONE if "prompt_lookup_num_tokens" in arguments else INPUTS
    model.generate(**inputs, **arguments)
    assert not recwarn.list and not caplog.records


def test_an_assistant_says_nothing(recwarn, caplog):
    model = make_model()
    plain = model.generate(**ONE, max_new_tokens=6)
    assert torch.equal(model.generate(**ONE, max_new_tokens=6, assistant_model=make_model()), plain)
    assert not recwarn.list and not caplog.records


@pytest.mark.parametrize(
    ("ours", "call", "length"), [("max_length", "max_new_tokens", 5), ("max_new_tokens", "max_length", 4)]
)
def test_the_limit_of_a_call_replaces_the_models(ours, call, length, caplog):
    model = make_model()
    model.generation_config.max_length = None
    setattr(model.generation_config, ours, 9)
    found = model.generate(**ONE, **{call: 4}, eos_token_id=None)
    assert found.shape[1] == length and not caplog.records


FRESH = """
import logging, sys, warnings
warnings.simplefilter("error")
import torch
import hf_rnn_attn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
from transformers.utils import logging as library

library.disable_progress_bar()
folder = next(iter(hf_rnn_attn.BUNDLED.values()))
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
new = hf_rnn_attn.RnnAttnForConditionalGeneration(hf_rnn_attn.RnnAttnConfig(vocab_size=8000)).eval()
batch = tokenizer(["ein Hund", "eine Katze schläft"], return_tensors="pt", padding=True)
for part in (model, new):
    for options in ({}, {"num_beams": 2}, {"do_sample": True}):
        part.generate(**batch, **options, max_new_tokens=4)
        part.generate(**batch, **options, max_length=4)
one = tokenizer("ein Hund", return_tensors="pt")
model.generate(**one, max_new_tokens=4, num_beams=1, assistant_model=new)
translator = pipeline("translation", model=folder)
translator("ein Hund")
translator(["ein Hund", "eine Katze"], max_new_tokens=20, num_beams=2)
translator("ein Hund", max_length=20)
"""


def test_nothing_usual_warns_in_a_fresh_process():
    run = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


# docs/transformers.md lists where the library reads a vocabulary's size
SIZES = [(45, 60), (60, 45), (45, 45)]


@pytest.fixture(params=SIZES, ids=str)
def two_sizes(request):
    torch.manual_seed(0)
    source, target = request.param
    return make_model(vocab_size=source, decoder_vocab_size=target)


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_bias": {(5,): 100.0}, "max_new_tokens": 3},
        {"bad_words_ids": [[5]]},
        {"suppress_tokens": [4, 5]},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 1},
        {"prompt_lookup_num_tokens": 2},
        {"do_sample": True, "top_k": 2},
        {"do_sample": True, "typical_p": 0.5},
        {"num_beams": 2, "output_scores": True, "return_dict_in_generate": True},
        {"watermarking_config": WatermarkingConfig(bias=2.5, seeding_scheme="selfhash")},
        {"do_sample": True, "watermarking_config": SynthIDTextWatermarkingConfig(ngram_len=2, keys=[1, 2])},
    ],
    ids=lambda options: next(iter(options)) + str(options.get("watermarking_config", ""))[:9],
)
def test_what_reads_a_vocabulary_reads_the_targets(two_sizes, options):
    found = two_sizes.generate(**ONE, **{"max_new_tokens": 6, **options})
    sequences = found if isinstance(found, torch.Tensor) else found.sequences
    assert 0 <= sequences.min() <= sequences.max() < two_sizes.config.decoder_vocab_size
    if "bad_words_ids" in options or "suppress_tokens" in options:
        assert not (sequences == 5).any()
    if "sequence_bias" in options:
        assert (sequences[0, 1:] == 5).all()
    if "no_repeat_ngram_size" in options:
        assert len(set(sequences[0].tolist())) == sequences.shape[1]


def test_a_watermark_of_the_target_vocabulary_is_detected(two_sizes):
    settings = WatermarkingConfig(bias=100.0)
    marked = two_sizes.generate(**ONE, watermarking_config=settings, max_new_tokens=30, min_new_tokens=30)
    detector = WatermarkDetector(two_sizes.config.get_text_config(), "cpu", settings)
    assert detector(marked).item()


def test_tokens_of_a_larger_target_vocabulary_are_biased():
    model = make_model(vocab_size=12, decoder_vocab_size=30)
    found = model.generate(**ONE, sequence_bias={(29,): 100.0}, max_new_tokens=3, eos_token_id=None)
    assert (found[0, 1:] == 29).all()
