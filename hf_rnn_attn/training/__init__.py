# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: recipes, the trainer, callbacks, checkpoints, and the run that a recipe describes."""

from .callbacks import BatchOrderCallback, ScheduledSamplingCallback
from .checkpoints import average_checkpoints, average_weights, select_checkpoints
from .recipe import Recipe, load_recipe
from .run import train
from .trainer import RnnAttnTrainer, freeze_parameters


__all__ = [
    "BatchOrderCallback",
    "Recipe",
    "RnnAttnTrainer",
    "ScheduledSamplingCallback",
    "average_checkpoints",
    "average_weights",
    "freeze_parameters",
    "load_recipe",
    "select_checkpoints",
    "train",
]
