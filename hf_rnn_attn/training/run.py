# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A run: what a recipe describes, from text to a scored checkpoint.

Puts data, tokenizer, model and trainer together. Does not know how text is read, how tokens are made or how scores are
computed.
"""

import ctypes
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, IterableDataset
from safetensors.torch import load_model
from transformers import (
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
from ..model.checkpoint_rnn_attn import load_checkpoint, load_config, load_tokenizer
from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.pipeline_rnn_attn import sides_of
from ..model.placeholders_rnn_attn import KINDS, Placeholders, restore
from ..tokenization import tokenizer_settings, train_tokenizer
from ..variation import known_words, mask_pairs, vary_pairs
from .callbacks import ScheduledSamplingCallback
from .checkpoints import WEIGHTS_FILE, average_checkpoints, select_checkpoints, write_text
from .defaults import choose_batch, choose_precision, describe_choice, with_training
from .growth import grow_model, grow_tokenizer
from .recipe import Recipe, training_arguments
from .record import RESULTS_FILE, begin, check_same_run, describe_run, earlier_choice, find_start, locked, write_record
from .trainer import RnnAttnTrainer, freeze_parameters


logger = logging.getLogger(__name__)

TOKENIZER_FOLDER = "tokenizer"
# pairs that are looked at for unknown tokens, and the share that is worth a line
UNKNOWN_ROWS, UNKNOWN_SHARE = 10_000, 0.05
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


def train(recipe: Recipe, *, force: bool = False) -> dict[str, Any]:
    """Trains, scores and saves a model as a recipe says.

    1. The pairs are read, the tokenizer is trained (or comes with the checkpoint to fine-tune) and saved. `run.json`
       says what the run was started with.
    2. The model is made or loaded, and trained; `resume_from_checkpoint: true` continues from the last checkpoint that
       is whole.
    3. Model, tokenizer and generation defaults are saved in `output_dir`, and the log in `trainer_state.json`.
    4. With `average_checkpoints`, the mean of checkpoints takes the place of its weights.
    5. Validation and test pairs are translated and scored; `results.json` in `output_dir` says how it went.

    Under `accelerate launch` every process calls this function, and the first alone writes.

    Args:
        recipe ([`Recipe`]): What [`load_recipe`] returns.
        force (`bool`): Remove an earlier run from `output_dir`, or, where a run is resumed, go on with other settings.

    Returns:
        `dict`: what `results.json` holds: `scores` by split and metric with signatures, `train_seconds` (of this call:
        a resumed run counts from the resumption), `parameters`, `steps`, `averaged` (names of checkpoints) and the
        `recipe`.

    Raises:
        ValueError: settings that contradict each other, the data or the run that is resumed; a training that blows up.
        OSError: a checkpoint or the model cannot be written.
    """
    chosen = earlier_choice(recipe)
    chosen = choose_precision(recipe) if chosen is None else chosen
    recipe = with_training(recipe, chosen)
    arguments = training_arguments(recipe)
    with locked(arguments):
        return _train(recipe, arguments, chosen, force)


def _train(recipe: Recipe, arguments: Seq2SeqTrainingArguments, chosen: dict[str, Any], force: bool) -> dict[str, Any]:
    set_seed(arguments.seed)
    folder, start = Path(str(arguments.output_dir)), find_start(arguments, force)
    pairs = _read_splits(recipe)
    record = describe_run(recipe, arguments, pairs, chosen)
    if start:
        check_same_run(record, start, arguments, force)
    if arguments.process_index == 0:
        begin(folder, record, start)
    if recipe.data.variation:
        pairs["train"] = vary_pairs(pairs["train"], **recipe.data.variation)
    tokenizer = _prepare_tokenizer(recipe, pairs["train"], arguments, start)
    model = _prepare_model(recipe, tokenizer)
    encoded = _encode_splits(recipe, _mask_splits(pairs, tokenizer), tokenizer)
    if isinstance(recipe.model, str):
        _warn_of_unknown(recipe.model, tokenizer, encoded["train"])
    batch = {} if start else choose_batch(recipe, encoded["train"])
    recipe, chosen = with_training(recipe, batch), chosen | batch
    if arguments.process_index == 0 and chosen:
        write_record(folder, {**record, "training": record["training"] | batch, "chosen": sorted(chosen)})
        logger.warning(describe_choice(recipe, chosen))
    trainer = _build_trainer(recipe, arguments, model, tokenizer, encoded)
    outcome = trainer.train(resume_from_checkpoint=str(start) if start else None)
    if trainer.state.global_step == 0:
        raise ValueError(f"{recipe.file}: training: not one step was made; expected a whole batch of pairs")
    # before all that may fail
    trainer.save_model()
    trainer.save_state()
    averaged = _average_into(trainer, recipe.training.average_checkpoints)
    results = {
        "scores": _score_splits(trainer, tokenizer, pairs, encoded, recipe),
        "train_seconds": outcome.metrics["train_runtime"],
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "averaged": averaged,
        "recipe": recipe.to_dict(),
    }
    if trainer.is_world_process_zero():
        write_text(folder / RESULTS_FILE, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
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
    recipe: Recipe, pairs: Dataset | IterableDataset, arguments: Seq2SeqTrainingArguments, start: Path | None
) -> PreTrainedTokenizerBase:
    """Trains the tokenizer once, or lets that of a checkpoint grow, on the first process; every process reads what was
    saved, and a resumed run what its checkpoint holds.
    """
    if start:
        return load_tokenizer(start)
    folder, grow = Path(str(arguments.output_dir)) / TOKENIZER_FOLDER, recipe.tokenizer.get("grow")
    if isinstance(recipe.model, str):
        kind = load_config(recipe.model).model_type
        if grow and kind != RnnAttnConfig.model_type:
            raise ValueError(
                f"{recipe.file}: tokenizer.grow: expected a checkpoint of type {RnnAttnConfig.model_type}, got {kind}"
            )
        if grow is False or kind != RnnAttnConfig.model_type:
            return load_tokenizer(recipe.model)
    with arguments.main_process_first(desc="training the tokenizer"):
        if arguments.process_index == 0 and isinstance(recipe.model, str):
            tokenizer = load_tokenizer(recipe.model)
            # what a placeholder stands for needs no tokens
            pairs = _mask_splits({"train": pairs}, tokenizer)["train"]
            grow_tokenizer(tokenizer, pairs, folder, every_kind=bool(grow))
        elif arguments.process_index == 0:
            has_features = "features" in (pairs.column_names or ())
            features = set(chain.from_iterable(_column(pairs, "features"))) if has_features else ()
            kinds = recipe.data.placeholders
            placeholders: dict[str, Any] = {}
            if kinds:
                placeholders["placeholders"] = list(KINDS) if kinds is True else kinds
                placeholders["known_words"] = known_words(pairs) if "name" in placeholders["placeholders"] else ()
                pairs = mask_pairs(pairs, Placeholders(*placeholders.values()))
            sides = (_column(pairs, "source"), _column(pairs, "target"))
            tokenizer = train_tokenizer(*sides, **recipe.tokenizer, features=features, **placeholders)
            tokenizer.save_pretrained(folder)
    return load_tokenizer(folder)


def _mask_splits(pairs: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Returns the pairs with the placeholders that the tokenizer knows, if any."""
    placeholders = Placeholders.of(tokenizer)
    return pairs if placeholders is None else {name: mask_pairs(some, placeholders) for name, some in pairs.items()}


