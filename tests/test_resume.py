# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what is lost when a training fails, is stopped or is resumed as another run: nothing, and not in silence."""

import errno
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from filelock import FileLock
from safetensors.torch import load_file
from small_models import make_model
from transformers import AutoModelForSeq2SeqLM, Seq2SeqTrainingArguments

from hf_rnn_attn.training import RnnAttnTrainer, load_recipe, select_checkpoints, train
from hf_rnn_attn.training.checkpoints import find_damage, last_checkpoint
from hf_rnn_attn.training.record import LOCK_FILE, fingerprint
from hf_rnn_attn_cli import main


PAIRS = [("eins zwei", "one two"), ("drei", "three"), ("zwei drei eins", "two three one"), ("eins", "one")] * 4
FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer_state.json",
    "training_args.bin",
    "SHA256SUMS",
]
STOCK = {
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "dataloader_pin_memory": False,
    "learning_rate": 0.02,
    "num_train_epochs": 2,
    "tokens_per_batch": 8,
    "save_strategy": "steps",
    "save_steps": 3,
    "logging_steps": 1,
}
SIZES = dict.fromkeys(("encoder_embedding_size", "encoder_hidden_size", "decoder_embedding_size"), 4)


def write_pairs(file, pairs):
    file.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")


def write_recipe(folder, name="recipe.yaml", model=None, tokenizer=None, data=None, evaluation=None, **training):
    """Writes a recipe whose run takes a fraction of a second, and its pairs where there are none."""
    for split, pairs in {"train": PAIRS, "dev": PAIRS[:3]}.items():
        if not (folder / f"{split}.tsv").exists():
            write_pairs(folder / f"{split}.tsv", pairs)
    recipe = {
        "data": {"train": "train.tsv", **(data or {})},
        "tokenizer": {"kind": "word"} if tokenizer is None else tokenizer,
        "model": {**SIZES, "decoder_hidden_size": 8} if model is None else model,
        "training": {"output_dir": str(folder / "run"), **STOCK, **training},
        "evaluation": {"metrics": {"exact_match": {}}, **(evaluation or {})},
    }
    recipe["training"] = {name: value for name, value in recipe["training"].items() if value is not None}
    (folder / name).write_text(yaml.safe_dump(recipe), "utf-8")
    return folder / name


def run(path, *overrides, force=False, resume=False):
    overrides += ("training.resume_from_checkpoint=true",) if resume else ()
    return train(load_recipe(path, overrides), force=force)


def resume(path, *overrides, force=False):
    return run(path, *overrides, force=force, resume=True)


