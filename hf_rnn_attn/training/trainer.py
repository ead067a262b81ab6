# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The library's trainer with a faster loss and batches that are limited by tokens; frozen parameters."""

import fnmatch
from collections.abc import Sequence
from typing import Any, cast

from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Seq2SeqTrainer

from ..data import TokenBatchSampler, pair_lengths
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from .callbacks import BatchOrderCallback


class RnnAttnTrainer(Seq2SeqTrainer):
    """The library's trainer with a faster loss and, on request, batches of similar length that are limited by tokens.

    An [`RnnAttnForConditionalGeneration`] computes the loss itself, `label_smoothing_factor` included, without its
    logits; `eval_loss` is then without smoothing. Another model is trained as by the library.

    With `tokens_per_batch`, `per_device_train_batch_size` has no effect; accumulation, several processes and resuming
    work as without. The library takes a batch sampler only through `get_train_dataloader`.

    Args:
        tokens_per_batch (`int`, *optional*):
            Most tokens of a training batch on one process: sentences times the longer side of the longest pair.
    """

    def __init__(self, *args: Any, tokens_per_batch: int | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model_smooths = isinstance(self.model, RnnAttnForConditionalGeneration)
        if self.model_smooths:
            self.label_smoother = None
        self.batch_sampler = None
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
