# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Pieces of text go through a model as they are, whatever the model makes of their placeholders."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import make_model

from hf_rnn_attn.model.pipeline_rnn_attn import translation_pipeline
from hf_rnn_attn.model.placeholders_rnn_attn import KINDS, PLACEHOLDERS, Placeholders, restore
from hf_rnn_attn.tokenization import train_tokenizer


ONE, TWO, THREE = PLACEHOLDERS[:3]
WORDS = ["das", "ist", "haus", "kommen", "maschine", "und", "frau", "herr", "morgen", "siehe", "wir", "am", "um"]


def pieces(text, kinds=tuple(KINDS)):
    return [text[start:end] for start, end in Placeholders(kinds, WORDS).find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("am 3. um 10:30 für 3.499,50 und 1,000 und 12 %", ["3", "10:30", "3.499,50", "1,000", "12"]),
        ("am 2024-05-01 um 1/2 mit 5kg und -3 und 10-12", ["2024-05-01", "1/2", "5", "-3", "10-12"]),
        ("siehe https://www.x.de/a?b=1&c=ä#d, (http://y.de/z).", ["https://www.x.de/a?b=1&c=ä#d", "http://y.de/z"]),
        ("siehe www.x.de und x.de.", ["www.x.de", "x.de"]),
        ("siehe a.b+c@d-e.co.uk!", ["a.b+c@d-e.co.uk"]),
        ("siehe /etc/passwd, ~/a.b, C:\\x\\y.z und ../a und brief.pdf", ["/etc/passwd", "~/a.b", "C:\\x\\y.z", "../a"]
         + ["brief.pdf"]),
        ("das 😀 und 👍🏽👨‍👩‍👧 und 🇩🇪 und 1️⃣ und ☕️ :-)", ["😀", "👍🏽👨‍👩‍👧", "🇩🇪", "1️⃣", "☕️", ":-)"]),
        ("das `a b` und {name} und {{x.y}} und %s und %(n)d", ["`a b`", "{name}", "{{x.y}}", "%s", "%(n)d"]),
        ("das <b>ist</b> &amp; &#39; a < b", ["<b>", "</b>", "&amp;", "&#39;"]),
        ("das [haus](http://x.de/y) und (haus)", ["(http://x.de/y)"]),
        ("das @tom und #haus_1", ["@tom", "#haus_1"]),
        ("frau Schmidt-Öztürk und Herr O'Brien", ["Schmidt-Öztürk", "O'Brien"]),
        ("Das Haus, die Nähmaschine, DAS HAUS, iPad, Häuse", ["Häuse"]),
        ("und/oder usw. z.B. das", []),
        (f"das {ONE}", [ONE]),
    ],
)  # fmt: skip
def test_a_piece_is_found_whole(text, expected):
    assert pieces(text) == expected


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_that_is_not_asked_for_is_not_found(kind):
    text = "`c` [x](y) <b> http://x.de a@b.de /a/b @x 😀 3 Zzyzx"
    assert set(pieces(text, [kind])) & set(pieces(text, [other for other in KINDS if other != kind])) == set()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("das 3 und 4", f"das {ONE} und {TWO}"),
        ("3", ONE),
        (" 12 - http://x.de! ", ONE),
        ("", ""),
        ("das " + " ".join("123456789") + " und 10", f"das {ONE} und {TWO}"),
        ("das 1 und " * 10, "".join(f"das {mark} und " for mark in PLACEHOLDERS) + "das 1 und "),
    ],
)
def test_a_text_has_a_placeholder_for_each_piece(text, masked):
    placeholders = Placeholders(list(KINDS), WORDS)
    found, kept = placeholders.mask(text)
    assert found == masked
    assert restore(found, found, kept, {}) == text


def test_a_glossary_comes_first_and_the_longest_of_it():
    placeholders = Placeholders(["number"]).with_glossary(["Haus", "Haus 3", "C++ x"])
    assert placeholders.mask("Haus 3, Haus 4, Hausen, C++ x") == (
        f"{ONE}, {TWO} {THREE}, Hausen, {PLACEHOLDERS[3]}",
        ["Haus 3", "Haus", "4", "C++ x"],
    )


