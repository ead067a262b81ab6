# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A saved checkpoint works by itself: with `trust_remote_code=True` where the package is not installed, without it
where it is, and it stays complete when it is loaded and saved again.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    pipeline,
)

import hf_rnn_attn
from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, RnnAttnModel
from hf_rnn_attn.model.pipeline_rnn_attn import TranslationPipeline
from hf_rnn_attn.tokenization import train_tokenizer


SOURCE = ["ein mann fährt", "eine frau fährt auf dem fahrrad", "der hund"]
TARGET = ["a man rides", "a woman rides the bicycle", "the dog"]
CALL = {"max_new_tokens": 6, "num_return_sequences": 2, "output_attentions": True}
TASKS = ("translation", "translation_de_to_en")
TRAINING = {"max_steps": 1, "save_steps": 1, "learning_rate": 0.0, "report_to": "none", "use_cpu": True}
CODE_FOLDER = Path(hf_rnn_attn.__file__).parent / "model"
SHIPPED = {path.name for path in CODE_FOLDER.glob("*_rnn_attn.py")}
TOKENIZERS = ("joint", "separate")
# as written first; loaded and saved again with the package and without it, as a pipeline or in parts; what a trainer
# saved with the package and without it
FOLDERS = [name + ending for name in TOKENIZERS for ending in ("", "-again", "-saved", "-parts")]
CHECKPOINTS = ["trained/checkpoint-1", "trained-alone/checkpoint-1"]
REPOSITORY = "someone/some-model"


def save_checkpoint(folder: Path, joint: bool):
    tokenizer = train_tokenizer(SOURCE, TARGET, kind="word", joint=joint)
    sizes = {"encoder_embedding_size": 8, "encoder_hidden_size": 8, "decoder_embedding_size": 8}
    config = RnnAttnConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer) if joint else tokenizer.target_vocab_size,
        decoder_hidden_size=16,
        initializer_range=1.0,
        **sizes,
    )
    RnnAttnForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def put_into_hub_cache(folder: Path, cache: Path):
    commit = "0" * 40
    repository = cache / f"models--{REPOSITORY.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def train_one_step(checkpoint: Path, output_dir: Path):
    """A step too short to change a weight, so that the trainer's checkpoint translates like the one it began with."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
    Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(str(output_dir), **TRAINING),
        train_dataset=[dict(tokenizer(SOURCE[0], text_target=TARGET[0]))],
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
    ).train()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints "joint" and "separate", and what the installed package made of them by loading and saving."""
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name in TOKENIZERS:
        save_checkpoint(root / name, joint=name == "joint")
        pipeline("translation", model=str(root / name), device="cpu").save_pretrained(root / f"{name}-again")
    train_one_step(root / "separate", root / "trained")
    put_into_hub_cache(root / "separate", root / "home" / "hub")
    return root


WITHOUT_PACKAGE = """
import json, sys
sys.modules["hf_rnn_attn"] = None  # importing it now raises ImportError
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

root, repository, source, call, tasks, training = map(json.loads, sys.argv[1:])
trust = {"trust_remote_code": True}

def check(parts):
    for part in parts:
        assert type(part).__module__.startswith("transformers_modules."), type(part)

def translate(name):
    check([AutoConfig.from_pretrained(name, **trust), AutoModel.from_pretrained(name, **trust)])
    parts = {
        "model": AutoModelForSeq2SeqLM.from_pretrained(name, **trust),
        "tokenizer": AutoTokenizer.from_pretrained(name, **trust),
    }
    check([parts["model"]])
    translators = [pipeline(task, model=name, device="cpu", **trust) for task in tasks]
    translators += [pipeline(model=name, device="cpu", **trust), pipeline(tasks[0], device="cpu", **parts)]
    check(translators)
    for task, key in (("summarization", "summary_text"), ("text2text-generation", "generated_text")):
        (record,) = pipeline(task, model=name, device="cpu", **trust)(source[0], max_new_tokens=4)
        assert list(record) == [key], record
    return translators[0], [translator(source, **call) for translator in translators]

for refused in ("joint", repository):
    try:
        pipeline(tasks[0], model=refused)
        raise SystemExit("code of a checkpoint ran unasked")
    except ValueError as error:
        assert "trust_remote_code" in str(error), error

results = {}
for name in ("joint", "separate", repository):
    translator, results[name] = translate(name)
    saved = name.split("/")[-1] + "-saved"
    translator.save_pretrained(saved)
    results[saved] = translate("./" + saved)[1]
    results[name + "-again"] = translate(name + "-again")[1] if name != repository else []

model, tokenizer = (auto.from_pretrained("separate", **trust) for auto in (AutoModelForSeq2SeqLM, AutoTokenizer))
trainer = Seq2SeqTrainer(
    model=model,
    args=Seq2SeqTrainingArguments("trained-alone", **training),
    train_dataset=[dict(tokenizer(source[0], text_target=source[0]))],
    data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    processing_class=tokenizer,
)
trainer.train()
for folder in ("trained", "trained-alone"):
    results[folder + "/checkpoint-1"] = translate(folder + "/checkpoint-1")[1]
for name in ("joint", "separate"):
    for auto in (AutoModelForSeq2SeqLM, AutoTokenizer):
        auto.from_pretrained(name, **trust).save_pretrained(name + "-parts")
    results[name + "-parts"] = translate(name + "-parts")[1]
json.dump(results, open("results.json", "w"))
"""


