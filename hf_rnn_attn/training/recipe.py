# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes: one YAML file that says how a model is trained, checked before anything is computed.

This file reads recipes and raises for unknown keys. It takes the names of the settings from the signatures of the
functions that get them; it does not know what they do, and it does not touch data or weights.

    data:                          # where the pairs are; any other option of `hf_rnn_attn.data.read_pairs`
      train: train.tsv             # relative to the recipe's own folder
      validation: {source: val.de, target: val.en}
    tokenizer: {kind: bpe, vocab_size: 8000}
    model: {attention_score: general}
    training:                      # any field of Seq2SeqTrainingArguments, and the few of `TrainingSection`
      output_dir: runs/first       # relative to the current directory, as on any command line
      num_train_epochs: 3
    generation: {num_beams: 5}     # saved with the checkpoint
    evaluation: {metrics: {sacrebleu: {lowercase: true}}}

`base: other.yaml` takes every key from another recipe in the same folder; keys that are given beside it win.
"""

import copy
import dataclasses
import difflib
import inspect
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, Seq2SeqTrainingArguments

from ..data import encode_pairs, read_pairs
from ..evaluation import ERROR_RATES, METRICS
from ..model.configuration_rnn_attn import ONE_VOCABULARY_OPTIONS, RnnAttnConfig
from ..tokenization import train_tokenizer


FILE_SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet", ".gz")
# what a config says about the vocabulary follows from the tokenizer, so a recipe must not say it
TOKENIZER_FIELDS = (
    "vocab_size",
    "decoder_vocab_size",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
    "is_encoder_decoder",
)


class _RecipeLoader(yaml.SafeLoader):
    """YAML with three traps removed: `1e-3` is a number and `no` a word (YAML 1.1 reads a string and a boolean), and a
    key given twice is an error.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice in one mapping", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclasses.dataclass
class DataSection:
    """Where the pairs come from.

    Args:
        train (`str`, `list` or `dict`):
            What `hf_rnn_attn.data.read_pairs` reads: a file, or `{source: file, target: file}` for line-aligned text.
        validation (as `train`, *optional*): Scored during the training as `eval_strategy` says, and at its end.
        test (`dict` from a name to what `train` takes, *optional*): Scored once, at the end of the training.
        reading (`dict`):
            Keyword arguments of `read_pairs`, such as `source_column`; keys of the section like the others.
        encoding (`dict`): Keyword arguments of `encode_pairs`, such as `max_source_length`; keys of the section like
            the others. They limit the training pairs; validation and test are scored whole.
    """

    train: Any
    validation: Any = None
    test: dict[str, Any] = dataclasses.field(default_factory=dict)
    reading: dict[str, Any] = dataclasses.field(default_factory=dict)
    encoding: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ScheduledSamplingSection:
    """The arguments of [`hf_rnn_attn.training.ScheduledSamplingCallback`], where they are explained."""

    schedule: str
    k: float
    c: float | None = None
    minimum: float = 0.0


@dataclasses.dataclass
class TrainingSection:
    """How the model is trained.

    Args:
        arguments (`dict`): Fields of `Seq2SeqTrainingArguments`, `output_dir` among them. `resume_from_checkpoint:
            true` continues from the last checkpoint in `output_dir`.
        tokens_per_batch (`int`, *optional*):
            Batches of similarly long sentences, at most so many tokens each, instead of `per_device_train_batch_size`.
        scheduled_sampling ([`ScheduledSamplingSection`], *optional*): Teacher forcing that decays.
        dropout (`float`, *optional*):
            For a checkpoint that is tuned: the dropout of its encoder and decoder from now on.
        freeze (`list[str]`): Shell patterns (`model.encoder.*`) of the names of the parameters that keep their values.
        average_checkpoints (`int`, *optional*): The saved model is the mean of this many checkpoints: the best by
            `metric_for_best_model` where that is set, else the last.
        early_stopping_patience (`int`, *optional*):
            Stop after this many evaluations without a better `metric_for_best_model`.
    """

    arguments: dict[str, Any]
    tokens_per_batch: int | None = None
    scheduled_sampling: ScheduledSamplingSection | None = None
    dropout: float | None = None
    freeze: list[str] = dataclasses.field(default_factory=list)
    average_checkpoints: int | None = None
    early_stopping_patience: int | None = None


