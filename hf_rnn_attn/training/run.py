# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A run: what a recipe describes, from text to a scored checkpoint.

Puts data, tokenizer, model and trainer together. Does not know how text is read, how tokens are made or how scores are
computed.
"""

import ctypes
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, IterableDataset
from safetensors.torch import load_model
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

from ..data import encode_pairs, group_references, read_pairs
from ..evaluation import TextMetric, load_metric, score_texts, trainer_metrics
from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.pipeline_rnn_attn import sides_of
from ..tokenization import special_ids, train_tokenizer
from .callbacks import ScheduledSamplingCallback
from .checkpoints import WEIGHTS_FILE, average_checkpoints, select_checkpoints
from .recipe import Recipe, training_arguments
from .trainer import RnnAttnTrainer, freeze_parameters


RESULTS_FILE = "results.json"
TOKENIZER_FOLDER = "tokenizer"
# options of mallopt in malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory():
    """Tells the C library to keep the memory that tensors free, instead of giving it back to the system.

    A training step allocates and frees the same large tensors again and again. Given back, every page of them is
    cleared and mapped anew, which costs more than a tenth of the time on a CPU. It holds for the whole process, and
    does nothing where the C library is not GNU's.
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
        recipe ([`Recipe`]): What [`load_recipe`] returns.

    Returns:
        `dict`: what `results.json` holds: `scores` by split and metric with signatures, `train_seconds` (of this call:
        a resumed run counts from the resumption), `parameters`, `steps`, `averaged` (names of checkpoints) and the
        `recipe`.

    Raises:
        ValueError: settings that contradict each other or the data.
    """
    arguments = training_arguments(recipe)
    set_seed(arguments.seed)
    pairs = _read_splits(recipe)
    tokenizer = _prepare_tokenizer(recipe, pairs["train"], arguments)
    model = _prepare_model(recipe, tokenizer)
    encoded = _encode_splits(recipe, pairs, tokenizer)
    trainer = _build_trainer(recipe, arguments, model, tokenizer, encoded)
    outcome = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint)
    averaged = _average_into(trainer, recipe.training.average_checkpoints)
    trainer.save_model()
    trainer.save_state()
    results = {
        "scores": _score_splits(trainer, tokenizer, pairs, encoded, recipe),
        "train_seconds": outcome.metrics["train_runtime"],
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "averaged": averaged,
        "recipe": recipe.to_dict(),
    }
    if trainer.is_world_process_zero():
        text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
        (Path(str(arguments.output_dir)) / RESULTS_FILE).write_text(text, encoding="utf-8")
    return results


def _read_splits(recipe: Recipe) -> dict[str, Any]:
    """Reads the pairs of each split, by its name; only the training pairs may be a stream."""
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
        return AutoTokenizer.from_pretrained(recipe.model, trust_remote_code=False)
    folder = Path(str(arguments.output_dir)) / TOKENIZER_FOLDER
    with arguments.main_process_first(desc="training the tokenizer"):
        if arguments.process_index == 0 and not arguments.resume_from_checkpoint:
            tokenizer = train_tokenizer(_texts(pairs, "source"), _texts(pairs, "target"), **recipe.tokenizer)
            tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _texts(pairs: Any, side: str) -> Iterator[str]:
    return (pair[side] for pair in pairs)


def _prepare_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    if isinstance(recipe.model, str):
        config = AutoConfig.from_pretrained(recipe.model, trust_remote_code=False)
        _set_dropout(config, recipe.training.dropout)
        model = AutoModelForSeq2SeqLM.from_pretrained(recipe.model, config=config, trust_remote_code=False)
    else:
        source_side, target_side = sides_of(tokenizer)
        config = RnnAttnConfig(
            **recipe.model,
            vocab_size=len(source_side),
            decoder_vocab_size=len(target_side),
            **special_ids(tokenizer),
            decoder_start_token_id=cast(int, tokenizer.bos_token_id),
        )
        model = RnnAttnForConditionalGeneration(config)
    _set_generation(model, recipe.generation)
    if recipe.training.freeze:
        freeze_parameters(model, recipe.training.freeze)
    return model


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
    # a checkpoint may say otherwise, and a score compares one translation with each source
    config.num_return_sequences = 1
    if config.num_beams is None:
        # set, because a pipeline would choose 4
        config.num_beams = 1


def _encode_splits(recipe: Recipe, pairs: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Returns the encoded pairs by the name of their split; limits of length hold for the training pairs alone."""
    limits = {"train": recipe.data.encoding}
    return {split: encode_pairs(dataset, tokenizer, **limits.get(split, {})) for split, dataset in pairs.items()}


