# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: what the stock `Seq2SeqTrainer` lacks, and the run that a recipe describes.

This file holds scheduled sampling, batches by token count, frozen parameters, averaged checkpoints, and `train`, which
puts them together with the library's trainer. It does not know how text is read, how tokens are made or how scores are
computed.
"""

import ctypes
import dataclasses
import fnmatch
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file, load_model, save_file
from torch.utils.data import DataLoader
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    EarlyStoppingCallback,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    set_seed,
)

from .data import TokenBatchSampler, encode_pairs, group_references, pair_lengths, read_pairs
from .evaluation import TextMetric, load_metric, score_by_length, trainer_metrics
from .model.configuration_rnn_attn import ONE_VOCABULARY_OPTIONS, RnnAttnConfig
from .model.encoder_rnn_attn import RnnAttnEncoderOutput
from .model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from .recipe import Recipe
from .tokenization import train_tokenizer


SCHEDULES = ("linear", "exponential", "inverse_sigmoid")
WEIGHTS_FILE = "model.safetensors"
RESULTS_FILE = "results.json"
TOKENIZER_FOLDER = "tokenizer"
# options of mallopt in malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
ERROR_RATES = ("ter", "cer", "token_error_rate")
# what a trainer's checkpoint holds besides the model; a published folder must not carry it
TRAINER_FILES = (
    "optimizer*",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*",
    "trainer_state.json",
    "training_args.bin",
)


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
        schedule (`str`):
            `"linear"`, `"exponential"` or `"inverse_sigmoid"`.
        k (`float`):
            The parameter of the decay: the ratio at step 0 (linear), the factor per step (exponential), or the constant
            whose growth makes the decay start later and run slower (inverse sigmoid).
        c (`float`, *optional*):
            What each step takes off the ratio; for the linear schedule, and only there.
        minimum (`float`, *optional*, defaults to 0.0):
            The ratio never falls below this.

    Raises:
        ValueError: a schedule or a parameter outside of its range.

    Example:

        trainer.add_callback(ScheduledSamplingCallback("linear", k=1.0, c=1e-4, minimum=0.5))
    """

    def __init__(self, schedule: str, *, k: float, c: float | None = None, minimum: float = 0.0):
        self.schedule, self.k, self.c, self.minimum = schedule, k, c, minimum
        self._check()
        self._hook = None

    def _check(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"scheduled sampling: schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
            )
        if (self.c is not None) != (self.schedule == "linear"):
            raise ValueError(
                f"scheduled sampling: c belongs to the linear schedule; got c={self.c} with {self.schedule}"
            )
        if self.schedule == "linear" and self.c <= 0:
            raise ValueError(f"scheduled sampling: c must be above 0 so that the ratio falls, got {self.c}")
        if self.schedule == "exponential" and not 0 < self.k < 1:
            raise ValueError(f"scheduled sampling: k must lie between 0 and 1 (exponential), got {self.k}")
        if self.schedule == "inverse_sigmoid" and self.k < 1:
            raise ValueError(f"scheduled sampling: k must be at least 1 (inverse_sigmoid), got {self.k}")
        if not 0 <= self.minimum <= 1:
            raise ValueError(f"scheduled sampling: minimum must lie between 0 and 1, got {self.minimum}")

    def teacher_forcing_ratio(self, step: int) -> float:
        """The probability of a gold decoder input at this step of the optimizer (counted from 0), between 0 and 1."""
        if self.schedule == "linear":
            ratio = self.k - self.c * step
        elif self.schedule == "exponential":
            ratio = self.k**step
        else:
            # the fraction times exp(-i / k): exp(i / k) would overflow late in a long training
            decay = self.k * math.exp(-step / self.k)
            ratio = decay / (decay + 1)
        return min(1.0, max(self.minimum, ratio))

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        def mix(module, positional, keywords):
            ratio = self.teacher_forcing_ratio(state.global_step)
            if module.training and ratio < 1:
                keywords = {**keywords, **_mixed_inputs(module, ratio, **keywords)}
            return positional, keywords

        self._hook = model.register_forward_pre_hook(mix, with_kwargs=True)

    def on_train_end(self, args, state, control, **kwargs):
        self._hook.remove()


