# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes: one YAML file that says how a model is trained, checked before anything is computed.

This file reads recipes and raises for unknown keys and for values of a wrong type or out of their range. It takes names
and types of the settings from the signatures of the functions that get them; it does not know what they do, and it does
not touch data or weights. Truth values and numbers are those of YAML 1.2: `no` and `1_000` are text, `010` is ten.

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

import contextlib
import dataclasses
import difflib
import enum
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
)
from sacrebleu.metrics import BLEU
from transformers import GenerationConfig, Seq2SeqTrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks
from transformers.training_args import trainer_log_levels

from ..data import check_corpus, encode_pairs, read_pairs
from ..evaluation import ERROR_RATES, METRICS, check_edges, load_metric
from ..inference.processes import check_processes
from ..model.configuration_rnn_attn import ONE_VOCABULARY_OPTIONS, RnnAttnConfig
from ..model.placeholders_rnn_attn import KINDS
from ..packed import OPENERS
from ..tokenization import check_options, train_tokenizer
from ..variation import vary_pairs
from .callbacks import ScheduledSamplingCallback


MAX_BYTES = 100_000
MAX_VALUES = 10_000
MAX_DEPTH = 20
FILE_SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet", ".tmx", ".zip", *OPENERS)
# what a config says about the vocabulary follows from the tokenizer, so a recipe must not say it
TOKENIZER_FIELDS = (
    "vocab_size",
    "decoder_vocab_size",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
    "vocabulary_fingerprints",
    "is_encoder_decoder",
)


# and these of a tokenizer from the data
DATA_OPTIONS = ("features", "placeholders", "known_words")

# the core schema, https://yaml.org/spec/1.2.2/#103-core-schema
_COLLECTION_TAGS = (yaml.BaseLoader.DEFAULT_SEQUENCE_TAG, yaml.BaseLoader.DEFAULT_MAPPING_TAG)
_PLAIN_SCALARS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("|~|null|Null|NULL", lambda text: None),
    ("true|True|TRUE", lambda text: True),
    ("false|False|FALSE", lambda text: False),
    ("[-+]?[0-9]+", int),
    ("0o[0-7]+", lambda text: int(text, 8)),
    ("0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))),
)


