# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The recurrent state that `generate()` threads from step to step, reorders for its beams, repeats and rolls back.

Knows how the state is kept, and the two names that the library has for it; knows nothing of how a step computes it.
All tensors are batch-first.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_outputs import ModelOutput, Seq2SeqLMOutput


# The argument and output field that holds the decoder's state: `cache` from transformers 5.24 on, the other before
CACHE_NAMES = ("cache", "past_key_values")
LIBRARY_CACHE_NAME = next(name for name in CACHE_NAMES if name in {f.name for f in dataclasses.fields(Seq2SeqLMOutput)})


Returned = TypeVar("Returned")


def accept_cache_names(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """Decorates a function with a parameter `cache` so that callers may also name it `past_key_values`."""

    @functools.wraps(function)
    def renamed(*args: Any, past_key_values: Cache | None = None, **kwargs: Any) -> Returned:
        if past_key_values is not None:
            if kwargs.get("cache") is not None:
                raise ValueError(
                    "Expected one decoder state, got both `cache` and `past_key_values`. Pass `cache` only."
                )
            kwargs["cache"] = past_key_values
        return function(*args, **kwargs)

    signature = inspect.signature(function)
    *parameters, variadic = signature.parameters.values()
    old_name = inspect.Parameter("past_key_values", inspect.Parameter.KEYWORD_ONLY, default=None)
    # before 5.24 `generate` refuses arguments that it does not find here; the type of a function does not know the name
    renamed.__signature__ = signature.replace(  # pyright: ignore[reportAttributeAccessIssue]
        parameters=[*parameters, old_name, variadic]
    )
    return renamed


def cache_field(cache: Cache | None) -> dict[str, Any]:
    """Returns the keyword argument that puts `cache` into an output class or a call of the library."""
    return {LIBRARY_CACHE_NAME: cache}


def rename_cache(arguments: dict[str, Any]) -> None:
    """Puts the cache among the arguments of `generate` under the name that the library's loops read."""
    for name in CACHE_NAMES:
        if name != LIBRARY_CACHE_NAME and arguments.get(name) is not None:
            arguments[LIBRARY_CACHE_NAME] = arguments.pop(name)


def cache_of(outputs: ModelOutput) -> Cache | None:
    """Returns the cache that an output of a model holds."""
    return outputs.get(LIBRARY_CACHE_NAME)


class DecoderState(NamedTuple):
    """The state of the decoder between two tokens. R rows, H decoder width, A attentional width.

    Attributes:
        layers: for each layer `(hidden,)` or, for an LSTM, `(hidden, cell)`, each (R, H).
        attentional: the last attentional state h̃, (R, A); zeros before the first token.
        positions: how many tokens each row has consumed, (R,).
    """

    layers: tuple[tuple[torch.Tensor, ...], ...]
    attentional: torch.Tensor
    positions: torch.Tensor


# the parts of a cell's state, in the order of [`DecoderState`]
PARTS: tuple[str, ...] = ("hidden", "cell")


class RnnStateLayer(CacheLayerMixin):
    """The state tensors of one decoder layer, by name. A recurrent state has no time axis: a new one replaces the old.

    While the past is recorded, as assisted decoding asks for, the old ones are kept until the next `crop`.
    """

    is_sliding = False
    is_croppable = True

    def __init__(self) -> None:
        super().__init__()
        self.record_past = False
        self.reset()

    # the library's layers take keys and values here; only [`RnnAttnCache`] calls these two
    def lazy_initialization(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, states: dict[str, torch.Tensor], new_tokens: int
    ) -> None:
        """Does what [`update`] does."""
        self.update(states, new_tokens)

    def update(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, states: dict[str, torch.Tensor], new_tokens: int
    ) -> tuple[dict[str, torch.Tensor], int]:
        """Replaces the state and returns it with the number of tokens it has seen.

        Raises:
            ValueError: for several tokens at once while the past is recorded: the states between them are missing.
        """
        if self.record_past:
            if new_tokens != 1:
                raise ValueError(f"A recorded past takes one token at a time, got {new_tokens}.")
            self.past.append(self.states)
        self.states = states
        self.seen_tokens += new_tokens
        self.is_initialized = True
        return self.states, self.seen_tokens

    def apply(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replaces every tensor, recorded ones too, by what `change` makes of it."""
        *self.past, self.states = (
            {name: change(state) for name, state in states.items()} for states in (*self.past, self.states)
        )

    def activate_past_recording(self) -> None:
        """Keeps every state from now on, until the next `crop`."""
        self.record_past = True

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens, and the record.

        Args:
            tokens_to_remove (`int`): their number as a negative `int`, the library's convention, or 0.

        Raises:
            ValueError: for a positive number, or where the record does not reach that far back.
        """
        if tokens_to_remove > 0:
            raise ValueError(f"`crop` takes the number of tokens to remove as a negative int, got {tokens_to_remove}.")
        if -tokens_to_remove > len(self.past):
            raise ValueError(
                f"Cannot remove {-tokens_to_remove} tokens: {len(self.past)} are recorded. Call "
                "`activate_past_recording()` before the tokens that may have to be removed."
            )
        if tokens_to_remove < 0:
            self.states = self.past[tokens_to_remove]
            self.seen_tokens += tokens_to_remove
        self.past = []

    def get_seq_length(self) -> int:
        """Returns the number of tokens that the state has seen."""
        return self.seen_tokens

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Returns length and offset of a self-attention mask over the tokens seen and `query_length` more."""
        return self.seen_tokens + query_length, 0

    def get_max_length(self) -> int:
        """Returns -1: the number of tokens has no limit."""
        return -1

    def reset(self) -> None:
        """Forgets the state, the record and the number of tokens seen."""
        self.states: dict[str, torch.Tensor] = {}
        self.past: list[dict[str, torch.Tensor]] = []
        self.seen_tokens = 0
        self.is_initialized = False

    def offload(self) -> None:
        """Moves every tensor to the CPU."""
        self.apply(lambda state: state.to("cpu", non_blocking=True))

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Replaces the rows by the rows `beam_idx` (R,); the library's beam search calls it at every step."""
        self.apply(lambda state: state.index_select(0, beam_idx.to(state.device)))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the rows `indices`."""
        self.apply(lambda state: state[indices.to(state.device)])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row `repeats` times, the copies side by side."""
        self.apply(lambda state: state.repeat_interleave(repeats, dim=0))


class RnnAttnCache(Cache):
    """The `cache` of a recurrent decoder: one [`RnnStateLayer`] for each decoder layer.

    The last layer also keeps what sits on top of the stack: the attentional state (input feeding makes it part of the
    recurrence, so that beams must reorder it with the rest), the positions and the projected memory.

    Args:
        num_layers (`int`): the number of decoder layers.
    """

    # as `__init__` makes them; in the library, a cache may have layers of several types
    layers: list[RnnStateLayer]  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[RnnStateLayer() for _ in range(num_layers)])

    @property
    def records_past(self) -> bool:
        """Whether tokens have to be written one by one."""
        return self.layers[-1].record_past

    @property
    def state(self) -> DecoderState | None:
        """The state after the tokens seen so far, `None` before the first."""
        if self.get_seq_length() == 0:
            return None
        layers = tuple(tuple(layer.states[name] for name in PARTS if name in layer.states) for layer in self.layers)
        top = self.layers[-1].states
        return DecoderState(layers, top["attentional"], top["positions"])

    @property
    def keys(self) -> torch.Tensor | None:
        """The projected memory (R, S, H) that was written with the state, if there was one."""
        return self.layers[-1].states.get("keys")

    def write(self, state: DecoderState, keys: torch.Tensor | None, new_tokens: int) -> None:
        """Stores the state after `new_tokens` more tokens, and the projected memory where the attention has one."""
        tensors = [dict(zip(PARTS, layer, strict=False)) for layer in state.layers]
        tensors[-1] |= {"attentional": state.attentional, "positions": state.positions}
        if keys is not None:
            tensors[-1]["keys"] = keys
        for layer, states in zip(self.layers, tensors, strict=True):
            layer.update(states, new_tokens)
