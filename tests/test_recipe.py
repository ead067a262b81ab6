# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what a recipe may say, where its paths lead, and how a mistake in it is reported."""

import json
from pathlib import Path

import pytest

from hf_rnn_attn.training.recipe import load_recipe


MINIMAL = """
data: {train: train.tsv}
training: {output_dir: out}
"""


@pytest.fixture
def write(tmp_path):
    def write_recipe(text, name="recipe.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write_recipe


def test_a_full_recipe_is_sorted_into_sections(write):
    recipe = load_recipe(
        write("""
data:
  train: {source: a.de, target: a.en}
  test: {first: b.tsv.gz}
  on_bad_rows: skip
  max_source_length: 50
tokenizer: {kind: char, joint: false}
model: {attention_score: dot}
training:
  output_dir: out
  learning_rate: 1e-3
  tokens_per_batch: 2000
  freeze: ["model.encoder.*"]
  scheduled_sampling: {schedule: linear, k: 1.0, c: 1e-4}
generation: {num_beams: 5, length_penalty: 0.2}
evaluation: {metrics: {sacrebleu: {lowercase: true}, chrf: }, by_length: [10]}
""")
    )
    folder = Path(recipe.file).parent
    assert recipe.data.train == {"source": str(folder / "a.de"), "target": str(folder / "a.en")}
    assert recipe.data.test == {"first": str(folder / "b.tsv.gz")}
    assert recipe.data.reading == {"on_bad_rows": "skip"}
    assert recipe.data.encoding == {"max_source_length": 50}
    assert recipe.tokenizer == {"kind": "char", "joint": False}
    assert recipe.model == {"attention_score": "dot"}
    assert recipe.training.arguments == {"output_dir": "out", "learning_rate": 0.001}
    assert (recipe.training.tokens_per_batch, recipe.training.freeze) == (2000, ["model.encoder.*"])
    assert recipe.training.scheduled_sampling.c == 0.0001
    assert recipe.evaluation.metrics == {"sacrebleu": {"lowercase": True}, "chrf": {}}
    assert json.loads(json.dumps(recipe.to_dict()))["generation"] == {"num_beams": 5, "length_penalty": 0.2}


@pytest.mark.parametrize(
    ("section", "name", "nearest"),
    [
        ("modell: {}", "modell", "model"),
        ("data: {train: t.tsv, vaildation: v.tsv}", "data.vaildation", "validation"),
        ("data: {train: t.tsv, max_sorce_length: 9}", "data.max_sorce_length", "max_source_length"),
        ("tokenizer: {vocabsize: 10}", "tokenizer.vocabsize", "vocab_size"),
        ("model: {atention_score: dot}", "model.atention_score", "attention_score"),
        ("training: {output_dir: o, learning_rte: 1}", "training.learning_rte", "learning_rate"),
        ("training: {output_dir: o, token_per_batch: 1}", "training.token_per_batch", "tokens_per_batch"),
        (
            "training: {output_dir: o, scheduled_sampling: {shedule: linear}}",
            "training.scheduled_sampling.shedule",
            "schedule",
        ),
        ("generation: {num_beam: 5}", "generation.num_beam", "num_beams"),
        ("evaluation: {metric: {}}", "evaluation.metric", "metrics"),
        ("evaluation: {metrics: {sacrebelu: {}}}", "evaluation.metrics.sacrebelu", "sacrebleu"),
        (
            "evaluation: {metrics: {sacrebleu: {lowercased: true}}}",
            "evaluation.metrics.sacrebleu.lowercased",
            "lowercase",
        ),
    ],
)
def test_an_unknown_key_names_file_key_and_nearest(write, section, name, nearest):
    others = [line for line in MINIMAL.split("\n") if line.split(":")[0] != section.split(":")[0]]
    path = write("\n".join([*others, section]))
    with pytest.raises(ValueError, match="unknown key") as error:
        load_recipe(path)
    assert str(error.value) == f"{path}: unknown key {name!r}; did you mean {nearest!r}?"


def test_the_vocabulary_cannot_be_set_beside_the_tokenizer(write):
    with pytest.raises(ValueError, match="unknown key 'model.vocab_size'"):
        load_recipe(write(MINIMAL + "model: {vocab_size: 100}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "not valid YAML"),
        ("- data", "the recipe must be a mapping"),
        ("data: train.tsv\ntraining: {output_dir: o}", "data must be a mapping of keys to values, got 'train.tsv'"),
        ("training: {output_dir: o}", "data.train is missing"),
        ("data: {train: t.tsv}", "training.output_dir is missing"),
        ("data: {train: a.tsv, train: b.tsv}\ntraining: {output_dir: o}", "'train' appears twice"),
        (MINIMAL + "model: {attention_score: dot, decoder_hidden_size: 7}", "model: `attention_score='dot'` needs"),
        (MINIMAL + "model: {encoder_layers: two}", "model: .*expected int, got str"),
        (MINIMAL + "generation: {num_beams: -1, max_new_tokens: -1}", "generation: "),
        (MINIMAL + "model: ./checkpoint\ntokenizer: {kind: bpe}", "brings its tokenizer; remove this section"),
        ("data: {train: t.tsv}\ntraining: {output_dir: o, scheduled_sampling: {k: 1}}", "schedule is missing"),
    ],
)
def test_a_mistake_is_reported_with_the_file(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=f"(?s){message}") as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path))


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such recipe"):
        load_recipe(tmp_path / "recipe.yaml")


