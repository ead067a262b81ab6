# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What the settings of `generate()` may be: types, ranges, and which of them contradict each other.

Checked once for each call, before anything is computed. What the library refuses by itself is not repeated here.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

import torch
from transformers import GenerationConfig
from transformers.utils import logging

from .configuration_rnn_attn import RnnAttnConfig


logger = logging.get_logger(__name__)

# Limits of time and memory, which grow with the length, and with the square of the beam. A sentence needs no more
MOST_TOKENS, MOST_BEAMS = 10_000, 1_000

# the least and the most of whole numbers
WHOLE: dict[str, tuple[int, float]] = {
    "assistant_early_exit": (1, math.inf),
    "encoder_no_repeat_ngram_size": (0, math.inf),
    "max_length": (1, MOST_TOKENS),
    "max_matching_ngram_size": (1, math.inf),
    "max_new_tokens": (1, MOST_TOKENS),
    "min_length": (0, MOST_TOKENS),
    "min_new_tokens": (0, MOST_TOKENS),
    "no_repeat_ngram_size": (0, math.inf),
    "num_assistant_tokens": (1, math.inf),
    "num_beams": (1, MOST_BEAMS),
    "num_return_sequences": (1, MOST_BEAMS),
    "prompt_lookup_num_tokens": (1, math.inf),
    "top_k": (0, math.inf),
}
# the least and the most of other numbers; beyond them, powers and quotients leave the range of float32
NUMBERS: dict[str, tuple[float, float]] = {
    "encoder_repetition_penalty": (1e-4, 1e4),
    "epsilon_cutoff": (0, 1),
    "eta_cutoff": (0, 1),
    "length_penalty": (-50, 50),
    "max_time": (1e-9, 1e9),
    "min_p": (0, 1),
    "repetition_penalty": (1e-4, 1e4),
    "temperature": (1e-4, 1e4),
    "top_h": (0, 1),
    "top_p": (0, 1),
    "typical_p": (0, 1),
}
SWITCHES = (
    "do_sample",
    "low_memory",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "remove_invalid_values",
    "renormalize_logits",
    "return_dict_in_generate",
    "use_cache",
)
TOKENS = (
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
)
TOKEN_LISTS = ("begin_suppress_tokens", "suppress_tokens")
SOURCES = ("inputs", "input_ids", "inputs_embeds", "encoder_outputs")
TENSORS = (*SOURCES[:3], "attention_mask", "decoder_attention_mask", "decoder_input_ids")
# what an object has to have
METHODS: dict[str, tuple[str, ...]] = {
    "assistant_model": ("generate",),
    "logits_processor": ("__iter__", "__len__"),
    "prefix_allowed_tokens_fn": ("__call__",),
    "stopping_criteria": ("__iter__", "__len__"),
    "streamer": ("put", "end"),
}
# compare target tokens with source tokens
ONE_VOCABULARY = ("encoder_no_repeat_ngram_size", "encoder_repetition_penalty")


def check_generation(settings: Mapping[str, Any], config: RnnAttnConfig) -> None:
    """Refuses settings of `generate()` that have no meaning.

    Args:
        settings (`Mapping` from `str`): some of them, by name; `None` counts as not given.
        config ([`RnnAttnConfig`]): tells the vocabularies.

    Raises:
        ValueError: the setting, what was expected of it, and what came.
    """
    for name, value in settings.items():
        expected = None if value is None else _expectation(name, value, cast(int, config.decoder_vocab_size))
        if expected is not None:
            raise ValueError(f"`{name}`: expected {expected}, got {value!r}.")
    if config.vocab_size == config.decoder_vocab_size:
        return
    for name in ONE_VOCABULARY:
        if settings.get(name) not in (None, 0, 1.0):
            raise ValueError(
                f"`{name}={settings[name]}` needs one vocabulary for source and target, got {config.vocab_size} source "
                f"and {config.decoder_vocab_size} target tokens. Leave `{name}` out."
            )


