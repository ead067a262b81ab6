# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Callbacks that a training needs beside the library's: scheduled sampling, the order of batches, and a check that
losses and weights are finite.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from transformers import TrainerCallback, TrainerState

from ..model.encoder_rnn_attn import RnnAttnEncoderOutput
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration


Schedule = Literal["linear", "exponential", "inverse_sigmoid"]


class ScheduledSamplingCallback(TrainerCallback):
    r"""Teacher forcing that decays with the training step (Bengio et al. 2015, section 2.4).

    At step i of the optimizer each decoder input after the first is the gold token with probability \\(\epsilon_i\\),
    else the token that the model itself found most likely:

        linear             epsilon_i = max(minimum, k - c * i)
        exponential        epsilon_i = max(minimum, k ** i)                    0 < k < 1
        inverse_sigmoid    epsilon_i = max(minimum, k / (k + exp(i / k)))      k >= 1

    The ratio depends on the global step alone, so a resumed run continues where it stopped. In training, before each
    `forward`, the model predicts without gradient, token by token; the mixed tokens then take the ordinary
    teacher-forced path, whose gradient is the same, since none flows through a choice of tokens. Evaluation is
    untouched. For an [`RnnAttnForConditionalGeneration`].

    Args:
        schedule (`str`): `"linear"`, `"exponential"` or `"inverse_sigmoid"`.
        k (`float`): The parameter of the decay: the ratio at step 0 (linear), the factor per step (exponential), or a
            constant; the larger it is, the later and slower the decay (inverse sigmoid).
        c (`float`, *optional*): By how much the ratio falls at each step; for the linear schedule only.
        minimum (`float`, *optional*, defaults to 0.0): The ratio never falls below this.

    Raises:
        ValueError: a schedule or a parameter outside of its range.

    Example:
        trainer.add_callback(ScheduledSamplingCallback("linear", k=1.0, c=1e-4, minimum=0.5))
    """

    def __init__(self, schedule: Schedule, *, k: float, c: float | None = None, minimum: float = 0.0):
        self.schedule, self.k, self.c, self.minimum = schedule, k, c, minimum
        self._check()
        self._hook: Any = None

    def _check(self):
        if self.schedule not in get_args(Schedule):
            raise ValueError(
                f"scheduled sampling: schedule must be one of {', '.join(get_args(Schedule))}, got {self.schedule!r}"
            )
        if (self.c is not None) != (self.schedule == "linear"):
            raise ValueError(
                f"scheduled sampling: c belongs to the linear schedule; got c={self.c} with {self.schedule}"
            )
        if self.c is not None and self.c <= 0:
            raise ValueError(f"scheduled sampling: c must be above 0 so that the ratio falls, got {self.c}")
        if self.schedule == "exponential" and not 0 < self.k < 1:
            raise ValueError(f"scheduled sampling: k must lie between 0 and 1 (exponential), got {self.k}")
        if self.schedule == "inverse_sigmoid" and self.k < 1:
            raise ValueError(f"scheduled sampling: k must be at least 1 (inverse_sigmoid), got {self.k}")
        if not 0 <= self.minimum <= 1:
            raise ValueError(f"scheduled sampling: minimum must lie between 0 and 1, got {self.minimum}")

    def teacher_forcing_ratio(self, step: int) -> float:
        """The probability of a gold decoder input at this step of the optimizer (counted from 0), between 0 and 1."""
        if self.c is not None:
            ratio = self.k - self.c * step
        elif self.schedule == "exponential":
            ratio = self.k**step
        else:
            # the fraction times exp(-i / k): exp(i / k) would overflow late in a long training
            decay = self.k * math.exp(-step / self.k)
            ratio = decay / (decay + 1)
        return min(1.0, max(self.minimum, ratio))

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, *, model: Any, **kwargs: Any) -> None:
        """Puts the sampling before the model's `forward`."""
        dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None

        def mix(module: Any, positional: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            ratio = self.teacher_forcing_ratio(state.global_step)
            if module.training and ratio < 1:
                # the trainer puts `forward` itself under autocast, after this
                with torch.autocast(module.device.type, dtype, enabled=dtype is not None):
                    keywords = {**keywords, **_mixed_inputs(module, ratio, **keywords)}
            return positional, keywords

        self._hook = model.register_forward_pre_hook(mix, with_kwargs=True)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Takes the sampling away again."""
        self._hook.remove()


def _mixed_inputs(
    model: RnnAttnForConditionalGeneration,
    teacher_forcing_ratio: float,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Encodes the sources once and returns `encoder_outputs` and mixed `decoder_input_ids` for `forward`."""
    encoder_outputs = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
    gold = model.prepare_decoder_input_ids_from_labels(labels)
    mixed = mix_in_predictions(model, gold, encoder_outputs, attention_mask, teacher_forcing_ratio)
    return {"encoder_outputs": encoder_outputs, "decoder_input_ids": mixed}


@torch.no_grad()
def mix_in_predictions(
    model: RnnAttnForConditionalGeneration,
    decoder_input_ids: torch.Tensor,
    encoder_outputs: RnnAttnEncoderOutput,
    attention_mask: torch.Tensor | None,
    teacher_forcing_ratio: float,
) -> torch.Tensor:
    """Replaces some decoder inputs by the tokens that the model predicts for them.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): predicts, with its dropout where it is in training mode.
        decoder_input_ids (`torch.LongTensor` of shape `(B, T)`): the gold tokens, the first being the start token.
        encoder_outputs ([`RnnAttnEncoderOutput`]), attention_mask (`torch.Tensor` of shape `(B, S)`): of the sources.
        teacher_forcing_ratio (`float`): the probability of each token but the first to stay.

    Returns:
        `torch.LongTensor` of shape `(B, T)`: padding stays as it is.
    """
    mixed = decoder_input_ids.clone()
    forced = torch.rand(mixed.shape, device=mixed.device) < teacher_forcing_ratio
    replaceable = ~forced & (mixed != model.config.pad_token_id)
    decoding = model.start(encoder_outputs, attention_mask)
    for step in range(mixed.shape[1] - 1):
        scores, _, decoding = model.step(mixed[:, step : step + 1], decoding)
        predicted = scores[:, -1].argmax(-1)
        mixed[:, step + 1] = torch.where(replaceable[:, step + 1], predicted, mixed[:, step + 1])
    return mixed


class BatchOrderCallback(TrainerCallback):
    """Tells a batch sampler which epoch begins.

    The trainer and accelerate forward `set_epoch` to a batch sampler in some of their wrappings and not in others (two
    processes on an older version; the rest of an epoch after resuming), and a sampler that was not told repeats an
    order.
    """

    def __init__(self, batch_sampler):
        self.batch_sampler = batch_sampler

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Tells the sampler the epoch, the one that a resumed run is in too."""
        # a resumed run begins inside of an epoch
        self.batch_sampler.set_epoch(int(state.epoch))


class FiniteCallback(TrainerCallback):
    """Calls a check before anything is logged, evaluated or saved, and at the ends of epochs and of the training."""

    # losses that wait to be looked at
    MOST_STEPS = 500

    def __init__(self, check: Callable[[], None]):
        self.check = check

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Checks where the library is about to use what the step has made."""
        due = control.should_log or control.should_evaluate or control.should_save or control.should_training_stop
        if due or state.global_step % self.MOST_STEPS == 0:
            self.check()

    def on_epoch_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Checks before an evaluation or a checkpoint at the end of the epoch."""
        self.check()

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, metrics: dict[str, float], **kwargs: Any):
        """Raises if a loss on validation pairs is not finite."""
        for name, value in metrics.items():
            if name.endswith("_loss") and not math.isfinite(value):
                raise ValueError(f"step {state.global_step}: {name} is {value}; lower training.learning_rate")
