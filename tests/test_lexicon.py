# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A lexicon holds the user's pronunciations, the model's for the other words, and no word without one."""

import math

import pytest
import torch

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, cli
from hf_rnn_attn.lexicon import Entry, distinct_words, format_entry, pronounce, read_dictionary
from hf_rnn_attn.tokenization import train_tokenizer


TOKENIZER = train_tokenizer(["cathedron"], ["K AE1 T HH EH0"], kind="char", target_kind="symbol", joint=False)
# the phones of a word: its letters in capitals, with a stress; "x" has no phone
SAID = {"cat": ["K AE1 T", "K  AE1 T", "K EH0 T"], "the": ["HH EH0"], "toad": [""]}


class Speaker:
    """Stands for a pipeline that knows a few words."""

    tokenizer = TOKENIZER

    def __init__(self):
        self.asked = []

    def __call__(self, batches, num_return_sequences, return_scores):
        (words,) = batches
        self.asked += words
        return [
            [
                {"translation_text": SAID[word][place % len(SAID[word])], "score": -float(place)}
                for word in words
                for place in range(num_return_sequences)
            ]
        ]


def said_of(words, dictionary=(), count=1):
    speaker = Speaker()
    entries = list(pronounce(words, speaker, read_dictionary(dictionary, "mine.dict"), count=count))
    return {entry.word: [" ".join(phones) for phones in entry.pronunciations] for entry in entries}, speaker.asked


def test_the_model_says_what_the_dictionary_lacks():
    assert said_of(["the", "cat"], ["cat  K AH0 T"]) == ({"the": ["HH EH0"], "cat": ["K AH0 T"]}, ["the"])


def test_variants_are_distinct_and_relative_to_the_likeliest():
    assert said_of(["cat"], count=3)[0] == {"cat": ["K AE1 T", "K EH0 T"]}
    (entry,) = pronounce(["cat"], Speaker(), {}, count=3)
    assert list(entry.pronunciations.values()) == [1.0, math.exp(-2)]


@pytest.mark.parametrize(
    ("word", "asked"),
    [("Cat", "cat"), ("CAT", "cat"), ("the", "the"), ("käse", None), ("Käse", None), ("c4t", None), ("猫", None)],
)
def test_letters_that_the_model_does_not_know(word, asked):
    said, heard = said_of([word])
    assert heard == ([asked] if asked else [])
    assert said == {word: SAID[asked][:1] if asked else []}


def test_a_word_without_phones_has_no_pronunciation():
    assert said_of(["toad"])[0] == {"toad": []}


@pytest.mark.parametrize(
    ("lines", "word", "said"),
    [
        (["cat  K AE1 T"], "cat", ["K AE1 T"]),
        (["cat\tK AE1 T"], "cat", ["K AE1 T"]),
        (["cat K AE1 T"], "cat", ["K AE1 T"]),
        (["CAT  K AE1 T"], "cat", ["K AE1 T"]),
        (["cat  A", "cat(2)  B", "cat(3)  A"], "cat", ["A", "B"]),
        (["CAT  A", "cat  B"], "cat", ["B"]),
        ([";;; # comment", "", "cat  A # or B"], "cat", ["A"]),
        (["(2)  A"], "(2)", ["A"]),
        (["#sharp  A"], "#sharp", ["A"]),
    ],
)
def test_a_dictionary_is_read(lines, word, said):
    assert said_of([word], lines) == ({word: said}, [])


@pytest.mark.parametrize("line", ["cat", "cat  ", "cat # nothing"])
def test_a_dictionary_with_a_word_without_phones_is_refused(line):
    with pytest.raises(ValueError, match="mine.dict:2: expected a word and its phones, got 'cat"):
        read_dictionary(["a  A", line], "mine.dict")


def test_words_stand_once_and_in_order():
    assert list(distinct_words(["b", " a ", "", "b", "B"], "words.txt")) == ["b", "a", "B"]


@pytest.mark.parametrize("line", ["new york", "cat  K AE T", "a\tb", "a\u00a0b"])
def test_a_line_of_more_than_a_word_is_refused(line):
    with pytest.raises(ValueError, match=r"words.txt:2: expected one word a line, got"):
        list(distinct_words(["a", line], "words.txt"))


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("cmudict", ["cat  K AE1 T", "cat(2)  K EH0 T"]),
        ("kaldi", ["cat K AE1 T", "cat K EH0 T"]),
        ("lexiconp", ["cat 1 K AE1 T", "cat 0.25 K EH0 T"]),
    ],
)
def test_formats(kind, lines):
    entry = Entry("cat", {("K", "AE1", "T"): 1.0, ("K", "EH0", "T"): 0.25})
    assert format_entry(kind, entry) == lines
    assert format_entry(kind, Entry("cat", {})) == []


@pytest.fixture
def place(tmp_path, monkeypatch):
    torch.manual_seed(0)
    sizes = {"vocab_size": len(TOKENIZER), "decoder_vocab_size": TOKENIZER.target_vocab_size}
    config = RnnAttnConfig(
        **sizes,
        share_encoder_decoder_embeddings=False,
        encoder_hidden_size=4,
        decoder_hidden_size=8,
        initializer_range=0.8,
    )
    model = RnnAttnForConditionalGeneration(config)
    model.generation_config.update(num_beams=1, max_length=6, suppress_tokens=[0, 1, 3])
    model.save_pretrained(tmp_path / "model")
    TOKENIZER.save_pretrained(tmp_path / "model")
    (tmp_path / "words.txt").write_text("cat\nthe\ncat\nkäse\n", "utf-8")
    (tmp_path / "mine.dict").write_text("the  DH AH0\nthe(2)  DH IY0\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("output", [None, "lexicon.txt"])
def test_the_command_writes_a_lexicon_and_names_what_it_lacks(output, place, capsys):
    options = ["--dictionary", "mine.dict", "--n-best", "3"] + (["-o", output] if output else [])
    assert cli.main(["lexicon", "words.txt", "--model", "model", *options]) == 0
    printed = capsys.readouterr()
    lines = ((place / output).read_text("utf-8") if output else printed.out).splitlines()
    assert lines[-2:] == ["the  DH AH0", "the(2)  DH IY0"]
    assert 1 < len(lines[:-2]) <= 3 and all(line.startswith("cat") for line in lines[:-2])
    assert printed.err.splitlines()[-1] == "1 words left out, which the model cannot say: käse"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.txt"], "missing.txt: No such file"),
        (["words.txt", "--dictionary", "missing.dict"], "missing.dict: No such file"),
        (["words.txt", "--dictionary", "words.txt"], "words.txt:1: expected a word and its phones"),
        (["mine.dict"], "mine.dict:1: expected one word a line"),
        (["words.txt", "--n-best", "3", "--beams", "2"], "--n-best 3: expected at least as many --beams, got 2"),
        (["words.txt", "-o", "none/lexicon.txt"], "no such folder to write to"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, place, capsys):
    assert cli.main(["lexicon", *arguments, "--model", "model"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err and printed.err.count("\n") == 1
