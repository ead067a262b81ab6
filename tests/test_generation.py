# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""`generate()`: cached against uncached, beams against exhaustive search, batches against single sentences."""

import itertools

import pytest
import torch
from small_models import SOURCES, make_model, mask_of, pad
from transformers import LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from hf_rnn_attn import train_tokenizer
from hf_rnn_attn.model.cache_rnn_attn import CACHE_NAMES, cache_of


def translate(model, sources=SOURCES, left=False, **options):
    return model.generate(pad(sources, 0, left), attention_mask=mask_of(sources, left), **options)


def words_of(row):
    """The words up to and with the first end of sentence."""
    words = row.tolist()
    return words[: words.index(2) + 1] if 2 in words else words


@pytest.mark.parametrize("options", [{}, {"num_beams": 4}, {"num_beams": 4, "length_penalty": 2.0}], ids=str)
@pytest.mark.parametrize(
    ("cell", "score", "span", "copies"),
    [
        ("lstm", "general", "global", False),
        ("gru", "concat", "local-p", True),
        ("rnn_tanh", "dot", "local-m", False),
        ("lstm", "location", "global", True),
        ("gru", "none", "global", False),
    ],
)
@pytest.mark.parametrize("input_feeding", [True, False])
def test_cached_and_uncached_are_equal_token_for_token(cell, score, span, copies, input_feeding, options):
    model = make_model(
        decoder_cell_type=cell,
        attention_score=score,
        attention_span=span,
        pointer_generator=copies,
        input_feeding=input_feeding,
        decoder_layers=2,
    )
    cached = translate(model, min_new_tokens=8, max_new_tokens=12, **options)
    assert cached.shape[1] > 8
    uncached = translate(model, min_new_tokens=8, max_new_tokens=12, use_cache=False, **options)
    assert torch.equal(cached, uncached)


def sequence_log_probability(model, source, words):
    logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[1, *words[:-1]]])).logits[0]
    return float(logits.log_softmax(-1)[torch.arange(len(words)), torch.tensor(words)].sum())


@torch.no_grad()
def test_a_wide_beam_finds_the_best_of_all_sequences():
    model = make_model(decoder_vocab_size=5, pad_token_id=None, initializer_range=2.0)
    source = SOURCES[0]
    candidates = [(*prefix, 2) for n in range(3) for prefix in itertools.product([0, 1, 3, 4], repeat=n)] + list(
        itertools.product([0, 1, 3, 4], repeat=3)
    )
    best = max(candidates, key=lambda words: sequence_log_probability(model, source, list(words)))
    found = model.generate(
        torch.tensor([source]),
        num_beams=60,
        max_new_tokens=3,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
        pad_token_id=0,
    )
    assert tuple(words_of(found.sequences[0, 1:])) == best
    assert float(found.sequences_scores[0]) == pytest.approx(
        sequence_log_probability(model, source, list(best)), abs=1e-6
    )


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 3}], ids=str)
def test_a_sentence_is_translated_alike_alone_and_in_company(options, left):
    model = make_model(encoder_layers=2)
    together = translate(model, left=left, max_new_tokens=10, **options)
    count = options.get("num_return_sequences", 1)
    for index, source in enumerate(SOURCES):
        alone = translate(model, [source], max_new_tokens=10, **options)
        for rank in range(count):
            assert words_of(together[index * count + rank, 1:]) == words_of(alone[rank, 1:])


def test_beams_reorder_the_whole_state(monkeypatch):
    model = make_model(input_feeding=True, initializer_range=1.5)
    # a returned dictionary takes the library's loop, which leaves the state in the cache
    options = {"num_beams": 4, "max_new_tokens": 12, "return_dict_in_generate": True}
    right = translate(model, **options).sequences
    monkeypatch.setattr("hf_rnn_attn.model.cache_rnn_attn.RnnStateLayer.reorder_cache", lambda self, beam_idx: None)
    assert not torch.equal(right, translate(model, **options).sequences)


def test_n_best_are_distinct_and_sorted():
    model = make_model()
    found = translate(
        model, num_beams=4, num_return_sequences=4, max_new_tokens=6, return_dict_in_generate=True, output_scores=True
    )
    scores = found.sequences_scores.view(2, 4)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    for rows in found.sequences.view(2, 4, -1).tolist():
        assert len({tuple(row) for row in rows}) == 4


