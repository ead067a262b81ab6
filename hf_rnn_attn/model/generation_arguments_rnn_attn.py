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
POSITIVE = ("encoder_repetition_penalty", "max_time", "repetition_penalty", "temperature")
FINITE = ("guidance_scale", "length_penalty")
PROBABILITIES = ("epsilon_cutoff", "eta_cutoff", "min_p", "top_h", "top_p", "typical_p")
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
    number = _is_a(Real, value)
    if name in WHOLE:
        least, most = WHOLE[name]
        limit = f" and at most {most}" if most < math.inf else ""
        is_right = _is_a(Integral, value) and least <= value <= most
        expected = f"a whole number of at least {least}{limit}"
    elif name in POSITIVE:
        is_right, expected = number and 0 < value < math.inf, "a number greater than 0"
    elif name in FINITE:
        is_right, expected = number and math.isfinite(value), "a finite number"
    elif name in PROBABILITIES:
        is_right, expected = number and 0 <= value <= 1, "a number from 0 to 1"
    elif name in SWITCHES:
        is_right, expected = isinstance(value, bool), "True or False"
    elif name in (*TOKENS, *TOKEN_LISTS):
        ids = value.tolist() if hasattr(value, "tolist") else value
        ids = ids if isinstance(ids, (list, tuple)) or name in TOKEN_LISTS else [ids]
        is_right = isinstance(ids, (list, tuple)) and all(
            _is_a(Integral, token) and 0 <= token < vocab_size for token in cast(list[Any], ids)
        )
        expected = f"tokens of the target vocabulary, from 0 to {vocab_size - 1}"
    elif name == "bad_words_ids":
        is_right, expected = all(value), "words of at least one token each"
    else:
        return None
    return None if is_right else expected


def _is_a(kind: type, value: Any) -> bool:
    """Returns whether `value` is a number of that kind, and no truth value."""
    return isinstance(value, kind) and not isinstance(value, bool)


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
