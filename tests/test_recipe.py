# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what a recipe may say, where its paths lead, and how a mistake in it is reported."""

import json
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_rnn_attn.training.recipe import _SECTIONS, load_recipe


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
    assert recipe.training.scheduled_sampling["c"] == 0.0001
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
        ("- data", "the recipe: expected a mapping of keys to values, got \\['data'\\]"),
        ("data: train.tsv\ntraining: {output_dir: o}", "data: expected a mapping of keys to values, got 'train.tsv'"),
        ("training: {output_dir: o}", "data.train is missing"),
        ("data: {train: t.tsv}", "training.output_dir is missing"),
        ("data: {train: a.tsv, train: b.tsv}\ntraining: {output_dir: o}", "'train' appears twice"),
        (MINIMAL + "model: {attention_score: dot, decoder_hidden_size: 7}", "model: `attention_score='dot'` needs"),
        (MINIMAL + "model: {encoder_layers: two}", "model.encoder_layers: expected a whole number, got 'two'"),
        (MINIMAL + "generation: {length_penalty: 2.0, num_beams: 1}", "generation: .*only used in beam-based"),
        (MINIMAL + "model: ./checkpoint\ntokenizer: {kind: bpe}", "tokenizer.kind: .* brings its tokenizer"),
        (MINIMAL + "model: ./checkpoint\ntokenizer: {grow: 1}", "tokenizer.grow: expected true or false"),
        (MINIMAL + "tokenizer: {grow: true}", "tokenizer.grow is for a checkpoint to tune"),
        ("data: {train: t.tsv}\ntraining: {output_dir: o, scheduled_sampling: {k: 1}}", "schedule is missing"),
    ],
)
def test_a_mistake_is_reported_with_the_file(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=f"(?s){message}") as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path))