def _build_trainer(
    recipe: Recipe,
    arguments: Seq2SeqTrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: dict[str, Any],
) -> Seq2SeqTrainer:
    options = {
        "model": model,
        "args": arguments,
        "data_collator": DataCollatorForSeq2Seq(tokenizer, model=model),
        "processing_class": tokenizer,
        "train_dataset": encoded["train"],
        "callbacks": _build_callbacks(recipe),
    }
    if "validation" in encoded:
        options["eval_dataset"] = encoded["validation"]
        if arguments.predict_with_generate:
            options["compute_metrics"] = trainer_metrics(tokenizer, _load_metrics(recipe))
    return RnnAttnTrainer(**options, tokens_per_batch=recipe.training.tokens_per_batch)


def _build_callbacks(recipe: Recipe) -> list[TrainerCallback]:
    callbacks = []
    if recipe.training.scheduled_sampling is not None:
        callbacks.append(ScheduledSamplingCallback(**recipe.training.scheduled_sampling))
    if recipe.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(recipe.training.early_stopping_patience))
    return callbacks


def _average_into(trainer: Seq2SeqTrainer, count: int | None) -> list[str]:
    """Writes the mean of checkpoints to `output_dir`, loads it into the model and returns the checkpoints' names."""
    if count is None:
        return []
    arguments, folder = trainer.args, Path(str(trainer.args.output_dir))
    paths = select_checkpoints(
        folder, count, arguments.metric_for_best_model, greater_is_better=arguments.greater_is_better
    )
    with arguments.main_process_first(desc="averaging checkpoints"):
        if arguments.process_index == 0:
            average_checkpoints(paths, folder)
    load_model(cast(PreTrainedModel, trainer.model), folder / WEIGHTS_FILE)
    return [path.name for path in paths]


def _load_metrics(recipe: Recipe) -> dict[str, TextMetric]:
    return {name: load_metric(name, **options) for name, options in recipe.evaluation.metrics.items()}


def _score_splits(
    trainer: Seq2SeqTrainer,
    tokenizer: PreTrainedTokenizerBase,
    pairs: dict[str, Any],
    encoded: dict[str, Any],
    recipe: Recipe,
) -> dict[str, dict[str, Any]]:
    """Translates validation and test pairs as `generation` says and compares texts with texts."""
    cast(Seq2SeqTrainingArguments, trainer.args).predict_with_generate = True
    trainer.compute_metrics = None
    scores = {}
    for split in [name for name in pairs if name != "train"]:
        dataset, rows, column = pairs[split], encoded[split], "target"
        if recipe.evaluation.group_references:
            rows = rows.select(_first_rows(dataset["source"]))
            dataset, column = group_references(dataset), "references"
        translations = _translate(trainer, tokenizer, rows)
        scores[split] = score_texts(
            dataset["source"], translations, dataset[column], _load_metrics(recipe), recipe.evaluation.by_length
        )
    return scores


def _first_rows(sources: Sequence[str]) -> list[int]:
    """Returns the index of each different source's first row, in their order."""
    rows: dict[str, int] = {}
    for row, source in enumerate(sources):
        rows.setdefault(source, row)
    return list(rows.values())


def _translate(trainer: Seq2SeqTrainer, tokenizer: PreTrainedTokenizerBase, encoded: Any) -> list[str]:
    # the trainer's own `generation_num_beams` is for the quick looks during the training
    beams = cast(Any, trainer.model).generation_config.num_beams
    ids: Any = trainer.predict(encoded, num_beams=beams).predictions
    # several processes fill their last batch up with sentences from the beginning
    ids = np.where(ids == -100, cast(int, tokenizer.pad_token_id), ids)[: len(encoded)]
    return tokenizer.batch_decode(ids, skip_special_tokens=True)