def assert_same_weights(first, second):
    first, second = (load_file(Path(folder) / "model.safetensors") for folder in (first, second))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with a recipe and its finished run of 12 steps, which no test may change."""
    folder = tmp_path_factory.mktemp("undisturbed")
    steps = run(write_recipe(folder))["steps"]
    assert steps == 12
    return folder


@pytest.fixture
def stopped(undisturbed, tmp_path):
    """A copy of that folder in which the run was stopped after 7 of its 12 steps."""
    for file in ("train.tsv", "dev.tsv"):
        shutil.copy(undisturbed / file, tmp_path)
    write_recipe(tmp_path)
    stop_at(undisturbed / "run", tmp_path / "run", 6)
    return tmp_path


def stop_at(run_dir, copy, step):
    """Copies what a run had written when it was stopped soon after its checkpoint of this step."""
    shutil.copytree(run_dir, copy)
    for path in [*copy.iterdir()]:
        if path.name in ("model.safetensors", "results.json", "trainer_state.json"):
            path.unlink()
        elif path.name.startswith("checkpoint-") and int(path.name[11:]) > step:
            shutil.rmtree(path)


# what damages a file


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = [truncate, empty, Path.unlink, flip]


def test_the_files_of_a_checkpoint_are_those_that_are_damaged_here(undisturbed):
    names = (file.name for file in (undisturbed / "run/checkpoint-6").iterdir())
    assert sorted(name for name in names if not name.endswith(".py")) == sorted(FILES)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_passed_over_by_name(stopped, caplog, name, damage):
    run_dir = stopped / "run"
    damage(run_dir / "checkpoint-6" / name)
    assert last_checkpoint(run_dir) == run_dir / "checkpoint-3"
    assert f"{run_dir / 'checkpoint-6'}: " in caplog.text and f"resuming from {run_dir / 'checkpoint-3'}" in caplog.text
    shutil.rmtree(run_dir / "checkpoint-3")
    with pytest.raises(ValueError, match=r"no checkpoint to resume from \(.*checkpoint-6: .*train with --force"):
        last_checkpoint(run_dir)


@pytest.mark.parametrize(("name", "damage"), list(zip(FILES, DAMAGES * 3, strict=False)))
def test_a_run_resumed_from_an_older_checkpoint_ends_as_an_undisturbed_one(stopped, undisturbed, name, damage):
    damage(stopped / "run/checkpoint-6" / name)
    resume(stopped / "recipe.yaml")
    assert_same_weights(stopped / "run", undisturbed / "run")
    assert find_damage(stopped / "run/checkpoint-6") is None
    assert_same_weights(stopped / "run/checkpoint-6", undisturbed / "run/checkpoint-6")


def test_a_folder_that_only_looks_like_a_checkpoint_is_no_obstacle(stopped, undisturbed):
    (stopped / "run/checkpoint-last").mkdir()
    (stopped / "run/checkpoint-9").write_text("a file")
    assert last_checkpoint(stopped / "run").name == "checkpoint-6"


def test_a_checkpoint_that_is_named_is_taken_or_refused(stopped, undisturbed):
    named = f"training.resume_from_checkpoint={stopped / 'run/checkpoint-3'}"
    run(stopped / "recipe.yaml", named)
    assert_same_weights(stopped / "run", undisturbed / "run")
    truncate(stopped / "run/checkpoint-3/optimizer.pt")
    with pytest.raises(ValueError, match=r"checkpoint-3: optimizer\.pt is damaged; name another"):
        run(stopped / "recipe.yaml", named)
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        run(stopped / "recipe.yaml", "training.resume_from_checkpoint=nowhere")


def test_no_mean_is_made_of_damaged_checkpoints(undisturbed, tmp_path):
    run_dir = shutil.copytree(undisturbed / "run", tmp_path / "run")
    truncate(run_dir / "checkpoint-12/model.safetensors")
    (run_dir / "checkpoint-9/trainer_state.json").unlink()
    assert [path.name for path in select_checkpoints(run_dir, 2)] == ["checkpoint-3", "checkpoint-6"]


ORDERS = {
    "tokens": {},
    "sentences": {"tokens_per_batch": None, "per_device_train_batch_size": 3},
    "accumulated": {"gradient_accumulation_steps": 2, "save_steps": 2},
    "sequential": {"tokens_per_batch": None, "per_device_train_batch_size": 3, "train_sampling_strategy": "sequential"},
    "a stream": {"tokens_per_batch": None, "per_device_train_batch_size": 3, "max_steps": 12},
    "workers": {"dataloader_num_workers": 1},
    "a plateau": {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 3},
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_resumed_run_is_bit_equal_whatever_orders_its_batches(tmp_path, order):
    data = {"validation": "dev.tsv"} if order == "a plateau" else {"streaming": True} if order == "a stream" else {}
    model = {**SIZES, "decoder_hidden_size": 8, "encoder_dropout": 0.3}
    path = write_recipe(tmp_path, data=data, model=model, **ORDERS[order])
    run(path)
    first = min((tmp_path / "run").glob("checkpoint-*"), key=lambda p: int(p.name[11:]))
    stop_at(tmp_path / "run", tmp_path / "stopped", int(first.name[11:]))
    resume(path, f"training.output_dir={tmp_path / 'stopped'}")
    assert_same_weights(tmp_path / "run", tmp_path / "stopped")


@pytest.mark.parametrize(
    "order",
    [{"train_sampling_strategy": "group_by_length"}, {"accelerator_config": {"use_seedable_sampler": False}}],
    ids=str,
)
def test_an_order_that_is_lost_in_the_middle_of_an_epoch_is_not_made_up(tmp_path, order):
    settings = {"tokens_per_batch": None, "per_device_train_batch_size": 3, "save_steps": 4, **order}
    path = write_recipe(tmp_path, **settings)
    run(path)
    stop_at(tmp_path / "run", tmp_path / "stopped", 4)
    with pytest.raises(ValueError, match="in the middle of epoch 1, whose order of batches is not known"):
        resume(path, f"training.output_dir={tmp_path / 'stopped'}")


@pytest.mark.parametrize("step", [2, 4, 6, 8])
def test_a_resumed_run_stops_as_early_and_with_the_same_best_checkpoint(tmp_path, monkeypatch, step):
    losses = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.5}
    evaluate = RnnAttnTrainer.evaluation_loop

    def prescribed(self, *args, **kwargs):
        output = evaluate(self, *args, **kwargs)
        output.metrics["eval_loss"] = losses.get(self.state.global_step, 9.0)
        return output

    monkeypatch.setattr(RnnAttnTrainer, "evaluation_loop", prescribed)
    settings = {"save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "early_stopping_patience": 2}
    settings |= {"metric_for_best_model": "loss", "load_best_model_at_end": True}
    path = write_recipe(tmp_path, data={"validation": "dev.tsv"}, **settings)
    assert run(path)["steps"] == 8
    stop_at(tmp_path / "run", tmp_path / "moved", step)
    assert resume(path, f"training.output_dir={tmp_path / 'moved'}")["steps"] == 8
    for folder in ("run", "moved"):
        assert_same_weights(tmp_path / folder, tmp_path / "run/checkpoint-4")


def test_an_end_in_the_middle_of_an_epoch_is_the_end_of_a_resumed_run_too(tmp_path):
    path = write_recipe(tmp_path, max_steps=8, save_steps=4)
    run(path)
    stop_at(tmp_path / "run", tmp_path / "stopped", 8)
    assert resume(path, f"training.output_dir={tmp_path / 'stopped'}")["steps"] == 8
    assert_same_weights(tmp_path / "run", tmp_path / "stopped")


def test_a_run_that_has_lost_its_best_checkpoint_is_not_resumed(tmp_path):
    # hardly learns, so that the first evaluation may well be the best
    settings = {"eval_strategy": "steps", "eval_steps": 3, "load_best_model_at_end": True, "learning_rate": 1e-9}
    path = write_recipe(tmp_path, data={"validation": "dev.tsv"}, **settings)
    run(path)
    state = json.loads((tmp_path / "run/checkpoint-12/trainer_state.json").read_text())
    truncate(tmp_path / f"run/checkpoint-{state['best_global_step']}/model.safetensors")
    with pytest.raises(ValueError, match=rf"checkpoint-{state['best_global_step']}: model\.safetensors is damaged"):
        resume(path, "training.save_total_limit=1")


# another run


CHANGES = {
    "training.learning_rate=0.01": "training.learning_rate: 0.02 → 0.01",
    "training.seed=7": "training.seed: not set → 7",
    "training.num_train_epochs=3": "training.num_train_epochs: 2 → 3",
    "training.max_steps=20": "training.max_steps: not set → 20",
    "training.tokens_per_batch=16": "training.tokens_per_batch: 8 → 16",
    "training.tokens_per_batch=null": "training.tokens_per_batch: 8 → not set",
    "training.gradient_accumulation_steps=2": "x training.gradient_accumulation_steps: 8 → 16",
    "training.train_sampling_strategy=group_by_length": "training.train_sampling_strategy: not set → group_by_length",
    "training.weight_decay=0.1": "training.weight_decay: not set → 0.1",
    "training.lr_scheduler_type=cosine": "training.lr_scheduler_type: not set → cosine",
    "training.label_smoothing_factor=0.1": "training.label_smoothing_factor: not set → 0.1",
    "training.scheduled_sampling={schedule: exponential, k: 0.5}": "training.scheduled_sampling.k: not set → 0.5",
    "training.freeze=[model.encoder.*]": "training.freeze:",
    "training.bf16=true": "training.bf16: not set → True",
    "data.max_source_length=30": "data.encoding.max_source_length: not set → 30",
    "generation.num_beams=3": "generation.num_beams: not set → 3",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_with_other_settings_is_refused_key_by_key(stopped, change):
    message = rf"checkpoint-6 is of another run: .*{re.escape(CHANGES[change])}.*with --force"
    with pytest.raises(ValueError, match=message):
        resume(stopped / "recipe.yaml", change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.encoder_hidden_size=8", "model.encoder_hidden_size: 4 → 8"),
        ("model.attention_score=dot", "model.attention_score: not set → dot"),
        ("model.encoder_dropout=0.5", "model.encoder_dropout: not set → 0.5"),
        ("tokenizer.kind=char", "tokenizer.kind: word → char"),
        ("tokenizer.joint=false", "tokenizer.joint: not set → False"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_model_and_tokenizer_stay(stopped, change, message, force):
    with pytest.raises(ValueError, match=rf"keeps its model and tokenizer, and here they differ: {message}"):
        resume(stopped / "recipe.yaml", change, "model.decoder_hidden_size=8", force=force)


@pytest.mark.parametrize("pairs", [PAIRS[:-1], PAIRS[::-1], [*PAIRS, ("eins", "ones")], [("eins", "uno"), *PAIRS[1:]]])
@pytest.mark.parametrize("streaming", [False, True])
def test_other_pairs_in_the_same_file_are_refused(undisturbed, tmp_path, pairs, streaming):
    settings = {"tokens_per_batch": None, "max_steps": 6}
    path = write_recipe(tmp_path, data={"streaming": streaming}, **settings)
    run(path)
    write_pairs(tmp_path / "train.tsv", pairs)
    with pytest.raises(ValueError, match="checkpoint-6 is of another run: pairs.train: "):
        resume(path)


HARMLESS = [
    "training.logging_steps=5",
    "training.disable_tqdm=false",
    "training.dataloader_num_workers=1",
    "training.per_device_eval_batch_size=2",
    "evaluation.metrics={chrf: {}}",
    "evaluation.group_references=true",
    "data.test={more: dev.tsv}",
    "data.validation=dev.tsv",
]


@pytest.mark.parametrize("change", HARMLESS)
def test_what_the_weights_do_not_depend_on_may_change(stopped, undisturbed, change):
    resume(stopped / "recipe.yaml", change)
    assert_same_weights(stopped / "run", undisturbed / "run")


def test_validation_pairs_may_not_change_where_they_choose_the_checkpoint(tmp_path):
    settings = {"eval_strategy": "steps", "eval_steps": 3, "load_best_model_at_end": True}
    path = write_recipe(tmp_path, data={"validation": "dev.tsv"}, **settings)
    run(path)
    write_pairs(tmp_path / "dev.tsv", PAIRS[:2])
    with pytest.raises(ValueError, match="another run: pairs.validation: "):
        resume(path)


def test_with_a_constant_learning_rate_a_longer_run_is_the_same_run(tmp_path):
    path = write_recipe(tmp_path, lr_scheduler_type="constant")
    run(path, "training.num_train_epochs=1")
    assert resume(path)["steps"] == 12
    run(path, f"training.output_dir={tmp_path / 'whole'}")
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def rates_of(run_dir):
    log = json.loads((run_dir / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry["learning_rate"] for entry in log if "learning_rate" in entry}


@pytest.mark.parametrize(
    "schedule", [{}, {"lr_scheduler_type": "cosine", "warmup_steps": 8}, {"lr_scheduler_type": "constant"}], ids=str
)
def test_a_forced_learning_rate_is_said_and_holds(tmp_path, caplog, schedule):
    path = write_recipe(tmp_path, weight_decay=0.1, **schedule)
    run(path, f"training.output_dir={tmp_path / 'other'}", "training.learning_rate=0.004")
    run(path)
    stop_at(tmp_path / "run", tmp_path / "stopped", 6)
    changes = [f"training.output_dir={tmp_path / 'stopped'}", "training.learning_rate=0.004"]
    resume(path, *changes, force=True)
    assert "with another run: training.learning_rate: 0.02 → 0.004" in caplog.text
    rates, before, after = (rates_of(tmp_path / name) for name in ("stopped", "run", "other"))
    assert rates == pytest.approx({step: (before if step <= 6 else after)[step] for step in before})
    # and the next resumption is of the run as it is now
    assert resume(path, *changes)["steps"] == 12


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_force_does_not_go_on_from_half_a_checkpoint(stopped, name):
    (stopped / "run/checkpoint-6" / name).unlink()
    shutil.rmtree(stopped / "run/checkpoint-3")
    with pytest.raises(ValueError, match=f"checkpoint-6: {name} is missing"):
        resume(stopped / "recipe.yaml", force=True)


def test_a_run_without_its_record_needs_force(stopped, undisturbed):
    (stopped / "run/run.json").unlink()
    with pytest.raises(ValueError, match=r"run\.json is missing"):
        resume(stopped / "recipe.yaml")
    resume(stopped / "recipe.yaml", force=True)
    assert_same_weights(stopped / "run", undisturbed / "run")


def test_checkpoints_of_the_model_alone_are_not_gone_on_from(tmp_path):
    path = write_recipe(tmp_path, save_only_model=True)
    run(path)
    with pytest.raises(ValueError, match=r"optimizer\.pt is missing"):
        resume(path)


# blown up


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1e38, "max_grad_norm": 0, "optim": "sgd"}, "blew up in step"),
        ({"learning_rate": 1e39}, "blew up in step"),
        ({"learning_rate": 1e39, "logging_strategy": "no", "save_strategy": "no"}, "blew up in step"),
        ({"learning_rate": 1e39, "logging_steps": 100, "save_strategy": "epoch"}, "blew up in step"),
        ({"learning_rate": 1e39, "gradient_accumulation_steps": 2}, "blew up in step"),
    ],
    ids=str,
)
def test_a_training_that_blows_up_stops_and_saves_nothing(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        run(write_recipe(tmp_path, **settings))
    assert not (tmp_path / "run/model.safetensors").exists() and not list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("logging_steps", [1, 4, 100])
def test_the_batch_that_blew_up_and_the_last_good_checkpoint_are_named(
    tmp_path, monkeypatch, value, accumulated, logging_steps
):
    compute, seen = RnnAttnTrainer.compute_loss, []

    def compute_loss(self, *args, **kwargs):
        seen.append(0)
        return compute(self, *args, **kwargs) * (value if len(seen) == 11 else 1)

    monkeypatch.setattr(RnnAttnTrainer, "compute_loss", compute_loss)
    settings = {"logging_steps": logging_steps, "gradient_accumulation_steps": accumulated}
    step = 11 if accumulated == 1 else 6
    message = rf"blew up in step {step} \(epoch 2, batch 5 of 6\): the loss is {value}; lower .*checkpoint is .*-"
    with pytest.raises(ValueError, match=message + ("9$" if accumulated == 1 else "3$")):
        run(write_recipe(tmp_path, **settings))
    assert not (tmp_path / "run/model.safetensors").exists() and not (tmp_path / "run/checkpoint-12").exists()


def test_a_loss_on_validation_pairs_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    evaluate = RnnAttnTrainer.prediction_step
    monkeypatch.setattr(
        RnnAttnTrainer,
        "prediction_step",
        lambda *args, **kwargs: (torch.tensor(math.nan), *evaluate(*args, **kwargs)[1:]),
    )
    path = write_recipe(tmp_path, data={"validation": "dev.tsv"}, eval_strategy="steps", eval_steps=3)
    with pytest.raises(ValueError, match=r"step 3: eval_loss is nan; lower training\.learning_rate"):
        run(path)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_step_that_a_gradient_scaler_leaves_out_is_no_blow_up(tmp_path):
    trainer = RnnAttnTrainer(
        model=make_model(), args=Seq2SeqTrainingArguments(tmp_path, report_to="none", use_cpu=True)
    )
    trainer.losses = [(0, 0.0, torch.tensor(math.nan))]
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu")
    trainer.check_finite()
    trainer.state.max_steps = 1
    next(trainer.model.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="weights are not finite"):
        trainer.check_finite()


# the model first


def failing(*args, **kwargs):
    raise ValueError("this fails")


@pytest.mark.parametrize(
    "name", ["score_texts", "average_checkpoints", "select_checkpoints", "_translate", "load_metric"]
)
def test_whatever_fails_after_the_training_the_model_is_saved(tmp_path, monkeypatch, name):
    monkeypatch.setattr(f"hf_rnn_attn.training.run.{name}", failing)
    path = write_recipe(tmp_path, data={"validation": "dev.tsv"}, average_checkpoints=2)
    with pytest.raises(ValueError, match="this fails"):
        run(path)
    assert (tmp_path / "run/trainer_state.json").is_file() and not (tmp_path / "run/results.json").exists()
    if name in ("average_checkpoints", "select_checkpoints"):
        assert_same_weights(tmp_path / "run", tmp_path / "run/checkpoint-12")
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run").num_parameters() > 0


# one training in a folder


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("what", ["finished", "stopped", "without checkpoints"])
def test_a_training_does_not_overwrite_another(undisturbed, tmp_path, what):
    path = write_recipe(tmp_path)
    shutil.copytree(undisturbed / "run", tmp_path / "run")
    if what == "stopped":
        (tmp_path / "run/model.safetensors").unlink()
    if what == "without checkpoints":
        for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    before = contents(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"holds the (checkpoints|model) of another run; resume it \(--resume\), remove"
    ):
        run(path)
    assert contents(tmp_path / "run") == before
    with pytest.raises(FileNotFoundError):
        run(path, "data.train=missing.tsv", force=True)
    assert contents(tmp_path / "run") == before
    assert run(path, "training.max_steps=4", force=True)["steps"] == 4
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]


def test_what_was_cut_off_before_the_first_checkpoint_is_no_obstacle(stopped, undisturbed):
    shutil.rmtree(stopped / "run/checkpoint-3")
    for name in ("SHA256SUMS", "trainer_state.json"):
        (stopped / "run/checkpoint-6" / name).unlink()
    with pytest.raises(ValueError, match=r"checkpoint-6: cut off while it was written"):
        resume(stopped / "recipe.yaml")
    run(stopped / "recipe.yaml")
    assert_same_weights(stopped / "run", undisturbed / "run")


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"force": True}], ids=str)
def test_one_training_at_a_time_in_a_folder(stopped, options):
    before = contents(stopped / "run")
    with FileLock(stopped / "run" / LOCK_FILE), pytest.raises(ValueError, match="another process is training in it"):
        run(stopped / "recipe.yaml", **options)
    assert contents(stopped / "run") == before


def test_the_lock_of_a_killed_training_is_gone(stopped):
    script = "import signal, sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True)"
    command = [sys.executable, "-c", f"{script}; signal.pause()", str(stopped / "run" / LOCK_FILE)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"1\n"
    with pytest.raises(ValueError, match="another process is training in it"):
        resume(stopped / "recipe.yaml")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert resume(stopped / "recipe.yaml")["steps"] == 12


# stopped, cut off, killed


def signalled(step, number):
    """Returns a `training_step` during which the process gets a signal."""
    compute = RnnAttnTrainer.training_step

    def training_step(self, *args, **kwargs):
        if self.state.global_step == step:
            signal.raise_signal(number)
        return compute(self, *args, **kwargs)

    return training_step


@pytest.mark.parametrize("place", ["training", "a checkpoint"])
def test_an_interrupt_leaves_the_checkpoints_and_the_run_goes_on(undisturbed, tmp_path, monkeypatch, place):
    path = write_recipe(tmp_path)
    with monkeypatch.context() as patch:
        if place == "training":
            patch.setattr(RnnAttnTrainer, "training_step", signalled(7, signal.SIGINT))
        else:
            save = RnnAttnTrainer._save_rng_state
            patch.setattr(
                RnnAttnTrainer,
                "_save_rng_state",
                lambda self, folder: signal.raise_signal(signal.SIGINT) if "-9" in folder else save(self, folder),
            )
        with pytest.raises(KeyboardInterrupt):
            run(path)
    assert find_damage(tmp_path / "run/checkpoint-6") is None
    resume(path)
    assert_same_weights(tmp_path / "run", undisturbed / "run")


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failed_write(*args, **kwargs):
    raise RuntimeError("basic_ios::clear: iostream error")


WRITES = [
    ("transformers.modeling_utils.safe_save_file", no_space),
    ("transformers.PreTrainedTokenizerBase.save_pretrained", no_space),
    ("torch.save", failed_write),
    ("transformers.TrainerState.save_to_json", no_space),
    ("hf_rnn_attn.training.trainer.seal_checkpoint", no_space),
]


@pytest.mark.parametrize(("name", "failure"), WRITES)
def test_a_full_disk_leaves_the_earlier_checkpoints(undisturbed, tmp_path, monkeypatch, name, failure):
    path, save = write_recipe(tmp_path), RnnAttnTrainer._save_checkpoint
    with monkeypatch.context() as patch:

        def save_to_full_disk(self, *args):
            if self.state.global_step == 9:
                patch.setattr(name, failure)
            save(self, *args)

        patch.setattr(RnnAttnTrainer, "_save_checkpoint", save_to_full_disk)
        with pytest.raises(OSError, match=r"checkpoint-9: could not be written, with .* MB free .*resume \(--resume\)"):
            run(path)
    assert find_damage(tmp_path / "run/checkpoint-9") and not find_damage(tmp_path / "run/checkpoint-6")
    resume(path)
    assert_same_weights(tmp_path / "run", undisturbed / "run")


def test_a_file_that_cannot_grow_is_a_full_disk_too(undisturbed, tmp_path, capfd):
    """With a limit of the system instead of a function that fails."""
    path, save = write_recipe(tmp_path), RnnAttnTrainer._save_checkpoint

    def child():
        def save_small(self, *args):
            if self.state.global_step == 9:
                resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
            save(self, *args)

        RnnAttnTrainer._save_checkpoint = save_small
        return main(["train", str(path)])

    assert os.waitstatus_to_exitcode(wait_for(fork(child))) == 2
    assert "checkpoint-9: could not be written" in capfd.readouterr().err.splitlines()[-1]
    assert last_checkpoint(tmp_path / "run").name == "checkpoint-6"
    resume(path)
    assert_same_weights(tmp_path / "run", undisturbed / "run")


def fork(function):
    """Runs a function in a copy of this process, which has imported everything; returns its id."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = function()
        finally:
            os._exit(status)
    return child