@pytest.fixture(scope="module")
def results(folders):
    """Translations of `SOURCE` where the package cannot be imported, by checkpoint: one list for each way to ask."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    arguments = [str(folders), REPOSITORY, SOURCE, CALL, TASKS, TRAINING]
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, *map(json.dumps, arguments)],
        cwd=folders,
        env=environment | {"HF_HOME": str(folders / "home"), "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads((folders / "results.json").read_text())


def translate_with_the_package(folder: Path):
    return pipeline("translation", model=str(folder), device="cpu")(SOURCE, **CALL)


def assert_same_translations(actual, expected):
    assert len(actual) == len(expected) == len(SOURCE)
    for records, expected_records in zip(actual, expected, strict=True):
        for record, expected_record in zip(records, expected_records, strict=True):
            torch.testing.assert_close(record.pop("attention"), expected_record["attention"])
            assert record == {name: value for name, value in expected_record.items() if name != "attention"}


def code_entries(folder: Path) -> dict:
    config = json.loads((folder / "config.json").read_text())
    return {name: config[name] for name in ("auto_map", "custom_pipelines")}


@pytest.mark.parametrize("name", FOLDERS)
def test_without_the_package_a_folder_translates_as_with_it(folders, results, name):
    expected = translate_with_the_package(folders / name.split("-")[0])
    assert len(results[name]) == 4
    for translations in results[name]:
        assert_same_translations(translations, expected)


@pytest.mark.parametrize("name", [REPOSITORY, "some-model-saved"])
def test_without_the_package_a_hub_repository_translates_as_the_folder(folders, results, name):
    expected = translate_with_the_package(folders / "separate")
    assert len(results[name]) == 4
    for translations in results[name]:
        assert_same_translations(translations, expected)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_with_the_package_nothing_has_to_be_trusted(folders, name):
    folder = str(folders / name)
    assert type(AutoConfig.from_pretrained(folder)) is RnnAttnConfig
    assert type(AutoModel.from_pretrained(folder)) is RnnAttnModel
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert type(model) is RnnAttnForConditionalGeneration
    expected = translate_with_the_package(folders / name)
    # without a task, it is that of the checkpoint
    for task in (*TASKS, None):
        for source in ({"model": folder}, {"model": folder, "trust_remote_code": True}):
            translator = pipeline(task, device="cpu", **source)
            assert type(translator) is TranslationPipeline
            assert type(translator.model) is RnnAttnForConditionalGeneration
            assert_same_translations(translator(SOURCE, **CALL), expected)
    assert pipeline("translation", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu")


def test_every_translation_of_the_random_models_is_its_own(folders):
    # else equal translations would show nothing
    texts = [
        record["translation_text"]
        for name in TOKENIZERS
        for records in translate_with_the_package(folders / name)
        for record in records
    ]
    assert len(set(texts)) > len(texts) / 2


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_holds_all_the_code_that_it_needs(folders, results, name):
    expected = SHIPPED if "separate" in name else SHIPPED - {"tokenization_rnn_attn.py"}
    assert {path.name for path in (folders / name).glob("*.py")} == expected
    assert code_entries(folders / name) == code_entries(folders / "joint")
    assert set(code_entries(folders / name)["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM"}


def test_a_copy_of_a_hub_repository_does_not_point_back_to_it(folders, results):
    copy = folders / "some-model-saved"
    assert {path.name for path in copy.glob("*.py")} == SHIPPED
    assert code_entries(copy) == code_entries(folders / "separate")
    assert REPOSITORY not in (copy / "config.json").read_text() + (copy / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_trainer_checkpoint_stands_alone(folders, results, name):
    assert {path.name for path in (folders / name).glob("*.py")} == SHIPPED
    expected = translate_with_the_package(folders / "separate")
    for translations in [*results[name], translate_with_the_package(folders / name)]:
        assert_same_translations(translations, expected)


def test_the_bare_model_brings_its_code_too(folders, tmp_path):
    AutoModel.from_pretrained(folders / "joint").save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == SHIPPED - {"tokenization_rnn_attn.py"}
    assert code_entries(tmp_path) == code_entries(folders / "joint")


def test_the_configuration_brings_its_code_too(folders, tmp_path):
    AutoConfig.from_pretrained(folders / "joint").save_pretrained(tmp_path)
    names = ("cache", "checkpoint", "configuration", "pipeline", "placeholders")
    expected = {f"{name}_rnn_attn.py" for name in names}
    assert {path.name for path in tmp_path.glob("*.py")} == expected
