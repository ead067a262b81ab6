# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Bulk translation: windows, batches, order, how far ahead is read."""

import pytest
import torch
from transformers import pipeline

import hf_rnn_attn
from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnn_attn.inference import bulk
from hf_rnn_attn.tokenization import train_tokenizer


class Shouter:
    """Stands for a pipeline: "translates" into capitals, remembers its batches; each word is a token."""

    def __init__(self):
        self.batches = []

    def __call__(self, batches, num_return_sequences):
        assert num_return_sequences == 1
        self.batches += batches
        return [[{"translation_text": text.upper()} for text in batch] for batch in batches]

    def tokenizer(self, lines):
        return {"input_ids": [line.split() for line in lines]}


class Counted:
    """Lines without end that know how many were read."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.read += 1
        return f"line {self.read}"


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(bulk, "WINDOW_LINES", 3)


def test_batches_hold_like_lengths_and_the_order_comes_back():
    shouter = Shouter()
    lines = ["a b c", "", "d", "e f g h i", " \t", "j k"]
    assert list(bulk.translate_lines(lines, shouter, 6)) == [["A B C", "", "D", "E F G H I", "", "J K"]]
    # padded to their longest: 5, then 2 x 3, then 1
    assert shouter.batches == [["e f g h i"], ["a b c", "j k"], ["d"]]


def test_a_sentence_longer_than_a_batch_is_a_batch():
    shouter = Shouter()
    assert list(bulk.translate_lines(["a b c", "d"], shouter, 2)) == [["A B C", "D"]]
    assert shouter.batches == [["a b c"], ["d"]]


@pytest.mark.parametrize("lines", [[], [""], ["", " ", "", ""]])
def test_nothing_to_translate(lines, small_windows):
    shouter = Shouter()
    assert sum(bulk.translate_lines(lines, shouter, 6), []) == [""] * len(lines)
    assert shouter.batches == []


def test_no_more_than_a_window_is_read_ahead(small_windows):
    lines = Counted()
    windows = bulk.translate_lines(lines, Shouter(), 6)
    assert lines.read == 0
    assert next(windows) == ["LINE 1", "LINE 2", "LINE 3"]
    assert lines.read == 3
    assert next(windows) == ["LINE 4", "LINE 5", "LINE 6"]
    assert lines.read == 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model"))
    tokenizer = train_tokenizer(["ein hund und zwei katzen"], ["a dog and two cats"], kind="word")
    torch.manual_seed(0)
    config = RnnAttnConfig(
        vocab_size=len(tokenizer), encoder_hidden_size=8, decoder_hidden_size=16, initializer_range=1.0
    )
    model = RnnAttnForConditionalGeneration(config)
    model.generation_config.update(max_length=6, num_beams=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def translator(checkpoint):
    hf_rnn_attn.register()
    return pipeline("translation", model=checkpoint)


LINES = ["ein hund", "", "zwei", "katzen und zwei katzen und ein hund", "hund", "und", "zwei katzen", "ein und"]


@pytest.fixture(scope="module")
def one_by_one(translator):
    return [translator(line)[0]["translation_text"] if line else "" for line in LINES]


def test_batches_translate_as_one_line_at_a_time_does(translator, one_by_one, small_windows):
    windows = list(bulk.translate_lines(LINES, translator, 9))
    assert [len(window) for window in windows] == [3, 3, 2]
    assert sum(windows, []) == one_by_one
    assert len(set(one_by_one)) > 4


def test_the_best_of_several_translations_is_taken(translator, one_by_one, monkeypatch):
    monkeypatch.setattr(translator.model.generation_config, "num_return_sequences", 2)
    assert sum(bulk.translate_lines(LINES, translator, 9), []) == one_by_one


def write_lines(path, settings, lines, stop_after=None):
    with bulk.resumable_output(path, settings) as (file, done):
        for number, line in enumerate(lines[done:], start=done):
            if number == stop_after:
                file.flush()
                raise KeyboardInterrupt
            file.write(f"{line}\n")
    return done


@pytest.mark.parametrize("stop_after", [0, 1, 3, 4, 7])
def test_a_file_that_was_cut_off_is_gone_on_with(stop_after, tmp_path, small_windows):
    lines, path = [f"Zeile {number}" for number in range(8)], tmp_path / "out.txt"
    path.write_text("of before", "utf-8")
    with pytest.raises(KeyboardInterrupt):
        write_lines(path, {"beams": 5}, lines, stop_after)
    # half of a line, as a kill may leave it
    with open(f"{path}.partial", "a", encoding="utf-8") as file:
        file.write("Zei")
    assert path.read_text("utf-8") == "of before"
    assert write_lines(path, {"beams": 5}, lines) == stop_after // 3 * 3
    assert path.read_text("utf-8") == "".join(f"{line}\n" for line in lines)
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize(("before", "after"), [({"beams": 5}, {"beams": 1}), ({}, None), (None, {}), (None, None)])
def test_other_or_no_settings_begin_anew(before, after, tmp_path, small_windows):
    lines, path = [str(number) for number in range(8)], tmp_path / "out.txt"
    with pytest.raises(KeyboardInterrupt):
        write_lines(path, before, ["other"] * 8, 7)
    assert write_lines(path, after, lines) == 0
    assert path.read_text("utf-8").splitlines() == lines