def _mixed_inputs(model, teacher_forcing_ratio: float, input_ids, labels, attention_mask=None, **kwargs) -> dict:
    """Returns what takes the place of the labels alone: the encoder's outputs, and mixed decoder inputs."""
    encoder_outputs = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
    gold = model.prepare_decoder_input_ids_from_labels(labels)
    mixed = mix_in_predictions(model, gold, encoder_outputs, attention_mask, teacher_forcing_ratio)
    return {"encoder_outputs": encoder_outputs, "decoder_input_ids": mixed}


@torch.no_grad()
def mix_in_predictions(
    model: RnnAttnForConditionalGeneration,
    decoder_input_ids: torch.LongTensor,
    encoder_outputs: RnnAttnEncoderOutput,
    attention_mask: torch.Tensor | None,
    teacher_forcing_ratio: float,
) -> torch.LongTensor:
    """Replaces some decoder inputs by what the model predicts in their place.

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

    def on_epoch_begin(self, args, state, control, **kwargs):
        # a resumed run begins inside of an epoch
        self.batch_sampler.set_epoch(int(state.epoch))


class RnnAttnTrainer(Seq2SeqTrainer):
    """The library's trainer with a faster loss and, if wanted, batches of like length that are limited by tokens.

    An [`RnnAttnForConditionalGeneration`] computes the loss itself, `label_smoothing_factor` included, without its
    logits; `eval_loss` is then without smoothing. Another model is trained as by the library.

    `get_train_dataloader` is the only hook through which the library lets a batch sampler in: with `tokens_per_batch`,
    `per_device_train_batch_size` means nothing; accumulation, several processes and resuming work as ever.

    Args:
        tokens_per_batch (`int`, *optional*):
            Most tokens of a training batch on one process: sentences times the longer side of the longest pair.
    """

    def __init__(
        self,
        *args,
        tokens_per_batch: int | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.model_smooths = isinstance(self.model, RnnAttnForConditionalGeneration)
        if self.model_smooths:
            self.label_smoother = None
        self.batch_sampler = None
        if tokens_per_batch is None:
            return
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.batch_sampler = TokenBatchSampler(pair_lengths(self.train_dataset), tokens_per_batch, seed=seed)
        self.add_callback(BatchOrderCallback(self.batch_sampler))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if model.training and self.model_smooths:
            options = {"label_smoothing_factor": self.args.label_smoothing_factor, "skip_logits": True}
            inputs = {**inputs, **options}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def get_train_dataloader(self) -> DataLoader:
        if self.batch_sampler is None:
            return super().get_train_dataloader()
        loader = DataLoader(
            self._remove_unused_columns(self.train_dataset, description="training"),
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
        model (`PreTrainedModel`):
            Its parameters are changed in place.
        patterns (`Sequence[str]`):
            Shell patterns of names as `model.named_parameters()` gives them, such as `model.encoder.*`. A parameter
            shared by two modules has two names, and either freezes both.

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


def average_weights(paths: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """The mean of the weights of several checkpoints, summed in float64 and returned in the dtype that they had.

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
        paths (`Sequence[str | Path]`):
            The checkpoint folders.
        output_dir (`str` or `Path`):
            The folder to write, made where it is missing.
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
    """The best or the last checkpoints that a run has kept.

    Args:
        run_dir (`str` or `Path`):
            The `output_dir` of a trainer, with its `checkpoint-*` folders.
        count (`int`):
            How many.
        metric (`str`, *optional*):
            A metric of the evaluations in `trainer_state.json`, such as `loss`; without one the last checkpoints are
            taken.
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
    """Step to score, from the log of a checkpoint's `trainer_state.json`."""
    name = f"eval_{metric.removeprefix('eval_')}"
    log = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return {entry["step"]: entry[name] for entry in log if name in entry}


def keep_freed_memory():
    """Tells the C library to keep the memory that tensors free, instead of giving it back to the system.

    A training step allocates and frees the same large tensors again and again. Given back, every page of them is
    cleared and mapped anew, which costs more than a tenth of the time on a CPU. For the whole process; where the C
    library is not GNU's, nothing is done.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)


def keep_compiled_products():
    """Tells oneDNN to keep the code that it compiles for products in half precision.

    It compiles for every size of a product that it sees, and of the 1,024 that it keeps by itself few are met again
    before they are dropped. For the whole process, before the first product; a number that the user has set in the
    environment stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")


