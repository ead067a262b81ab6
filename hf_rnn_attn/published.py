# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What of a run may be published: lists of what is let through, key by key; everything else stays behind.

Numbers, truth values and words that the package or a library define are let through where the key is known. Of texts
that a user wrote, there are names of files without their folders, of columns, splits and data sets, and what a card
says, in which no markup is left but the author's own Markdown.
"""

import html
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from sacrebleu.metrics import BLEU
from transformers import GenerationConfig, PreTrainedModel
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from .data import encode_pairs, read_pairs
from .evaluation import METRICS
from .model.checkpoint_rnn_attn import read_settings
from .model.configuration_rnn_attn import CellType, RnnAttnConfig
from .tokenization import TokenizerKind, train_tokenizer
from .training.callbacks import Schedule
from .training.recipe import FILE_SUFFIXES


TRAINING_KEYS = (
    *("num_train_epochs", "max_steps", "seed", "data_seed", "full_determinism"),
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "tokens_per_batch"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
    *("optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor"),
    *("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval", "use_cpu", "torch_compile"),
    *("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "save_strategy", "save_steps", "save_total_limit"),
    *("logging_strategy", "logging_steps", "logging_first_step", "report_to", "disable_tqdm"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better", "average_checkpoints"),
    *("predict_with_generate", "generation_max_length", "generation_num_beams", "early_stopping_patience"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_drop_last", "scheduled_sampling", "dropout"),
)
# of scheduled sampling, and of learning rates
NESTED_KEYS = (
    *("schedule", "k", "c", "minimum", "mode", "factor", "patience", "threshold", "cooldown", "eps"),
    *("min_lr", "min_lr_rate", "num_cycles", "power", "lr_end"),
)
TOKENIZER_KEYS = (
    *("backend", "tokenizer_class", "auto_map", "model_input_names", "model_max_length"),
    *("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"),
    *("clean_up_tokenization_spaces", "padding_side", "truncation_side", "split_special_tokens"),
)
LOG_KEYS = ("epoch", "step", "loss", "eval_loss", "learning_rate", "grad_norm")
FILES = re.compile(r"README\.md|recipe\.yaml|\w+\.(png|safetensors)|\w+_rnn_attn\.py|(target_)?tokenizer\.json")
# stands for a folder of the machine
LOCAL_CHECKPOINT = "checkpoint"
SETTINGS_FILES = ("config.json", "generation_config.json", "tokenizer_config.json")
# a column, a split, a data set, its configuration; a licence and a language as the Hub abbreviates them
NAME, DATA_SET = re.compile(r"[\w .+-]{1,64}"), re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?")
LICENSE, LANGUAGE = re.compile(r"[A-Za-z0-9.+-]{1,64}"), re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
PARAMETERS = re.compile(r"[\w.*?\[\]!-]{1,200}")
SIGNATURE = re.compile(r"[\w.:|+~-]{1,200}")


def _words_of(annotation: Any) -> Iterator[str]:
    """Yields the words that an annotation lists."""
    if get_origin(annotation) is Literal:
        yield from (word for word in get_args(annotation) if isinstance(word, str))
    for part in get_args(annotation):
        if not isinstance(part, str):
            yield from _words_of(part)


def _annotations(function: Any) -> dict[str, Any]:
    return {name: parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}


CONFIG_TYPES = inspect.get_annotations(RnnAttnConfig)
READING_TYPES, ENCODING_TYPES, TOKENIZER_TYPES = map(_annotations, (read_pairs, encode_pairs, train_tokenizer))
WORDS = {
    *(
        word
        for types in (CONFIG_TYPES, READING_TYPES, ENCODING_TYPES, TOKENIZER_TYPES, {"": CellType, " ": TokenizerKind})
        for annotation in types.values()
        for word in _words_of(annotation)
    ),
    *(
        str(member.value)
        for words in (IntervalStrategy, SaveStrategy, SchedulerType, OptimizerNames)
        for member in words
    ),
    *("none", "never", "min", "max", "loss", "eval_loss", *get_args(Schedule), *BLEU.TOKENIZERS),
    *METRICS,
    *(f"eval_{metric}" for metric in METRICS),
}


def _is_plain(value: Any) -> bool:
    """Whether a value holds numbers, truth values and known words alone."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(key in NESTED_KEYS and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and value in WORDS)