def test_sampling_follows_the_seed():
    model = make_model()
    torch.manual_seed(3)
    first = translate(model, do_sample=True, max_new_tokens=10)
    torch.manual_seed(3)
    assert torch.equal(first, translate(model, do_sample=True, max_new_tokens=10))
    assert not torch.equal(first, translate(model, do_sample=True, max_new_tokens=10))


def test_scores_and_attentions_are_those_of_the_forward_pass():
    model = make_model(eos_token_id=11)
    found = translate(
        model,
        max_new_tokens=5,
        return_dict_in_generate=True,
        output_scores=True,
        output_attentions=True,
        output_hidden_states=True,
    )
    outputs = model(
        input_ids=pad(SOURCES, 0),
        attention_mask=mask_of(SOURCES),
        decoder_input_ids=found.sequences[:, :-1],
        output_attentions=True,
        output_hidden_states=True,
    )
    torch.testing.assert_close(torch.stack(found.scores, 1).double(), outputs.logits, atol=1e-5, rtol=1e-5)
    weights = torch.cat([step[0] for step in found.cross_attentions], 2)
    torch.testing.assert_close(weights, outputs.cross_attentions[0])
    hidden = torch.cat([step[-1] for step in found.decoder_hidden_states], 1)
    torch.testing.assert_close(hidden, outputs.decoder_hidden_states[-1])


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")
@pytest.mark.parametrize("name", CACHE_NAMES)
def test_continuing_from_a_returned_cache(name):
    model = make_model(eos_token_id=11)
    whole = translate(model, min_new_tokens=8, max_new_tokens=8)
    begun = translate(model, min_new_tokens=3, max_new_tokens=3, return_dict_in_generate=True)
    assert cache_of(begun).get_seq_length() == 3
    continued = translate(
        model,
        decoder_input_ids=begun.sequences,
        **{name: cache_of(begun)},
        min_new_tokens=5,
        max_new_tokens=5,
    )
    assert torch.equal(continued, whole)


def test_a_forced_prefix_is_kept():
    model = make_model()
    prefix = torch.tensor([[1, 7, 7], [1, 4, 8]])
    found = translate(model, decoder_input_ids=prefix, max_new_tokens=4)
    assert torch.equal(found[:, :3], prefix)
    assert torch.equal(found, translate(model, decoder_input_ids=prefix, max_new_tokens=4, use_cache=False))


def test_encoder_outputs_and_embeddings_stand_in_for_ids():
    model = make_model()
    expected = translate(model, num_beams=3, max_new_tokens=8)
    encoded = model.get_encoder()(input_ids=pad(SOURCES, 0), attention_mask=mask_of(SOURCES))
    options = {"attention_mask": mask_of(SOURCES), "num_beams": 3, "max_new_tokens": 8}
    assert torch.equal(model.generate(encoder_outputs=encoded, **options), expected)
    embeds = model.get_input_embeddings()(pad(SOURCES, 0))
    assert torch.equal(model.generate(inputs_embeds=embeds, **options), expected)


def test_length_limit_of_a_fresh_checkpoint():
    model = make_model(eos_token_id=11)
    with torch.no_grad():
        model.lm_head.weight[11] = 0
        model.lm_head.weight[4] = 1
    assert model.generation_config.max_length == 256
    assert translate(model, [SOURCES[1]]).shape[1] <= 256