def wait_for(child):
    return os.waitpid(child, 0)[1]


def begin_or_resume(path):
    """Does what the line of a stopped training says: goes on after the last checkpoint; without one, begins."""
    if main(["train", str(path), "--resume"]) == 0:
        return 0
    return main(["train", str(path), "--force"])


def killed_while_saving(path, last=math.inf):
    """Trains, and kills itself after this many calls and returns of functions that write a checkpoint."""
    save = RnnAttnTrainer._save_checkpoint

    def save_and_die(self, *args):
        calls = 0
        at = self.state.global_step

        def count(frame, event, argument):
            nonlocal calls
            calls += 1
            if at == 6 and calls > last:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        save(self, *args)
        sys.setprofile(None)
        Path(path.parent / "calls").write_text(str(calls))

    RnnAttnTrainer._save_checkpoint = save_and_die
    return begin_or_resume(path)


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    path = write_recipe(folder, save_total_limit=1)
    started = time.monotonic()
    assert os.waitstatus_to_exitcode(wait_for(fork(lambda: killed_while_saving(path)))) == 0
    return folder, time.monotonic() - started


def assert_resumed_is_whole(path, folder):
    for _ in range(2):
        if os.waitstatus_to_exitcode(wait_for(fork(lambda: begin_or_resume(path)))) == 0:
            break
    assert_same_weights(path.parent / "run", folder / "run")
    assert (path.parent / "run/results.json").is_file()