def train(recipe: Recipe) -> dict[str, Any]:
    """Trains, scores and saves a model as a recipe says.

    1. The pairs are read, the tokenizer is trained (or comes with the checkpoint to fine-tune) and saved.
    2. The model is made or loaded, and trained; `resume_from_checkpoint: true` continues from the last checkpoint.
    3. With `average_checkpoints`, its weights become the mean of checkpoints.
    4. Model, tokenizer and generation defaults are saved in `output_dir`, and the log in `trainer_state.json`.
    5. Validation and test pairs are translated and scored; `results.json` in `output_dir` says how it went.

    Under `accelerate launch` every process calls this function, and the first alone writes.

    Args:
        recipe ([`Recipe`]):
            What [`load_recipe`] returns.

    Returns:
        `dict`: what `results.json` holds: `scores` by split and metric with signatures, `train_seconds` (of this call:
        a resumed run counts from the resumption), `parameters`, `steps`, `averaged` (names of checkpoints) and the
        `recipe`.

    Raises:
        ValueError: settings that contradict each other or the data.
    """
    arguments = _training_arguments(recipe)
    set_seed(arguments.seed)
    pairs = _read_splits(recipe)
    tokenizer = _prepare_tokenizer(recipe, pairs["train"], arguments)
    model = _prepare_model(recipe, tokenizer)
    trainer = _build_trainer(recipe, arguments, model, tokenizer, pairs)
    outcome = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint)
    averaged = _average_into(trainer, recipe.training.average_checkpoints)
    trainer.save_model()
    trainer.save_state()
    results = {
        "scores": _score_splits(trainer, tokenizer, pairs, recipe),
        "train_seconds": outcome.metrics["train_runtime"],
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "averaged": averaged,
        "recipe": recipe.to_dict(),
    }
    if trainer.is_world_process_zero():
        text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
        (Path(arguments.output_dir) / RESULTS_FILE).write_text(text, encoding="utf-8")
    return results


def _training_arguments(recipe: Recipe) -> Seq2SeqTrainingArguments:
    arguments = Seq2SeqTrainingArguments(**recipe.training.arguments)
    _check_processes(arguments)
    _check_arguments(recipe, arguments)
    scheduler = arguments.lr_scheduler_kwargs or {}
    if arguments.lr_scheduler_type == "reduce_lr_on_plateau" and "mode" not in scheduler:
        # the library knows which way is better, and does not tell the scheduler
        arguments.lr_scheduler_kwargs = {**scheduler, "mode": "max" if arguments.greater_is_better else "min"}
    return arguments