@dataclasses.dataclass
class EvaluationSection:
    """How translations are scored.

    Args:
        metrics (`dict` from a name to a `dict`): Names for `hf_rnn_attn.evaluation.load_metric`, each with its options,
            such as `{sacrebleu: {lowercase: true}}`.
        group_references (`bool`):
            A source that stands in several rows is translated and scored once, against all their targets.
        by_length (`list[int]`): Where given, the first metric is also computed by the length of the source: the last
            length of each group of sentences but the last group, in words.
    """

    metrics: dict[str, dict[str, Any]] = dataclasses.field(default_factory=lambda: {"sacrebleu": {}, "chrf": {}})
    group_references: bool = False
    by_length: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Recipe:
    """A checked recipe.

    Args:
        file (`str`): The file it was read from.
        data ([`DataSection`]): Its paths are joined with the folder of the file.
        tokenizer (`dict`):
            Keyword arguments of `hf_rnn_attn.tokenization.train_tokenizer`; empty where `model` is a checkpoint.
        model (`dict` or `str`): Keyword arguments of `RnnAttnConfig`, or the checkpoint folder or Hub id to fine-tune,
            whose tokenizer is used.
        training ([`TrainingSection`]): How the model is trained.
        generation (`dict`): Fields of `GenerationConfig`.
        evaluation ([`EvaluationSection`]): How translations are scored.
    """

    file: str
    data: DataSection
    tokenizer: dict[str, Any]
    model: dict[str, Any] | str
    training: TrainingSection
    generation: dict[str, Any]
    evaluation: EvaluationSection

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain lists and mappings, to be written beside the results."""
        return dataclasses.asdict(self)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads and checks a recipe.

    Args:
        path (`str` or `Path`): The YAML file.
        overrides (`Iterable[str]`, *optional*):
            `section.key=value` assignments that win over the file, the value in YAML: `training.learning_rate=1e-3`.

    Raises:
        FileNotFoundError: the file, or the base that it names, does not exist.
        ValueError: no valid YAML; a base in another folder; a key that nothing reads (the message names the file, the
            key and the nearest valid one); a required key that is missing; values that contradict each other.
    """
    path = Path(path)
    raw = _read_yaml(path)
    for override in overrides:
        _apply_override(raw, override)
    return _build_recipe(raw, path)


