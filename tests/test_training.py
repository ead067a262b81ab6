# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of scheduled sampling, frozen parameters, averaged checkpoints and of whole runs on tiny corpora."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from launch import launch
from safetensors.torch import load_file, save_file
from small_models import SOURCES, TARGETS, gradients, make_model, mask_of, pad
from torch.utils.data import BatchSampler
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    MarianConfig,
    MarianMTModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerControl,
    TrainerState,
)

import hf_rnn_attn  # noqa: F401  (registers the model)
from hf_rnn_attn.training import (
    BatchOrderCallback,
    RnnAttnTrainer,
    ScheduledSamplingCallback,
    average_checkpoints,
    average_weights,
    freeze_parameters,
    select_checkpoints,
    train,
)
from hf_rnn_attn.training.callbacks import mix_in_predictions
from hf_rnn_attn.training.recipe import load_recipe
from hf_rnn_attn.training.run import keep_compiled_products


SOURCE_WORDS = ["eins", "zwei", "drei", "rot", "blau", "hund", "katze", "haus"]
TARGET_WORDS = ["one", "two", "three", "red", "blue", "dog", "cat", "house"]
PLAIN = SimpleNamespace(bf16=False, fp16=False)
WORDS = dict(zip(SOURCE_WORDS, TARGET_WORDS, strict=True))


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (ScheduledSamplingCallback("linear", k=1.0, c=0.25, minimum=0.1), {0: 1.0, 1: 0.75, 3: 0.25, 4: 0.1, 100: 0.1}),
        (ScheduledSamplingCallback("linear", k=1.5, c=0.25), {0: 1.0, 2: 1.0, 3: 0.75}),
        (ScheduledSamplingCallback("exponential", k=0.5), {0: 1.0, 1: 0.5, 3: 0.125}),
        (ScheduledSamplingCallback("exponential", k=0.5, minimum=0.2), {2: 0.25, 3: 0.2}),
        (
            ScheduledSamplingCallback("inverse_sigmoid", k=10),
            {0: 10 / 11, 10: 10 / (10 + math.e), 20: 10 / (10 + math.e**2), 1_000_000: 0.0},
        ),
    ],
)
def test_schedule_follows_the_equation(callback, expected):
    assert {step: callback.teacher_forcing_ratio(step) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "cosine", "k": 1.0}, "one of linear, exponential, inverse_sigmoid, got 'cosine'"),
        ({"schedule": "linear", "k": 1.0}, "c belongs to the linear schedule"),
        ({"schedule": "exponential", "k": 0.5, "c": 0.1}, "c belongs to the linear schedule"),
        ({"schedule": "linear", "k": 1.0, "c": -0.1}, "c must be above 0"),
        ({"schedule": "exponential", "k": 1.5}, "between 0 and 1"),
        ({"schedule": "inverse_sigmoid", "k": 0.5}, "at least 1"),
        ({"schedule": "exponential", "k": 0.5, "minimum": 2}, "minimum must lie"),
    ],
)
def test_schedule_refuses_what_does_not_decay(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScheduledSamplingCallback(**arguments)


@pytest.mark.parametrize("options", [{}, {"pointer_generator": True}], ids=str)
def test_scheduled_sampling_feeds_the_models_own_tokens(options):
    model = make_model(**options).train()
    inputs = {"input_ids": torch.tensor([SOURCES[0]]), "labels": torch.tensor([TARGETS[0]])}
    callback, state = ScheduledSamplingCallback("linear", k=1.0, c=0.25), TrainerState()
    callback.on_train_begin(PLAIN, state, TrainerControl(), model=model)
    with torch.no_grad():
        forced = model(**inputs).logits
        state.global_step = 4
        sampled = model(**inputs).logits
        tokens = [1]
        for _ in TARGETS[0]:
            free = model.eval()(input_ids=inputs["input_ids"], decoder_input_ids=torch.tensor([tokens])).logits
            tokens.append(int(free[0, -1].argmax()))
        torch.testing.assert_close(sampled, free)
        # no sampling in evaluation, before the decay, and after the training
        torch.testing.assert_close(model(**inputs).logits, forced)
        callback.on_train_end(None, state, TrainerControl(), model=model)
        torch.testing.assert_close(model.train()(**inputs).logits, forced)
    assert not torch.allclose(sampled, forced)


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_scheduled_sampling_predicts_in_the_precision_of_the_training(bf16, dtype):
    model, seen = make_model().float().train(), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    callback = ScheduledSamplingCallback("exponential", k=0.5)
    arguments = SimpleNamespace(bf16=bf16, fp16=False)
    callback.on_train_begin(arguments, TrainerState(global_step=9), TrainerControl(), model=model)
    # the trainer's autocast is around `forward` alone
    model.forward = lambda **inputs: inputs
    inputs = model(input_ids=torch.tensor([SOURCES[0]]), labels=torch.tensor([TARGETS[0]]))
    assert inputs["decoder_input_ids"].shape == (1, 5) and seen == [dtype] * 4


def test_scheduled_sampling_mixes_at_the_given_rate():
    model = make_model()
    inputs = model.prepare_decoder_input_ids_from_labels(torch.full((40, 60), 11))
    encoded = model.get_encoder()(input_ids=torch.tensor([SOURCES[0]] * 40))
    mixed = mix_in_predictions(model, inputs, encoded, None, 0.75)
    assert (mixed[:, 0] == 1).all()
    # 2360 coins, standard deviation 0.9 %; a prediction that happens to be 11 counts as forced
    assert 0.70 < (mixed[:, 1:] == 11).float().mean() < 0.85


def two_layers():
    return torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 3), "decoder": torch.nn.Linear(2, 3)})


