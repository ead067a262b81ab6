# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Text is split into its sentences and comes back with its white space as it was."""

import contextlib
import logging
import re
import shutil
from types import SimpleNamespace

import pytest

from hf_rnn_attn import BUNDLED, cli, train_tokenizer
from hf_rnn_attn.text import language_of, split_text, translate_text


class Shouter:
    """A translator that says what it hears, louder."""

    task = "translation_de_to_en"

    def __init__(self):
        self.heard = []

    def tokenizer(self, lines):
        return {"input_ids": [line.split() for line in lines]}

    def __call__(self, batches, num_return_sequences, **options):
        (lines,) = batches
        self.heard += lines
        return [[{"translation_text": line.upper()} for line in lines]]


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("de", ["Dr. Müller kommt am 3. Mai.", "Er bringt z. B. Äpfel mit."]),
        ("de", ["Das kostet 3.499,50 Euro.", "Nehmen Sie es?"]),
        ("de", ["Ich weiß nicht ...", "Vielleicht morgen."]),
        ("de", ["Was?!", "Das darf nicht sein!"]),
        ("de", ["Siehe www.example.com für mehr.", "Danke."]),
        ("de", ["„Wer ist da?“, fragte er.", "Niemand antwortete."]),
        ("en", ["Dr. Smith arrived on Monday.", "He left early."]),
        ("en", ["The U.S. is big.", "Canada is bigger."]),
        ("en", ["It costs $3,499.50.", "Will you take it?"]),
        ("en", ['He said, "Come here."', "Then he left."]),
        ("en", ["I don't know...", "Maybe tomorrow."]),
        ("fr", ["Cela coûte 3.499,50 euros.", "Le prenez-vous ?"]),
        ("ja", ["こんにちは。", "元気ですか？"]),
        ("xx", ["One.", "Two."]),
    ],
)
def test_sentences_are_those_of_the_language(language, sentences):
    assert [sentence for sentence, _ in split_text(" ".join(sentences), language)] == sentences


