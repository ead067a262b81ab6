# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""`hf-rnn-attn init`: what it sees in invented files of pairs, and that its recipes train without a change."""

import itertools
import random

import pytest
import yaml

import hf_rnn_attn_cli
from hf_rnn_attn.data import DataError, read_pairs
from hf_rnn_attn.training.first_recipe import guess_columns, look_at
from hf_rnn_attn.training.recipe import load_recipe


CHANCE = random.Random(0)
WORDS = ["".join(letters) for letters in itertools.product("abcd", "eiou", "lmnr")]
PHONES = [(word, " ".join(f"{letter}{letter}" for letter in word)) for word in WORDS]
TAGS = [(word, f"{word}{ending}", tags) for word in WORDS for ending, tags in (("s", "V;SG;3"), ("ed", "V;PST"))]
NOUNS = ("the little dog", "another brown cat", "your house", "this green tree")
TEXTS = [(f"{a} sees {b} {i}", f"{b} is seen by {a} {i}") for a in NOUNS for b in NOUNS for i in range(12)]
SYLLABLES = [(chr(0xAC00 + 28 * CHANCE.randrange(399)) + chr(0xAC00 + 28 * i), "k a") for i in range(300)]


def write(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def init(folder, rows, *options):
    """Writes the rows and a recipe for them; returns the recipe."""
    write(folder / "pairs.tsv", rows)
    assert hf_rnn_attn_cli.main(["init", str(folder / "pairs.tsv"), "-o", str(folder / "r.yaml"), *options]) == 0
    return load_recipe(folder / "r.yaml")


COLUMNS = [
    ([("go", "went")], {"source_column": 1, "target_column": 2}),
    ([("go", "went", "V;PST")], {"source_column": 1, "target_column": 2, "features_column": 3}),
    ([("go", "V,PST", "went")], {"source_column": 1, "target_column": 3, "features_column": 2}),
    ([("N(ACC,PL);X", "ox", "oxen")], {"source_column": 2, "target_column": 3, "features_column": 1}),
    ([("Go.", "Geh.", "CC-BY 2.0 #1 (ann) & #2 (bob)")], {"source_column": 1, "target_column": 2}),
]


@pytest.mark.parametrize(("rows", "columns"), COLUMNS, ids=str)
def test_columns_are_found(rows, columns):
    assert guess_columns(rows * 3) == columns


@pytest.mark.parametrize("rows", [[("V;PST", "N;PL")], [("alone",)], []], ids=str)
def test_tables_without_two_texts_are_refused(rows):
    with pytest.raises(DataError, match="expected two columns of text, got"):
        guess_columns(rows)


SIDES = [
    ([source for source, _ in PHONES], "char", "nfc"),
    ([target for _, target in PHONES], "symbol", "nfc"),
    ([source for source, _ in TEXTS], "bpe", "nfc"),
    ([source for source, _ in SYLLABLES], "char", "nfd"),
]


@pytest.mark.parametrize(("texts", "kind", "form"), SIDES, ids=["letters", "phones", "sentences", "syllables"])
def test_a_side_is_cut_by_what_it_is(texts, kind, form):
    side = look_at(texts[::2], texts[1::2])
    assert (side.kind, side.normalization) == (kind, form)


def test_the_recipe_reads_what_was_given(tmp_path):
    recipe = init(tmp_path, TAGS)
    parts = [read_pairs(part, **recipe.data.reading) for part in (recipe.data.train, recipe.data.validation)]
    rows = [(pair["source"], pair["target"]) for part in parts for pair in part]
    expected = [("".join(f"[{tag}]" for tag in tags.split(";")) + source, target) for source, target, tags in TAGS]
    assert sorted(rows) == sorted(expected) and 0 < len(parts[1]) < len(parts[0])
    assert not {pair["source"] for pair in parts[0]} & {pair["source"] for pair in parts[1]}


def test_named_columns_and_validation_are_taken(tmp_path):
    write(tmp_path / "dev.tsv", PHONES[:5])
    options = ("--source-column", "2", "--target-column", "1", "--validation", str(tmp_path / "dev.tsv"))
    recipe = init(tmp_path, PHONES, *options)
    assert recipe.data.validation == str(tmp_path / "dev.tsv") and recipe.tokenizer["kind"] == "symbol"
    assert [pair["source"] for pair in read_pairs(recipe.data.validation, **recipe.data.reading)] == [
        target for _, target in PHONES[:5]
    ]


@pytest.mark.parametrize("header", [("word", "phones"), ("Source", "Target")], ids=str)
def test_a_header_names_the_columns(tmp_path, header):
    recipe = init(tmp_path, [header, *PHONES])
    pairs = list(read_pairs(recipe.data.train, **recipe.data.reading))
    assert header not in [(pair["source"], pair["target"]) for pair in pairs] and pairs


SMALL = {
    "model.encoder_embedding_size": 8,
    "model.encoder_hidden_size": 8,
    "model.decoder_embedding_size": 8,
    "model.decoder_hidden_size": 16,
    "model.attentional_size": 8,
    "training.num_train_epochs": 3,
    "training.use_cpu": "true",
}


@pytest.mark.parametrize("rows", [PHONES, TAGS, TEXTS], ids=["pronunciation", "inflection", "sentences"])
def test_the_recipe_trains(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    init(tmp_path, rows)
    small = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    output = ["--set", f"training.output_dir={tmp_path / 'run'}"]
    assert hf_rnn_attn_cli.main(["train", "r.yaml", *small, *output]) == 0
    assert (tmp_path / "run" / "results.json").is_file()


def test_what_is_there_is_not_overwritten(tmp_path, capsys):
    init(tmp_path, PHONES)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert hf_rnn_attn_cli.main(["init", str(tmp_path / "pairs.tsv"), "-o", str(tmp_path / "r.yaml")]) == 2
    assert "r.yaml is there already; remove it" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [(PHONES[:3], "3 pairs are too few"), ([("a",)], "expected two columns of text"), ([], "expected two columns")],
    ids=str,
)
def test_too_little_is_refused(tmp_path, capsys, rows, message):
    write(tmp_path / "pairs.tsv", rows)
    assert hf_rnn_attn_cli.main(["init", str(tmp_path / "pairs.tsv"), "-o", str(tmp_path / "r.yaml")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "r.yaml").exists()


def test_the_recipe_is_plain_yaml(tmp_path):
    init(tmp_path, PHONES)
    text = (tmp_path / "r.yaml").read_text()
    assert text.startswith("# Made by `hf-rnn-attn init` from pairs.tsv: 64 pairs, of them")
    assert yaml.safe_load(text)["tokenizer"] == {"kind": "char", "target_kind": "symbol", "joint": False}