# section.key=value, and what stands behind "section.key: "
REFUSED_VALUES = [
    ("tokenizer.joint=no", "expected true or false (written so), got 'no'"),
    ("tokenizer.joint=off", "expected true or false (written so), got 'off'"),
    ("tokenizer.joint=yes", "expected true or false (written so), got 'yes'"),
    ("tokenizer.joint=On", "expected true or false (written so), got 'On'"),
    ("tokenizer.joint=tRUE", "expected true or false (written so), got 'tRUE'"),
    ("tokenizer.joint=0", "expected true or false (written so), got 0"),
    ("tokenizer.joint='false'", "expected true or false (written so), got 'false'"),
    ("tokenizer.joint=", "expected true or false (written so), got None"),
    ("tokenizer.lowercase=[true]", "expected true or false (written so), got [True]"),
    ("evaluation.metrics.chrf.lowercase=no", "expected true or false (written so), got 'no'"),
    ("evaluation.metrics.ter.normalized=1", "expected true or false (written so), got 1"),
    ("evaluation.group_references=y", "expected true or false (written so), got 'y'"),
    ("model.input_feeding=no", "expected true or false (written so), got 'no'"),
    ("data.streaming=off", "expected true or false (written so), got 'off'"),
    ("training.bf16=yes", "expected true or false (written so), got 'yes'"),
    ("generation.do_sample=no", "expected true or false (written so), got 'no'"),
    ("tokenizer.vocab_size=1_000", "expected a whole number, got '1_000'"),
    ("tokenizer.vocab_size=1:30", "expected a whole number, got '1:30'"),
    ("tokenizer.vocab_size=0b11", "expected a whole number, got '0b11'"),
    ("tokenizer.vocab_size=2020-01-01", "expected a whole number, got '2020-01-01'"),
    ("tokenizer.vocab_size=1e3", "expected a whole number, got 1000.0; write 1000"),
    ("tokenizer.vocab_size=true", "expected a whole number, got True"),
    ("tokenizer.vocab_size=-5", "expected a number of at least 1, got -5"),
    ("tokenizer.vocab_size=1000000000000", "expected a number of at most 10000000, got 1000000000000"),
    ("tokenizer.min_frequency=-1", "expected a number above 0, got -1"),
    ("tokenizer.kind=bpee", "expected 'bpe', 'unigram', 'word', 'symbol' or 'char', got 'bpee'; did you mean 'bpe'?"),
    ("tokenizer.kind=[bpe]", "expected 'bpe', 'unigram', 'word', 'symbol' or 'char', got ['bpe']"),
    ("model.attention_score=generel", "got 'generel'; did you mean 'general'?"),
    ("model.bridge=2", "expected 'copy', 'dense' or 'zero', got 2"),
    ("model.encoder_layers=0", "expected a number of at least 1, got 0"),
    ("model.encoder_hidden_size=1000000000", "expected a number of at most 1000000, got 1000000000"),
    ("model.encoder_layers=two", "expected a whole number, got 'two'"),
    ("model.encoder_dropout=1.0", "expected a number below 1.0, got 1.0"),
    ("model.encoder_dropout=-0.1", "expected a number of at least 0.0, got -0.1"),
    ("model.decoder_dropout=.nan", "expected a finite number, got nan"),
    ("model.initializer_range=.inf", "expected a finite number, got inf"),
    ("model.initializer_range=-1", "expected a number above 0.0, got -1"),
    ("model=5", "expected a mapping of keys to values, got 5"),
    ("model=''", "expected text, got ''"),
    ("model=[a]", "expected a mapping of keys to values, got ['a']"),
    ("training=5", "expected a mapping of keys to values, got 5"),
    ("tokenizer=bpe", "expected a mapping of keys to values, got 'bpe'"),
    ("training.max_steps=abc", "expected -1 or a whole number, got 'abc'"),
    ("training.max_steps=0", "expected -1 or a number above 0, got 0"),
    ("training.max_steps=-5", "expected -1 or a number above 0, got -5"),
    ("training.output_dir=5", "expected text, got 5"),
    ("training.output_dir=''", "expected text, got ''"),
    ("training.output_dir=[a]", "expected text, got ['a']"),
    ("training.freeze=abc", "expected a list, got 'abc'"),
    ("training.label_smoothing_factor=2", "expected a number below 1.0, got 2"),
    ("training.label_smoothing_factor=-0.1", "expected a number of at least 0.0, got -0.1"),
    ("training.num_train_epochs=0", "expected a number above 0.0, got 0"),
    ("training.num_train_epochs=three", "expected a number, got 'three'"),
    ("training.average_checkpoints=0", "expected a number above 0, got 0"),
    ("training.early_stopping_patience=0", "expected a number above 0, got 0"),
    ("training.early_stopping_patience=1.5", "expected a whole number, got 1.5"),
    ("training.tokens_per_batch=-1", "expected a number above 0, got -1"),
    ("training.per_device_train_batch_size=0", "expected a number above 0, got 0"),
    ("training.gradient_accumulation_steps=0", "expected a number above 0, got 0"),
    ("training.save_total_limit=0", "expected a number above 0, got 0"),
    ("training.learning_rate=-1", "expected a number above 0.0, got -1"),
    ("training.learning_rate=.nan", "expected a finite number, got nan"),
    ("training.learning_rate=-.inf", "expected a finite number, got -inf"),
    ("training.learning_rate=1e999", "expected a finite number, got inf"),
    ("training.learning_rate=fast", "expected a number, got 'fast'"),
    ("training.weight_decay=-1", "expected a number of at least 0.0, got -1"),
    ("training.max_grad_norm=-1", "expected a number of at least 0.0, got -1"),
    ("training.adam_beta1=1", "expected a number below 1.0, got 1"),
    ("training.warmup_steps=-1", "expected a number of at least 0.0, got -1"),
    ("training.logging_steps=0", "expected a number above 0.0, got 0"),
    ("training.dropout=1", "expected a number below 1.0, got 1"),
    ("training.seed=-1", "expected a number of at least 0, got -1"),
    ("training.seed=4294967296", "expected a number below 4294967296, got 4294967296"),
    ("training.dataloader_num_workers=-1", "expected a number of at least 0, got -1"),
    ("training.lr_scheduler_type=cosin", "got 'cosin'; did you mean 'cosine'?"),
    ("training.lr_scheduler_kwargs=abc", "expected a mapping of keys to values, got 'abc'"),
    ("training.eval_strategy=epochs", "expected 'no', 'steps' or 'epoch', got 'epochs'; did you mean 'epoch'?"),
    ("training.save_strategy=false", "expected 'no', 'steps', 'epoch' or 'best', got False"),
    ("training.optim=adamw_8bits", "got 'adamw_8bits'; did you mean 'adamw_8bit'?"),
    ("training.log_level=inf", "got 'inf'; did you mean 'info'?"),
    ("training.report_to=5", "expected text or a list, got 5"),
    ("training.scheduled_sampling=linear", "expected a mapping of keys to values, got 'linear'"),
    ("training.scheduled_sampling={schedule: linear, k: 1}", "scheduled sampling: c belongs to the linear schedule"),
    ("generation.num_beams=0", "expected a number above 0, got 0"),
    ("generation.num_beams=2.5", "expected a whole number, got 2.5"),
    ("generation.max_length=0", "expected a number above 0, got 0"),
    ("generation.max_new_tokens=ten", "expected a whole number, got 'ten'"),
    ("generation.length_penalty=.inf", "expected a finite number, got inf"),
    ("generation.length_penalty=long", "expected a number, got 'long'"),
    ("generation.temperature=0", "expected a number above 0.0, got 0"),
    ("generation.top_p=1.5", "expected a number of at most 1.0, got 1.5"),
    ("generation.num_return_sequences=3", "expected 1, got 3: a score compares one translation with each source"),
    ("generation.early_stopping=nevr", "expected true or false (written so) or 'never', got 'nevr'; did you mean"),
    ("evaluation.metrics={}", "expected at least one of sacrebleu, chrf, ter, exact_match, cer, token_error_rate"),
    ("evaluation.metrics=sacrebleu", "expected a mapping of keys to values, got 'sacrebleu'"),
    ("evaluation.metrics=[sacrebleu]", "expected a mapping of keys to values, got ['sacrebleu']"),
    ("evaluation.metrics.sacrebleu=13a", "expected a mapping of keys to values, got '13a'"),
    ("evaluation.metrics.sacrebleu.tokenize=13b", "got '13b'; did you mean '13a'?"),
    ("evaluation.metrics.chrf.word_order=-1", "expected a number of at least 0, got -1"),
    ("evaluation.by_length=[20, 10]", "edges must be positive and rise, got [20, 10]"),
    ("evaluation.by_length=5", "expected a list, got 5"),
    ("data.train=5", "expected text or a mapping of keys to values or a list, got 5"),
    ("data.train=[]", "expected text or a mapping of keys to values or at least one, got []"),
    ("data.train={source: 5, target: a}", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.train=''", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.validation=''", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.train={source: '', target: a}", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.train={path: ''}", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.train={source: a}", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.validation={}", "expected a file, {'source': file, 'target': file}, or keyword arguments"),
    ("data.test=a.tsv", "expected a mapping of keys to values, got 'a.tsv'"),
    ("data.max_source_length=1", "expected a number of at least 2, got 1"),
    ("data.on_bad_rows=skp", "expected 'error' or 'skip', got 'skp'; did you mean 'skip'?"),
    ("data.on_long=cut", "expected 'error', 'skip' or 'truncate', got 'cut'"),
    ("data.source_column=0", "expected text or a number above 0, got 0"),
    ("data.file_format=tsw", "expected 'tsv', 'csv', 'jsonl', 'parquet' or 'tmx', got 'tsw'; did you mean 'tsv'?"),
]


