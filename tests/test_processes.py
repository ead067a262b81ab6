# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation, evaluation and training by several processes: what one makes, and what is left when one is killed."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
import yaml
from launch import launch
from safetensors.torch import load_file

import hf_rnn_attn_cli
from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, cli
from hf_rnn_attn.inference import bulk
from hf_rnn_attn.inference.processes import check_processes
from hf_rnn_attn.tokenization import train_tokenizer
from hf_rnn_attn.training.trainer import FilledStream


WORDS = ["ein", "hund", "und", "zwei", "katzen"]
# runs the commands that it is given; one process is killed in the third window of the last
SCRIPT = """
import json, os, signal, sys
from hf_rnn_attn.inference import bulk
from hf_rnn_attn_cli import main

bulk.WINDOW_LINES = 8
search_batches, calls, last = bulk._search_batches, [], False


def noting(*arguments):
    calls.append(len(arguments[-1]))
    if last and len(calls) == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return search_batches(*arguments)


bulk._search_batches = noting
commands = json.loads(sys.argv[1])
for command in commands:
    last = command is commands[-1]
    calls.clear()
    assert main(command) == 0
    with open(f"calls-{os.environ['RANK']}", "a") as file:
        print(sum(calls), file=file)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    tokenizer = train_tokenizer([" ".join(WORDS)], ["a dog and two cats"], kind="word")
    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 8, "initializer_range": 1.0}
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=len(tokenizer), **sizes))
    model.generation_config.update(max_length=5, num_beams=2)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    lines = [" ".join(WORDS[: number % 6]) for number in range(101)]
    for name, count in {"odd.txt": 101, "few.txt": 1, "none.txt": 0}.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines[:count]), "utf-8")
    (tmp_path / "pairs.tsv").write_text("".join(f"{line}\ta dog\n" for line in lines[1:60] if line), "utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bulk, "WINDOW_LINES", 8)
    return tmp_path


def what_was_said(killed):
    """Returns the line of the process that lives; the launcher may stop it before it has missed the other."""
    (line,) = [line for line in killed.stderr.splitlines() if line.startswith("hf-rnn-attn: ")]
    lost = "another process of this launch has ended; the launcher says which, and why"
    assert lost in line or "stopped by SIGTERM" in line
    return line


def commands_into(folder, place):
    (place / folder).mkdir()
    options = ["--model", "model", "--batch-tokens", "16"]
    translations = [["translate", "-i", name, "-o", f"{folder}/{name}", *options] for name in ("few.txt", "none.txt")]
    evaluation = ["evaluate", "pairs.tsv", "--metrics", "chrf", "-o", f"{folder}/scores.json", *options]
    return [*translations, evaluation, ["translate", "-i", "odd.txt", "-o", f"{folder}/odd.txt", *options]]


def test_two_processes_write_what_one_does_and_a_kill_loses_nothing(place):
    expected, shared = commands_into("one", place), commands_into("two", place)
    for command in expected:
        assert cli.main(command) == 0
    killed = launch(2, "script.py", json.dumps(shared))
    assert killed.returncode == 1
    line = what_was_said(killed)
    assert line.endswith("; the same command goes on after line 32")
    assert "rank      : 1 (local_rank: 1)" in killed.stderr and "SIGKILL" in killed.stderr
    # of the commands that went well, both had a part of the last
    batches = [[int(line) for line in (place / f"calls-{rank}").read_text().split()] for rank in (0, 1)]
    assert batches[0][:2] == [0, 0] and batches[1][:2] == [0, 0] and min(batches[0][2], batches[1][2]) > 3
    # a third process makes no difference
    again = launch(3, "-m", "hf_rnn_attn.cli", *shared[-1])
    assert again.returncode == 0 and again.stderr.count("going on after line 32") == 1, again.stderr
    assert sorted(path.name for path in (place / "two").iterdir()) == sorted(
        path.name for path in (place / "one").iterdir()
    )
    for path in (place / "one").iterdir():
        assert (place / "two" / path.name).read_bytes() == path.read_bytes()


class Two:
    """Stands for two processes, of which this one does all the work."""

    num_processes, is_main_process = 2, True

    @contextlib.contextmanager
    def split_between_processes(self, batches):
        yield batches


def broken_after(count):
    yield from (f"line {number}" for number in range(count))
    raise ValueError("no line")


@pytest.mark.parametrize(("count", "groups"), [(7, [7]), (8, [8]), (17, [16, 1]), (24, [16, 8]), (32, [16, 16])])
def test_the_lines_before_an_unreadable_one_are_translated_by_all(count, groups, monkeypatch):
    monkeypatch.setattr(bulk, "WINDOW_LINES", 8)

    def translator(batches, num_return_sequences):
        return [[{"translation_text": text.upper()} for text in batch] for batch in batches]

    translator.tokenizer = lambda lines: {"input_ids": [line.split() for line in lines]}
    translated = []
    with pytest.raises(ValueError, match="no line"):
        translated.extend(bulk.translate_lines(broken_after(count), translator, 6, Two()))
    assert [len(group) for group in translated] == groups
    assert sum(translated, []) == [f"LINE {number}" for number in range(count)]


@pytest.mark.parametrize("arguments", [[], ["-i", os.devnull]])
def test_several_processes_want_a_file(arguments, monkeypatch, capsys):
    monkeypatch.setattr(cli, "join_processes", lambda cpu: Two())
    assert cli.main(["translate", *arguments]) == 2
    assert "every process reads all lines; expected a file (--input)" in capsys.readouterr().err


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched and this one sees 1; .* compute on the CPU"):
        check_processes(1, "compute on the CPU")


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"), True),
        (RuntimeError("NCCL communicator was aborted on rank 1"), True),
        (RuntimeError("shape mismatch"), False),
        (KeyError("NCCL"), False),
    ],
)
def test_the_loss_of_a_process_is_told_from_faults(error, is_lost):
    reason = hf_rnn_attn_cli._reason(error)
    assert (reason is not None and "another process of this launch has ended" in reason) == is_lost


# trains as the recipes say; one process is killed in the eighth step of the last, but not when it is started again
TRAINING = """
import os, signal, sys
from transformers import TrainerCallback
from hf_rnn_attn.training import run
from hf_rnn_attn_cli import main

