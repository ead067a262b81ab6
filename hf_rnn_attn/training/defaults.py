# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run takes where its recipe says nothing: processor, precision, size of batches, threads.

What a recipe says is never changed, and a run that goes on keeps what it began with.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import torch

from ..data import pair_lengths
from .recipe import Recipe, uses_cpu


# with so many pairs in a batch the recipes of this project were measured
MOST_PAIRS, FEWEST_PAIRS = 64, 8
# fewer batches than these make too few steps of an epoch
BATCHES = 100
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
# settings that say how large batches are, or what they are made of
BATCH_KEYS = {"per_device_train_batch_size", "auto_find_batch_size", "train_sampling_strategy"}


def multiplies_in_bf16() -> bool:
    """Returns whether the processor has instructions for it (AVX-512 BF16; processors with AMX have those too)."""
    # torch has no public name for it before get_capabilities()
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return supports is not None and supports() and torch.backends.mkldnn.is_available()


def choose_precision(recipe: Recipe) -> dict[str, Any]:
    """Returns `{"bf16": True}` where a recipe leaves the precision open and the processor is fast in it."""
    is_open = not {"bf16", "fp16"} & recipe.training.arguments.keys()
    return {"bf16": True} if is_open and uses_cpu(recipe) and multiplies_in_bf16() else {}


def choose_batch(recipe: Recipe, encoded: Any) -> dict[str, Any]:
    """Returns `tokens_per_batch` where a recipe leaves the size of its batches open.

    It is that of 64 pairs of average length; of fewer, down to 8, where an epoch would have less than 100 batches. The
    longest pair fits in any case. A stream, which cannot be sorted, keeps the library's size.

    Args:
        recipe ([`Recipe`]): What is to be trained.
        encoded (`Dataset` or `IterableDataset`): The training pairs as [`~hf_rnn_attn.data.encode_pairs`] gives them.
    """
    training = recipe.training
    is_open = training.tokens_per_batch is None and not BATCH_KEYS & training.arguments.keys()
    if not is_open or recipe.data.reading.get("streaming"):
        return {}
    lengths = pair_lengths(encoded)
    pairs = min(MOST_PAIRS, max(FEWEST_PAIRS, len(lengths) // BATCHES))
    return {"tokens_per_batch": max(max(lengths), math.ceil(pairs * sum(lengths) / len(lengths)))}


def with_training(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """Returns the recipe with more settings of its section `training`."""
    own = {field.name for field in dataclasses.fields(recipe.training)}
    arguments = {name: value for name, value in settings.items() if name not in own}
    training = dataclasses.replace(
        recipe.training,
        arguments={**recipe.training.arguments, **arguments},
        **{name: value for name, value in settings.items() if name in own},
    )
    return dataclasses.replace(recipe, training=training)


def limit_threads():
    """Gives torch no more threads than a container may use at a time; `OMP_NUM_THREADS` wins.

    torch counts the cores of the machine, and threads that wait for each other's turn are slower than fewer.
    """
    if "OMP_NUM_THREADS" in os.environ or not CPU_LIMIT.is_file():
        return
    quota, period = CPU_LIMIT.read_text("utf-8").split()
    if quota != "max":
        torch.set_num_threads(min(torch.get_num_threads(), max(1, int(quota) // int(period))))


def describe_choice(recipe: Recipe, chosen: dict[str, Any]) -> str:
    """Returns one line: what was chosen, and how to choose otherwise."""
    on_cpu = uses_cpu(recipe)
    values = {**chosen, "use_cpu": True} if on_cpu and "use_cpu" not in recipe.training.arguments else chosen
    parts = [f"training.{name}: {str(value).lower()}" for name, value in values.items()]
    if on_cpu:
        parts.append(f"OMP_NUM_THREADS={torch.get_num_threads()}")
    return f"chosen: {', '.join(parts)}; set them in the recipe or the environment to choose otherwise"