@pytest.mark.parametrize("given", ["--set", "file"])
@pytest.mark.parametrize(("assignment", "message"), REFUSED_VALUES)
def test_a_wrong_value_is_refused_with_its_place(write, assignment, message, given):
    path, (name, _, value) = write(MINIMAL), assignment.partition("=")
    overrides = [assignment]
    if given == "file":
        *sections, key = name.split(".")
        lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
        text = "\n".join(["base: base.yaml", *lines, f"{'  ' * len(sections)}{key}: {value}"])
        write(MINIMAL, "base.yaml")
        path, overrides = write(text), []
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_recipe(path, overrides)
    assert str(error.value).startswith(f"{path}: {name}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("tokenizer.joint=true", True),
        ("tokenizer.joint=True", True),
        ("tokenizer.joint=TRUE", True),
        ("tokenizer.joint=false", False),
        ("tokenizer.joint=False", False),
        ("tokenizer.joint=FALSE", False),
        ("tokenizer.vocab_size=0x1F4", 500),
        ("tokenizer.vocab_size=0o1000", 512),
        ("tokenizer.vocab_size=0500", 500),
        ("tokenizer.vocab_size=+500", 500),
        ("training.learning_rate=1e-3", 0.001),
        ("training.learning_rate=.5", 0.5),
        ("training.learning_rate=1", 1),
        ("training.learning_rate=5.", 5.0),
        ("training.max_steps=-1", -1),
        ("training.run_name=1:30", "1:30"),
        ("training.run_name=1_000", "1_000"),
        ("training.run_name=2020-01-01", "2020-01-01"),
        ("training.run_name=no", "no"),
        ("training.run_name='5'", "5"),
        ("training.run_name=~", None),
        ("training.run_name=", None),
        ("training.run_name==", "="),
        ("training.report_to=[none]", ["none"]),
        ("training.resume_from_checkpoint=true", True),
        ("training.average_checkpoints=null", None),
        ("generation.max_length=null", None),
        ("generation.num_return_sequences=1", 1),
        ("evaluation.metrics.sacrebleu.tokenize=13a", "13a"),
        ("model.initializer_range=1", 1),
        ("data.source_column=2", 2),
        ("data.source_column='2'", "2"),
    ],
)
def test_values_are_those_of_yaml_1_2(write, assignment, value):
    (section, *keys), recipe = assignment.partition("=")[0].split("."), load_recipe(write(MINIMAL), [assignment])
    found = recipe.to_dict()[section]
    for name in ("arguments", "reading"):
        found = found.get(name, {}) | found
    for key in keys:
        found = found[key]
    assert found == value and type(found) is type(value)


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the recipe: expected a mapping of keys to values, got None"),
        (b"# nothing", "the recipe: expected a mapping of keys to values, got None"),
        (b"5", "the recipe: expected a mapping of keys to values, got 5"),
        (b"data: {train: t.tsv}\n# \xff\n", ", line 2: expected UTF-8, got the byte 0xff"),
        ("data: {}".encode("utf-16"), ", line 1: expected UTF-8, got the byte 0xff"),
        (b"\0", "not valid YAML: unacceptable character #x0000"),
        (b"data:\n\ttrain: x", "not valid YAML: .* found character '.t' that cannot start any token"),
        (b"a: 1\n---\nb: 2", "not valid YAML: expected a single document"),
        (b"a: *b", "not valid YAML: found undefined alias 'b'"),
        (b"&a [*a]", ", line 1: expected at most 10,000 values in 20 levels, got more"),
        (b"a: &a {b: *a}", ", line 1: expected at most 10,000 values in 20 levels, got more"),
        (LAUGHS.encode(), ", line 1: expected at most 10,000 values in 20 levels, got more"),
        (b"[" * 10_000, "expected at most 20 levels, got more"),
        (b"{a: " * 500, "expected at most 20 levels, got more"),
        (b"#" * 100_001, "expected a recipe of at most 100,000 bytes, got more"),
        (b"data: !!python/object/apply:os.system [ls]", ", line 1: expected a value without a tag, got 'tag:yaml.org"),
        (b"data: !!int abc", ", line 1: expected a value without a tag, got 'tag:yaml.org,2002:int'"),
        (b"data: !!bool maybe", ", line 1: expected a value without a tag"),
        (b"data: !!set {a}", ", line 1: expected a value without a tag"),
        (b"\n5: a", ", line 2: expected text as a key, got 5"),
        (b"null: a", ", line 1: expected text as a key, got None"),
        (b"true: a", ", line 1: expected text as a key, got True"),
        (b"[a]: b", r", line 1: expected text as a key, got \['a'\]"),
        (b"? {a: b}\n: c", ", line 1: expected text as a key, got {'a': 'b'}"),
        (b"a: b\na: c", ", line 2: the key 'a' appears twice"),
        (b"<<: {data: b}", "unknown key '<<'"),
        (b"a: " + b"9" * 5000, ", line 1: expected a number of at most 64 bits, got 99999999999999999999..."),
        (b"a: 9223372036854775808", ", line 1: expected a number of at most 64 bits, got 9223372036854775808"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["", "=", "a", "training.=1", "training.run_name=[\na\n", "a\nb", "a=!!x\nb"])