build_callbacks, last = run._build_callbacks, False


class Killer(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if last and state.global_step == 7 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)


run._build_callbacks = lambda *arguments: [*build_callbacks(*arguments), Killer()]
recipes = sys.argv[1:]
for recipe in recipes:
    last = recipe is recipes[-1] and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    status = main(["train", recipe])
    if status:
        sys.exit(status)
"""
# 117 pairs: the last turn of two processes is short
PAIRS = "".join(f"{' '.join(WORDS[n % 4 : n % 4 + 1 + n % 3])}\t{n % 7} {'a' if n % 2 else 'b'}\n" for n in range(117))
KINDS = {
    "plain": ({}, {}),
    "smooth": ({"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2}, {}),
    "tokens": ({"tokens_per_batch": 32}, {}),
    "stream": ({"max_steps": 12}, {"streaming": True}),
    "killed": ({"save_strategy": "steps", "save_steps": 5}, {}),
}


def write_recipe(place, name, processes, kind):
    """Writes the recipe of a run whose steps have 16 pairs, or two batches of 32 tokens, on so many processes."""
    training, data = KINDS[kind]
    settings = {"save_strategy": "no", "gradient_accumulation_steps": 1, "num_train_epochs": 2, **training}
    settings["per_device_train_batch_size"] = 16 // processes
    if "tokens_per_batch" in training:
        settings["gradient_accumulation_steps"] = 2 // processes
    # its steps are as exact as the gradients; Adam divides what is left of them when they vanish by itself
    settings |= {"optim": "sgd", "learning_rate": 2.0, "logging_steps": 1, "report_to": "none", "disable_tqdm": True}
    settings |= {"use_cpu": True, "bf16": False, "output_dir": str(place / name)}
    sizes = {"encoder_hidden_size": 16, "decoder_hidden_size": 16, "encoder_dropout": 0.0, "decoder_dropout": 0.0}
    recipe = {"data": {"train": str(place / "train.tsv"), **data}, "tokenizer": {"kind": "word"}, "model": sizes}
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**recipe, "training": settings}), "utf-8")
    return str(path)


def assert_same_run(one, two):
    weights, others = (load_file(run / "model.safetensors") for run in (one, two))
    assert max(float((weights[name] - others[name]).abs().max()) for name in weights) < 1e-6
    logs = [json.loads((run / "trainer_state.json").read_text())["log_history"] for run in (one, two)]
    losses, others = ([entry["loss"] for entry in log if "loss" in entry] for log in logs)
    assert losses == pytest.approx(others, abs=1e-5) and losses[-1] < 0.9 * losses[0]


@pytest.fixture
def trained(tmp_path):
    """A folder with pairs and the runs of one process."""
    (tmp_path / "train.tsv").write_text(PAIRS, "utf-8")
    (tmp_path / "script.py").write_text(TRAINING, "utf-8")
    return tmp_path


def test_two_processes_train_what_one_does_and_a_kill_loses_no_checkpoint(trained):
    for kind in KINDS:
        assert cli.main(["train", write_recipe(trained, f"{kind}-one", 1, kind)]) == 0
    recipes = [write_recipe(trained, kind, 2, kind) for kind in KINDS]
    killed = launch(2, trained / "script.py", *recipes)
    assert killed.returncode == 1
    for kind in list(KINDS)[:-1]:
        assert_same_run(trained / f"{kind}-one", trained / kind)
    assert "--resume` goes on after the last checkpoint" in what_was_said(killed)
    # one process goes on where two were
    assert cli.main(["train", write_recipe(trained, "killed", 1, "killed"), "--resume"]) == 0
    assert_same_run(trained / "killed-one", trained / "killed")


@pytest.mark.slow
def test_processes_that_torchrun_starts_again_go_on(trained):
    assert cli.main(["train", write_recipe(trained, "killed-one", 1, "killed")]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command += [str(trained / "script.py"), write_recipe(trained, "killed", 2, "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert "exitcode: -9" in finished.stderr
    assert_same_run(trained / "killed-one", trained / "killed")


@pytest.mark.parametrize("count", [1, 8, 9, 16])
def test_a_stream_ends_with_a_whole_batch_of_every_process(count):
    rows = list(FilledStream([{"input_ids": [n], "labels": [n, 2]} for n in range(count)], 16))
    assert len(rows) == 16 and [row["labels"] for row in rows[:count]] == [[n, 2] for n in range(count)]
    assert all(row["labels"] == [-100] for row in rows[count:])


def test_a_run_with_another_step_is_refused(trained, capsys):
    assert cli.main(["train", write_recipe(trained, "killed", 1, "killed")]) == 0
    capsys.readouterr()
    path = write_recipe(trained, "killed", 2, "killed")
    assert cli.main(["train", path, "--resume"]) == 2
    assert "processes x training.per_device_train_batch_size x" in (error := capsys.readouterr().err)
    assert "16 → 8" in error


SHARDING = """
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration

dist.init_process_group("gloo")
sizes = {"encoder_hidden_size": 8, "decoder_hidden_size": 16, "encoder_dropout": 0.0, "decoder_dropout": 0.0}
losses = []
for sharded in (False, True):
    torch.manual_seed(0)
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=20, **sizes))
    inputs = {"input_ids": torch.randint(3, 20, (4, 7)), "labels": torch.randint(3, 20, (4, 5))}
    if sharded:
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for _ in range(3):
        loss = model(**inputs, skip_logits=True).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
assert losses[3:] == losses[:3] and losses[2] < losses[0], losses
assert all(type(parameter).__name__ == "DTensor" for parameter in model.parameters())
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_model_in_shards_of_two_processes_learns_the_same(tmp_path):
    (tmp_path / "script.py").write_text(SHARDING, "utf-8")
    finished = launch(2, tmp_path / "script.py")
    assert finished.returncode == 0, finished.stderr