@pytest.mark.parametrize("assistant", ["itself", "another", "prompt lookup"])
@pytest.mark.parametrize(
    ("cell", "score", "input_feeding", "copies"),
    [
        ("lstm", "general", True, False),
        ("gru", "concat", False, True),
        ("lstm", "none", True, False),
        ("rnn_tanh", "dot", True, True),
    ],
)
def test_assisted_decoding_equals_greedy(cell, score, input_feeding, copies, assistant):
    options = {"decoder_cell_type": cell, "attention_score": score, "input_feeding": input_feeding}
    options["pointer_generator"] = copies
    model = make_model(**options, decoder_layers=2)
    helpers = {
        "itself": {"assistant_model": model},
        "another": {"assistant_model": make_model(**options, initializer_range=0.5)},
        "prompt lookup": {"prompt_lookup_num_tokens": 2},
    }
    recorded = dict.fromkeys(("output_logits", "output_attentions", "output_hidden_states"), True)
    recorded["return_dict_in_generate"] = True
    for source in SOURCES:
        greedy = translate(model, [source], min_new_tokens=12, max_new_tokens=20, **recorded)
        assisted = translate(model, [source], min_new_tokens=12, max_new_tokens=20, **recorded, **helpers[assistant])
        assert torch.equal(assisted.sequences, greedy.sequences)
        for one, other in zip(assisted.logits, greedy.logits, strict=True):
            torch.testing.assert_close(one, other)
        # not their values: of the first round's steps, the library repeats the first and drops the last
        assert len(assisted.cross_attentions) == len(assisted.decoder_hidden_states) == len(greedy.logits)


def test_assisted_decoding_takes_fewer_steps():
    model = make_model()
    calls = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: calls.append(output.shape[1]))
    translate(model, [SOURCES[0]], min_new_tokens=20, max_new_tokens=20)
    assert len(calls) == 20
    calls.clear()
    translate(model, [SOURCES[0]], min_new_tokens=20, max_new_tokens=20, prompt_lookup_num_tokens=5)
    assert len(calls) < 20 and max(calls) > 1


MODES = {
    "greedy": {},
    "sample": {"do_sample": True},
    "beam": {"num_beams": 3, "num_return_sequences": 2},
    "beam-sample": {"num_beams": 3, "num_return_sequences": 2, "do_sample": True},
}


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_everything_that_was_asked_for_is_returned(mode, use_cache):
    model = make_model(encoder_layers=2, decoder_layers=2)
    asked = {f"output_{name}": True for name in ("scores", "logits", "attentions", "hidden_states")}
    options = {"min_new_tokens": 5, "max_new_tokens": 5, "return_dict_in_generate": True, "use_cache": use_cache}
    found = translate(model, **MODES[mode], **options, **asked)
    returned = MODES[mode].get("num_return_sequences", 1) * len(SOURCES)
    rows = MODES[mode].get("num_beams", 1) * len(SOURCES)
    assert found.sequences.shape == (returned, 6)
    assert (
        [tuple(step.shape) for step in found.scores] == [tuple(step.shape) for step in found.logits] == [(rows, 12)] * 5
    )
    lengths = [1] * 5 if use_cache else range(1, 6)
    assert [tuple(step[0].shape) for step in found.cross_attentions] == [(rows, 1, length, 7) for length in lengths]
    assert all(step == () for step in found.decoder_attentions)
    shapes = [[tuple(layer.shape) for layer in step] for step in found.decoder_hidden_states]
    assert shapes == [[(rows, length, width) for width in (6, 8, 8)] for length in lengths]
    assert [tuple(layer.shape) for layer in found.encoder_hidden_states] == [(2, 7, width) for width in (5, 8, 8)]
    assert found.encoder_attentions is None
    assert (cache_of(found) is not None) == use_cache
    if "num_beams" in MODES[mode]:
        assert found.sequences_scores.shape == (returned,) and found.beam_indices.shape == (returned, 5)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_with_its_cache_the_librarys_loop_decodes_one_token_a_step(mode, use_cache):
    model = make_model()
    lengths, hook = [], lambda module, args, kwargs: lengths.append(kwargs["input_ids"].shape[1])
    model.model.decoder.register_forward_pre_hook(hook, with_kwargs=True)
    # a processor, so that the library's own loop runs
    options = {"min_new_tokens": 6, "max_new_tokens": 6, "repetition_penalty": 1.1, "use_cache": use_cache}
    translate(model, **MODES[mode], **options)
    assert lengths == ([1] * 6 if use_cache else [1, 2, 3, 4, 5, 6])


