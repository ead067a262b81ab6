# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What encoder, decoder and the whole models have in common: initial weights, loading, saving, embedding and masks."""

import difflib
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .cache_rnn_attn import CACHE_NAMES
from .checkpoint_rnn_attn import (
    ACCESS,
    CONFIG_FILE,
    GENERATION_FILE,
    Name,
    Shapes,
    check_shapes,
    explain,
    find_file,
    find_weights,
    read_settings,
    read_shapes,
)
from .configuration_rnn_attn import RnnAttnConfig
from .generation_arguments_rnn_attn import check_generation, warn_of_unknown
from .pipeline_rnn_attn import sides_of


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
        ValueError: if both are given, or neither, or if there is no token, or one that has no embedding.
    """
    if (input_ids is None) == (inputs_embeds is None):
        given = "both" if inputs_embeds is not None else "neither"
        raise ValueError(f"Pass exactly one of `{side}input_ids` and `{side}inputs_embeds`, got {given}.")
    if torch.compiler.is_compiling():
        return table(input_ids) if inputs_embeds is None else inputs_embeds
    tokens: Any = input_ids if inputs_embeds is None else inputs_embeds
    width = () if inputs_embeds is None else (table.embedding_dim,)
    check_tensor(tokens, f"{side}input_ids" if inputs_embeds is None else f"{side}inputs_embeds")
    if tokens.dim() != 2 + len(width) or tokens.shape[2:] != width or 0 in tokens.shape:
        name, shape = ("input_ids", "") if inputs_embeds is None else ("inputs_embeds", f", {table.embedding_dim}")
        raise ValueError(
            f"Expected `{side}{name}` of shape (sentences, length{shape}) with at least one token, got "
            f"{tuple(tokens.shape)}."
        )
    return look_up(table, tokens, side) if inputs_embeds is None else inputs_embeds


def check_tensor(value: Any, name: str) -> None:
    """Raises a ValueError for an argument that is no tensor."""
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"Expected `{name}` as a tensor, got a {type(value).__name__}. Pass `torch.tensor({name})`.")


def look_up(table: nn.Embedding, input_ids: torch.Tensor, side: str) -> torch.Tensor:
    """Returns the embeddings (B, length, E) of tokens; see `embed_tokens`.

    Raises:
        ValueError: on a CPU, if a token has none. On a GPU the check would wait for the device at every call.
    """
    try:
        return table(input_ids)
    except (IndexError, RuntimeError) as error:
        if input_ids.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"Expected `{side}input_ids` of type int64, got {input_ids.dtype}.") from error
        lowest, highest = int(input_ids.min()), int(input_ids.max())
        if lowest < 0 or highest >= table.num_embeddings:
            raise ValueError(
                f"Expected `{side}input_ids` from 0 to {table.num_embeddings - 1}, the tokens of the vocabulary, got "
                f"ids from {lowest} to {highest}. Is the tokenizer that of the model?"
            ) from error
        raise


def check_labels(labels: torch.Tensor, vocab_size: int, decoder_shape: tuple[int, ...] | None) -> None:
    """Refuses labels that are no target tokens; on a GPU only their type and shape are looked at.

    Args:
        labels (`torch.Tensor` of shape `(B, T)`): the tokens to predict, -100 for none.
        vocab_size (`int`): the number of target tokens.
        decoder_shape (`tuple[int]`, *optional*): (B, T) of the decoder's inputs, where they are given beside labels.

    Raises:
        ValueError: for another type, shape or value.
    """
    check_tensor(labels, "labels")
    if labels.dim() != 2 or (decoder_shape is not None and labels.shape != decoder_shape):
        expected = "(sentences, length)" if decoder_shape is None else f"{tuple(decoder_shape)}, that of the inputs"
        raise ValueError(f"Expected labels of shape {expected}, got {tuple(labels.shape)}.")
    if labels.dtype != torch.int64:
        raise ValueError(f"Expected labels of type int64, got {labels.dtype}.")
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    tokens = labels[labels != -100]
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise ValueError(
            f"Expected labels from 0 to {vocab_size - 1}, the tokens of the vocabulary, or -100 for padding, got "
            f"labels from {tokens.min().item()} to {tokens.max().item()}."
        )


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
    if attention_mask is not None:
        check_tensor(attention_mask, "attention_mask")
    if attention_mask is None or attention_mask.dtype == torch.bool or torch.compiler.is_compiling():
        return
    if not ((attention_mask == 0) | (attention_mask == 1)).all():
        raise ValueError(
            "Expected an attention mask with 1 for tokens and 0 for padding, got values from "
            f"{attention_mask.min().item()} to {attention_mask.max().item()}."
        )


def fingerprint(side: Any, size: int) -> str:
    """Returns the number and a digest of the first tokens of a vocabulary; tokens that are added do not change it.

    Args:
        side (`PreTrainedTokenizerBase`): the tokenizer of one side.
        size (`int`): how many tokens to read.
    """
    tokens = side.convert_ids_to_tokens(list(range(min(size, len(side)))))
    return f"{size}-{hashlib.sha256(json.dumps(tokens).encode()).hexdigest()[:16]}"


def check_known_arguments(function: Callable[..., Any], given: dict[str, Any], known: set[str]) -> None:
    """Refuses variadic arguments of `function` that are not among the known ones, and that nothing would read.

    Raises:
        TypeError: the first of them, and the nearest argument that would be read.
    """
    for name in given.keys() - known:
        (nearest,) = difflib.get_close_matches(name, [*inspect.signature(function).parameters, *known], n=1, cutoff=0)
        raise TypeError(f"`forward` got an unexpected argument `{name}`. Did you mean `{nearest}`?")


_PREFIX = "model."
# a vocabulary may be made larger than its tokens, to a multiple of 128 at most
MOST_SPARE_TOKENS = 128


def _of_bare_model(shapes: Shapes) -> Shapes:
    """Returns the tensors of encoder and decoder, as the bare model names them."""
    named = {key.removeprefix(_PREFIX): shape for key, shape in shapes.items()}
    return {key: shape for key, shape in named.items() if key.startswith(("encoder.", "decoder."))}


@torch.no_grad()
def check_finite(model: nn.Module, where: Name) -> None:
    """Raises a ValueError for a model of which a weight is not a number or infinite."""
    for name, parameter in model.named_parameters():
        if parameter.device.type != "meta" and not parameter.isfinite().all():
            raise ValueError(f"{where}: the weight `{name}` is not finite everywhere. Train the model again.")


class RnnAttnPreTrainedModel(PreTrainedModel):
    """The base class of all models here: initial weights, loading and saving."""

    config: RnnAttnConfig
    config_class = RnnAttnConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RnnAttnEncoder", "RnnAttnDecoder"]
    _skip_keys_device_placement = list(CACHE_NAMES)

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, pretrained_model_name_or_path: Name | None, *args: Any, **kwargs: Any
    ) -> Any:
        """Loads a checkpoint as the library does, whose arguments it has, after a check of its files.

        Configuration and weights in the files must belong together, whatever the arguments then make of them. A caller
        who asks for `output_loading_info` reads there what is missing.

        Raises:
            OSError: if a file is missing.
            ValueError: if a file is damaged, if weights are missing, have no place or another shape, or are not finite.
        """
        access = {key: value for key, value in kwargs.items() if key in ACCESS}
        name = pretrained_model_name_or_path
        is_checked = name is not None and not kwargs.get("output_loading_info")
        # the folder of an adapter has no configuration
        is_checked = is_checked and find_file(cast(Name, name), CONFIG_FILE, access) is not None
        if is_checked:
            cls._check_files(cast(Name, name), access)
        loaded: Any = super().from_pretrained(name, *args, **kwargs)  # pyright: ignore[reportUnknownMemberType]
        if is_checked:
            check_finite(loaded, cast(Name, name))
        return loaded

    @classmethod
    def _check_files(cls, name: Name, access: dict[str, Any]) -> None:
        """Compares the files of a checkpoint with each other; see `from_pretrained`."""
        config_file = cast(Path, find_file(name, CONFIG_FILE, access))
        settings = read_settings(config_file)
        if settings.get("model_type") != RnnAttnConfig.model_type:
            return  # the library says what it is
        with explain(config_file, "configuration"):
            config = RnnAttnConfig.from_dict(settings)
        generation_file = find_file(name, GENERATION_FILE, access)
        if generation_file is not None:
            generation = read_settings(generation_file)
            with explain(generation_file, "generation settings"):
                check_generation(generation, config)
                for key in ("decoder_start_token_id", "eos_token_id"):
                    if generation.get(key) is None and getattr(config, key) is not None:
                        raise ValueError(f"`{key}` is missing; it is {getattr(config, key)} in {CONFIG_FILE}.")
            warn_of_unknown(generation, generation_file)
        found: Shapes = {}
        for file in find_weights(name, access):
            found |= read_shapes(file)
        with torch.device("meta"):
            model = cls(config)
        expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        optional = set(model.all_tied_weights_keys)
        if cls.__name__ not in (config.architectures or [cls.__name__]):
            # the bare model in place of the one with an output layer, or the other way round: what both have
            found, expected = _of_bare_model(found), _of_bare_model(expected)
            optional = {key.removeprefix(_PREFIX) for key in optional}
        check_shapes(found, expected, optional, name)

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a tokenizer of another model.

        Args:
            tokenizer (`PreTrainedTokenizerBase`): the tokenizer that is to be used together with this model.

        Raises:
            ValueError: if a vocabulary of it is not the model's, or if special tokens differ.
        """
        config, (source_side, target_side) = self.config, sides_of(tokenizer)
        mismatch = f"{self.name_or_path or type(self).__name__}: the tokenizer is not that of the model:"
        fingerprints = config.vocabulary_fingerprints or [None, None]
        for side, part, size, known in (
            ("source", source_side, config.vocab_size, fingerprints[0]),
            ("target", target_side, cast(int, config.decoder_vocab_size), fingerprints[1]),
        ):
            if not size - MOST_SPARE_TOKENS < len(part) <= size:
                raise ValueError(f"{mismatch} {len(part)} {side} tokens in the tokenizer and {size} in the model.")
            if known is not None and fingerprint(part, int(known.partition("-")[0])) != known:
                raise ValueError(f"{mismatch} other {side} tokens. Load the one that was saved with it.")
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            ours, theirs = getattr(config, key), getattr(tokenizer, key)
            known = ours if isinstance(ours, list) else [ours]
            if theirs is not None and ours is not None and theirs not in known:
                raise ValueError(f"{mismatch} `{key}` {theirs} in the tokenizer and {ours} in the model.")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Gives the weights of one layer their first values.

        Biases are zero but for forget gates (Jozefowicz et al. 2015).
        """
        if not isinstance(module, (nn.Linear, nn.Embedding, nn.RNNBase)):
            return
        for name, parameter in module.named_parameters(recurse=False):
            if getattr(parameter, "_is_hf_initialized", False):
                continue  # loaded; the slices below do not carry the flag
            if "bias" in name:
                init.zeros_(parameter)
            elif self.config.initializer_range is not None:
                init.uniform_(parameter, -self.config.initializer_range, self.config.initializer_range)
            elif isinstance(module, nn.Embedding):
                init.normal_(parameter, std=module.embedding_dim**-0.5 if self.config.tie_word_embeddings else 1.0)
            else:
                bound = (module.hidden_size if isinstance(module, nn.RNNBase) else module.in_features) ** -0.5
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