@pytest.mark.parametrize(
    ("source", "target", "masked"),
    [
        ("um 10:30", "at 10:30", (f"um {ONE}", f"at {ONE}")),
        ("3 und 4", "4 and 3", (f"{ONE} und {TWO}", f"{TWO} and {ONE}")),
        ("3,5 und 4", "3.5 and 4", (f"3,5 und {ONE}", f"3.5 and {ONE}")),
        ("3 und 3", "3", ("3 und 3", "3")),
        ("3 und 3", "3, 3", (f"{ONE} und {TWO}", f"{ONE}, {TWO}")),
        ("am 3. mit Öztürk", "with Öztürk on the 3rd", (f"am {ONE}. mit {TWO}", f"with {TWO} on the {ONE}rd")),
        ("das Haus", "the Haus", ("das Haus", "the Haus")),
    ],
)
def test_a_pair_has_placeholders_for_what_both_sides_hold_as_often(source, target, masked):
    assert Placeholders(list(KINDS), WORDS).mask_pair(source, target) == masked


def test_known_names_are_pieces_where_that_is_asked_for():
    placeholders = Placeholders(list(KINDS), ["tom", "in", "ist"])
    assert placeholders.mask_pair("In Bonn ist Tom", "In Bonn is Tom", any_name=True) == (
        f"In {ONE} ist {TWO}",
        f"In {ONE} is {TWO}",
    )


@pytest.mark.parametrize(
    ("output", "masked", "places", "expected"),
    [
        (f"a {TWO} b {ONE}", f"x {ONE} y {TWO}", {}, "a 22 b 1"),
        (f"a {ONE} b {ONE} {THREE}.", f"x {ONE} y {TWO} z", {1: 0}, "a 22 1 b."),
        ("abc def", f"x {ONE} y", {0: 1}, "abc 1 def"),
        ("abc def.", f"x {ONE} y", {}, "abc def. 1"),
        ("Abc.", f"x. {ONE}", {0: 1}, "Abc. 1"),
        ("Abc.", f"x.{ONE}", {}, "Abc.1"),
        ("Abc.", f"{ONE} x.", {0: 3}, "1 Abc."),
        ("Abc.", f"({ONE}) {TWO} x.", {}, "122 Abc."),
        ("", f"{ONE} x", {}, "1"),
    ],
)
def test_every_piece_comes_back_once(output, masked, places, expected):
    assert restore(output, masked, ["1", "22"][: 1 + (TWO in masked)], places) == expected


@given(st.text(alphabet="ab. " + ONE + TWO + THREE), st.text(alphabet="ab. "), st.integers(0, 3), st.data())
def test_whatever_the_model_says_every_piece_is_there(output, text, count, data):
    kept = ["«1»", "«2»", "«3»"][:count]
    masked = f" {text} ".join(["", *PLACEHOLDERS[:count]])
    places = data.draw(st.dictionaries(st.integers(0, 2), st.integers(0, len(output))))
    found = restore(output, masked, kept, places)
    assert sorted(re.findall("«.»", found)) == kept and not set(PLACEHOLDERS) & set(found)