def test_freeze_stops_the_named_parameters_and_no_other():
    model = two_layers()
    assert freeze_parameters(model, ["encoder.*"]) == ["encoder.bias", "encoder.weight"]
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_freeze_knows_both_names_of_a_shared_parameter():
    model = two_layers()
    model["decoder"].weight = model["encoder"].weight
    freeze_parameters(model, ["decoder.weight"])
    assert not model["encoder"].weight.requires_grad


def test_freeze_refuses_a_pattern_without_a_match():
    with pytest.raises(ValueError, match=r"'encodr\.\*' matches none of the 4 parameters"):
        freeze_parameters(two_layers(), ["encoder.bias", "encodr.*"])
    with pytest.raises(ValueError, match="leave no parameter to train"):
        freeze_parameters(two_layers(), ["*"])


def write_checkpoint(folder, values, **tensors):
    folder.mkdir(parents=True)
    save_file({"weight": torch.tensor(values), **tensors}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "optimizer.pt").write_text("")
    return folder


def test_average_is_the_mean_of_the_weights(tmp_path):
    paths = [
        write_checkpoint(tmp_path / str(i), values) for i, values in enumerate([[1.0, 2.0], [2.0, 4.0], [6.0, 0.0]])
    ]
    average_checkpoints(paths, tmp_path / "mean")
    assert load_file(tmp_path / "mean" / "model.safetensors")["weight"].tolist() == [3.0, 2.0]
    assert sorted(file.name for file in (tmp_path / "mean").iterdir()) == ["config.json", "model.safetensors"]


def test_average_keeps_the_dtype_and_does_not_overflow_in_it(tmp_path):
    half = torch.tensor([60000.0], dtype=torch.float16)
    paths = [write_checkpoint(tmp_path / str(i), [0.0], half=half) for i in range(2)]
    mean = average_weights(paths)["half"]
    assert mean.dtype == torch.float16 and mean.item() == half.item()


def test_average_refuses_other_models_and_missing_weights(tmp_path):
    small, large = write_checkpoint(tmp_path / "a", [1.0]), write_checkpoint(tmp_path / "b", [1.0, 2.0])
    with pytest.raises(ValueError, match="holds other weights"):
        average_weights([small, large])
    with pytest.raises(FileNotFoundError, match=r"expected the file model\.safetensors"):
        average_weights([small, tmp_path])
    with pytest.raises(ValueError, match="no checkpoint to average"):
        average_weights([])