def _check_processes(arguments: Seq2SeqTrainingArguments):
    """Refuses processes that do not know of each other: each would train alone and write the same files."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != arguments.world_size:
        raise ValueError(
            f"{launched} processes were launched and this one sees {arguments.world_size}; without a GPU for each, set "
            "training.use_cpu: true"
        )


def _check_arguments(recipe: Recipe, arguments: Seq2SeqTrainingArguments):
    """Refuses contradictions that the library would notice after an epoch, or never."""
    section, where = recipe.training, f"{recipe.file}: training"
    if arguments.eval_strategy != "no" and recipe.data.validation is None:
        raise ValueError(f"{where}.eval_strategy: {arguments.eval_strategy.value} needs data.validation")
    if section.early_stopping_patience is not None and arguments.eval_strategy == "no":
        raise ValueError(f"{where}.early_stopping_patience needs training.eval_strategy: epoch or steps")
    if section.early_stopping_patience is not None and arguments.metric_for_best_model is None:
        raise ValueError(f"{where}.early_stopping_patience needs training.metric_for_best_model")
    if section.tokens_per_batch is not None and recipe.data.reading.get("streaming"):
        raise ValueError(f"{where}.tokens_per_batch sorts the pairs and cannot do so with data.streaming")
    if section.dropout is not None and not isinstance(recipe.model, str):
        raise ValueError(f"{where}.dropout is for a checkpoint to tune; set model.encoder_dropout and decoder_dropout")
    _check_best_metric(recipe, arguments)
    _check_output_dir(arguments)


def _check_output_dir(arguments: Seq2SeqTrainingArguments):
    found = any(Path(arguments.output_dir).glob("checkpoint-*"))
    if found and not arguments.resume_from_checkpoint:
        raise ValueError(
            f"{arguments.output_dir} holds the checkpoints of another run; resume it (--resume), remove it, or choose "
            "another training.output_dir"
        )
    if arguments.resume_from_checkpoint is True and not found:
        raise ValueError(f"{arguments.output_dir} holds no checkpoint to resume from; train without --resume")


def _check_best_metric(recipe: Recipe, arguments: Seq2SeqTrainingArguments):
    name = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    if name == "loss":
        return
    where = f"{recipe.file}: training.metric_for_best_model: {name}"
    if name not in recipe.evaluation.metrics:
        raise ValueError(f"{where} is not measured; choose loss or one of {', '.join(recipe.evaluation.metrics)}")
    if not arguments.predict_with_generate:
        raise ValueError(f"{where} needs translations; add training.predict_with_generate: true, or choose loss")
    if name in ERROR_RATES and arguments.greater_is_better:
        raise ValueError(f"{where} is an error rate; add training.greater_is_better: false")


def _read_splits(recipe: Recipe) -> dict[str, Dataset | IterableDataset]:
    """The pairs by the name of their split; only the training pairs may be a stream."""
    reading = recipe.data.reading
    splits = {"train": read_pairs(recipe.data.train, **reading)}
    scored = dict(recipe.data.test)
    if recipe.data.validation is not None:
        scored = {"validation": recipe.data.validation, **scored}
    for name, data in scored.items():
        splits[name] = read_pairs(data, **{**reading, "streaming": False})
    return splits


def _prepare_tokenizer(
    recipe: Recipe, pairs: Dataset | IterableDataset, arguments: Seq2SeqTrainingArguments
) -> PreTrainedTokenizerBase:
    """Trains the tokenizer once, on the first process; every process, and every resumed run, reads what was saved."""
    if isinstance(recipe.model, str):
        return AutoTokenizer.from_pretrained(recipe.model)
    folder = Path(arguments.output_dir) / TOKENIZER_FOLDER
    with arguments.main_process_first(desc="training the tokenizer"):
        if arguments.process_index == 0 and not arguments.resume_from_checkpoint:
            tokenizer = train_tokenizer(_texts(pairs, "source"), _texts(pairs, "target"), **recipe.tokenizer)
            tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _texts(pairs: Dataset | IterableDataset, side: str) -> Iterator[str]:
    return (pair[side] for pair in pairs)


def _prepare_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    if isinstance(recipe.model, str):
        config = AutoConfig.from_pretrained(recipe.model)
        _set_dropout(config, recipe.training.dropout)
        model = AutoModelForSeq2SeqLM.from_pretrained(recipe.model, config=config)
    else:
        config = RnnAttnConfig(
            **recipe.model,
            vocab_size=len(tokenizer),
            decoder_vocab_size=getattr(tokenizer, "target_vocab_size", len(tokenizer)),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.bos_token_id,
        )
        _check_shared(config, tokenizer)
        model = RnnAttnForConditionalGeneration(config)
    _set_generation(model, recipe.generation)
    if recipe.training.freeze:
        freeze_parameters(model, recipe.training.freeze)
    return model


def _check_shared(config: RnnAttnConfig, tokenizer: PreTrainedTokenizerBase):
    for name in ONE_VOCABULARY_OPTIONS:
        if getattr(config, name) and hasattr(tokenizer, "target_tokenizer"):
            raise ValueError(
                f"model.{name}: expected one vocabulary for both sides, got separate ones; set tokenizer.joint to true "
                f"or leave {name} out"
            )


def _set_dropout(config: PreTrainedConfig, dropout: float | None):
    if dropout is not None:
        names = ("encoder_dropout", "decoder_dropout") if isinstance(config, RnnAttnConfig) else ("dropout",)
        config.update(dict.fromkeys(names, dropout))


def _set_generation(model: PreTrainedModel, generation: dict[str, Any]):
    config = model.generation_config
    if {"max_length", "max_new_tokens"} & generation.keys():
        # one limit takes the place of the other
        config.max_length = config.max_new_tokens = None
    config.update(**generation)
    if config.num_beams is None:
        # said once and for all, because a pipeline would choose 4
        config.num_beams = 1


def _build_trainer(
    recipe: Recipe,
    arguments: Seq2SeqTrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: dict[str, Dataset | IterableDataset],
) -> Seq2SeqTrainer:
    options = {
        "model": model,
        "args": arguments,
        "data_collator": DataCollatorForSeq2Seq(tokenizer, model=model),
        "processing_class": tokenizer,
        "train_dataset": encode_pairs(pairs["train"], tokenizer, **recipe.data.encoding),
        "callbacks": _build_callbacks(recipe),
    }
    if "validation" in pairs:
        options["eval_dataset"] = encode_pairs(pairs["validation"], tokenizer)
        if arguments.predict_with_generate:
            options["compute_metrics"] = trainer_metrics(tokenizer, _load_metrics(recipe))
    return RnnAttnTrainer(**options, tokens_per_batch=recipe.training.tokens_per_batch)


def _build_callbacks(recipe: Recipe) -> list[TrainerCallback]:
    callbacks = []
    if recipe.training.scheduled_sampling is not None:
        callbacks.append(ScheduledSamplingCallback(**dataclasses.asdict(recipe.training.scheduled_sampling)))
    if recipe.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(recipe.training.early_stopping_patience))
    return callbacks


def _average_into(trainer: Seq2SeqTrainer, count: int | None) -> list[str]:
    """Writes the mean of checkpoints to `output_dir`, loads it into the model and returns the checkpoints' names."""
    if count is None:
        return []
    arguments = trainer.args
    paths = select_checkpoints(
        arguments.output_dir, count, arguments.metric_for_best_model, greater_is_better=arguments.greater_is_better
    )
    with arguments.main_process_first(desc="averaging checkpoints"):
        if arguments.process_index == 0:
            average_checkpoints(paths, arguments.output_dir)
    load_model(trainer.model, Path(arguments.output_dir) / WEIGHTS_FILE)
    return [path.name for path in paths]