@pytest.mark.parametrize(
    "part", ["a", "a.", "a-", "a@", "1", "1.", "-", "http://", "/", "./", "<a", "`", "A'", "Aa-", "😀", "&", "{", "#"]
)  # fmt: skip
def test_long_texts_take_linear_time(part):
    assert Placeholders(list(KINDS), WORDS).mask(part * (100_000 // len(part)))


@pytest.mark.parametrize("kind", ["bpe", "unigram", "word", "symbol", "char"])
@pytest.mark.parametrize("joint", [True, False])
def test_a_tokenizer_keeps_placeholders_whole_and_the_space_around_them(kind, joint, tmp_path):
    texts = ["das haus ist da", "das haus war da", f"{ONE} haus", "a b c d e f"] * 5
    options = {"kind": kind, "joint": joint, "vocab_size": 300, "placeholders": ["number", "name"]}
    train_tokenizer(texts, texts, **options, known_words=["haus", "das"]).save_pretrained(tmp_path)
    tokenizer = type(train_tokenizer(texts, texts, **options)).from_pretrained(tmp_path)
    text = f"das {ONE} haus {TWO}{THREE} da {PLACEHOLDERS[-1]}"
    ids = tokenizer(text_target=text)["input_ids"]
    sides = (tokenizer,) if joint else (tokenizer.source_tokenizer, tokenizer.target_tokenizer)
    assert all(sorted(side.get_vocab().values()) == list(range(len(side))) for side in sides)
    assert all(side.unk_token_id not in side.convert_tokens_to_ids(PLACEHOLDERS) for side in sides)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    found = [token for token in tokenizer.tokenize(text) if set(token) & set(PLACEHOLDERS)]
    assert found == [ONE, TWO, THREE, PLACEHOLDERS[-1]]
    assert Placeholders.of(tokenizer).mask("das haus 3 Zzyzx")[1] == ["3", "Zzyzx"]


def test_a_tokenizer_without_placeholders_has_none():
    assert Placeholders.of(train_tokenizer(["das haus"], ["the house"])) is None


TEXTS = ["das haus ist da", "wir kommen morgen um 3", "frau herr und"] * 3


@pytest.fixture(scope="module")
def translator():
    """One that has learned nothing."""
    options = {"vocab_size": 320, "placeholders": list(KINDS), "known_words": WORDS}
    tokenizer = train_tokenizer(TEXTS, TEXTS, **options)
    sizes = {"vocab_size": len(tokenizer), "decoder_vocab_size": len(tokenizer)}
    return translation_pipeline(model=make_model(**sizes), tokenizer=tokenizer, max_new_tokens=8, device="cpu")


LINES = [
    "",
    "3",
    "das 3 haus",
    "das 3,50 haus 10:30 und http://x.de 😀",
    "wir kommen",
    "7 das 8 ist 9",
    " - ",
    "Zzyzx ist",
]


@pytest.mark.parametrize("options", [{}, {"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 3}])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_output_of_a_pipeline_has_the_pieces_of_its_text(translator, options, batch_size):
    outputs = translator(LINES, batch_size=batch_size, **options)
    for line, records in zip(LINES, outputs, strict=True):
        for record in records if isinstance(records, list) else [records]:
            _, kept = translator.placeholders.mask(line)
            assert all(record["translation_text"].count(piece) >= kept.count(piece) for piece in kept)
            assert not set(PLACEHOLDERS) & set(record["translation_text"])


@pytest.mark.parametrize("line", ["3", "12 - 3.499,50!", "😀", "http://x.de/a b@c.de", "---", " 1\t2 "])
def test_a_line_without_letters_comes_back_and_no_model_runs(translator, line, monkeypatch):
    monkeypatch.setattr(translator.model, "generate", None)
    assert translator(line) == [{"translation_text": line}]
    assert translator(line, num_return_sequences=2) == [{"translation_text": line}] * 2


def test_in_a_batch_a_line_without_letters_comes_back_too(translator):
    ((first, second),) = translator([["3", "das haus"]])
    assert first["translation_text"] == "3" and second["translation_text"] != "das haus"


def test_the_words_of_a_glossary_come_back(translator):
    (record,) = translator("das haus ist da", glossary=["haus", "ist da"])
    assert "haus" in record["translation_text"] and "ist da" in record["translation_text"]


def test_what_the_model_left_out_stands_behind_the_word_that_attends_to_it(translator):
    text = "das 3 haus ist da"
    (record,) = translator(text, output_attentions=True, num_beams=1)
    assert not set(PLACEHOLDERS) & set(record["target_tokens"])
    column = record["source_tokens"].index(ONE)
    best = max(range(len(record["attention"])), key=lambda row: record["attention"][row][column])
    side = translator.tokenizer
    before = side.decode(side.convert_tokens_to_ids(record["target_tokens"][: best + 1]), skip_special_tokens=True)
    position = record["translation_text"].index("3")
    assert record["translation_text"][: len(before)] == before and len(before) <= position


@pytest.mark.parametrize("glossary", ["haus", [""], [" haus"], [3], {"haus": "house"}, ["haus!"]])
def test_a_glossary_is_a_list_of_words(translator, glossary):
    with pytest.raises(ValueError, match="glossary=.*: expected a list of words or phrases"):
        translator("das haus", glossary=glossary)


def test_a_glossary_needs_a_model_with_placeholders():
    tokenizer = train_tokenizer(TEXTS, TEXTS, vocab_size=300)
    sizes = {"vocab_size": len(tokenizer), "decoder_vocab_size": len(tokenizer)}
    translator = translation_pipeline(model=make_model(**sizes), tokenizer=tokenizer, max_new_tokens=8, device="cpu")
    with pytest.raises(ValueError, match="glossary needs a model that was trained with data.placeholders"):
        translator("das haus", glossary=["haus"])
