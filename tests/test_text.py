# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Text is split into its sentences and comes back with its white space as it was."""

import logging

import pytest

from hf_rnn_attn.text import split_text, translate_text


class Shouter:
    """A translator that says what it hears, louder."""

    task = "translation_de_to_en"

    def __init__(self):
        self.heard = []

    def tokenizer(self, lines):
        return {"input_ids": [line.split() for line in lines]}

    def __call__(self, batches):
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


@pytest.fixture
def translator():
    from transformers import pipeline

    from hf_rnn_attn import BUNDLED

    return pipeline("translation_de_to_en", model=BUNDLED["de", "en"], device="cpu", num_beams=1, max_new_tokens=6)
