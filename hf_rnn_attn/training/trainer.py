# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The library's trainer with a faster loss, batches that are limited by tokens, and checkpoints that are whole or known
not to be; frozen parameters.
"""

import fnmatch
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch.utils.data import DataLoader, IterableDataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Seq2SeqTrainer
from transformers.trainer_utils import has_length, rotate_checkpoints

from ..data import TokenBatchSampler, pair_lengths
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from .callbacks import BatchOrderCallback, FiniteCallback
from .checkpoints import list_checkpoints, seal_checkpoint, writing


# torch's name for the learning rate that a schedule starts from
BASE_RATE = "initial_lr"
# a label without a loss
IGNORED = -100


class FilledStream(IterableDataset):
    """A stream of encoded pairs that ends with a whole batch of every process: what is missing has no labels.

    Args:
        stream (`IterableDataset`): the pairs.
        multiple (`int`): of pairs, what all processes take at a time.
    """

    def __init__(self, stream: Any, multiple: int):
        self.stream, self.multiple = stream, multiple

    def set_epoch(self, epoch: int):
        """Chooses the order of the next pass; accelerate and the Trainer call it."""
        self.stream.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        count, row = 0, {}
        for count, row in enumerate(self.stream, 1):  # noqa: B007
            yield row
        for _ in range(-count % self.multiple):
            yield {**row, "labels": [IGNORED]}


class RnnAttnTrainer(Seq2SeqTrainer):
    """The library's trainer with a faster loss and, on request, batches of similar length that are limited by tokens.

    An [`RnnAttnForConditionalGeneration`] computes the loss itself, `label_smoothing_factor` included, without its
    logits; `eval_loss` is then without smoothing. Another model is trained as by the library.

    With `tokens_per_batch`, `per_device_train_batch_size` has no effect; accumulation, several processes and resuming
    work as without. The library takes a batch sampler only through `get_train_dataloader`.

    A checkpoint ends with the checksums of its files, and older ones are removed only then. Training stops when weights
    or losses are no longer finite, at the next logging, evaluation or checkpoint, which is not written.

    Args:
        tokens_per_batch (`int`, *optional*):
            Most tokens of a training batch on one process: sentences times the longer side of the longest pair.
    """

    def __init__(self, *args: Any, tokens_per_batch: int | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model_smooths = isinstance(self.model, RnnAttnForConditionalGeneration)
        if self.model_smooths:
            self.label_smoother = None
        # the library would look at each loss and leave those out that are not finite; see `check_finite`
        self.args.logging_nan_inf_filter = False
        self.losses: list[tuple[int, float, torch.Tensor]] = []
        self.add_callback(FiniteCallback(self.check_finite))
        self.batch_sampler = None
        if self.args.world_size > 1 and isinstance(self.train_dataset, IterableDataset):
            self.train_dataset = FilledStream(self.train_dataset, self.args.train_batch_size * self.args.world_size)
        if tokens_per_batch is None:
            return
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.batch_sampler = TokenBatchSampler(
            pair_lengths(cast(Dataset, self.train_dataset)), tokens_per_batch, seed=seed
        )
        self.add_callback(BatchOrderCallback(self.batch_sampler))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Returns the library's loss; of our model, in training, smoothed and without logits."""
        if model.training and self.model_smooths:
            options = {"label_smoothing_factor": self.args.label_smoothing_factor, "skip_logits": True}
            inputs = {**inputs, **options}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def get_batch_samples(self, *args: Any) -> tuple[list[dict[str, Any]], Any]:
        """Returns the batches of a step and how many labels they have on all processes, each pair counted once."""
        batches, count = super().get_batch_samples(*args)
        if batches and self.args.world_size > 1 and self.accelerator.gradient_state.end_of_dataloader:
            labels = batches[-1]["labels"]
            labels[self._new_rows(len(labels)) :] = IGNORED
            count = self._get_num_items_in_batch(batches, self.args.device)
        return batches, count

    def _new_rows(self, size: int) -> int:
        """Returns how many rows of this process's batch, the last of an epoch, are not there for the second time."""
        index, count, settings = self.args.process_index, self.args.world_size, cast(Any, self.args.accelerator_config)
        if self.batch_sampler is not None:
            left = len(self.batch_sampler) % count
            return 0 if 0 < left <= index else size
        if not has_length(self.train_dataset) or settings.split_batches or settings.dispatch_batches:
            return size
        left = len(cast(Dataset, self.train_dataset)) % (self.args.train_batch_size * count)
        return max(0, left - index * self.args.train_batch_size) if left else size

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Returns the library's loss, and keeps it until `check_finite` looks at it."""
        loss = super().training_step(*args, **kwargs)
        self.losses.append((self.state.global_step, self.state.epoch or 0.0, loss))
        return loss

    def check_finite(self):
        """Raises if the training has blown up since the last call; only here it waits for the device.

        With a gradient scaler (fp16) a loss that is not finite costs its step alone, so that only weights count.

        Raises:
            ValueError: a loss or a weight is not finite.
        """
        losses, self.losses = self.losses, []
        if losses and self.accelerator.scaler is None:
            finite = torch.stack([loss for _, _, loss in losses]).isfinite().tolist()
            if not all(finite):
                row = finite.index(False)
                step, epoch, loss = losses[row]
                batch = row - [at for at, _, _ in losses].index(step)
                raise self._blown_up(step + 1, epoch, batch, f"the loss is {loss.item()}")
        weights = cast(PreTrainedModel, self.model).parameters()
        if not torch.stack([weight.isfinite().all() for weight in weights]).all():
            what = "weights are not finite"
            raise self._blown_up(self.state.global_step, self.state.epoch or 0.0, -1, what)

    def _blown_up(self, step: int, epoch: float, batch: int, what: str) -> ValueError:
        """Returns the error of a training that blew up in a step, `batch` batches after this position in the epochs."""
        loader = self.callback_handler.train_dataloader
        batches = len(loader) if has_length(loader) else self.state.max_steps * self.args.gradient_accumulation_steps
        epochs, batch = divmod(round(epoch * batches) + batch, batches)
        good = [path for at, path in list_checkpoints(str(self.args.output_dir)).items() if at < step]
        last = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint before it"
        return ValueError(
            f"the training blew up in step {step} (epoch {epochs + 1}, batch {batch + 1} of {batches}): {what}; lower "
            f"training.learning_rate, {self.args.learning_rate:g}, or training.max_grad_norm; {last}"
        )

    def _run_epoch(self, *args: Any, **kwargs: Any):
        """Runs an epoch, but not after the end of the run, where the library would make one more step."""
        stops = [
            callback for callback in self.callback_handler.callbacks if isinstance(callback, EarlyStoppingCallback)
        ]
        stopped = any(stop.early_stopping_patience_counter >= stop.early_stopping_patience for stop in stops)
        if stopped or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None):
        """Loads the states of a checkpoint under the settings of this run, which `force` may have changed."""
        settings = [{**group} for group in cast(torch.optim.Optimizer, self.optimizer).param_groups]
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        # the path may be relative to another folder
        best = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.best_global_step}"
        if best.is_dir():
            self.state.best_model_checkpoint = str(best)
        scheduler: Any = self.lr_scheduler
        groups = cast(torch.optim.Optimizer, self.optimizer).param_groups
        for index, (group, setting) in enumerate(zip(groups, settings, strict=True)):
            change = setting[BASE_RATE] / group[BASE_RATE]
            rates = {"lr": group["lr"] * change, BASE_RATE: setting[BASE_RATE]}
            group.update({name: value for name, value in setting.items() if name != "params"} | rates)
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs[index] = setting[BASE_RATE]
                scheduler._last_lr[index] = group["lr"]

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Returns the library's optimizer, whose groups remember the learning rate that a schedule begins with."""
        optimizer = super().create_optimizer(*args, **kwargs)
        for group in optimizer.param_groups:
            group.setdefault(BASE_RATE, group["lr"])
        return optimizer

    def _save_checkpoint(self, model: Any, trial: Any):
        """Writes a checkpoint, then its checksums, and only then removes older ones."""
        arguments, run_dir = self.args, self._get_output_dir(trial)
        folder = Path(run_dir) / f"checkpoint-{self.state.global_step}"
        with arguments.main_process_first(desc="removing what was cut off"):
            if arguments.should_save and folder.exists():
                shutil.rmtree(folder)
        limit, arguments.save_total_limit = arguments.save_total_limit, None
        with writing(folder):
            super()._save_checkpoint(model, trial)
            # every process writes the state of its random numbers
            self.accelerator.wait_for_everyone()
            if arguments.should_save:
                seal_checkpoint(folder)
        arguments.save_total_limit = limit
        if arguments.should_save:
            rotate_checkpoints(run_dir, limit, self.state.best_model_checkpoint, use_mtime=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        """Writes the model as the library does."""
        with writing(output_dir or str(self.args.output_dir)):
            super().save_model(output_dir, _internal_call)

    def get_train_dataloader(self) -> DataLoader:
        """Returns the batches of the training, limited by tokens where `tokens_per_batch` is set."""
        if self.batch_sampler is None:
            return super().get_train_dataloader()
        rows: Any = self._remove_unused_columns(cast(Dataset, self.train_dataset), description="training")
        loader = DataLoader(
            rows,
            batch_sampler=self.batch_sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)


def freeze_parameters(model: PreTrainedModel, patterns: Sequence[str]) -> list[str]:
    """Stops the training of the parameters whose names match.

    Args:
        model (`PreTrainedModel`): Its parameters are changed in place.
        patterns (`Sequence[str]`): Shell patterns of names as `model.named_parameters()` gives them, such as
            `model.encoder.*`. A parameter shared by two modules has two names, and either freezes both.

    Returns:
        `list[str]`: the names of the frozen parameters.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    frozen = []
    for pattern in patterns:
        names = fnmatch.filter(parameters, pattern)
        if not names:
            raise ValueError(
                f"freeze: {pattern!r} matches none of the {len(parameters)} parameters; {_examples(parameters)}"
            )
        frozen.extend(names)
    for name in frozen:
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError(f"freeze: {', '.join(patterns)} leave no parameter to train")
    return sorted(set(frozen))


def _examples(names) -> str:
    names = list(names)
    return f"they are named like {names[0]} and {names[-1]}"
