# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a run: which are whole, which to take, and their mean."""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..model.checkpoint_rnn_attn import INDEX_FILE, WEIGHTS_FILE, explain, find_weights, read_shapes


logger = logging.getLogger(__name__)

STATE_FILE = "trainer_state.json"
# the last file of a checkpoint, in the format of the command `sha256sum`
CHECKSUMS_FILE = "SHA256SUMS"
# of a checkpoint, configuration, tokenizer and code; not the state of the trainer, and not other weights
COPIED_SUFFIXES = (".json", ".txt", ".model", ".spm", ".jinja", ".py")


def list_checkpoints(run_dir: str | Path) -> dict[int, Path]:
    """Returns the checkpoint folders of a run by their steps, in rising order, damaged ones included."""
    steps = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(run_dir).glob("checkpoint-*"))
    return dict(sorted((int(name[1]), path) for name, path in steps if name and path.is_dir()))


def write_text(path: Path, text: str):
    """Writes a file that is there in full or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


@contextlib.contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Turns what the libraries raise for a full disk, which is no `OSError`, into one that names the folder."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        free = shutil.disk_usage(Path(folder).parent).free / 2**20
        raise OSError(
            f"{folder}: could not be written, with {free:,.0f} MB free on its disk ({error}); earlier checkpoints are "
            "as they were: make room and resume (--resume)"
        ) from error


def seal_checkpoint(folder: Path):
    """Writes `SHA256SUMS`; a checkpoint without it was cut off while it was written."""
    names = _file_names(folder)
    write_text(folder / CHECKSUMS_FILE, "".join(f"{_checksum(folder / name)}  {name}\n" for name in names))


def _file_names(folder: Path) -> list[str]:
    files = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return sorted(name for name in files if name != CHECKSUMS_FILE)


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_sealed(folder: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    return (folder / CHECKSUMS_FILE).is_file()


def find_damage(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint, or `None`."""
    if not is_sealed(folder):
        return f"cut off while it was written (no {CHECKSUMS_FILE})"
    lines = (folder / CHECKSUMS_FILE).read_text("utf-8", errors="replace").splitlines()
    checksums = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    for name in _file_names(folder):
        if name not in checksums:
            return f"{name} is not in {CHECKSUMS_FILE}"
    for name, checksum in checksums.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _checksum(folder / name) != checksum:
            return f"{name} is damaged"
    return None


def last_checkpoint(run_dir: str | Path, load_best: bool = False) -> Path:
    """Returns the last checkpoint of a run that is whole; damaged ones after it are named in a warning.

    Args:
        run_dir (`str` or `Path`): The `output_dir` of a run.
        load_best (`bool`): Whether the best checkpoint that it remembers has to be whole too.

    Raises:
        ValueError: there is none.
    """
    damages = []
    for path in reversed(list_checkpoints(run_dir).values()):
        damage = find_obstacle(path) or (_best_damage(path) if load_best else None)
        if damage is None:
            for line in damages:
                logger.warning("passed over: %s; resuming from %s", line, path)
            return path
        damages.append(f"{path}: {damage}")
    found = f" ({'; '.join(damages)})" if damages else ""
    again = "with --force in the place of --resume, which removes them" if damages else "without --resume"
    raise ValueError(f"{run_dir} holds no checkpoint to resume from{found}; train {again}")


def find_obstacle(checkpoint: Path) -> str | None:
    """Returns why a run cannot go on from a checkpoint, or `None`."""
    states = (name for name in ("optimizer.pt", "scheduler.pt") if not (checkpoint / name).is_file())
    return find_damage(checkpoint) or next((f"{name} is missing" for name in states), None)


def _best_damage(checkpoint: Path) -> str | None:
    """Returns what is wrong with the best checkpoint so far, which the end of the run would load."""
    step = json.loads((checkpoint / STATE_FILE).read_text("utf-8"))["best_global_step"]
    best = checkpoint.with_name(f"checkpoint-{step}")
    damage = find_damage(best) if step and best != checkpoint else None
    return f"the best one, {best.name}: {damage}" if damage else None


def average_weights(paths: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """Returns the mean of the weights of several checkpoints, summed in float64, in the dtype that they had.

    Raises:
        FileNotFoundError: a folder without weights.
        ValueError: no checkpoint, damaged ones, or checkpoints whose weights differ in names or shapes.
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
    if not os.path.isdir(path):
        raise FileNotFoundError(f"average: {path} is no checkpoint; expected a folder")
    damage = find_damage(Path(path)) if is_sealed(Path(path)) else None
    if damage is not None:
        raise ValueError(f"average: {path}: {damage}; leave the checkpoint out")
    weights = {}
    for file in find_weights(path, {}):
        _check_no_link(file)
        read_shapes(file)
        weights |= load_file(file)
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"average: {path}: the weight `{name}` is not finite everywhere; leave the checkpoint out")
    return weights


def _check_no_link(file: Path):
    if file.is_symlink():
        raise ValueError(f"average: {file}: expected a file, got a link; put the file that it leads to in its place")


def average_checkpoints(paths: Sequence[str | Path], output_dir: str | Path):
    """Writes the mean of several checkpoints of one model, a checkpoint itself.

    Configuration, tokenizer and generation defaults come from the last of them; the state of the trainer and other
    weights stay behind.

    Args:
        paths (`Sequence[str | Path]`): The checkpoint folders.
        output_dir (`str` or `Path`): The folder to write, made where it is missing.

    Raises:
        FileNotFoundError: a checkpoint, or a file of its weights, is missing.
        ValueError: a file is damaged or a link, or weights are not finite, or not those of one model.
    """
    weights = average_weights(paths)
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    for file in Path(paths[-1]).iterdir():
        if file.suffix in COPIED_SUFFIXES and file.name not in (STATE_FILE, INDEX_FILE):
            _check_no_link(file)
            shutil.copy(file, output_dir)
    with writing(output_dir):
        save_file(weights, output_dir / f"{WEIGHTS_FILE}.partial", metadata={"format": "pt"})
    os.replace(output_dir / f"{WEIGHTS_FILE}.partial", output_dir / WEIGHTS_FILE)


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
    checkpoints = {step: path for step, path in list_checkpoints(run_dir).items() if _is_whole(path)}
    steps = list(checkpoints)
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


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint has its state, which the library writes last, and keeps its checksums where it has some."""
    return (path / STATE_FILE).is_file() and not (is_sealed(path) and find_damage(path))


def _evaluated_scores(checkpoint: Path, metric: str) -> dict[int, float]:
    """Returns step to score, from the log in `trainer_state.json` of a checkpoint."""
    name, file = f"eval_{metric.removeprefix('eval_')}", checkpoint / STATE_FILE
    with explain(file, "log of the trainer"):
        log = json.loads(file.read_text(encoding="utf-8"))["log_history"]
        return {int(entry["step"]): float(entry[name]) for entry in log if name in entry}