def _expectation(name: str, value: Any, vocab_size: int) -> str | None:
    """Returns what is expected of a setting; `None` where the value is that."""
    if name in WHOLE:
        least, most = WHOLE[name]
        limit = f" and at most {most}" if most < math.inf else ""
        is_right = _is_a(Integral, value) and least <= value <= most
        expected = f"a whole number of at least {least}{limit}"
    elif name in NUMBERS:
        least, most = NUMBERS[name]
        is_right, expected = _is_a(Real, value) and least <= value <= most, f"a number from {least:g} to {most:g}"
    elif name in SWITCHES:
        is_right, expected = isinstance(value, bool), "True or False"
    elif name in (*TOKENS, *TOKEN_LISTS):
        ids = value.tolist() if hasattr(value, "tolist") else value
        ids = ids if isinstance(ids, (list, tuple)) or name in TOKEN_LISTS else [ids]
        is_right = (ids == [] and name in TOKEN_LISTS) or _are_tokens(ids, vocab_size)
        expected = f"tokens of the target vocabulary, from 0 to {vocab_size - 1}"
    elif name == "bad_words_ids":
        words = cast(list[Any], value) if isinstance(value, list) else [None]
        is_right = all(_are_tokens(word, vocab_size) for word in words)
        expected = f"lists of at least one token, from 0 to {vocab_size - 1}"
    elif name == "sequence_bias":
        is_right = isinstance(value, (dict, list))
        pairs = list(value.items() if isinstance(value, dict) else value) if is_right else []
        is_right = is_right and all(
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and _are_tokens(pair[0], vocab_size)
            and _is_a(Real, pair[1])
            and math.isfinite(pair[1])
            for pair in cast(list[Any], pairs)
        )
        expected = f"finite biases of sequences of tokens, from 0 to {vocab_size - 1}"
    elif name == "exponential_decay_length_penalty":
        is_right = isinstance(value, (list, tuple)) and len(cast(list[Any], value)) == 2
        is_right = is_right and all(_is_a(Real, part) and 0 <= part < 1e4 for part in value)
        expected = "a step and a factor, two numbers from 0 to 10000"
    elif name == "guidance_scale":
        is_right, expected = value == 1, "1, for guidance needs a decoder without an encoder"
    else:
        return None
    return None if is_right else expected


def _are_tokens(ids: Any, vocab_size: int) -> bool:
    """Returns whether `ids` are one or several tokens of a vocabulary."""
    if not isinstance(ids, (list, tuple)) or not ids:
        return False
    return all(_is_a(Integral, token) and 0 <= token < vocab_size for token in cast(list[Any], ids))


def _is_a(kind: type, value: Any) -> bool:
    """Returns whether `value` is a number of that kind, and no truth value."""
    return isinstance(value, kind) and not isinstance(value, bool)


def check_inputs(inputs: Mapping[str, Any], generation_config: Any) -> None:
    """Refuses inputs of `generate()` of other types, and a call without any.

    Args:
        inputs (`Mapping` from `str`): the arguments of the call, by name.
        generation_config (`GenerationConfig`, *optional*): the argument of that name.

    Raises:
        ValueError: the argument, what was expected of it, and what came.
    """
    if not isinstance(generation_config, (GenerationConfig, type(None))):
        raise ValueError(f"`generation_config`: expected a GenerationConfig, got a {type(generation_config).__name__}.")
    if inputs.get("cache_implementation") == "paged":
        raise ValueError("`cache_implementation`: expected none, for 'paged' needs a decoder without an encoder.")
    for name in TENSORS:
        if not isinstance(inputs.get(name), (torch.Tensor, type(None))):
            raise ValueError(f"`{name}`: expected a tensor, got a {type(inputs[name]).__name__}.")
    for name, methods in METHODS.items():
        given = inputs.get(name)
        if given is not None and not all(hasattr(given, method) for method in methods):
            raise ValueError(
                f"`{name}`: expected an object with {' and '.join(methods)}, got a {type(given).__name__}."
            )
    sources = [inputs[name] for name in SOURCES if inputs.get(name) is not None]
    prompt = inputs.get("decoder_input_ids")
    if not sources:
        raise ValueError(f"Expected something to translate, one of {', '.join(SOURCES)}; got none of them.")
    if prompt is not None and isinstance(sources[0], torch.Tensor) and len(prompt) != len(sources[0]):
        raise ValueError(
            f"Expected as many rows of `decoder_input_ids` as of source sentences, got {len(prompt)} and "
            f"{len(sources[0])}."
        )


def check_lengths(settings: GenerationConfig, prompt_length: int) -> None:
    """Raises a ValueError for a least length that is greater than the greatest.

    Args:
        settings (`GenerationConfig`): with the limits of this call alone.
        prompt_length (`int`): the number of target tokens that are given.
    """
    most, least = settings.max_length, settings.min_length or 0
    most_name, least_name = "max_length", "min_length"
    if settings.max_new_tokens is not None:
        most_name, most = "max_new_tokens", settings.max_new_tokens + prompt_length
    if settings.min_new_tokens is not None:
        least_name, least = "min_new_tokens", settings.min_new_tokens + prompt_length
    if most is not None and least > most:
        given = getattr(settings, least_name), getattr(settings, most_name)
        raise ValueError(
            f"`{least_name}={given[0]}` asks for more tokens than `{most_name}={given[1]}` allows; there are "
            f"{prompt_length} before the first new one. Lower the first or raise the second."
        )


def warn_of_unknown(settings: Mapping[str, Any], where: Path) -> None:
    """Warns in one line of settings in a file that nothing reads."""
    known = vars(GenerationConfig()).keys()
    names = [name for name, value in settings.items() if name not in known and not name.startswith("_") and value]
    if names:
        settings_without = ", ".join(f"`{name}={settings[name]}`" for name in names)
        logger.warning(f"{where}: settings that nothing reads have no effect: {settings_without}.")
