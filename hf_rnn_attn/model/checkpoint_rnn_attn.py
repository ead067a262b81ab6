# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The files of a checkpoint before they are used: what is damaged, missing or of another model is refused.

Reads JSON files and the headers of weights, and loads configurations and tokenizers. Knows nothing of what is computed.
"""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
from transformers.utils import cached_file


CONFIG_FILE, GENERATION_FILE = "config.json", "generation_config.json"
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
WEIGHT_TYPES = {"F16", "BF16", "F32", "F64"}
# how a repository is reached, of the arguments of `from_pretrained`
ACCESS = {"cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token"}
TOKENIZER_BACKENDS = ("tokenizer.json", "target_tokenizer.json")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# what is larger is not read: a configuration has some hundred bytes, a tokenizer of 250,000 tokens 20 MB
MOST_SETTINGS_BYTES, MOST_TOKENIZER_BYTES = 2**20, 2**26

Name = str | os.PathLike[str]
Shapes = dict[str, tuple[int, ...]]


def find_file(name: Name, file: str, access: Mapping[str, Any]) -> Path | None:
    """Returns a file of a checkpoint folder or Hub repository, which is fetched first; `None` where there is none."""
    found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **access)
    return None if found is None else Path(found)


def check_size(file: Path, most: int) -> None:
    """Raises a ValueError for a file of more bytes than it can need."""
    size = file.stat().st_size
    if size > most:
        raise ValueError(f"{file}: expected at most {most} bytes, got {size}. The file is damaged; save it again.")


def read_settings(file: Path) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Raises:
        ValueError: if it holds something else, or is larger than such a file can be.
    """
    check_size(file, MOST_SETTINGS_BYTES)
    try:
        settings = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected a JSON object, got a damaged file ({error}). Save it again.") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: expected a JSON object, got a {type(settings).__name__}. Save it again.")
    return settings


@contextmanager
def explain(name: Name, part: str) -> Generator[None]:
    """Turns what the library's reader of a damaged file raises into a ValueError that names the checkpoint."""
    try:
        yield
    except (ImportError, OSError):
        raise
    except (
        BaseException
    ) as error:  # whatever it stumbles over: KeyError, TypeError, an error of the `tokenizers` package
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, ValueError) and str(error).startswith(str(name)):
            raise
        kind = "" if type(error) is Exception or isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        raise ValueError(f"{name}: the {part} cannot be read: {reason}") from error


def load_config(name: Name, **options: Any) -> PreTrainedConfig:
    """Loads the configuration of a checkpoint, of any model.

    Args:
        name (`str` or `Path`): a folder or Hub id.
        options: arguments of `AutoConfig.from_pretrained`. By default no code of the folder is run.

    Raises:
        OSError: if there is none.
        ValueError: if its file is damaged, or holds what no model of its type can have.
    """
    file = find_file(name, CONFIG_FILE, {key: value for key, value in options.items() if key in ACCESS})
    if file is not None:
        read_settings(file)
    with explain(name, "configuration"):
        return AutoConfig.from_pretrained(name, **{"trust_remote_code": False, **options})