def _load_metrics(recipe: Recipe) -> dict[str, TextMetric]:
    return {name: load_metric(name, **options) for name, options in recipe.evaluation.metrics.items()}


def _score_splits(
    trainer: Seq2SeqTrainer,
    tokenizer: PreTrainedTokenizerBase,
    pairs: dict[str, Dataset | IterableDataset],
    recipe: Recipe,
) -> dict[str, dict[str, Any]]:
    """Translates validation and test pairs as `generation` says and compares texts with texts."""
    trainer.args.predict_with_generate = True
    trainer.compute_metrics = None
    grouped = recipe.evaluation.group_references
    scores = {}
    for split, dataset in pairs.items():
        if split != "train":
            dataset = group_references(dataset) if grouped else dataset
            references = dataset["references" if grouped else "target"]
            translations = _translate(trainer, tokenizer, dataset)
            scores[split] = score_texts(
                dataset["source"], translations, references, _load_metrics(recipe), recipe.evaluation.by_length
            )
    return scores


def _translate(trainer: Seq2SeqTrainer, tokenizer: PreTrainedTokenizerBase, pairs: Dataset) -> list[str]:
    # the trainer's own `generation_num_beams` is for the quick looks during the training
    beams = trainer.model.generation_config.num_beams
    ids = trainer.predict(encode_pairs(pairs, tokenizer), num_beams=beams).predictions
    # several processes fill their last batch up with sentences from the beginning
    ids = np.where(ids == -100, tokenizer.pad_token_id, ids)[: len(pairs)]
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def score_texts(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str | Sequence[str]],
    metrics: Mapping[str, TextMetric],
    by_length: Sequence[int] = (),
) -> dict[str, Any]:
    """The result of each metric by its name; with `by_length`, also the first metric by length of the source.

    Args:
        sources, translations, references (`Sequence`):
            In the same order; a reference is one text or a list of accepted texts.
        metrics (`Mapping[str, TextMetric]`):
            Each under the name that its result gets.
        by_length (`Sequence[int]`, *optional*):
            The `edges` of [`hf_rnn_attn.evaluation.score_by_length`].
    """
    results = {
        name: metric.compute(predictions=translations, references=references) for name, metric in metrics.items()
    }
    if by_length:
        first = next(iter(metrics.values()))
        results["by_length"] = score_by_length(sources, translations, references, first, by_length)
    return results
