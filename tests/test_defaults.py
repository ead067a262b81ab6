# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what a run takes where its recipe says nothing: what is said wins, and a resumed run keeps its choice."""

import json

import pytest
import torch
import yaml
from datasets import Dataset

from hf_rnn_attn.training import defaults, load_recipe, train
from hf_rnn_attn.training.defaults import multiplies_in_bf16
from hf_rnn_attn.training.recipe import training_arguments


PAIRS = [("ab", "b a"), ("abc", "c b a"), ("cab", "b a c"), ("b", "b")] * 6
SIZES = dict.fromkeys(("encoder_embedding_size", "encoder_hidden_size", "decoder_embedding_size"), 4)


@pytest.fixture(params=[False, True], ids=["slow in bf16", "fast in bf16"])
def fast(request, monkeypatch):
    monkeypatch.setattr(defaults, "multiplies_in_bf16", lambda: request.param)
    return request.param


@pytest.fixture
def write(tmp_path):
    (tmp_path / "train.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), "utf-8")

    def write_recipe(data=None, **training):
        recipe = {
            "data": {"train": "train.tsv", **(data or {})},
            "tokenizer": {"kind": "char", "target_kind": "symbol", "joint": False},
            "model": {**SIZES, "decoder_hidden_size": 8},
            "training": {
                "output_dir": str(tmp_path / "run"),
                "report_to": "none",
                "disable_tqdm": True,
                "max_steps": 4,
                "save_steps": 2,
                **training,
            },
            "evaluation": {"metrics": {"exact_match": None}},
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
        return tmp_path / "recipe.yaml"

    return write_recipe


def record_of(folder):
    return json.loads((folder / "run/run.json").read_text("utf-8"))


def only_cpu(monkeypatch, alone=True):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: not alone)


# what the recipe says; whether bf16 is chosen on a fast processor
@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ({}, True),
        ({"use_cpu": True}, True),
        ({"use_cpu": False}, False),
        ({"bf16": False}, False),
        ({"bf16": True}, False),
        ({"fp16": True}, False),
        ({"fp16": False}, False),
    ],
    ids=str,
)
def test_bf16_is_chosen_where_the_processor_has_it_and_the_recipe_says_nothing(write, monkeypatch, fast, said, chosen):
    only_cpu(monkeypatch)
    assert defaults.choose_precision(load_recipe(write(**said))) == ({"bf16": True} if chosen and fast else {})


@pytest.mark.parametrize(("said", "chosen"), [({}, False), ({"use_cpu": True}, True)], ids=str)
def test_beside_an_accelerator_the_processor_does_not_decide(write, monkeypatch, said, chosen):
    only_cpu(monkeypatch, alone=False)
    monkeypatch.setattr(defaults, "multiplies_in_bf16", lambda: True)
    assert bool(defaults.choose_precision(load_recipe(write(**said)))) == chosen