def test_an_assignment_that_is_none_is_refused_in_one_line(write, override):
    with pytest.raises(ValueError, match="^--set ") as error:
        load_recipe(write(MINIMAL), [override])
    assert "\n" not in str(error.value)


def test_byte_order_marks_and_aliases_are_read(write):
    recipe = load_recipe(write("\ufeffdata: {train: &t t.tsv, validation: *t}\ntraining: {output_dir: o}"))
    assert recipe.data.train == recipe.data.validation == str(Path(recipe.file).parent / "t.tsv")


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder; expected a YAML file"):
        load_recipe(tmp_path)


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
    with pytest.raises(ValueError, match=r"--set data\.train\.source=x: data\.train: expected a mapping"):
        load_recipe(path, ["data.train.source=x"])
    with pytest.raises(ValueError, match=r"--set data\.train=\[: not valid YAML"):
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


@pytest.mark.parametrize(
    "base", ["recipe.yaml", "other.yaml", "../recipe.yaml", "[a.yaml]", "''", "5", "/", '"a\\nb.yaml"']
)
def test_a_base_lies_beside_the_recipe_and_is_another(write, base):
    write("base: recipe.yaml", "other.yaml")
    with pytest.raises(ValueError, match="base: expected the name of another recipe in the same folder"):
        load_recipe(write(f"base: {base}\n{MINIMAL}"))


