# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Shared by the importers: reads a checkpoint, takes its tensors one by one, builds model and tokenizer.

Knows our model's parameter names and no toolkit's. Tensors are taken out of the checkpoint's dictionary, so that what
is left at the end is what an importer has overlooked.
"""

import argparse
import contextlib
import pickle
import reprlib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.tokenization_rnn_attn import RnnAttnTokenizer
from ..tokenization import SETTINGS, SPACE


Detokenization = Literal["subword-nmt", "sentencepiece", "joiner"]
Weights = dict[str, torch.Tensor]

LIBRARY_ERRORS = (StrictDataclassError, SafetensorError)

RECURRENT_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
ENCODER = "model.encoder"
DECODER = "model.decoder"
RECURRENCE = "model.decoder.recurrence"
ATTENTION = "model.decoder.recurrence.attention"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a pickle of tensors and plain objects. `argparse.Namespace` is the one class added to those torch allows.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is something else, damaged or packed, or if its pickle asks for more; that is not run.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected the file of a checkpoint, found {_found(Path(path))}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no checkpoint: expected a zip archive as torch.save writes it.")
    try:
        with zipfile.ZipFile(path) as archive:
            is_packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = {} if is_packed else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} cannot be read without running code that it brings along, which an import never does. Expected a "
            "checkpoint as OpenNMT-py 3 or JoeyNMT 2 writes it."
        ) from error
    except Exception as error:  # whatever torch stumbles over in a damaged archive
        raise ValueError(f"{path} is damaged, or no checkpoint: {type(error).__name__}: {error}") from error
    if is_packed:
        # torch.save packs nothing, and what is packed may be a million times as large
        raise ValueError(f"{path} is no checkpoint: expected an archive without compression.")
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} is no checkpoint: expected a dictionary, got {type(checkpoint).__name__}.")
    return checkpoint


def _found(path: Path) -> str:
    return "a folder" if path.is_dir() else "none"


@contextlib.contextmanager
def explain(path: str | Path, toolkit: str) -> Iterator[None]:
    """Says of contents that are put together otherwise than a toolkit does that they are not that toolkit's."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, *LIBRARY_ERRORS) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is no RNN checkpoint of {toolkit}: {reason}") from error


def check_tensors(weights: Any, path: str | Path) -> Weights:
    """Returns the tensors of a checkpoint by their names.

    Raises:
        ValueError: if something is no tensor of finite numbers, or not as large as what is stored of it.
    """
    if not isinstance(weights, dict):
        raise ValueError(f"{path} is no checkpoint: expected tensors by name, got {type(weights).__name__}.")
    for name, tensor in weights.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            raise ValueError(f"{path}: expected a tensor of numbers as {name}, got {reprlib.repr(type(tensor))}.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{path}: the tensor {name} is larger than what is stored of it.")
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: the tensor {name} holds values that are not finite.")
    return dict(weights)


def check_options(toolkit: str, options: dict[str, Any], importable: dict[str, tuple[Any, ...]]) -> None:
    """Raises for the first option whose value is none of the importable ones.

    Args:
        toolkit (`str`): its name, for the message.
        options (`dict`): the checkpoint's options.
        importable (`dict`): values by option; the first is the toolkit's default, for options that are not given.

    Raises:
        ValueError: names option and value.
    """
    for name, values in importable.items():
        value = options.get(name, values[0])
        if value not in values:
            choices = " or ".join(repr(choice) for choice in values)
            raise ValueError(
                f"{toolkit} model with {name}={reprlib.repr(value)} cannot be imported; expected {choices}."
            )


def take(weights: Weights, name: str) -> torch.Tensor:
    """Takes a tensor out of `weights`.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in weights:
        raise ValueError(f"The checkpoint's options ask for the tensor {name}, but it holds none of that name.")
    return weights.pop(name)


def take_stack(weights: Weights, source: str, target: str, layers: int, suffixes: tuple[str, ...]) -> Weights:
    """Takes a stack of torch's recurrent layers, as layers of one; a suffix is that of a direction."""
    return {
        f"{target}.layers.{layer}.{name}_l0{suffix}": take(weights, f"{source}.{name}_l{layer}{suffix}")
        for layer in range(layers)
        for suffix in suffixes
        for name in RECURRENT_WEIGHTS
    }


def direction_suffixes(config: RnnAttnConfig) -> tuple[str, ...]:
    """Returns the suffix of the encoder's parameter names for each direction."""
    return ("", "_reverse") if config.encoder_bidirectional else ("",)


def build_model(
    config: RnnAttnConfig, weights: Weights, left_over: Weights, generation: dict[str, Any]
) -> RnnAttnForConditionalGeneration:
    """Returns a model in float32 with these weights and generation defaults.

    Raises:
        ValueError: if a tensor was left over, or if one does not have the shape that the options ask for.
    """
    if left_over:
        raise ValueError(f"The checkpoint's options do not explain its tensors {', '.join(sorted(left_over))}.")
    with torch.device("meta"):
        # nothing is allocated before it is known that the weights are as large
        expected = RnnAttnForConditionalGeneration(config).state_dict()
    for name, parameter in expected.items():
        if parameter.shape != weights[name].shape:
            raise ValueError(
                f"The checkpoint's options, or the sizes of its vocabularies, ask for {tuple(parameter.shape)} as the "
                f"shape of {name}, but its tensor has {tuple(weights[name].shape)}. Do all files belong together?"
            )
    model = RnnAttnForConditionalGeneration(config)
    model.load_state_dict(weights)
    model.generation_config.update(**generation)
    return model.eval()


def build_side(
    tokens: list[str],
    special_tokens: Iterable[str],
    unk_token: str,
    *,
    characters: bool = False,
    lowercase: bool = False,
    detokenize: Detokenization | None = None,
) -> Tokenizer:
    """Returns a tokenizer that splits text at spaces, or into characters, and gives each piece its index in `tokens`.

    Raises:
        ValueError: if a special token is missing, or if `detokenize` is unknown.
    """
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("Expected a vocabulary that is a list of words.")
    if len(set(tokens)) < len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise ValueError(f"Expected every word once in a vocabulary, found {twice!r} twice.")
    special_tokens = list(special_tokens)
    missing = [token for token in special_tokens if token not in tokens]
    if missing:
        raise ValueError(f"Expected every special token in the vocabulary, found no {', '.join(missing)}.")
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token))
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    if characters:
        steps.append(normalizers.Replace(" ", SPACE))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse()])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
        if detokenize is not None:
            tokenizer.decoder = _decoder(detokenize)
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.add_special_tokens(special_tokens)
    return tokenizer


def _decoder(detokenize: str) -> decoders.Decoder:
    if detokenize not in get_args(Detokenization):
        raise ValueError(f"Expected detokenize to be one of {', '.join(get_args(Detokenization))}, got {detokenize!r}.")
    if detokenize == "sentencepiece":
        return decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", left=1, right=0)])
    marks = Regex("@@( |$)") if detokenize == "subword-nmt" else Regex(" ?￭ ?")
    # a prefix that no token has: this decoder then puts a space before every token but the first
    spaces = decoders.WordPiece(prefix="\0", cleanup=False)
    return decoders.Sequence([spaces, decoders.Fuse(), decoders.Replace(marks, "")])


def build_tokenizer(source: Tokenizer, target: Tokenizer, names: dict[str, str]) -> RnnAttnTokenizer:
    """Makes one tokenizer of a source and a target side; `names` are those of the special tokens."""
    return RnnAttnTokenizer(tokenizer_object=source, target_tokenizer_object=target, **names, **SETTINGS)