slow = pytest.mark.slow


@pytest.mark.parametrize("share", [pytest.param(k / 20, marks=() if k in (5, 15) else slow) for k in range(20)])
def test_a_training_killed_while_it_writes_a_checkpoint_ends_bit_equal(killed_run, tmp_path, share):
    path = write_recipe(tmp_path, save_total_limit=1)
    calls = share * int((killed_run[0] / "calls").read_text())
    status = wait_for(fork(lambda: killed_while_saving(path, calls)))
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert_resumed_is_whole(path, killed_run[0])


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=() if seed == 0 else slow) for seed in range(40)])
def test_a_training_killed_at_a_random_moment_ends_bit_equal(killed_run, tmp_path, seed):
    folder, seconds = killed_run
    path = write_recipe(tmp_path, save_total_limit=1)
    child = fork(lambda: main(["train", str(path)]))
    time.sleep(random.Random(seed).uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    wait_for(child)
    assert_resumed_is_whole(path, folder)


# what else would be silent


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "dev.tsv"),
        ("eins\t\n", {"on_bad_rows": "skip"}, "dev.tsv"),
    ],
)
def test_validation_pairs_without_a_row_are_refused(tmp_path, content, settings, message):
    (tmp_path / "dev.tsv").write_text(content)
    with pytest.raises(ValueError, match=message):
        run(write_recipe(tmp_path, data={"validation": "dev.tsv", **settings}))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_training_set_that_is_too_long_as_a_whole_is_refused(tmp_path, streaming):
    data = {"max_source_length": 2, "max_target_length": 2, "on_long": "skip", "streaming": streaming}
    write_pairs(tmp_path / "train.tsv", [pair for pair in PAIRS if " " in pair[0]])
    with pytest.raises(ValueError, match="no pair is left of 8"):
        run(write_recipe(tmp_path, data=data, tokens_per_batch=None, max_steps=3))
    assert not (tmp_path / "run/model.safetensors").exists()


