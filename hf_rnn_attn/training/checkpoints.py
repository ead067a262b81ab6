# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a run: which to take, and their mean."""

import fnmatch
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


WEIGHTS_FILE = "model.safetensors"
# what a trainer's checkpoint holds besides the model; a published folder must not carry it
TRAINER_FILES = (
    "optimizer*",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*",
    "trainer_state.json",
    "training_args.bin",
)


def average_weights(paths: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """Returns the mean of the weights of several checkpoints, summed in float64, in the dtype that they had.

    Raises:
        FileNotFoundError: a folder without `model.safetensors`.
        ValueError: no checkpoint, or checkpoints whose weights differ in names or shapes.
    """
    if not paths:
        raise ValueError("average: no checkpoint to average; name at least one checkpoint folder")
    first = _load_weights(paths[0])
    total = {name: tensor.double() for name, tensor in first.items()}
    for path in paths[1:]:
        weights = _load_weights(path)
        if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in first.items()}:
            raise ValueError(f"average: {path} holds other weights than {paths[0]}; average checkpoints of one model")
        for name, tensor in weights.items():
            total[name] += tensor
    return {name: (tensor / len(paths)).to(first[name].dtype) for name, tensor in total.items()}


def _load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    file = Path(path) / WEIGHTS_FILE
    if not file.is_file():
        raise FileNotFoundError(f"average: {path} is no checkpoint; expected the file {WEIGHTS_FILE} in it")
    return load_file(file)


def average_checkpoints(paths: Sequence[str | Path], output_dir: str | Path):
    """Writes the mean of several checkpoints of one model, a checkpoint itself.

    Configuration, tokenizer and generation defaults come from the last of them; the state of the trainer stays behind.

    Args:
        paths (`Sequence[str | Path]`): The checkpoint folders.
        output_dir (`str` or `Path`): The folder to write, made where it is missing.
    """
    weights = average_weights(paths)
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    for file in Path(paths[-1]).iterdir():
        if file.is_file() and not any(fnmatch.fnmatch(file.name, pattern) for pattern in TRAINER_FILES):
            shutil.copy(file, output_dir)
    save_file(weights, output_dir / WEIGHTS_FILE, metadata={"format": "pt"})


def select_checkpoints(
    run_dir: str | Path, count: int, metric: str | None = None, greater_is_better: bool | None = None
) -> list[Path]:
    """Returns the best or the last checkpoints that a run has kept.

    Args:
        run_dir (`str` or `Path`): The `output_dir` of a trainer, with its `checkpoint-*` folders.
        count (`int`): How many.
        metric (`str`, *optional*): A metric of the evaluations in `trainer_state.json`, such as `loss`; without one the
            last checkpoints are taken.
        greater_is_better (`bool`, *optional*):
            Whether a greater value of the metric is the better one; by default it is, unless the name ends in "loss".

    Returns:
        `list[Path]`: the folders in the order of their steps.

    Raises:
        ValueError: fewer than `count` checkpoints are there, or fewer were evaluated with that metric.
    """
    checkpoints = {int(path.name.rpartition("-")[2]): path for path in Path(run_dir).glob("checkpoint-*")}
    steps = sorted(checkpoints)
    if metric is not None and steps:
        scores = _evaluated_scores(checkpoints[steps[-1]], metric)
        if greater_is_better is None:
            greater_is_better = not metric.endswith("loss")
        sign = 1 if greater_is_better else -1
        # of equally good checkpoints the later one
        ranked = sorted((s for s in steps if s in scores), key=lambda s: (sign * scores[s], s), reverse=True)
        steps = ranked[:count]
    else:
        steps = steps[-count:]
    if len(steps) < count:
        scored = f" scored by {metric}" if metric else ""
        raise ValueError(
            f"average: {count} checkpoints are wanted and {run_dir} keeps {len(steps)}{scored}; raise save_total_limit "
            "or save as often as you evaluate"
        )
    return [checkpoints[step] for step in sorted(steps)]


def _evaluated_scores(checkpoint: Path, metric: str) -> dict[int, float]:
    """Returns step to score, from the log in `trainer_state.json` of a checkpoint."""
    name = f"eval_{metric.removeprefix('eval_')}"
    log = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return {entry["step"]: entry[name] for entry in log if name in entry}
