# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Invented words: in the spelling of the list, new, and the same with the same seed."""

import sys
from pathlib import Path

import pytest


WORDS = {"marten", "martens", "garten", "gartner", "partner", "hartford", "hartman", "waltman", "saltmarsh", "marshal"}


@pytest.fixture
def invent_words(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import invent_words

    return invent_words


def fivegrams(words):
    ends = [f"^^^^{word}$" for word in words]
    return {word[i : i + 5] for word in ends for i in range(len(word) - 4)}


def test_words_are_new_and_spelt_like_the_others(invent_words):
    invented = invent_words.invent_words(WORDS, 5, without={"marsh"})
    assert len(set(invented)) == 5 and not set(invented) & (WORDS | {"marsh"})
    assert fivegrams(invented) <= fivegrams(WORDS)
    assert invented == invent_words.invent_words(WORDS, 5, without={"marsh"})
    assert "marsh" in invent_words.invent_words(WORDS, 6, without=set())


def test_a_spelling_without_further_words_is_an_error(invent_words):
    with pytest.raises(ValueError, match="after 0 a thousand samples"):
        invent_words.invent_words({"up", "on"}, 1, without=set())


def test_the_command_writes_a_word_a_line(invent_words, tmp_path, monkeypatch, capsys):
    (tmp_path / "train.tsv").write_text("".join(f"{word}\tX\n" for word in sorted(WORDS)))
    (tmp_path / "dev.tsv").write_text("marsh\tX\n")
    arguments = [str(tmp_path / "train.tsv"), "5", "--without", str(tmp_path / "dev.tsv")]
    monkeypatch.setattr(sys, "argv", ["invent_words.py", *arguments])
    invent_words.main()
    assert capsys.readouterr().out.split() == invent_words.invent_words(WORDS, 5, without={"marsh"})