def _plain(section: Any, keys: Any) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key in keys and _is_plain(value)}


def published_recipe(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the recipe as one would write it to repeat the run elsewhere, with its data beside it.

    Args:
        recipe (`dict`): that of `results.json`.
        name (`str`): of the model, for the folder of the run.
    """
    data, training, evaluation = recipe["data"], recipe["training"], recipe["evaluation"]
    reading = {
        key: value for key, value in data["reading"].items() if key.endswith("_column") and _matches(NAME, value)
    }
    own = {key: value for key, value in training.items() if key != "arguments" and value}
    freeze = [pattern for pattern in own.get("freeze", []) if _matches(PARAMETERS, pattern)]
    sections = {
        "data": {**_published_splits(data), **reading, **_plain(data["reading"], READING_TYPES)}
        | _plain(data["encoding"], ENCODING_TYPES),
        "tokenizer": _plain(recipe["tokenizer"], TOKENIZER_TYPES),
        "model": published_model(recipe["model"]),
        "training": {"output_dir": name, **_plain({**training["arguments"], **own}, TRAINING_KEYS)}
        | ({"freeze": freeze} if freeze else {}),
        "generation": published_generation(recipe["generation"]),
        "evaluation": {
            "metrics": {
                metric: _plain(options, _annotations(METRICS[metric]))
                for metric, options in evaluation["metrics"].items()
                if metric in METRICS
            },
            **{
                key: value
                for key in ("group_references", "by_length")
                if _is_plain(value := evaluation.get(key)) and value
            },
        },
    }
    return {section: content for section, content in sections.items() if content}


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def published_model(model: Any) -> dict[str, Any] | str:
    """Returns the section `model` of a recipe: settings, or the name of a model on the Hub."""
    if isinstance(model, dict):
        return _plain(model, CONFIG_TYPES)
    return model if _matches(DATA_SET, model) and not Path(model).exists() else LOCAL_CHECKPOINT


def published_generation(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of the search that are numbers, truth values or known words."""
    return _plain(generation, {key for key in vars(GenerationConfig()) if not key.startswith("_")})


def _published_splits(data: Mapping[str, Any]) -> dict[str, Any]:
    files = list(dict.fromkeys(_files([data["train"], data["validation"], *data["test"].values()])))
    bare = [_bare_name(file) for file in files]
    # of two files of one name, the second lies in a folder
    names = {
        file: name if bare.index(name) == place else f"{place}/{name}"
        for place, (file, name) in enumerate(zip(files, bare, strict=True))
    }
    tests = {one_line(name): _published_split(split, names) for name, split in data["test"].items()}
    splits = {"train": _published_split(data["train"], names), "test": tests}
    if data["validation"]:
        splits["validation"] = _published_split(data["validation"], names)
    return {key: splits[key] for key in ("train", "validation", "test") if splits.get(key)}


def _bare_name(file: str) -> str:
    """Returns the name of a file without its folder, or without the address that it was fetched from."""
    return re.split(r"[?#]", re.split(r"[/\\]", file)[-1])[0] if "://" in file else re.split(r"[/\\]", file)[-1]


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and (Path(value).suffix in FILE_SUFFIXES or "://" in value)


def _files(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and set(value) == {"source", "target"}:
        yield from map(str, value.values())
    elif isinstance(value, list):
        for item in value:
            yield from _files(item)
    elif _is_file(value):
        yield str(value)


def _published_split(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_published_split(item, names) for item in value]
    if isinstance(value, dict) and set(value) == {"source", "target"}:
        return {side: names[str(file)] for side, file in value.items()}
    if isinstance(value, dict):
        kept = {
            key: item for key, item in value.items() if key in ("name", "split", "revision") and _matches(NAME, item)
        }
        return {"path": _published_split(value.get("path"), names), **kept}
    if _is_file(value):
        return names.get(value) or _bare_name(value)
    is_hub_id = _matches(DATA_SET, value) and not Path(value).exists()
    return value if is_hub_id else re.split(r"[/\\]", str(value).rstrip("/\\"))[-1]


def checked_results(results: Any, file: Path) -> dict[str, Any]:
    """Returns what a card says of `results.json`, in the types that `hf-rnn-attn train` writes.

    Raises:
        ValueError: the file is another's, or damaged.
    """
    try:
        recipe = results["recipe"]
        published_recipe(recipe, "")
        return {
            "scores": {one_line(split): _checked_scores(scores) for split, scores in results["scores"].items()},
            "train_seconds": float(results["train_seconds"]),
            "parameters": int(results["parameters"]),
            "steps": int(results["steps"]),
            "averaged": list(results["averaged"]),
            "recipe": recipe,
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{file}: expected what `hf-rnn-attn train` writes, got something else ({reason})") from error


def _checked_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for metric, result in scores.items():
        if metric == "by_length":
            checked[metric] = [
                {
                    "length": re.sub(r"[^\d+-]", "", row["length"]),
                    "count": int(row["count"]),
                    "score": None if row["score"] is None else float(row["score"]),
                }
                for row in result
            ]
        elif metric in METRICS:
            signature = result.get("signature")
            checked[metric] = {"score": float(result["score"])}
            checked[metric] |= {"signature": signature} if _matches(SIGNATURE, signature) else {}
    return checked


def checked_log(log: Any, file: Path) -> list[dict[str, float]]:
    """Returns the numbers of a training's log that a card draws."""
    if not isinstance(log, list) or not all(isinstance(entry, dict) for entry in log):
        raise ValueError(f"{file}: expected the state of a trainer with its log_history, got something else")
    return [{key: entry[key] for key in LOG_KEYS if isinstance(entry.get(key), int | float)} for entry in log]


def keep_own_settings(model: PreTrainedModel) -> None:
    """Drops from the settings of a model what does not belong to it: keys that a file had beside the known ones."""
    model.config = RnnAttnConfig(**{name: getattr(model.config, name) for name in CONFIG_TYPES})
    model.generation_config = GenerationConfig(**published_generation(vars(model.generation_config)))


def keep_tokenizer_settings(folder: Path) -> None:
    """Drops unknown keys from the settings of the tokenizer in a folder."""
    file = folder / "tokenizer_config.json"
    kept = {key: value for key, value in read_settings(file).items() if key in TOKENIZER_KEYS}
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_files(folder: Path) -> None:
    """Raises for a folder that holds something else than the files of a model."""
    for file in folder.iterdir():
        if not (file.is_file() and (FILES.fullmatch(file.name) or file.name in SETTINGS_FILES)):
            raise ValueError(f"{file}: not a file of a model; it would be published")


def one_line(text: Any) -> str:
    """Returns a text on one line, without control characters, those that turn the direction of writing included."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", " ".join(str(text).split()))


def escape(text: Any) -> str:
    """Returns a text as it must be written in Markdown, and in a cell of a table, to be read as it is."""
    text = html.escape(one_line(text), quote=False)
    text = re.sub(r"([\\`*_{}\[\]|~$!#])", r"\\\1", text)
    # what looks like an address would become a link
    return re.sub(r"(?i)(:)(//)|\b(www)(\.)", lambda found: "&#58;//" if found[1] else f"{found[3]}&#46;", text)


def author_markdown(text: str) -> str:
    """Returns the Markdown that an author wrote without HTML and pictures, and with links to the web alone."""
    text = html.escape(text, quote=False).replace("![", r"!\[")
    text = re.sub(r"(?i)\]\((?!\s*(https?://|mailto:))", r"]\\(", text)
    return re.sub(r"(?m)^(\s*)(\[[^\]]*\]:|---|===|```|~~~)", r"\1\\\2", text).strip()