def test_a_run_without_a_step_is_refused(tmp_path):
    settings = {
        "tokens_per_batch": None,
        "per_device_train_batch_size": 64,
        "dataloader_drop_last": True,
        "max_steps": 3,
    }
    with pytest.raises(ValueError, match="not one step was made; expected a whole batch of pairs"):
        run(write_recipe(tmp_path, **settings))
    assert not (tmp_path / "run/model.safetensors").exists()


def test_a_tokenizer_that_does_not_know_the_pairs_is_named(undisturbed, tmp_path, caplog):
    base = str(undisturbed / "run")
    run(write_recipe(tmp_path, model=base, tokenizer={}))
    assert "unknown" not in caplog.text
    write_pairs(tmp_path / "train.tsv", [("один два", "one two"), ("drei vier", "three")])
    run(write_recipe(tmp_path, model=base, tokenizer={}), force=True)
    assert f"50 % of the tokens in input_ids are unknown to the tokenizer of {base}" in caplog.text
    assert "in labels" not in caplog.text


def test_a_fingerprint_is_of_pairs_and_their_order():
    several = [
        Dataset.from_dict({"source": s, "target": t}) for s, t in ([["a"], ["b"]], [["b"], ["a"]], [["ab"], [""]])
    ]
    assert len({fingerprint(pairs) for pairs in several}) == 3