@pytest.fixture
def run_dir(tmp_path):
    losses = {10: 3.0, 20: 1.0, 30: 4.0, 100: 2.0}
    for step in losses:
        checkpoint = write_checkpoint(tmp_path / f"checkpoint-{step}", [float(step)])
        log = [{"step": s, "eval_loss": loss} for s, loss in losses.items() if s <= step] + [
            {"step": step, "loss": 0.0}
        ]
        (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    return tmp_path


def test_the_last_checkpoints_are_taken_by_step_and_the_best_by_metric(run_dir):
    def steps(**keywords):
        return [path.name for path in select_checkpoints(run_dir, 2, **keywords)]

    assert steps() == ["checkpoint-30", "checkpoint-100"]
    assert steps(metric="loss", greater_is_better=False) == ["checkpoint-20", "checkpoint-100"]
    assert steps(metric="loss") == ["checkpoint-20", "checkpoint-100"]
    assert steps(metric="eval_loss", greater_is_better=True) == ["checkpoint-10", "checkpoint-30"]


def test_too_few_checkpoints_are_an_error(run_dir):
    with pytest.raises(ValueError, match="5 checkpoints are wanted and .* keeps 4"):
        select_checkpoints(run_dir, 5)
    with pytest.raises(ValueError, match="keeps 0 scored by bleu"):
        select_checkpoints(run_dir, 1, metric="bleu")


def test_the_sampler_is_told_the_epoch_that_a_resumed_run_is_in():
    class Sampler(BatchSampler):
        def __init__(self):
            self.epoch = None

        def set_epoch(self, epoch):
            self.epoch = epoch

    sampler, state = Sampler(), TrainerState(epoch=3.75)
    BatchOrderCallback(sampler).on_epoch_begin(None, state, TrainerControl())
    assert sampler.epoch == 3


@pytest.fixture
def write_recipe(tmp_path):
    """Writes a recipe for a word-by-word dictionary that is learnt in seconds; keywords update its `training`."""
    generator = random.Random(0)
    for split, count in {"train": 240, "dev": 17, "test": 21}.items():
        sentences = [generator.choices(list(WORDS), k=generator.randint(1, 4)) for _ in range(count)]
        lines = ["\t".join([" ".join(words), " ".join(WORDS[w] for w in words)]) for words in sentences]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n")

    def write(name="recipe.yaml", model=None, tokenizer=None, **training):
        tiny = {"encoder_hidden_size": 16, "decoder_hidden_size": 32, "encoder_dropout": 0.0, "decoder_dropout": 0.0}
        stock = {"output_dir": str(tmp_path / "run"), "report_to": "none", "disable_tqdm": True, "learning_rate": 0.02}
        stock |= {"tokens_per_batch": 40, "save_strategy": "no", "dataloader_pin_memory": False, "use_cpu": True}
        # also in processes of their own
        stock["bf16"] = False
        recipe = {
            "data": {"train": "train.tsv", "validation": "dev.tsv", "test": {"held_out": "test.tsv"}},
            "tokenizer": {"kind": "word"} if tokenizer is None else tokenizer,
            "model": {**tiny, "encoder_embedding_size": 16, "decoder_embedding_size": 16, "initializer_range": 0.3}
            if model is None
            else model,
            "training": {**stock, **training},
            "generation": {"num_beams": 2, "max_length": 12},
            "evaluation": {"metrics": {"exact_match": {}}, "by_length": [2]},
        }
        (tmp_path / name).write_text(yaml.safe_dump(recipe))
        return tmp_path / name

    return write


def run(path, *overrides):
    return train(load_recipe(path, overrides))


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def assert_same_weights(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_learns_saves_and_reports(write_recipe, tmp_path):
    results = run(write_recipe(num_train_epochs=10, label_smoothing_factor=0.1))
    assert results["scores"]["held_out"]["exact_match"]["score"] >= 95
    assert sum(row["count"] for row in results["scores"]["held_out"]["by_length"]) == 21
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert results["parameters"] == model.num_parameters() and results["train_seconds"] > 0
    assert (model.generation_config.num_beams, model.generation_config.max_length) == (2, 12)
    ids = model.generate(**tokenizer("rot hund", return_tensors="pt"))
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == ["red dog"]


def test_each_source_is_scored_once_against_all_its_targets(write_recipe, tmp_path):
    path = write_recipe(num_train_epochs=10)
    (tmp_path / "test.tsv").write_text("rot hund\tcrimson dog\nrot hund\tred dog\nkatze\tcat\n")
    results = run(path, "evaluation.group_references=true")["scores"]["held_out"]
    assert results["exact_match"]["score"] == 100 and [row["count"] for row in results["by_length"]] == [2, 0]
    again = run(path, f"training.output_dir={tmp_path / 'apart'}")["scores"]["held_out"]
    assert again["exact_match"]["score"] == pytest.approx(200 / 3)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(write_recipe, tmp_path):
    sampling = {"schedule": "exponential", "k": 0.9}
    settings = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 10, "gradient_accumulation_steps": 2}
    path = write_recipe(**settings, scheduled_sampling=sampling)
    steps = run(path)["steps"]
    checkpoint = tmp_path / "run" / "checkpoint-20"
    assert steps == 33 and json.loads((checkpoint / "trainer_state.json").read_text())["epoch"] % 1 != 0
    shutil.copytree(checkpoint, tmp_path / "resumed" / "checkpoint-20")
    shutil.copy(tmp_path / "run" / "run.json", tmp_path / "resumed")
    resumed = [f"training.output_dir={tmp_path / 'resumed'}", "training.resume_from_checkpoint=true"]
    run(path, *resumed)
    assert_same_weights(tmp_path / "run", tmp_path / "resumed")


def test_scheduled_sampling_changes_what_is_learnt(write_recipe, tmp_path):
    path = write_recipe(num_train_epochs=1)
    run(path)
    sampled = [
        "training.scheduled_sampling={schedule: exponential, k: 0.5}",
        f"training.output_dir={tmp_path / 'sampled'}",
    ]
    run(path, *sampled)
    assert not torch.equal(weights(tmp_path / "run")["lm_head.weight"], weights(tmp_path / "sampled")["lm_head.weight"])


def test_a_checkpoint_is_tuned_with_its_tokenizer_and_frozen_parts_stay(write_recipe, tmp_path):
    run(write_recipe(num_train_epochs=1))
    tuning = {"output_dir": str(tmp_path / "tuned"), "freeze": ["model.encoder.*"], "num_train_epochs": 1}
    tuning |= {"dropout": 0.25}
    run(write_recipe("tune.yaml", model=str(tmp_path / "run"), tokenizer={}, **tuning))
    before, after = weights(tmp_path / "run"), weights(tmp_path / "tuned")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(name.startswith("model.encoder.") for name in changed)
    config = AutoConfig.from_pretrained(tmp_path / "tuned")
    assert (config.encoder_dropout, config.decoder_dropout, config.decoder_hidden_size) == (0.25, 0.25, 32)
    assert (tmp_path / "run" / "tokenizer.json").read_text() == (tmp_path / "tuned" / "tokenizer.json").read_text()


def test_the_saved_model_is_the_mean_of_the_best_checkpoints(write_recipe, tmp_path):
    settings = {"num_train_epochs": 3, "save_strategy": "epoch", "eval_strategy": "epoch", "average_checkpoints": 2}
    results = run(write_recipe(**settings, metric_for_best_model="loss"))
    assert len(results["averaged"]) == 2
    mean = average_weights([tmp_path / "run" / name for name in results["averaged"]])
    saved = weights(tmp_path / "run")
    assert all(torch.equal(saved[name], mean[name]) for name in mean)
    assert not torch.equal(saved["lm_head.weight"], weights(tmp_path / "run" / "checkpoint-66")["lm_head.weight"])


def logged_rates(folder):
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["learning_rate"] for entry in log if "learning_rate" in entry]


