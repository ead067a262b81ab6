# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The exponential moving average of the weights, kept while the library's trainer trains.

This file knows when the trainer updates, evaluates and saves. It does not know what is trained, nor on what.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


EMA_FILE = "ema.safetensors"


class EmaCallback(TrainerCallback):
    r"""Keeps an exponential moving average of the weights, evaluates with it, and leaves it in the model at the end.

    After step i of the optimizer (counted from 1) the average becomes d_i * average + (1 - d_i) * weights, where
    d_i = min(decay, (1 + i) / (10 + i)): the start is forgotten soon, and early evaluations mean something.

    The training goes on with the weights themselves. They are what a checkpoint holds, and the average lies beside them
    in `ema.safetensors`, so that a resumed run continues both. With `load_best_model_at_end`, the average of the best
    checkpoint is loaded. There may be one evaluation data set.

    Args:
        decay (`float`):
            Between 0 and 1. The average looks back about 1 / (1 - decay) steps.

    Raises:
        ValueError: a decay outside of its range.

    Example:

        trainer.add_callback(EmaCallback(0.999))
    """

    def __init__(self, decay: float):
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay must lie between 0 and 1, got {decay}")
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}
        self._in_use = False

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        if state.global_step > 0:
            self._load(_resumed_checkpoint(args, state))

    def on_step_end(self, args, state, control, model=None, **kwargs):
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        weights = [parameter.detach() for parameter in model.parameters()]
        get_ema_multi_avg_fn(decay)(list(self.average.values()), weights, state.global_step)
        self._prepare_evaluation(control, model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        self._prepare_evaluation(control, model)

    def on_evaluate(self, args, state, control, model=None, **kwargs):
        if self._in_use:
            self._exchange(model)

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            save_file(self.average, _checkpoint(args, state.global_step) / EMA_FILE)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._load(Path(state.best_model_checkpoint))
        self._exchange(model)

    def _prepare_evaluation(self, control, model):
        # the library has no event before an evaluation; its own callback has decided by now whether one follows
        if control.should_evaluate and not self._in_use:
            self._exchange(model)

    @torch.no_grad()
    def _exchange(self, model):
        """Puts the average into the model and the model's weights where the average was, or back."""
        for name, parameter in model.named_parameters():
            weights = parameter.clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(weights)
        self._in_use = not self._in_use

    def _load(self, checkpoint: Path):
        file = checkpoint / EMA_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{checkpoint} holds no {EMA_FILE}; it was trained without ema_decay")
        for name, tensor in load_file(file).items():
            self.average[name].copy_(tensor)


def _checkpoint(args, step: int) -> Path:
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def _resumed_checkpoint(args, state) -> Path:
    named = args.resume_from_checkpoint
    return Path(named) if isinstance(named, str) else _checkpoint(args, state.global_step)
