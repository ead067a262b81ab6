# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What encoder, decoder and the whole models have in common: initial weights, loading, saving, embedding and masks."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .cache_rnn_attn import CACHE_NAMES
from .configuration_rnn_attn import RnnAttnConfig


def embed_tokens(
    table: nn.Embedding, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, side: str
) -> torch.Tensor:
    """Returns the embeddings (B, length, E) of tokens, of which the caller gives ids or embeddings.

    Args:
        table (`nn.Embedding`): the embedding of each token.
        input_ids (`torch.LongTensor` of shape `(B, length)`, *optional*): the tokens.
        inputs_embeds (`torch.FloatTensor` of shape `(B, length, E)`, *optional*): their embeddings.
        side (`str`): what the names of the two arguments begin with in an error message.

    Raises:
        ValueError: if both are given, or neither.
    """
    if (input_ids is None) == (inputs_embeds is None):
        given = "both" if inputs_embeds is not None else "neither"
        raise ValueError(f"Pass exactly one of `{side}input_ids` and `{side}inputs_embeds`, got {given}.")
    return table(input_ids) if inputs_embeds is None else inputs_embeds


def boolean_mask(attention_mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Returns the mask (B, S) as booleans; without one, `True` everywhere in the first two dimensions of `like`.

    Raises:
        ValueError: if the mask has another shape than `like`.
    """
    if attention_mask is None:
        return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
    if attention_mask.shape != like.shape[:2]:
        raise ValueError(
            f"Expected an attention mask of shape {tuple(like.shape[:2])}, one entry for each token, got "
            f"{tuple(attention_mask.shape)}."
        )
    return attention_mask.bool()


def check_mask_values(attention_mask: torch.Tensor | None) -> None:
    """Refuses a mask whose padding is marked by negative values, which would be read inverted.

    Raises:
        ValueError: if the mask has other values than 0 and 1, or `True` and `False`.
    """
    if attention_mask is None or attention_mask.dtype == torch.bool or torch.compiler.is_compiling():
        return
    if not ((attention_mask == 0) | (attention_mask == 1)).all():
        raise ValueError(
            "Expected an attention mask with 1 for tokens and 0 for padding, got values from "
            f"{attention_mask.min().item()} to {attention_mask.max().item()}."
        )


def check_known_arguments(function: Callable[..., Any], given: dict[str, Any], known: set[str]) -> None:
    """Refuses variadic arguments of `function` that are not among the known ones, and that nothing would read.

    Raises:
        TypeError: the first of them, and the nearest argument that would be read.
    """
    for name in given.keys() - known:
        (nearest,) = difflib.get_close_matches(name, [*inspect.signature(function).parameters, *known], n=1, cutoff=0)
        raise TypeError(f"`forward` got an unexpected argument `{name}`. Did you mean `{nearest}`?")


class RnnAttnPreTrainedModel(PreTrainedModel):
    """The base class of all models here: initial weights, loading and saving."""

    config: RnnAttnConfig
    config_class = RnnAttnConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RnnAttnEncoder", "RnnAttnDecoder"]
    _skip_keys_device_placement = list(CACHE_NAMES)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Gives the weights of one layer their first values.

        They are uniform (Luong et al. 2015, §4.1). Biases are zero but for forget gates (Jozefowicz et al. 2015).
        """
        if not isinstance(module, (nn.Linear, nn.Embedding, nn.RNNBase)):
            return
        bound = self.config.initializer_range
        for name, parameter in module.named_parameters(recurse=False):
            if getattr(parameter, "_is_hf_initialized", False):
                continue  # loaded; the slices below do not carry the flag
            if "bias" in name:
                init.zeros_(parameter)
            else:
                init.uniform_(parameter, -bound, bound)
            if isinstance(module, nn.LSTM) and "bias_ih" in name:
                init.ones_(parameter[module.hidden_size : 2 * module.hidden_size])
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                init.zeros_(parameter[module.padding_idx])

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A small batch for a trial run: the arguments of `forward`."""
        pad_token_id = cast(int, self.config.pad_token_id)
        input_ids = torch.tensor([[4, 5, 6], [4, 5, pad_token_id]])
        attention_mask = input_ids.ne(pad_token_id)
        return {"input_ids": input_ids, "attention_mask": attention_mask, "decoder_input_ids": input_ids}

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Returns `{tied: source}` parameter names.

        Unlike in the library, source and target embeddings can be shared without an output layer that is tied to them,
        so `config.tie_word_embeddings` alone does not decide.
        """
        if all_submodels:
            return super().get_expanded_tied_weights_keys(all_submodels=True)
        return dict(self._tied_weights_keys or {})