def test_overrides_win_are_typed_and_are_checked(write):
    path = write(MINIMAL)
    assignments = ["training.learning_rate=2e-4", "model.encoder_bidirectional=false", "data.test.new=x.tsv"]
    recipe = load_recipe(path, assignments)
    assert recipe.training.arguments["learning_rate"] == 0.0002
    assert recipe.model == {"encoder_bidirectional": False}
    assert recipe.data.test == {"new": str(path.parent / "x.tsv")}
    with pytest.raises(ValueError, match="unknown key 'training.epochs'"):
        load_recipe(path, ["training.epochs=3"])
    with pytest.raises(ValueError, match=r"--set training: expected section\.key=value"):
        load_recipe(path, ["training"])
    with pytest.raises(ValueError, match=r"data\.train must be a mapping"):
        load_recipe(path, ["data.train.source=x"])
    with pytest.raises(ValueError, match="the value is not valid YAML"):
        load_recipe(path, ["data.train=["])


def test_no_is_a_word_and_false_is_a_boolean(write):
    recipe = load_recipe(write(MINIMAL), ["training.save_strategy=no", "model.input_feeding=false"])
    assert recipe.training.arguments["save_strategy"] == "no"
    assert recipe.model["input_feeding"] is False


def test_files_are_sought_beside_the_recipe_and_names_stay(write, tmp_path):
    path = write("data: {train: [missing.tsv, user/corpus]}\ntraining: {output_dir: out}\nmodel: user/model")
    recipe = load_recipe(path)
    assert recipe.data.train == [str(tmp_path / "missing.tsv"), "user/corpus"]
    assert recipe.model == "user/model"
    (tmp_path / "user" / "model").mkdir(parents=True)
    assert load_recipe(path).model == str(tmp_path / "user" / "model")


def test_a_recipe_takes_from_its_base_what_it_does_not_say(write):
    write(MINIMAL + "model: {attention_score: dot, encoder_hidden_size: 8}\ngeneration: {num_beams: 5}", "base.yaml")
    write("base: base.yaml\nmodel: {attention_score: general}", "middle.yaml")
    path = write("base: middle.yaml\nmodel: {encoder_hidden_size: 16}\ntraining: {output_dir: here}")
    recipe = load_recipe(path, ["model.input_feeding=false"])
    assert recipe.model == {"attention_score": "general", "encoder_hidden_size": 16, "input_feeding": False}
    assert recipe.training.arguments == {"output_dir": "here"} and recipe.generation == {"num_beams": 5}
    assert recipe.data.train == str(path.parent / "train.tsv")


@pytest.mark.parametrize("base", ["recipe.yaml", "other.yaml", "../recipe.yaml", "[a.yaml]"])
def test_a_base_lies_beside_the_recipe_and_is_another(write, base):
    write("base: recipe.yaml", "other.yaml")
    with pytest.raises(ValueError, match="base: expected the name of another recipe in the same folder"):
        load_recipe(write(f"base: {base}\n{MINIMAL}"))


def test_a_missing_base_is_named(write):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml: no such recipe"):
        load_recipe(write(f"base: nothing.yaml\n{MINIMAL}"))


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.parent.glob("scripts/**/*.yaml")), ids=lambda path: path.name
)
def test_the_recipes_of_the_project_are_valid(path):
    assert load_recipe(path).training.arguments["output_dir"]