def _column(pairs: Any, name: str) -> Iterator[Any]:
    return (pair[name] for pair in pairs)


def _prepare_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    grown = []
    if isinstance(recipe.model, str):
        config = load_config(recipe.model)
        _set_dropout(config, recipe.training.dropout)
        model, known = load_checkpoint(recipe.model, config=config)
        if isinstance(config, RnnAttnConfig):
            grown = grow_model(model, known, tokenizer)
    else:
        source_side, target_side = sides_of(tokenizer)
        config = RnnAttnConfig(
            **recipe.model,
            vocab_size=len(source_side),
            decoder_vocab_size=len(target_side),
            **tokenizer_settings(tokenizer),
            decoder_start_token_id=cast(int, tokenizer.bos_token_id),
        )
        model = RnnAttnForConditionalGeneration(config)
    _set_generation(model, recipe.generation)
    if recipe.training.freeze:
        frozen = freeze_parameters(model, recipe.training.freeze)
        for name in [name for name in grown if name in frozen]:
            logger.warning("%s is frozen: its new tokens keep their first values; see training.freeze", name)
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


def _warn_of_unknown(name: str, tokenizer: PreTrainedTokenizerBase, encoded: Any):
    """Says how many of the tokens to train on a checkpoint's tokenizer does not know, where that is more than a few."""
    for column, side in zip(("input_ids", "labels"), sides_of(tokenizer), strict=True):
        rows = next(encoded.iter(batch_size=UNKNOWN_ROWS))[column]
        unknown = [token == side.unk_token_id for row in rows for token in row]
        share = sum(unknown) / max(1, len(unknown))
        if share >= UNKNOWN_SHARE:
            logger.warning("%.0f %% of the tokens in %s are unknown to the tokenizer of %s", 100 * share, column, name)


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
        "callbacks": _build_callbacks(recipe, arguments),
    }
    if "validation" in encoded:
        options["eval_dataset"] = encoded["validation"]
        if arguments.predict_with_generate:
            options["compute_metrics"] = trainer_metrics(tokenizer, _load_metrics(recipe))
    if isinstance(encoded["train"], IterableDataset):
        # every process reads the stream and takes its part; the first cannot hand out batches of different widths
        cast(Any, arguments.accelerator_config).dispatch_batches = False
    return RnnAttnTrainer(**options, tokens_per_batch=recipe.training.tokens_per_batch)


def _build_callbacks(recipe: Recipe, arguments: Seq2SeqTrainingArguments) -> list[TrainerCallback]:
    callbacks = []
    if recipe.training.scheduled_sampling is not None:
        callbacks.append(ScheduledSamplingCallback(**recipe.training.scheduled_sampling))
    if recipe.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(recipe.training.early_stopping_patience))
        # how many evaluations were without a better one
        arguments.restore_callback_states_from_checkpoint = True
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
        translations = _translate(trainer, tokenizer, rows, dataset["source"])
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


def _translate(
    trainer: Seq2SeqTrainer, tokenizer: PreTrainedTokenizerBase, encoded: Any, sources: Sequence[str]
) -> list[str]:
    placeholders = Placeholders.of(tokenizer)
    masked = [placeholders.mask(source) for source in sources] if placeholders else []
    if placeholders:
        # the pairs have placeholders only where the references hold the same pieces
        texts = [text for text, _ in masked]
        encoded = encode_pairs(Dataset.from_dict({"source": texts, "target": texts}), tokenizer)
    # the trainer's own `generation_num_beams` is for the quick looks during the training
    beams = cast(Any, trainer.model).generation_config.num_beams
    ids: Any = trainer.predict(encoded, num_beams=beams).predictions
    # several processes fill their last batch up with sentences from the beginning
    ids = np.where(ids == -100, cast(int, tokenizer.pad_token_id), ids)[: len(encoded)]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    if placeholders is None:
        return texts
    return [restore(text, *source, {}) for text, source in zip(texts, masked, strict=True)]
