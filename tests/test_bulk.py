# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Bulk translation: windows, batches, order, how far ahead is read."""

import io
from pathlib import Path

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

    def __call__(self, batches, num_return_sequences, **options):
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


class Interrupted(Exception):
    """Stands for a kill: nothing of ours is done after it."""


def translate_file(path, settings, lines, stop_after=None):
    """Translates with windows of three lines; stops before window number `stop_after` is written."""
    output = bulk.ResumableOutput(path, settings, lambda: iter(lines))
    done = output.lines.count

    def windows():
        for number, window in enumerate(bulk.translate_lines(output.lines, Shouter(), 9)):
            if number == stop_after:
                raise Interrupted
            yield window

    output.write(windows())
    return done


TEXT = [f"Zeile {number}" for number in range(8)]


@pytest.mark.parametrize("stop_after", [0, 1, 2])
@pytest.mark.parametrize("torn", ["", "ZEI", "ZEILE 3\n", "ZEILE 3\nZEILE 4\nZEI", "\n\n\n\n\n\n\n\n"])
def test_a_file_that_was_cut_off_is_gone_on_with(stop_after, torn, tmp_path, small_windows):
    path = tmp_path / "out.txt"
    path.write_text("of before", "utf-8")
    with pytest.raises(Interrupted):
        translate_file(path, {"beams": 5}, TEXT, stop_after)
    # what a kill may leave of the window that was being written
    with open(f"{path}.partial", "a", encoding="utf-8") as file:
        file.write(torn)
    assert path.read_text("utf-8") == "of before"
    assert translate_file(path, {"beams": 5}, TEXT) == stop_after * 3
    assert path.read_text("utf-8") == "".join(f"{line.upper()}\n" for line in TEXT)
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"beams": 5}, {"beams": 1}, TEXT),
        ({}, None, TEXT),
        (None, {}, TEXT),
        (None, None, TEXT),
        ({}, {}, ["other", *TEXT[1:]]),
        ({}, {}, [*TEXT[:5], "other", *TEXT[6:]]),
        ({}, {}, TEXT[:4]),
        ({}, {}, []),
    ],
)
def test_another_text_or_setting_begins_anew(before, after, lines, tmp_path, small_windows):
    path = tmp_path / "out.txt"
    with pytest.raises(Interrupted):
        translate_file(path, before, TEXT, 2)
    assert translate_file(path, after, lines) == 0
    assert path.read_text("utf-8").splitlines() == [line.upper() for line in lines]


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "null", '{"lines": 3}'])
def test_a_damaged_note_of_the_progress_begins_anew(damage, tmp_path, small_windows):
    path = tmp_path / "out.txt"
    with pytest.raises(Interrupted):
        translate_file(path, {}, TEXT, 2)
    (tmp_path / "out.txt.partial.json").write_text(damage, "utf-8")
    assert translate_file(path, {}, TEXT) == 0
    assert path.read_text("utf-8").splitlines() == [line.upper() for line in TEXT]


@pytest.mark.parametrize("lost", ["partial", "partial.json"])
def test_a_lost_file_begins_anew(lost, tmp_path, small_windows):
    path = tmp_path / "out.txt"
    with pytest.raises(Interrupted):
        translate_file(path, {}, TEXT, 2)
    Path(f"{path}.{lost}").unlink()
    assert translate_file(path, {}, TEXT) == 0
    assert path.read_text("utf-8").splitlines() == [line.upper() for line in TEXT]


def test_later_lines_may_change_between_two_starts(tmp_path, small_windows):
    path = tmp_path / "out.txt"
    with pytest.raises(Interrupted):
        translate_file(path, {}, TEXT, 2)
    assert translate_file(path, {}, [*TEXT[:6], "neu", "und mehr"]) == 6
    assert path.read_text("utf-8").splitlines()[6:] == ["NEU", "UND MEHR"]


def test_lines_before_an_unreadable_one_are_not_lost(tmp_path, small_windows):
    path, good = tmp_path / "out.txt", "".join(f"{line}\n" for line in TEXT).encode()

    def start(text):
        output = bulk.ResumableOutput(path, {}, lambda: bulk.read_lines(io.BytesIO(text), "in.txt"))
        done = output.lines.count
        output.write(bulk.translate_lines(output.lines, Shouter(), 9))
        return done

    with pytest.raises(ValueError, match="in.txt:9: expected UTF-8, got the byte 0xfc after 2 others"):
        start(good + b"gr\xfcn\n")
    assert Path(f"{path}.partial").read_text("utf-8").splitlines() == [line.upper() for line in TEXT]
    # the third window was cut short by it, and comes whole
    assert start(good + "grün\n".encode()) == 6
    assert path.read_text("utf-8").splitlines() == [line.upper() for line in [*TEXT, "grün"]]


def test_windows_end_after_so_many_characters(monkeypatch):
    monkeypatch.setattr(bulk, "WINDOW_CHARACTERS", 6)
    windows = list(bulk.translate_lines(["abc", "def", "ghi", "jklmnop", "q"], Shouter(), 9))
    assert windows == [["ABC", "DEF"], ["GHI", "JKLMNOP"], ["Q"]]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"\n", [""]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"a\rb\nc", ["a\rb", "c"]),
        (b"a\0b\n\0\n", ["a\0b", "\0"]),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n".encode(), ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"]),
        ("\ufeffa\n\ufeffb".encode(), ["a", "\ufeffb"]),
    ],
)
def test_nothing_but_a_newline_ends_a_line(text, lines):
    assert list(bulk.read_lines(io.BytesIO(text), "in.txt")) == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\xff\n", "in.txt:2: expected UTF-8, got the byte 0xff after 1 others"),
        ("größe\n".encode("latin-1"), "in.txt:1: expected UTF-8, got the byte 0xf6 after 2 others"),
        ("größe\n".encode("utf-16"), "in.txt:1: expected UTF-8, got the byte 0xff after 0 others"),
        (b"\x1f\x8b\x08\x00", "in.txt:1: expected UTF-8, got the byte 0x8b"),
        (b"\x89PNG\r\n", "in.txt:1: expected UTF-8"),
        (b"\xed\xa0\x80\n", "in.txt:1: expected UTF-8"),
        (b"ab\xc3", "in.txt:1: expected UTF-8"),
        (b"a\n" + b"x" * 101, "in.txt:2: expected lines of text, got one of more than 100 bytes"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(text, message, monkeypatch):
    monkeypatch.setattr(bulk, "LINE_BYTES", 100)
    with pytest.raises(ValueError, match=message):
        list(bulk.read_lines(io.BytesIO(text), "in.txt"))


@pytest.mark.parametrize(
    ("line", "kept"),
    [("ein hund", "ein hund"), ("ein hund läuft", "ein hund"), ("x" * 20, "x" * 10), ("ein  " + "y" * 20, "ein")],
)
def test_a_long_line_is_cut_and_named(line, kept, caplog):
    assert list(bulk.cut_long_lines(["a", line], 10, "in.txt", start=5)) == ["a", kept]
    expected = f"in.txt:6: only the first 10 of {len(line)} characters are translated"
    assert [record.message for record in caplog.records] == ([] if line == kept else [expected])


def test_a_translation_is_one_line():
    assert bulk.encode_lines(["a\nb", "", "c\rd\u2028e"]).decode() == "a b\n\nc\rd\u2028e\n"