Corpora = str | dict[str, Any] | Annotated[list[str | dict[str, Any]], Field(min_length=1)]
Name: Any = Annotated[str, Field(min_length=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Seed: Any = Annotated[int, Field(ge=0, lt=2**32)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclasses.dataclass
class DataSection:
    """Where the pairs come from.

    Args:
        train (`str`, `list` or `dict`):
            What `hf_rnn_attn.data.read_pairs` reads: a file, or `{source: file, target: file}` for line-aligned text.
        validation (as `train`, *optional*): Scored during the training as `eval_strategy` says, and at its end.
        test (`dict` from a name to what `train` takes, *optional*): Scored once, at the end of the training.
        placeholders (`bool` or `list[str]`, *optional*): Kinds of pieces, `true` for all in
            `hf_rnn_attn.model.placeholders_rnn_attn.KINDS`, that the model sees placeholders for where both sides of a
            pair hold them. The pipeline does so with every text, and puts the pieces back.
        variation (`dict`, *optional*): Copies of training pairs in capitals, in small letters and joined: the arguments
            of [`hf_rnn_attn.variation.vary_pairs`].
        reading (`dict`):
            Keyword arguments of `read_pairs`, such as `source_column`; keys of the section like the others.
        encoding (`dict`): Keyword arguments of `encode_pairs`, such as `max_source_length`; keys of the section like
            the others. They limit the training pairs; validation and test are scored whole.
    """

    train: Corpora
    validation: Corpora | None = None
    test: dict[str, Corpora] = dataclasses.field(default_factory=dict)
    placeholders: bool | Annotated[list[Literal[tuple(KINDS)]], Field(min_length=1)] = False  # pyright: ignore
    variation: dict[str, Any] = dataclasses.field(default_factory=dict)
    reading: dict[str, Any] = dataclasses.field(default_factory=dict)
    encoding: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class TrainingSection:
    """How the model is trained.

    Args:
        arguments (`dict`): Fields of `Seq2SeqTrainingArguments`, `output_dir` among them. `resume_from_checkpoint:
            true` continues from the last checkpoint in `output_dir`.
        tokens_per_batch (`int`, *optional*):
            Batches of similarly long sentences, at most so many tokens each, instead of `per_device_train_batch_size`.
        scheduled_sampling (`dict`, *optional*):
            Teacher forcing that decays: the arguments of [`hf_rnn_attn.training.ScheduledSamplingCallback`].
        dropout (`float`, *optional*):
            For a checkpoint that is tuned: the dropout of its encoder and decoder from now on.
        freeze (`list[str]`): Shell patterns (`model.encoder.*`) of the names of the parameters that keep their values.
        average_checkpoints (`int`, *optional*): The saved model is the mean of this many checkpoints: the best by
            `metric_for_best_model` where that is set, else the last.
        early_stopping_patience (`int`, *optional*):
            Stop after this many evaluations without a better `metric_for_best_model`.
    """

    arguments: dict[str, Any]
    tokens_per_batch: PositiveInt | None = None
    scheduled_sampling: dict[str, Any] | None = None
    dropout: Probability | None = None
    freeze: list[str] = dataclasses.field(default_factory=list)
    average_checkpoints: PositiveInt | None = None
    early_stopping_patience: PositiveInt | None = None


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
    by_length: list[PositiveInt] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Recipe:
    """A checked recipe.

    Args:
        file (`str`): The file it was read from.
        data ([`DataSection`]): Its paths are joined with the folder of the file.
        tokenizer (`dict`):
            Keyword arguments of `hf_rnn_attn.tokenization.train_tokenizer`. Where `model` is a checkpoint, only `grow`:
            whether what its tokenizer reads as `<unk>` becomes tokens. Without it, characters and symbols do; with
            `true`, words and characters that subwords spell in bytes as well.
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


_MODEL_TYPES: dict[str, Any] = {
    "encoder_dropout": Probability,
    "decoder_dropout": Probability,
    "initializer_range": Annotated[float | None, Field(gt=0)],
}
# the fields of the library that its own annotations say too little of
_TRAINING_TYPES: dict[str, Any] = {
    "output_dir": Name,
    "num_train_epochs": PositiveFloat,
    "max_steps": Literal[-1] | PositiveInt,
    "learning_rate": PositiveFloat,
    "lr_scheduler_kwargs": dict[str, Any] | None,
    "adam_beta1": Probability,
    "adam_beta2": Probability,
    "adam_epsilon": PositiveFloat,
    "label_smoothing_factor": Probability,
    "gradient_checkpointing_kwargs": dict[str, Any] | None,
    "log_level": Literal[tuple(trainer_log_levels)],
    "log_level_replica": Literal[tuple(trainer_log_levels)],
    "eval_steps": Annotated[float | None, Field(gt=0)],
    "logging_steps": PositiveFloat,
    "save_steps": PositiveFloat,
    "seed": Seed,
    "data_seed": Seed | None,
    "resume_from_checkpoint": bool | str | None,
    "local_rank": int,
} | dict.fromkeys(
    (
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "eval_accumulation_steps",
        "save_total_limit",
        "generation_max_length",
        "generation_num_beams",
    ),
    PositiveInt | None,
)
# those of `GenerationConfig`, which has no annotations, that make sense without a call of `generate`
_GENERATION_TYPES: dict[str, Any] = {
    "max_length": PositiveInt,
    "max_new_tokens": PositiveInt,
    "min_length": NonNegativeInt,
    "min_new_tokens": NonNegativeInt,
    "max_time": PositiveFloat,
    "num_beams": PositiveInt,
    "num_return_sequences": PositiveInt,
    "early_stopping": bool | Literal["never"],
    "length_penalty": float,
    "repetition_penalty": PositiveFloat,
    "encoder_repetition_penalty": PositiveFloat,
    "no_repeat_ngram_size": NonNegativeInt,
    "encoder_no_repeat_ngram_size": NonNegativeInt,
    "bad_words_ids": list[list[NonNegativeInt]],
    "suppress_tokens": list[NonNegativeInt],
    "begin_suppress_tokens": list[NonNegativeInt],
    "forced_bos_token_id": NonNegativeInt,
    "forced_eos_token_id": NonNegativeInt,
    "do_sample": bool,
    "temperature": PositiveFloat,
    "top_k": NonNegativeInt,
    "top_p": Share,
    "min_p": Probability,
    "typical_p": Share,
    "epsilon_cutoff": Probability,
    "eta_cutoff": Probability,
    "renormalize_logits": bool,
    "remove_invalid_values": bool,
    "use_cache": bool,
}


def _schema(name: str, fields: Mapping[str, tuple[Any, bool]]) -> type[BaseModel]:
    """Returns the section with these fields, for each its type and whether it must be given."""
    config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=()
    )
    definitions: Any = {field: (hint, ... if required else None) for field, (hint, required) in fields.items()}
    return create_model(name, __config__=config, **definitions)


def _parameters(function: Callable[..., Any], *skip: str, **types: Any) -> dict[str, tuple[Any, bool]]:
    """Returns the parameters of a function or class that a recipe sets; `types` win over its annotations."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        parameter.name: (types.get(parameter.name, _strict(parameter.annotation)), parameter.default is parameter.empty)
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.kind in named and parameter.name not in skip
    }


def _strict(hint: Any, whole: Any = NonNegativeInt) -> Any:
    """Returns an annotation with the values of its enumerations, and without numbers that no option takes."""
    choices: Any = next((kind for kind in get_args(hint) if isinstance(kind, enum.EnumType)), ())
    if choices:
        return Literal[tuple(choice.value for choice in choices)]
    numbers = {int: whole, float: NonNegativeFloat}
    numbers |= {kind | None: number | None for kind, number in numbers.items()}
    return numbers.get(hint, hint)


_METRICS = _schema(
    "metrics",
    {
        name: (_schema(name, _parameters(metric, tokenize=Literal[tuple(BLEU.TOKENIZERS)])) | None, False)
        for name, metric in METRICS.items()
    },
)
_SECTIONS = {
    "data": _schema(
        "data",
        _parameters(
            DataSection, "reading", "encoding", variation=_schema("variation", _parameters(vary_pairs, "pairs")) | None
        )
        | _parameters(read_pairs, "data")
        | _parameters(encode_pairs, "dataset", "tokenizer"),
    ),
    "tokenizer": _schema(
        "tokenizer", {**_parameters(train_tokenizer, "source", "target", *DATA_OPTIONS), "grow": (bool, False)}
    ),
    "model": _schema(
        "model",
        {
            name: (_MODEL_TYPES.get(name, _strict(hint, Size)), False)
            for name, hint in inspect.get_annotations(RnnAttnConfig).items()
            if name not in TOKENIZER_FIELDS
        },
    ),
    "training": _schema(
        "training",
        _parameters(
            TrainingSection,
            "arguments",
            scheduled_sampling=_schema("scheduled_sampling", _parameters(ScheduledSamplingCallback)) | None,
        )
        | _parameters(Seq2SeqTrainingArguments, **_TRAINING_TYPES)
        | {"output_dir": (_TRAINING_TYPES["output_dir"], True)},
    ),
    "generation": _schema("generation", {name: (hint | None, False) for name, hint in _GENERATION_TYPES.items()}),
    "evaluation": _schema("evaluation", _parameters(EvaluationSection, metrics=_METRICS)),
}


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads and checks a recipe.

    Args:
        path (`str` or `Path`): The YAML file.
        overrides (`Iterable[str]`, *optional*):
            `section.key=value` assignments that win over the file, the value in YAML: `training.learning_rate=1e-3`.

    Raises:
        FileNotFoundError: the file, or the base that it names, does not exist.
        ValueError: no valid YAML; a base in another folder; a key that nothing reads, or a value of a wrong type or out
            of its range (the message names the file, the key and the nearest valid one); a required key that is
            missing; values that contradict each other.
    """
    path = Path(path)
    raw = _read_yaml(path)
    for override in overrides:
        _apply_override(raw, override)
    return _build_recipe(raw, path)


def _read_yaml(path: Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the mapping of the file merged into that of its `base`; `above` are the files that named it as a base."""
    if not os.path.isfile(path):
        found = "is a folder" if os.path.isdir(path) else "no such recipe"
        raise FileNotFoundError(f"{path}: {found}; expected a YAML file")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    raw = _check_mapping(_parse_yaml(_decode(content, path), str(path)), str(path), "the recipe")
    base = raw.pop("base", None)
    if base is None:
        return raw
    above = (*above, path.name)
    # the paths of both are relative to one folder
    if not isinstance(base, str) or not base.isprintable() or Path(base).name != (base or None) or base in above:
        raise ValueError(f"{path}: base: expected the name of another recipe in the same folder, got {_shown(base)}")
    return _merge(_read_yaml(path.with_name(base), above), raw)


def _decode(content: bytes, path: Path) -> str:
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: expected a recipe of at most {MAX_BYTES:,} bytes, got more")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: expected UTF-8, got the byte 0x{content[error.start]:02x}") from error


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns `base` with the keys of `changes`; where both hold a mapping, the two are merged."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _parse_yaml(text: str, where: str) -> Any:
    """Returns the mappings, lists and values of a YAML document; nothing in it is shared, whatever aliases it has."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: expected at most {MAX_DEPTH} levels, got more") from error
    return None if node is None else _value_of(node, where, iter(range(MAX_VALUES)), MAX_DEPTH)


def _value_of(node: yaml.Node, where: str, places: Iterator[int], depth: int) -> Any:
    """Returns what a node and all below it mean; `places` is used up by one for each, `depth` levels are left."""
    line = f"{where}, line {node.start_mark.line + 1}"
    if depth == 0 or next(places, None) is None:
        raise ValueError(f"{line}: expected at most {MAX_VALUES:,} values in {MAX_DEPTH} levels, got more")
    if node.tag not in (yaml.BaseLoader.DEFAULT_SCALAR_TAG, *_COLLECTION_TAGS):
        raise ValueError(f"{line}: expected a value without a tag, got {node.tag!r}; remove the tag")
    if isinstance(node, yaml.SequenceNode):
        return [_value_of(item, where, places, depth - 1) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _plain_scalar(node.value, line)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _value_of(key_node, where, places, depth - 1)
        line = f"{where}, line {key_node.start_mark.line + 1}"
        if not isinstance(key, str):
            raise ValueError(f"{line}: expected text as a key, got {_shown(key)}")
        if key in mapping:
            raise ValueError(f"{line}: the key {_shown(key)} appears twice")
        mapping[key] = _value_of(value_node, where, places, depth - 1)
    return mapping


def _plain_scalar(text: str, line: str) -> Any:
    make = next((make for pattern, make in _PLAIN_SCALARS if re.fullmatch(pattern, text)), None)
    if make is None:
        return text
    value = make(text) if len(text) < 100 else None
    # no setting takes more, and Python's own limit is a traceback
    if len(text) >= 100 or (type(value) is int and not -(2**63) <= value < 2**63):
        raise ValueError(f"{line}: expected a number of at most 64 bits, got {text[:20]}...")
    return value


def _apply_override(raw: dict[str, Any], override: str):
    """Writes one `section.key=value` into the raw mapping, to be checked like what the file says."""
    name, equals, value = override.partition("=")
    *parents, last = name.strip().split(".")
    # in one line, whatever the value holds
    where = f"--set {' '.join(override.split())[:200]}"
    if not equals or not last:
        raise ValueError(f"{where}: expected section.key=value, such as training.num_train_epochs=3")
    target = raw
    for depth, parent in enumerate(parents):
        child = target.get(parent)
        target[parent] = {} if child is None else child
        target = _check_mapping(target[parent], where, ".".join(parents[: depth + 1]))
    target[last] = _parse_yaml(value, where)


def _build_recipe(raw: dict[str, Any], path: Path) -> Recipe:
    # a section without content reads as None
    raw = {**dict.fromkeys(_SECTIONS, {}), **{name: value for name, value in raw.items() if value is not None}}
    sections: dict[str, tuple[Any, bool]] = {name: (section, True) for name, section in _SECTIONS.items()}
    if isinstance(raw["model"], str):
        sections["model"] = (Name, True)
    _check(raw, _schema("recipe", sections), path)
    return Recipe(
        file=str(path),
        data=_build_data(raw["data"], path),
        tokenizer=_check_tokenizer(raw["tokenizer"], raw["model"], bool(raw["data"].get("placeholders")), path),
        model=_check_model(raw["model"], path),
        training=_build_training(raw["training"], path),
        generation=_check_generation(raw["generation"], path),
        evaluation=_build_evaluation(raw["evaluation"], path),
    )


def _check(raw: dict[str, Any], schema: type[BaseModel], path: Path):
    """Raises for the first key that nothing reads, or value of a wrong type or out of its range."""
    try:
        schema.model_validate(raw)
        return
    except ValidationError as error:
        errors, cause = error.errors(include_url=False), error
    # a key that is spelled wrongly is the reason for one that is missing; what is wrong inside of a list says more than
    # that the list is no other type
    errors.sort(key=lambda detail: (detail["type"] != "extra_forbidden", -len(_place_of(detail, raw))))
    places = [_place_of(detail, raw) for detail in errors]
    name, detail = ".".join(map(str, places[0])), errors[0]
    if detail["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(places[0][-1]), _keys_at(schema, places[0][:-1]), n=1, cutoff=0)
        advice = f"did you mean {nearest[0]!r}?" if nearest else "this section takes no keys"
        raise ValueError(f"{path}: unknown key {name!r}; {advice}") from cause
    if detail["type"] == "missing":
        raise ValueError(f"{path}: {name} is missing") from cause
    # a value that may be of several types has one error for each
    expected = [_expectation(other) for other, place in zip(errors, places, strict=True) if place == places[0]]
    value, advice = detail["input"], ""
    if isinstance(value, float) and value.is_integer():
        advice = f"; write {value:.0f}"
    choices = re.findall(r"'([^']*)'", " ".join(expected))
    nearest = difflib.get_close_matches(str(value), choices, n=1) if isinstance(value, str) else []
    if nearest:
        advice = f"; did you mean {nearest[0]!r}?"
    raise ValueError(f"{path}: {name}: expected {' or '.join(dict.fromkeys(expected))}, got {_shown(value)}{advice}")


_EXPECTATIONS = {
    "bool_type": "true or false (written so)",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_too_short": "text",
    "list_type": "a list",
    "too_short": "at least one",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
}


def _expectation(detail: Any) -> str:
    # others are of types of the library that no YAML makes
    pattern = str(_EXPECTATIONS.get(detail["type"], detail["msg"].removeprefix("Input should be ")))
    return pattern.format(**detail.get("ctx", {}))


def _place_of(detail: Any, raw: Any) -> tuple[str | int, ...]:
    """Returns the keys and indices that lead to the value; pydantic puts the names of tried types between them."""
    place, value = [], raw
    for part in detail["loc"]:
        if isinstance(value, dict) and part in value or isinstance(value, list) and isinstance(part, int):
            place.append(part)
            value = value[part]
        elif detail["type"] == "missing":
            place.append(part)
    return tuple(place)


def _keys_at(schema: type[BaseModel], place: Iterable[str | int]) -> list[str]:
    for part in place:
        hint = schema.model_fields[str(part)].annotation
        kinds = (hint, *get_args(hint))
        schema = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(schema.model_fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _build_data(raw: dict[str, Any], path: Path) -> DataSection:
    splits = {name: raw[name] for name in ("train", "validation") if raw.get(name) is not None}
    splits |= {f"test.{name}": corpora for name, corpora in raw.get("test", {}).items()}
    for split, corpora in splits.items():
        for corpus in corpora if isinstance(corpora, list) else [corpora]:
            with _located(f"{path}: data.{split}"):
                check_corpus(corpus)
    if raw.get("variation") and raw.get("features_column") is not None:
        raise ValueError(f"{path}: data.variation is for sentences, data.features_column for words; remove one of them")
    return DataSection(
        train=_resolve_paths(raw["train"], path.parent),
        validation=_resolve_paths(raw.get("validation"), path.parent),
        test={name: _resolve_paths(value, path.parent) for name, value in raw.get("test", {}).items()},
        placeholders=raw.get("placeholders") or False,
        variation=raw.get("variation") or {},
        reading={name: raw[name] for name in raw if name in _parameters(read_pairs)},
        encoding={name: raw[name] for name in raw if name in _parameters(encode_pairs)},
    )


def _check_tokenizer(raw: dict[str, Any], model: dict | str, has_placeholders: bool, path: Path) -> dict[str, Any]:
    if isinstance(model, str):
        others = [name for name in raw if name != "grow"]
        if others:
            raise ValueError(
                f"{path}: tokenizer.{others[0]}: the checkpoint {model!r} brings its tokenizer; leave all but grow out"
            )
        if has_placeholders:
            raise ValueError(
                f"{path}: data.placeholders: the checkpoint {model!r} brings its own, if any; remove this key"
            )
        return raw
    if "grow" in raw:
        raise ValueError(f"{path}: tokenizer.grow is for a checkpoint to tune, named by model; leave it out")
    # RnnAttnConfig compares sizes alone, and two vocabularies may be of one size
    shared = [name for name in ONE_VOCABULARY_OPTIONS if model.get(name)]
    if shared and not raw.get("joint", True):
        raise ValueError(
            f"{path}: model.{shared[0]}: expected one vocabulary for both sides, got separate ones; set "
            f"tokenizer.joint to true or leave {shared[0]} out"
        )
    with _located(f"{path}: tokenizer"):
        defaults = train_tokenizer.__kwdefaults__ or {}
        options = {name: raw.get(name, default) for name, default in defaults.items() if name not in DATA_OPTIONS}
        check_options(**options, placeholders=has_placeholders)
    return raw


def _check_model(raw: dict[str, Any] | str, path: Path) -> dict[str, Any] | str:
    if isinstance(raw, str):
        return _resolve_paths(raw, path.parent)
    with _located(f"{path}: model"):
        RnnAttnConfig(**raw)
    return raw


def _build_training(raw: dict[str, Any], path: Path) -> TrainingSection:
    own = [field.name for field in dataclasses.fields(TrainingSection)]
    section = TrainingSection(
        arguments={name: value for name, value in raw.items() if name not in own},
        **{name: value for name, value in raw.items() if name in own},
    )
    if section.scheduled_sampling is not None:
        with _located(f"{path}: training.scheduled_sampling"):
            ScheduledSamplingCallback(**section.scheduled_sampling)
    return section


def _check_generation(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    returned = raw.get("num_return_sequences")
    if returned not in (None, 1):
        raise ValueError(
            f"{path}: generation.num_return_sequences: expected 1, got {returned}: a score compares one translation "
            "with each source; ask for more where you call generate() or the pipeline"
        )
    with _located(f"{path}: generation"):
        GenerationConfig(**raw).validate(strict=True)
    return raw


def _build_evaluation(raw: dict[str, Any], path: Path) -> EvaluationSection:
    section = EvaluationSection(**raw)
    if not section.metrics:
        raise ValueError(f"{path}: evaluation.metrics: expected at least one of {', '.join(METRICS)}, got none")
    section.metrics = {name: options or {} for name, options in section.metrics.items()}
    with _located(f"{path}: evaluation.by_length"):
        check_edges(section.by_length)
    for name, options in section.metrics.items():
        with _located(f"{path}: evaluation.metrics.{name}"):
            load_metric(name, **options)
    return section


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    """Says in one line, and with the place in the recipe, what the check of another file raises."""
    try:
        yield
    except (ValueError, StrictDataclassError) as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from error


def _check_mapping(value: Any, where: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {name}: expected a mapping of keys to values, got {_shown(value)}")
    return value


def _resolve_paths(value: Any, folder: Path) -> Any:
    """Joins the files and folders that `value` names with `folder`; what is neither is a Hub name and stays."""
    if isinstance(value, list):
        return [_resolve_paths(item, folder) for item in value]
    if isinstance(value, dict) and set(value) == {"source", "target"}:
        return {side: str(folder / file) for side, file in value.items()}
    if isinstance(value, dict):
        return {key: _resolve_paths(item, folder) for key, item in value.items()}
    # of os, which takes what no path can be for a file that does not exist
    if isinstance(value, str) and (Path(value).suffix in FILE_SUFFIXES or os.path.exists(folder / value)):
        return str(folder / value)
    return value


def uses_cpu(recipe: Recipe) -> bool:
    """Returns what the recipe says of `use_cpu`, else whether there is no accelerator."""
    return recipe.training.arguments.get("use_cpu", not torch.accelerator.is_available())


def training_arguments(recipe: Recipe) -> Seq2SeqTrainingArguments:
    """Returns the library's arguments of a recipe, after the checks that need them.

    Without an accelerator `use_cpu` is set, which the library asks for with `bf16`.

    Raises:
        ValueError: settings that contradict each other or the launch.
    """
    where = f"{recipe.file}: training"
    with _located(where):
        on_cpu = uses_cpu(recipe)
        defaults: dict[str, Any] = {"use_cpu": on_cpu, "dataloader_pin_memory": not on_cpu}
        arguments = Seq2SeqTrainingArguments(**(defaults | recipe.training.arguments))
    with _located(f"{where}.report_to"):
        get_reporting_integration_callbacks(arguments.report_to)
    check_processes(arguments.world_size, "set training.use_cpu: true")
    _check_arguments(recipe, arguments)
    scheduler: Any = arguments.lr_scheduler_kwargs or {}
    if arguments.lr_scheduler_type == "reduce_lr_on_plateau" and "mode" not in scheduler:
        # the library knows which way is better, and does not tell the scheduler
        arguments.lr_scheduler_kwargs = {**scheduler, "mode": "max" if arguments.greater_is_better else "min"}
    with _located(f"{where}.lr_scheduler_kwargs"):
        _check_scheduler(arguments)
    return arguments


def _check_scheduler(arguments: Seq2SeqTrainingArguments):
    """Makes a schedule and throws it away; the trainer would make it after the data are read."""
    optimizer = torch.optim.SGD([torch.zeros(1)], arguments.learning_rate)
    options: Any = arguments.lr_scheduler_kwargs
    try:
        get_scheduler(arguments.lr_scheduler_type, optimizer, 0, 1, scheduler_specific_kwargs=options)
    # an argument that the schedule does not have
    except TypeError as error:
        raise ValueError(str(error)) from error


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
    if section.average_checkpoints is not None and arguments.save_strategy == "no":
        raise ValueError(f"{where}.average_checkpoints needs training.save_strategy: epoch or steps")
    if (section.average_checkpoints or 0) > (arguments.save_total_limit or math.inf):
        raise ValueError(
            f"{where}.save_total_limit: expected at least average_checkpoints, {section.average_checkpoints}, got "
            f"{arguments.save_total_limit}"
        )
    if section.dropout is not None and not isinstance(recipe.model, str):
        raise ValueError(f"{where}.dropout is for a checkpoint to tune; set model.encoder_dropout and decoder_dropout")
    _check_best_metric(recipe, arguments)
    if os.path.exists(str(arguments.output_dir)) and not os.path.isdir(str(arguments.output_dir)):
        raise ValueError(f"{arguments.output_dir} is a file; choose another training.output_dir")


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