@torch.no_grad()
@pytest.mark.parametrize("mode", ["greedy", "beam"])
def test_transition_scores_are_those_of_the_forward_pass(mode):
    model = make_model()
    options = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_scores": True}
    found = translate(model, **MODES[mode], **options)
    beam_indices = getattr(found, "beam_indices", None)
    scores = model.compute_transition_scores(
        found.sequences, found.scores, beam_indices, normalize_logits=mode == "greedy"
    )
    for row, sequence in enumerate(found.sequences):
        words = words_of(sequence[1:])
        expected = sequence_log_probability(model, SOURCES[row * len(SOURCES) // len(found.sequences)], words)
        assert float(scores[row, : len(words)].sum()) == pytest.approx(expected, abs=1e-5)


class Listener(BaseStreamer):
    def __init__(self):
        self.heard, self.ended = [], False

    def put(self, value):
        self.heard.extend(value.flatten().tolist())

    def end(self):
        self.ended = True


def test_a_streamer_hears_the_words_as_they_come():
    listener = Listener()
    sequence = translate(make_model(), [SOURCES[0]], max_new_tokens=6, streamer=listener)
    assert listener.heard == sequence[0].tolist() and listener.ended
    with pytest.raises(ValueError, match="streamer"):
        translate(make_model(), [SOURCES[0]], num_beams=2, streamer=Listener())


@pytest.mark.parametrize("beams", [1, 3])
def test_length_limits_and_forced_words(beams):
    model = make_model()
    plain = translate(model, num_beams=beams, min_new_tokens=7, max_new_tokens=9)
    assert 8 <= plain.shape[1] <= 10 and all(len(words_of(row[1:])) >= 7 for row in plain)
    forced = translate(model, num_beams=beams, forced_bos_token_id=7, forced_eos_token_id=9, min_length=6, max_length=6)
    assert (forced[:, 1] == 7).all() and (forced[:, 5] == 9).all()


@pytest.mark.parametrize("beams", [1, 3])
def test_forbidden_words_do_not_come(beams):
    model = make_model()
    options = {"num_beams": beams, "min_new_tokens": 10, "max_new_tokens": 10}
    plain = translate(model, **options)
    word = int(plain[0, 3])
    assert word not in translate(model, bad_words_ids=[[word]], **options)[:, 1:]
    assert word not in translate(model, suppress_tokens=[word], **options)[:, 1:]
    pairs = [tuple(pair) for pair in translate(model, no_repeat_ngram_size=2, **options)[0].unfold(0, 2, 1).tolist()]
    assert len(set(pairs)) == len(pairs)
    repeated = [tuple(pair) for pair in plain[0].unfold(0, 2, 1).tolist()]
    assert len(set(repeated)) < len(repeated)


class OnlySeven(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([7]), 0.0)


class ThreeWords(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return torch.full((len(input_ids),), input_ids.shape[1] >= 4)


def test_custom_processors_and_stopping_criteria():
    sequences = translate(
        make_model(), logits_processor=[OnlySeven()], stopping_criteria=[ThreeWords()], max_new_tokens=9
    )
    assert sequences.tolist() == [[1, 7, 7, 7]] * 2


def test_a_stop_string_ends_a_translation():
    # the library wants a tokenizer that can spell any word; one of whole words cannot
    tokenizer = train_tokenizer(["ab cd ef gh"] * 9, ["ab cd ef gh"] * 9, kind="bpe", vocab_size=280)
    model = make_model(vocab_size=len(tokenizer))
    options = {"min_new_tokens": 8, "max_new_tokens": 8, "bad_words_ids": [[index] for index in range(4)]}
    plain = translate(model, [[4, 5, 2]], **options)
    text = tokenizer.decode(plain[0, 3:4])
    stopped = translate(model, [[4, 5, 2]], **options, stop_strings=[text], tokenizer=tokenizer)
    assert text and stopped.tolist() == plain[:, : stopped.shape[1]].tolist() and stopped.shape[1] <= 4


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"num_beams": 4, "force_words_ids": [[5]]},
    ],
    ids=["group beams", "contrastive", "constrained"],
)
def test_modes_that_live_on_the_hub_say_so(options):
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        translate(make_model(), **options)


@pytest.mark.parametrize("cache_implementation", ["static", "offloaded"])
def test_cache_implementations_have_no_effect(cache_implementation):
    model = make_model()
    found = translate(model, max_new_tokens=5, cache_implementation=cache_implementation)
    assert torch.equal(found, translate(model, max_new_tokens=5))