@pytest.mark.parametrize(
    ("supports", "has_library", "fast"),
    [(lambda: True, True, True), (lambda: True, False, False), (lambda: False, True, False), (None, True, False)],
)
def test_the_processor_is_asked(monkeypatch, supports, has_library, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", supports)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_library)
    assert multiplies_in_bf16() is fast


def test_bf16_without_a_gpu_needs_no_use_cpu(write, monkeypatch):
    only_cpu(monkeypatch)
    arguments = training_arguments(load_recipe(write(bf16=True)))
    assert arguments.use_cpu and arguments.bf16 and not arguments.dataloader_pin_memory
    arguments = training_arguments(load_recipe(write(use_cpu=False, dataloader_pin_memory=True)))
    assert not arguments.use_cpu and arguments.dataloader_pin_memory


@pytest.mark.parametrize(
    ("count", "length", "longest", "expected"),
    [
        (100, 10, 10, 80),  # eight pairs a batch
        (1_600, 10, 10, 160),
        (6_400, 10, 10, 640),
        (100_000, 10, 10, 640),
        (6_400, 20, 20, 1280),
        (10, 5, 200, 200),  # the longest pair fits
        (1, 3, 3, 24),
    ],
)
def test_batches_follow_the_number_and_the_length_of_the_pairs(write, count, length, longest, expected):
    rows = [[5] * length] * (count - 1) + [[5] * longest]
    encoded = Dataset.from_dict({"input_ids": rows, "labels": [[5]] * count})
    assert defaults.choose_batch(load_recipe(write()), encoded) == {"tokens_per_batch": expected}


@pytest.mark.parametrize(
    "said",
    [
        {"tokens_per_batch": 50},
        {"per_device_train_batch_size": 8},
        {"auto_find_batch_size": True},
        {"train_sampling_strategy": "group_by_length"},
        {"data": {"streaming": True}},
    ],
    ids=str,
)
def test_batches_that_the_recipe_speaks_of_are_not_chosen(write, said):
    encoded = Dataset.from_dict({"input_ids": [[5]], "labels": [[5]]})
    assert defaults.choose_batch(load_recipe(write(**said)), encoded) == {}


def test_one_line_says_what_was_chosen_and_the_run_goes_on_with_it(write, monkeypatch, tmp_path, fast, caplog):
    only_cpu(monkeypatch)
    results = train(load_recipe(write()))
    (line,) = [record.message for record in caplog.records if record.message.startswith("chosen: ")]
    bf16 = "training.bf16: true, " if fast else ""
    assert line.startswith(f"chosen: {bf16}training.tokens_per_batch: 26, training.use_cpu: true, OMP_NUM_THREADS=")
    names = ["bf16", "tokens_per_batch"] if fast else ["tokens_per_batch"]
    record = record_of(tmp_path)
    assert record["chosen"] == names and record["training"]["tokens_per_batch"] == 26
    assert results["recipe"]["training"]["tokens_per_batch"] == 26
    whole = (tmp_path / "run/model.safetensors").read_bytes()
    # on another processor
    monkeypatch.setattr(defaults, "multiplies_in_bf16", lambda: not fast)
    train(load_recipe(write(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))))
    assert (tmp_path / "run/model.safetensors").read_bytes() == whole
    assert record_of(tmp_path)["chosen"] == names
    assert record_of(tmp_path)["training"].get("bf16") is (True if fast else None)


def test_a_choice_may_be_said_afterwards_and_not_changed(write, monkeypatch, tmp_path):
    only_cpu(monkeypatch)
    monkeypatch.setattr(defaults, "multiplies_in_bf16", lambda: True)
    train(load_recipe(write()))
    train(load_recipe(write(bf16=True, tokens_per_batch=26, resume_from_checkpoint=True)))
    with pytest.raises(ValueError, match="training.bf16: True → False"):
        train(load_recipe(write(bf16=False, resume_from_checkpoint=True)))
    with pytest.raises(ValueError, match="training.tokens_per_batch: 26 → 50"):
        train(load_recipe(write(tokens_per_batch=50, resume_from_checkpoint=True)))


def test_a_run_of_an_earlier_version_goes_on_without_a_choice(write, monkeypatch, tmp_path, caplog):
    only_cpu(monkeypatch)
    train(load_recipe(write(bf16=False, per_device_train_batch_size=8)))
    record = record_of(tmp_path)
    del record["chosen"], record["training"]["bf16"], record["training"]["per_device_train_batch_size"]
    (tmp_path / "run/run.json").write_text(json.dumps(record), "utf-8")
    monkeypatch.setattr(defaults, "multiplies_in_bf16", lambda: True)
    train(load_recipe(write(resume_from_checkpoint=True)))
    assert "chosen: " not in caplog.text and record_of(tmp_path)["chosen"] == []


@pytest.mark.parametrize(
    ("limit", "environment", "threads"),
    [
        ("150000 100000\n", None, 1),
        ("200000 100000\n", None, 2),
        ("50000 100000\n", None, 1),
        ("6400000 100000\n", None, 8),
        ("max 100000\n", None, 8),
        (None, None, 8),
        ("200000 100000\n", "4", 8),
    ],
)
def test_threads_are_not_more_than_a_container_may_use(monkeypatch, tmp_path, limit, environment, threads):
    counts = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(defaults, "CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    if environment is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    defaults.limit_threads()
    assert counts[-1] == threads