@pytest.mark.parametrize(("greater_is_better", "rates"), [(False, [0.02, 0.02, 0.02]), (True, [0.02, 0.02, 0.01])])
def test_the_learning_rate_is_halved_when_the_metric_gets_no_better(write_recipe, tmp_path, greater_is_better, rates):
    # the loss falls after each of the epochs: a plateau for one who wants it to rise
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "logging_strategy": "epoch", "num_train_epochs": 3}
    plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"factor": 0.5, "patience": 0}}
    run(write_recipe(**settings, **plateau, metric_for_best_model="loss", greater_is_better=greater_is_better))
    assert logged_rates(tmp_path / "run" / "checkpoint-66") == pytest.approx(rates)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"metric_for_best_model": "chrf"}, "chrf is not measured; choose loss or one of exact_match"),
        ({"metric_for_best_model": "exact_match"}, "needs translations; add training.predict_with_generate: true"),
        ({"early_stopping_patience": 2}, "early_stopping_patience needs training.eval_strategy"),
        ({"early_stopping_patience": 2, "eval_strategy": "epoch"}, "needs training.metric_for_best_model"),
        ({"resume_from_checkpoint": True}, "run holds no checkpoint to resume from"),
        ({"freeze": ["encoder"]}, "'encoder' matches none"),
        ({"scheduled_sampling": {"schedule": "linear", "k": 1}}, "c belongs to the linear schedule"),
        ({"dropout": 0.1}, "dropout is for a checkpoint to tune; set model.encoder_dropout"),
        ({"average_checkpoints": 2, "save_strategy": "no"}, "average_checkpoints needs training.save_strategy: epoch"),
        (
            {"average_checkpoints": 3, "save_total_limit": 2, "save_strategy": "epoch"},
            "save_total_limit: expected at least average_checkpoints, 3",
        ),
        ({"lr_scheduler_kwargs": {"factr": 1}}, "training.lr_scheduler_kwargs: .* unexpected keyword argument 'factr'"),
        ({"report_to": "wanbd"}, "training.report_to: wanbd is not supported"),
        ({"load_best_model_at_end": True, "save_strategy": "epoch"}, "training: --load_best_model_at_end"),
    ],
)
def test_contradictions_are_refused(write_recipe, training, message):
    with pytest.raises(ValueError, match=message):
        run(write_recipe(**training))