TEXTS = [
    "",
    " ",
    "\n",
    "\n\n  \n",
    "Eins.",
    "Eins. Zwei.",
    "Eins.  Zwei.\tDrei.",
    "  Eins.\n\nZwei. Drei.\r\n\r\n - Vier\r\rFünf\n",
    "Ohne Punkt\nund weiter",
    "Eins.\u2028Zwei.\x0bDrei.\x85Vier.",
    "\u3000Eins.\u00a0Zwei.",
    "\x00",
    "1. Eins\n2. Zwei\n",
    "😀. 😀!\n😀",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("language", ["de", "en", "zh"])
def test_the_parts_joined_are_the_text(text, language):
    parts = split_text(text, language)
    assert "".join(sentence + space for sentence, space in parts) == text
    assert all(space == "" or space.isspace() for _, space in parts)


@pytest.mark.parametrize("text", TEXTS)
def test_a_translation_has_the_lines_and_the_white_space_of_its_text(text):
    assert translate_text(Shouter(), text) == text.upper()


def test_every_sentence_is_translated_by_itself_and_nothing_else_is():
    translator = Shouter()
    translate_text(translator, "Dr. Meier kommt am 3. Mai. Und du?\n\nNein.\n")
    assert sorted(translator.heard) == ["Dr. Meier kommt am 3. Mai.", "Nein.", "Und du?"]


def test_the_language_is_that_of_the_task_unless_it_is_named():
    translator = Shouter()
    translate_text(translator, "Er kommt am 3. Mai. Gut.", language="en")
    assert len(translator.heard) > 2


@pytest.mark.parametrize("text", [None, 5, b"Haus", ["Haus"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(TypeError, match="takes one str, got .*; call it for each text"):
        translate_text(Shouter(), text)


def test_a_sentence_that_is_cut_off_is_named(translator, caplog):
    with caplog.at_level(logging.WARNING):
        text = translate_text(translator, "Guten Morgen! Ich möchte heute gern ins Kino gehen.\n\nUnd du?")
    assert text.count("\n\n") == 1 and "output for 'Ich möchte h...s Kino gehen.'" in caplog.text


def test_half_a_surrogate_pair_is_read_as_in_the_pipeline(translator):
    assert translate_text(translator, "Hallo \ud83d.\n") == translate_text(translator, "Hallo \ufffd.\n")


def named(task="translation", folder="", kind="bpe"):
    texts = ["Ein Hund und zwei Katzen."]
    tokenizer = train_tokenizer(texts, texts, kind=kind, vocab_size=300)
    return SimpleNamespace(task=task, tokenizer=tokenizer, model=SimpleNamespace(name_or_path=folder))


@pytest.mark.parametrize(
    ("translator", "language"),
    [
        (named(), None),
        (named("translation_de_to_en"), "de"),
        (named("translation_de_to_en", kind="unigram"), "de"),
        (named("translation_de_to_en", kind="word"), "de"),
        (named("translation_ko_to_phones", kind="char"), None),
        (named(folder=BUNDLED["de", "en"]), "de"),
        (named(folder=BUNDLED["en", "de"]), "en"),
        (named(folder=BUNDLED["en", "de"], kind="char"), None),
        (named("translation_fr_to_en", folder=BUNDLED["en", "de"]), "fr"),
    ],
)
def test_running_text_is_what_a_checkpoint_says_it_is(translator, language):
    assert language_of(translator) == language


TWO = "Guten Morgen! Wie geht es dir?"


@pytest.mark.parametrize(
    ("arguments", "heard"),
    [
        ([TWO], ["Guten Morgen!", "Wie geht es dir?"]),
        ([TWO, "--no-split"], [TWO]),
        ([TWO, "--n-best", "2"], [TWO]),
        ([TWO, "--format", "tsv"], [TWO]),
        ([TWO, "--format", "jsonl"], [TWO]),
        (["Er kommt am 3. Mai."], ["Er kommt am 3. Mai."]),
        (["Er kommt am 3. Mai.", "--split", "en"], ["Er kommt am 3.", "Mai."]),
        (["-i", "in.txt"], [TWO]),
        (["--model", "en-de", "--no-split", "--", TWO], [TWO]),
    ],
)
def test_the_command_splits_texts_that_are_arguments(arguments, heard, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text(f"{TWO}\n", "utf-8")
    listener = named(folder=BUNDLED["de", "en"])
    seen = []

    class Listener:
        task, tokenizer, model = listener.task, listener.tokenizer, listener.model
        model.generation_config = SimpleNamespace(num_beams=5)

        def __call__(self, batches, num_return_sequences, **_):
            seen.extend(batches[0])
            return [
                [{"translation_text": text, "score": 0.0} for text in batches[0] for _ in range(num_return_sequences)]
            ]

    monkeypatch.setattr(cli, "_load_translator", lambda *_, **__: Listener())
    assert cli.main(["translate", *arguments]) == 0
    assert sorted(seen) == sorted(heard)


@pytest.mark.parametrize(
    "text",
    ["Guten Morgen!\n\nWie geht es dir? Gut.\n", "  Guten Morgen!\n", "Guten\r\nMorgen", "\n", "Hallo. \n\n\n\tHallo."],
)
def test_the_command_keeps_line_breaks(text, capsys):
    assert cli.main(["translate", text, "--beams", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"\s*\n\s*", printed) == re.findall(r"\s*\n\s*", f"{text}\n")


def test_a_text_of_an_unknown_language_is_left_whole_unless_one_is_named(tmp_path, capsys, monkeypatch):
    shutil.copytree(BUNDLED["de", "en"], tmp_path / "model")
    calls = []
    monkeypatch.setattr(cli, "translate_text", lambda translator, text, language, _: calls.append(language) or text)
    for options in ([], ["--split", "de"], ["--split", "fr"]):
        assert cli.main(["translate", TWO, "--beams", "1", "--model", str(tmp_path / "model"), *options]) == 0
    assert calls == ["de", "fr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "de", "-i", "in.txt"], "--split is for texts as arguments"),
        (["--split", "de", "a", "--n-best", "2"], "--split is for texts as arguments"),
        (["--split", "de", "a", "--format", "jsonl"], "--split is for texts as arguments"),
        (["--split", "German", "a"], "expected the code of a language, such as de, got 'German'"),
        (["--split", "", "a"], "expected the code of a language"),
        (["--split", "de", "--no-split", "a"], "not allowed with argument"),
    ],
)
def test_a_split_that_cannot_be_is_refused(arguments, message, capsys):
    with contextlib.suppress(SystemExit):
        assert cli.main(["translate", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def translator():
    from transformers import pipeline

    return pipeline("translation_de_to_en", model=BUNDLED["de", "en"], device="cpu", num_beams=1, max_new_tokens=6)