def load_tokenizer(name: Name, **options: Any) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a checkpoint, of any model; arguments and errors are those of [`load_config`]."""
    if os.path.isdir(name):
        for settings in TOKENIZER_SETTINGS:
            if (file := Path(name, settings)).is_file():
                kind = read_settings(file).get("tokenizer_class")
                is_known = kind is None or (isinstance(kind, str) and tokenizer_class_from_name(kind) is not None)
                if not is_known and not options.get("trust_remote_code"):
                    raise ValueError(f"{file}: `tokenizer_class` must be one of transformers, got {kind!r}.")
    backends = [file for backend in TOKENIZER_BACKENDS if (file := Path(name, backend)).is_file()]
    for file in backends:
        check_size(file, MOST_TOKENIZER_BYTES)
    with explain(name, "tokenizer"):
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, **{"trust_remote_code": False, **options})
            tokenizer("a")  # some damage is met by the first text alone
        except BaseException:
            # which file it is
            for file in backends:
                with explain(file, "tokenizer"):
                    Tokenizer.from_file(str(file)).encode("a")
            raise
        return tokenizer


def load_checkpoint(name: Name, **options: Any) -> tuple[Any, PreTrainedTokenizerBase]:
    """Loads the model of a checkpoint, of any type, and its tokenizer.

    Args:
        name (`str` or `Path`): a folder or Hub id.
        options: arguments of `AutoModelForSeq2SeqLM.from_pretrained`. By default no code of the folder is run.

    Raises:
        OSError: if a file is missing.
        ValueError: if a file is damaged, or the files do not belong together.
    """
    options = {"trust_remote_code": False, **options}
    access = {key: value for key, value in options.items() if key in {*ACCESS, "trust_remote_code"}}
    options.setdefault("config", load_config(name, **access))
    tokenizer = load_tokenizer(name, **access)
    with explain(name, "model"):
        model = AutoModelForSeq2SeqLM.from_pretrained(name, **options)
    if hasattr(model, "check_tokenizer"):
        model.check_tokenizer(tokenizer)
    return model, tokenizer


def find_weights(name: Name, access: Mapping[str, Any]) -> list[Path]:
    """Returns the files of a checkpoint's weights, one or several.

    Raises:
        FileNotFoundError: if there are none, or one of several is missing.
        ValueError: if the index of several is damaged, or names files outside of the folder.
    """
    whole = find_file(name, WEIGHTS_FILE, access)
    if whole is not None:
        return [whole]
    index = find_file(name, INDEX_FILE, access)
    if index is None:
        raise FileNotFoundError(f"{name}: no weights; expected the file {WEIGHTS_FILE} or {INDEX_FILE}.")
    places = read_settings(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index}: expected a `weight_map` from the names of weights to files. Save the model again.")
    shards: list[Path] = []
    for shard in sorted(set(map(str, places.values()))):
        if Path(shard).suffix != ".safetensors" or os.path.basename(shard.replace("\\", "/")) != shard:
            raise ValueError(f"{index}: expected names of safetensors files beside it, got {shard!r}.")
        file = find_file(name, shard, access)
        if file is None:
            raise FileNotFoundError(f"{name}: the file {shard}, which {index.name} names, is missing.")
        shards.append(file)
    return shards


def read_shapes(file: Path, types: set[str] = WEIGHT_TYPES) -> Shapes:
    """Returns the shape of each tensor in a safetensors file, from its header.

    Raises:
        ValueError: if the file is damaged or another kind of file, or a tensor has another type than these.
    """
    try:
        with safe_open(file, "pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no dictionary)
            kinds = {name: part.get_dtype() for name, part in slices.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except SafetensorError as error:
        raise ValueError(
            f"{file}: expected a safetensors file, got a damaged or other one ({error}). Save the model again."
        ) from error
    for name, kind in kinds.items():
        if kind not in types:
            raise ValueError(f"{file}: expected weights of the types {sorted(types)}, got {kind} for `{name}`.")
    return shapes


def check_shapes(found: Shapes, expected: Shapes, optional: set[str], where: Name) -> None:
    """Refuses weights that are not those of the configuration beside them.

    Args:
        found, expected (`dict` from `str` to `tuple[int]`): the shape of each tensor in the files and in the model.
        optional (`set[str]`): names that the files may lack: copies of others.
        where (`str`): the checkpoint, for the message.

    Raises:
        ValueError: the first tensor that is missing, has no place in the model, or another shape.
    """
    problems = [
        (sorted(expected.keys() - found.keys() - optional), "is missing in the weights"),
        (sorted(found.keys() - expected.keys()), "has no place in the model"),
        (sorted(name for name in found.keys() & expected.keys() if found[name] != expected[name]), "has another shape"),
    ]
    for names, problem in problems:
        if not names:
            continue
        name = names[0]
        shapes = f" ({found[name]} in the weights)" if name in found else ""
        asked = f" of shape {expected[name]}" if name in expected else ""
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        raise ValueError(
            f"{where}: `{name}`{asked} {problem}{shapes}{more}. Configuration and weights belong to different models, "
            "or are damaged; save the model again."
        )