@pytest.mark.parametrize("name", ["share_encoder_decoder_embeddings", "pointer_generator"])
def test_two_vocabularies_of_one_size_are_not_one(name, write_recipe):
    recipe = write_recipe(tokenizer={"kind": "word", "joint": False}, model={name: True})
    with pytest.raises(ValueError, match=f"model.{name}: expected one vocabulary for both sides, got separate ones"):
        run(recipe)


def test_a_run_does_not_mix_with_another(write_recipe, tmp_path):
    (tmp_path / "run" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds the checkpoints of another run"):
        run(write_recipe())


def test_a_run_does_not_overwrite_a_file(write_recipe, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match="run is a file; choose another training.output_dir"):
        run(write_recipe())


def test_processes_that_do_not_know_of_each_other_are_refused(write_recipe, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched and this one sees 1; .* training.use_cpu: true"):
        run(write_recipe(use_cpu=False))


def launch_two(recipe, *arguments):
    finished = launch(2, "-m", "hf_rnn_attn.cli", "train", recipe, *arguments)
    assert finished.returncode == 0, finished.stderr


def test_two_processes_share_the_batches_and_resume(write_recipe, tmp_path):
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 15, "average_checkpoints": 1}
    path = write_recipe(**settings)
    launch_two(path)
    uninterrupted = tmp_path / "uninterrupted"
    shutil.copytree(tmp_path / "run", uninterrupted)
    results = json.loads((uninterrupted / "results.json").read_text())
    # 22 batches an epoch, half of them on each process
    assert results["steps"] == 22
    assert sum(row["count"] for row in results["scores"]["held_out"]["by_length"]) == 21
    shutil.rmtree(tmp_path / "run" / "checkpoint-22")
    launch_two(path, "--resume")
    assert_same_weights(tmp_path / "run" / "checkpoint-22", uninterrupted / "checkpoint-22")


def test_the_loss_of_a_training_step_is_that_of_the_logits():
    model = make_model()
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
    plain = model(**inputs, label_smoothing_factor=0.1)
    expected = gradients(model, plain.loss)
    quick = model(**inputs, label_smoothing_factor=0.1, skip_logits=True)
    assert quick.logits is None and plain.logits is not None
    torch.testing.assert_close(quick.loss, plain.loss)
    torch.testing.assert_close(gradients(model, quick.loss), expected)


def test_the_trainer_smooths_in_training_and_not_in_evaluation(tmp_path):
    arguments = Seq2SeqTrainingArguments(
        output_dir=tmp_path, label_smoothing_factor=0.3, report_to="none", use_cpu=True, dataloader_pin_memory=False
    )
    model = make_model()
    trainer = RnnAttnTrainer(model=model, args=arguments)
    # the trainer takes every argument with `label` in its name for a column of the data
    assert trainer.label_names == ["labels"]
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
    smoothed, plain = (model(**inputs, label_smoothing_factor=factor).loss for factor in (0.3, 0.0))
    assert abs(smoothed - plain) > 0.01
    torch.testing.assert_close(trainer.compute_loss(model.train(), inputs), smoothed)
    torch.testing.assert_close(trainer.compute_loss(model.eval(), inputs), plain)


def test_another_model_is_trained_as_by_the_library(tmp_path):
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
    words = {"vocab_size": 12, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1}
    model = MarianMTModel(MarianConfig(**sizes, **heads, **words, dropout=0.0)).train()
    arguments = Seq2SeqTrainingArguments(
        output_dir=tmp_path, label_smoothing_factor=0.3, report_to="none", use_cpu=True, dataloader_pin_memory=False
    )
    labels = pad(TARGETS, -100)
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": labels}
    inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels)
    ours, librarys = (trainer(model=model, args=arguments) for trainer in (RnnAttnTrainer, Seq2SeqTrainer))
    torch.testing.assert_close(ours.compute_loss(model, dict(inputs)), librarys.compute_loss(model, dict(inputs)))


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is of the GNU C library")
def test_freed_memory_is_kept():
    script = """
import resource, sys, torch
from hf_rnn_attn.training.run import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", script, mode], check=True, capture_output=True, text=True).stdout)
        for mode in ("keep", "give back")
    )
    assert kept < given_back / 3


@pytest.mark.parametrize(("before", "after"), [(None, "8192"), ("100", "100")])
def test_a_number_of_compiled_products_that_the_user_has_set_stays(before, after, monkeypatch):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, before or "")
    if before is None:
        monkeypatch.delenv(name)
    keep_compiled_products()
    assert os.environ[name] == after
