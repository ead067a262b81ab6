# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Shared by the importers: reads a checkpoint, takes its tensors one by one, builds model and tokenizer.

Knows our model's parameter names and no toolkit's. Tensors are taken out of the checkpoint's dictionary, so that what
is left at the end is what an importer has overlooked.
"""

import argparse
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.tokenization_rnn_attn import RnnAttnTokenizer
from ..tokenization import SETTINGS, SPACE


Detokenization = Literal["subword-nmt", "sentencepiece", "joiner"]
Weights = dict[str, torch.Tensor]

RECURRENT_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
ENCODER = "model.encoder"
DECODER = "model.decoder"
RECURRENCE = "model.decoder.recurrence"
ATTENTION = "model.decoder.recurrence.attention"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a pickle of tensors and plain objects. `argparse.Namespace` is the one class added to those torch allows.

    Raises:
        ValueError: if the file is something else, or if its pickle asks for more; that is not run.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is no checkpoint: expected a zip archive as torch.save writes it.")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} cannot be read without running code that it brings along, which an import never does. Expected a "
            "checkpoint as OpenNMT-py 3 or JoeyNMT 2 writes it."
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} is no checkpoint: expected a dictionary, got {type(checkpoint).__name__}.")
    return checkpoint


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
            raise ValueError(f"{toolkit} model with {name}={value!r} cannot be imported; expected {choices}.")


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
    model = RnnAttnForConditionalGeneration(config)
    for name, parameter in model.state_dict().items():
        if parameter.shape != weights[name].shape:
            raise ValueError(
                f"The checkpoint's options, or the sizes of its vocabularies, ask for {tuple(parameter.shape)} as the "
                f"shape of {name}, but its tensor has {tuple(weights[name].shape)}. Do all files belong together?"
            )
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
    tokenizer.add_special_tokens(list(special_tokens))
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
