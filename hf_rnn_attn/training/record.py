# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The record of a run: what it was started with, and whether a training may begin or go on in its folder.

`run.json` is written when a run starts. A run that goes on is compared with it, so that the two are one run.
"""

import contextlib
import fnmatch
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from datasets import IterableDataset
from filelock import FileLock, Timeout
from transformers import Seq2SeqTrainingArguments

from .checkpoints import (
    STATE_FILE,
    WEIGHTS_FILE,
    find_obstacle,
    is_sealed,
    last_checkpoint,
    list_checkpoints,
    write_text,
)
from .recipe import Recipe


logger = logging.getLogger(__name__)

RECORD_FILE = "run.json"
RESULTS_FILE = "results.json"
LOCK_FILE = "training.lock"
# of a stream, which may be endless
STREAM_ROWS = 10_000
# what the weights do not depend on; of data, the pairs are compared and not their names
FREE = (
    "chosen",
    "data.train*",
    "data.validation*",
    "data.test*",
    "training.output_dir",
    "training.resume_from_checkpoint",
    "training.logging_*",
    "training.log_*",
    "training.report_to",
    "training.run_name",
    "training.project",
    "training.disable_tqdm",
    "training.dataloader_num_workers",
    "training.dataloader_pin_memory",
    "training.dataloader_prefetch_factor",
    "training.dataloader_persistent_workers",
    "training.push_to_hub",
    "training.hub_*",
)
# what they depend on only where a metric chooses checkpoints, stops the training or changes the learning rate
SCORES = ("evaluation.*", "training.per_device_eval_batch_size", "pairs.validation")
# one step; the library's values where they are not set
STEP = {"processes": 1, "training.per_device_train_batch_size": 8, "training.gradient_accumulation_steps": 1}
# the length of the run, which a constant learning rate does not know
LENGTH = ("training.num_train_epochs", "training.max_steps")
# what a checkpoint keeps
BUILT = ("model.", "tokenizer.")


@contextlib.contextmanager
def locked(arguments: Seq2SeqTrainingArguments) -> Iterator[None]:
    """Keeps other trainings out of `output_dir`; the system lets go of the lock when the process ends, however it ends.

    Raises:
        ValueError: another process trains there.
    """
    folder = Path(str(arguments.output_dir))
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    with contextlib.ExitStack() as stack:
        if arguments.process_index == 0:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(lock)
            except Timeout as error:
                raise ValueError(
                    f"{folder}: another process is training in it; wait for its end, or choose another "
                    "training.output_dir"
                ) from error
        yield


def find_start(arguments: Seq2SeqTrainingArguments, force: bool) -> Path | None:
    """Returns the checkpoint that a run goes on from, or `None` for a run that begins.

    Processes that `torchrun` has started again go on from the last checkpoint, as with `--resume`.

    Raises:
        ValueError: there is a run that would be overwritten, without `force`, or no checkpoint that is whole.
    """
    folder, resume = Path(str(arguments.output_dir)), arguments.resume_from_checkpoint
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if resume is True or (restarted and any(is_sealed(path) for path in list_checkpoints(folder).values())):
        return last_checkpoint(folder, load_best=arguments.load_best_model_at_end)
    if resume:
        damage = find_obstacle(Path(resume)) if os.path.isdir(resume) else "no such folder"
        if damage:
            raise ValueError(f"training.resume_from_checkpoint: {resume}: {damage}; name another checkpoint")
        return Path(resume)
    # a checkpoint without checksums was cut off, but in a run without a record, which an earlier version made
    cut_off = {
        path for path in list_checkpoints(folder).values() if (folder / RECORD_FILE).is_file() and not is_sealed(path)
    }
    whole = [path for path in _earlier_run(folder) if path not in cut_off]
    if arguments.process_index == 0 and whole and not force:
        raise ValueError(
            f"{folder} holds the {'checkpoints' if whole[0].is_dir() else 'model'} of another run; resume it "
            "(--resume), remove it (--force), or choose another training.output_dir"
        )
    return None


def _earlier_run(folder: Path) -> list[Path]:
    """Returns what an earlier run has left that this one would mix with."""
    files = (folder / name for name in (WEIGHTS_FILE, RESULTS_FILE, STATE_FILE))
    return [*list_checkpoints(folder).values(), *(file for file in files if file.exists())]


def begin(folder: Path, record: dict[str, Any], start: Path | None):
    """Removes an earlier run where this one does not go on from it, and writes the record of this one."""
    for path in [] if start else _earlier_run(folder):
        logger.warning("removed: %s", path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_record(folder, record)


def write_record(folder: Path, record: dict[str, Any]):
    """Writes `run.json`."""
    write_text(folder / RECORD_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def earlier_choice(recipe: Recipe) -> dict[str, Any] | None:
    """Returns what the run that is gone on from chose where its recipe said nothing; `None` for a run that begins."""
    arguments = recipe.training.arguments
    resume = arguments.get("resume_from_checkpoint")
    if not resume:
        return None
    file = Path(arguments["output_dir"] if resume is True else Path(resume).parent) / RECORD_FILE
    record = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    said = {**arguments, **{name: value for name, value in vars(recipe.training).items() if value is not None}}
    return {name: record["training"][name] for name in record.get("chosen", []) if name not in said}


def describe_run(
    recipe: Recipe, arguments: Seq2SeqTrainingArguments, pairs: dict[str, Any], chosen: dict[str, Any]
) -> dict[str, Any]:
    """Returns what the weights of a run depend on: the recipe, the number of processes and the pairs; and the names of
    the settings that were chosen by the program.
    """
    content = recipe.to_dict()
    del content["file"]
    splits = [split for split in ("train", "validation") if split in pairs]
    record = {
        **content,
        "training": content["training"] | content["training"].pop("arguments"),
        "chosen": sorted(chosen),
        "processes": arguments.world_size,
        "pairs": {split: fingerprint(pairs[split]) for split in splits},
    }
    return json.loads(json.dumps(record, default=str))


def fingerprint(pairs: Any) -> str:
    """Returns a checksum of pairs; of a stream, of its first 10,000."""
    checksum = hashlib.sha256()
    for batch in (pairs.take(STREAM_ROWS) if isinstance(pairs, IterableDataset) else pairs).iter(batch_size=1000):
        checksum.update(json.dumps([batch["source"], batch["target"]]).encode())
    return checksum.hexdigest()[:16]


def check_same_run(record: dict[str, Any], checkpoint: Path, arguments: Seq2SeqTrainingArguments, force: bool):
    """Checks that a run which goes on from a checkpoint is the run that made it.

    Raises:
        ValueError: settings or pairs are others. With `force` that is a warning, but for the model and the tokenizer.
    """
    differences = _differences(record, checkpoint, arguments) | _lost_order(checkpoint, arguments)
    built = [text for key, text in differences.items() if key.startswith(BUILT)]
    if built:
        raise ValueError(
            f"{checkpoint} keeps its model and tokenizer, and here they differ: {'; '.join(built)}; set them back, or "
            "choose another training.output_dir"
        )
    text = "; ".join(differences.values())
    if text and not force:
        raise ValueError(
            f"{checkpoint} is of another run: {text}; set it back, choose another training.output_dir, or go on all "
            "the same with --force"
        )
    if text:
        logger.warning("going on from %s with another run: %s", checkpoint, text)


def _lost_order(checkpoint: Path, arguments: Seq2SeqTrainingArguments) -> dict[str, str]:
    """Returns why the order of the batches cannot be found again in the middle of an epoch."""
    epoch = json.loads((checkpoint / STATE_FILE).read_text("utf-8"))["epoch"]
    seedable = cast(Any, arguments.accelerator_config).use_seedable_sampler
    if epoch % 1 == 0 or (arguments.train_sampling_strategy != "group_by_length" and seedable):
        return {}
    return {"order": f"it was made in the middle of epoch {int(epoch) + 1}, whose order of batches is not known again"}


def _differences(record: dict[str, Any], checkpoint: Path, arguments: Seq2SeqTrainingArguments) -> dict[str, str]:
    """Returns what differs by its key."""
    file = checkpoint.with_name(RECORD_FILE)
    if not file.is_file():
        return {RECORD_FILE: f"{file} is missing, which says how it was started"}
    old, new = (_join_step(_flatten(run)) for run in (json.loads(file.read_text("utf-8")), record))
    free = FREE
    if arguments.metric_for_best_model is None:
        free += SCORES
    if arguments.lr_scheduler_type == "constant":
        free += LENGTH
    return {
        key: f"{key}: {old.get(key, 'not set')} → {new.get(key, 'not set')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(fnmatch.fnmatch(key, pattern) for pattern in free)
    }


def _join_step(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings with one number for what a step is computed from, however it is shared out."""
    step = math.prod(settings.get(key, default) for key, default in STEP.items())
    return {key: value for key, value in settings.items() if key not in STEP} | {" x ".join(STEP): step}


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of nested mappings by their dotted names; what is not set is left out."""
    if isinstance(value, dict):
        names = {f"{prefix}.{key}".lstrip("."): item for key, item in value.items()}
        return {name: leaf for key, item in names.items() for name, leaf in _flatten(item, key).items()}
    return {} if value is None else {prefix: value}