def test_a_missing_base_is_named(write):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml: no such recipe"):
        load_recipe(write(f"base: nothing.yaml\n{MINIMAL}"))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "no", "a.tsv", "epoch", "bpe", "\0", "x" * 5000, "\ud800", "linear"]),
    st.text(max_size=5),
)
KEYS = st.sampled_from(
    sorted({*_SECTIONS, "base", *(name for section in _SECTIONS.values() for name in section.model_fields)})
)
STRUCTURES = st.recursive(
    ODD, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS | ODD, below, max_size=3), max_leaves=8
)


@given(st.dictionaries(KEYS, STRUCTURES, max_size=4), st.sampled_from(sorted(_SECTIONS)), st.data())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_any_structure_is_a_recipe_or_refused_in_one_line(structure, section, data):
    keys = sorted(_SECTIONS[section].model_fields)
    structure = {
        "data": {"train": "t.tsv"},
        "training": {"output_dir": "o"},
        **structure,
        section: data.draw(st.dictionaries(st.sampled_from(keys), STRUCTURES, max_size=3)),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.dump(structure, Dumper=yaml.SafeDumper), encoding="utf-8", errors="surrogatepass")
        try:
            load_recipe(path)
        except (ValueError, FileNotFoundError) as error:
            message = str(error)
            assert message.startswith(str(path.parent)) and "\n" not in message


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.parent.glob("scripts/**/*.yaml")), ids=lambda path: path.name
)
def test_the_recipes_of_the_project_are_valid(path):
    assert load_recipe(path).training.arguments["output_dir"]