def _read_yaml(path: Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the mapping of the file merged into that of its `base`; `above` are the files that named it as a base."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe; expected a YAML file")
    raw = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    base = raw.pop("base", None)
    if base is None:
        return raw
    above = (*above, path.name)
    # the paths of both are relative to one folder
    if not isinstance(base, str) or Path(base).name != base or base in above:
        raise ValueError(f"{path}: base: expected the name of another recipe in the same folder, got {base!r}")
    return _merge(_read_yaml(path.with_name(base), above), raw)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns `base` with the keys of `changes`; where both hold a mapping, the two are merged."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _parse_yaml(text: str, where: str) -> dict[str, Any]:
    try:
        raw = yaml.load(text, Loader=_RecipeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    return _check_mapping(raw, where, "the recipe")


def _apply_override(raw: dict[str, Any], override: str):
    """Writes one `section.key=value` into the raw mapping, to be checked like what the file says."""
    name, equals, value = override.partition("=")
    *parents, last = name.strip().split(".")
    if not equals or not last:
        raise ValueError(f"--set {override}: expected section.key=value, such as training.num_train_epochs=3")
    target = raw
    for depth, parent in enumerate(parents):
        child = target.get(parent)
        target[parent] = {} if child is None else child
        target = _check_mapping(target[parent], f"--set {override}", ".".join(parents[: depth + 1]))
    try:
        target[last] = yaml.load(value, Loader=_RecipeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"--set {override}: the value is not valid YAML: {' '.join(str(error).split())}") from error


def _build_recipe(raw: dict[str, Any], path: Path) -> Recipe:
    sections = ["data", "tokenizer", "model", "training", "generation", "evaluation"]
    _check_keys(raw, sections, path, "")
    # a section without content reads as None
    raw = {name: {} if raw.get(name) is None else copy.deepcopy(raw[name]) for name in sections}
    for name in sections:
        if not (name == "model" and isinstance(raw[name], str)):
            _check_mapping(raw[name], str(path), name)
    return Recipe(
        file=str(path),
        data=_build_data(raw["data"], path),
        tokenizer=_check_tokenizer(raw["tokenizer"], raw["model"], path),
        model=_check_model(raw["model"], path),
        training=_build_training(raw["training"], path),
        generation=_check_generation(raw["generation"], path),
        evaluation=_build_evaluation(raw["evaluation"], path),
    )


def _build_data(raw: dict[str, Any], path: Path) -> DataSection:
    splits = ["train", "validation", "test"]
    reading = _keyword_names(read_pairs, skip=("data",))
    encoding = _keyword_names(encode_pairs, skip=("dataset", "tokenizer"))
    _check_keys(raw, splits + reading + encoding, path, "data")
    if raw.get("train") is None:
        raise ValueError(f"{path}: data.train is missing; it names the pairs to train on")
    tests = _check_mapping(raw.get("test") or {}, str(path), "data.test")
    return DataSection(
        train=_resolve_paths(raw["train"], path.parent),
        validation=_resolve_paths(raw.get("validation"), path.parent),
        test={name: _resolve_paths(value, path.parent) for name, value in tests.items()},
        reading={name: value for name, value in raw.items() if name in reading},
        encoding={name: value for name, value in raw.items() if name in encoding},
    )


def _check_tokenizer(raw: dict[str, Any], model: dict | str, path: Path) -> dict[str, Any]:
    if isinstance(model, str) and raw:
        raise ValueError(f"{path}: tokenizer: the checkpoint {model!r} brings its tokenizer; remove this section")
    _check_keys(raw, _keyword_names(train_tokenizer, skip=("source", "target")), path, "tokenizer")
    # RnnAttnConfig compares sizes alone, and two vocabularies may be of one size
    shared = [name for name in ONE_VOCABULARY_OPTIONS if isinstance(model, dict) and model.get(name)]
    if shared and not raw.get("joint", True):
        raise ValueError(
            f"{path}: model.{shared[0]}: expected one vocabulary for both sides, got separate ones; set "
            f"tokenizer.joint to true or leave {shared[0]} out"
        )
    return raw


def _check_model(raw: dict[str, Any] | str, path: Path) -> dict[str, Any] | str:
    if isinstance(raw, str):
        return _resolve_paths(raw, path.parent)
    own = inspect.get_annotations(RnnAttnConfig)
    _check_keys(raw, [name for name in own if name not in TOKENIZER_FIELDS], path, "model")
    try:
        RnnAttnConfig(**raw)
    except (ValueError, StrictDataclassError) as error:
        raise ValueError(f"{path}: model: {error}") from error
    return raw


def _build_training(raw: dict[str, Any], path: Path) -> TrainingSection:
    own = [field.name for field in dataclasses.fields(TrainingSection) if field.name != "arguments"]
    stock = [field.name for field in dataclasses.fields(Seq2SeqTrainingArguments) if field.init]
    _check_keys(raw, own + stock, path, "training")
    if raw.get("output_dir") is None:
        raise ValueError(f"{path}: training.output_dir is missing; it names the folder that the run writes to")
    section = TrainingSection(
        arguments={name: value for name, value in raw.items() if name in stock},
        **{name: value for name, value in raw.items() if name in own and value is not None},
    )
    sampling = raw.get("scheduled_sampling")
    if sampling is not None:
        where = "training.scheduled_sampling"
        _check_mapping(sampling, str(path), where)
        section.scheduled_sampling = _build_section(ScheduledSamplingSection, sampling, path, where)
    return section


def _check_generation(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    names = [name for name in vars(GenerationConfig()) if not name.startswith("_")]
    _check_keys(raw, names, path, "generation")
    try:
        GenerationConfig(**raw).validate(strict=True)
    except ValueError as error:
        raise ValueError(f"{path}: generation: {error}") from error
    return raw


def _build_evaluation(raw: dict[str, Any], path: Path) -> EvaluationSection:
    section = _build_section(EvaluationSection, raw, path, "evaluation")
    _check_keys(
        _check_mapping(section.metrics, str(path), "evaluation.metrics"), list(METRICS), path, "evaluation.metrics"
    )
    section.metrics = {name: options or {} for name, options in section.metrics.items()}
    for name, options in section.metrics.items():
        where = f"evaluation.metrics.{name}"
        _check_keys(_check_mapping(options, str(path), where), _keyword_names(METRICS[name]), path, where)
    return section


def _build_section(section_class: type, raw: dict[str, Any], path: Path, section: str):
    fields = dataclasses.fields(section_class)
    _check_keys(raw, [field.name for field in fields], path, section)
    for field in fields:
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and raw.get(field.name) is None:
            raise ValueError(f"{path}: {section}.{field.name} is missing")
    return section_class(**raw)


def _check_mapping(value: Any, where: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {name} must be a mapping of keys to values, got {value!r}")
    return value


def _check_keys(raw: dict[str, Any], valid: list[str], path: Path, section: str):
    """Raises for the first key of `raw` that is not among `valid`, and names the nearest valid one."""
    for key in raw:
        if key in valid:
            continue
        name = f"{section}.{key}" if section else str(key)
        nearest = difflib.get_close_matches(str(key), valid, n=1, cutoff=0)
        advice = f"did you mean {nearest[0]!r}?" if nearest else "this section takes no keys"
        raise ValueError(f"{path}: unknown key {name!r}; {advice}")


def _keyword_names(function, skip: Iterable[str] = ()) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named and p.name != "self" and p.name not in skip]


def _resolve_paths(value: Any, folder: Path) -> Any:
    """Joins the files and folders that `value` names with `folder`; what is neither is a Hub name and stays."""
    if isinstance(value, list):
        return [_resolve_paths(item, folder) for item in value]
    if isinstance(value, dict) and set(value) == {"source", "target"}:
        return {side: str(folder / file) for side, file in value.items()}
    if isinstance(value, dict):
        return {key: _resolve_paths(item, folder) for key, item in value.items()}
    if isinstance(value, str) and (Path(value).suffix in FILE_SUFFIXES or (folder / value).exists()):
        return str(folder / value)
    return value


def training_arguments(recipe: Recipe) -> Seq2SeqTrainingArguments:
    """Returns the library's arguments of a recipe, after the checks that need them.

    Raises:
        ValueError: settings that contradict each other or the launch.
    """
    arguments = Seq2SeqTrainingArguments(**recipe.training.arguments)
    _check_processes(arguments)
    _check_arguments(recipe, arguments)
    scheduler: Any = arguments.lr_scheduler_kwargs or {}
    if arguments.lr_scheduler_type == "reduce_lr_on_plateau" and "mode" not in scheduler:
        # the library knows which way is better, and does not tell the scheduler
        arguments.lr_scheduler_kwargs = {**scheduler, "mode": "max" if arguments.greater_is_better else "min"}
    return arguments


def _check_processes(arguments: Seq2SeqTrainingArguments):
    """Raises where launched processes do not form a group: each would train alone and write the same files."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != arguments.world_size:
        raise ValueError(
            f"{launched} processes were launched and this one sees {arguments.world_size}; without a GPU for each, set "
            "training.use_cpu: true"
        )


def _check_arguments(recipe: Recipe, arguments: Seq2SeqTrainingArguments):
    """Raises for contradictions that the library would notice after an epoch, or never."""
    section, where = recipe.training, f"{recipe.file}: training"
    if arguments.eval_strategy != "no" and recipe.data.validation is None:
        raise ValueError(f"{where}.eval_strategy: {recipe.training.arguments['eval_strategy']} needs data.validation")
    if section.early_stopping_patience is not None and arguments.eval_strategy == "no":
        raise ValueError(f"{where}.early_stopping_patience needs training.eval_strategy: epoch or steps")
    if section.early_stopping_patience is not None and arguments.metric_for_best_model is None:
        raise ValueError(f"{where}.early_stopping_patience needs training.metric_for_best_model")
    if section.tokens_per_batch is not None and recipe.data.reading.get("streaming"):
        raise ValueError(f"{where}.tokens_per_batch sorts the pairs and cannot do so with data.streaming")
    if section.dropout is not None and not isinstance(recipe.model, str):
        raise ValueError(f"{where}.dropout is for a checkpoint to tune; set model.encoder_dropout and decoder_dropout")
    _check_best_metric(recipe, arguments)


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
