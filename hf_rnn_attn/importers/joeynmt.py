# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Recurrent models of JoeyNMT 2: their configuration, the names and layout of their weights, their vocabularies.

Does not know how checkpoints are read or models are built.
"""

import reprlib
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.recurrence_rnn_attn import CELLS
from ..model.tokenization_rnn_attn import RnnAttnTokenizer
from ..tokenization import end_with, tokenizer_settings
from .checkpoints import (
    ATTENTION,
    DECODER,
    ENCODER,
    RECURRENCE,
    Detokenization,
    Weights,
    build_model,
    build_side,
    build_tokenizer,
    check_options,
    check_tensors,
    direction_suffixes,
    explain,
    read_checkpoint,
    take,
    take_stack,
)


OPTIONS = {
    "encoder.type": ("recurrent",),
    "encoder.rnn_type": ("gru", "lstm"),
    "decoder.type": ("recurrent",),
    "decoder.rnn_type": ("gru", "lstm"),
    "decoder.attention": ("bahdanau", "luong"),
    "decoder.init_hidden": ("bridge", "last", "zero"),
    "decoder.activation": ("tanh",),
}
SPECIAL_TOKENS = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


def load_joeynmt(
    path: str | Path, *, detokenize: Detokenization | None = None
) -> tuple[RnnAttnForConditionalGeneration, RnnAttnTokenizer]:
    """Reads a recurrent model of JoeyNMT 2.

    Args:
        path (`str` or `Path`): The model's folder, with `config.yaml`, `src_vocab.txt`, `trg_vocab.txt` and `best.ckpt`
            (or else `latest.ckpt`), or one checkpoint in that folder.
        detokenize (`str`, *optional*): What makes text of translated tokens: `"subword-nmt"` joins `wa@@ ter`,
            `"sentencepiece"` `▁wa ter`, `"joiner"` `wa ￭ter`. By default the tokens, marks and all, are joined by
            spaces. Without effect on `level: char`, where characters are joined as they are.

    Returns:
        The model, and a tokenizer with the toolkit's ids. It splits text at spaces, or into characters where the
        configuration says `level: char`, and lowercases it where that says `lowercase`. What else the toolkit does to a
        text (`normalize`, the Moses pre-tokenizer, subwords) has to be done before.

    Raises:
        ValueError: if the model has an architecture, an option or an object that cannot be imported.
        FileNotFoundError: if a file is missing.

    Example:
    ```python
    >>> model, tokenizer = load_joeynmt("models/iwslt_rnn", detokenize="subword-nmt")
    >>> model.save_pretrained("imported")
    >>> files = tokenizer.save_pretrained("imported")

    ```
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    settings = _read_settings(folder / "config.yaml")
    vocabularies = [_read_vocabulary(folder / name) for name in ("src_vocab.txt", "trg_vocab.txt")]
    with explain(folder, "JoeyNMT 2"):
        options = settings["model"]
        _check_architecture(settings)
        special_tokens, unnamed = _special_tokens(settings["data"])
        tokenizer = _tokenizer(settings["data"], vocabularies, special_tokens, unnamed, detokenize)
        config = _config(options, vocabularies, tokenizer)
        tensors = _tensors(path)
        weights = _weights(tensors, config, options)
        generation = _generation(settings.get("testing", {}), tokenizer, unnamed)
        return build_model(config, weights, left_over=tensors, generation=generation), tokenizer


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(_read_text(file))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{file}: expected YAML, got something else: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: expected the configuration of JoeyNMT 2, got a {type(settings).__name__}.")
    return settings


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8, got something else: {error}") from error


def _check_architecture(settings: dict[str, Any]) -> None:
    if not isinstance(settings["data"]["src"], dict):
        raise ValueError(
            f"Expected the configuration of JoeyNMT 2, where data.src is a section; got "
            f"{reprlib.repr(settings['data']['src'])}."
        )
    options = settings["model"]
    flat = {f"{side}.{name}": value for side in ("encoder", "decoder") for name, value in options[side].items()}
    # an encoder is recurrent and a decoder a transformer where the configuration is silent
    check_options("JoeyNMT", {"decoder.type": "transformer"} | flat, OPTIONS)


def _read_vocabulary(path: Path) -> list[str]:
    # a vocabulary may hold other ends of lines as tokens
    return _read_text(path).removesuffix("\n").split("\n")


def _tensors(path: Path) -> Weights:
    if path.is_dir():
        path = path / ("best.ckpt" if (path / "best.ckpt").is_file() else "latest.ckpt")
    checkpoint = read_checkpoint(path)
    if "model_state" not in checkpoint:
        raise ValueError(
            f"{path} is no checkpoint of JoeyNMT 2: expected model_state, got {reprlib.repr(list(checkpoint))}."
        )
    return check_tensors(checkpoint["model_state"], path)


def _special_tokens(data: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Returns the special tokens that the library names, and the others: language tags, the separator of prompts."""
    symbols = data.get("special_symbols", {})
    separator = [symbols["sep_token"]] if symbols.get("sep_token") else []
    named = {name: symbols.get(name, token) for name, token in SPECIAL_TOKENS.items()}
    return named, symbols.get("lang_tags", []) + separator


def _tokenizer(
    data: dict[str, Any],
    vocabularies: list[list[str]],
    special_tokens: dict[str, str],
    unnamed: list[str],
    detokenize: Detokenization | None,
) -> RnnAttnTokenizer:
    sides = [
        build_side(
            tokens,
            [*special_tokens.values(), *unnamed],
            special_tokens["unk_token"],
            characters=side["level"] == "char",
            lowercase=side.get("lowercase", False),
            detokenize=detokenize,
        )
        for tokens, side in zip(vocabularies, (data["src"], data["trg"]), strict=True)
    ]
    for side in sides:
        end_with(side, special_tokens["eos_token"])
    source, target = sides
    return build_tokenizer(source, target, special_tokens)


def _embedding_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the options of source and target embedding; tied embeddings have the source's."""
    source = options["encoder"]["embeddings"]
    return source, source if options.get("tied_embeddings", False) else options["decoder"]["embeddings"]


def _config(options: dict[str, Any], vocabularies: list[list[str]], tokenizer: RnnAttnTokenizer) -> RnnAttnConfig:
    encoder, decoder = options["encoder"], options["decoder"]
    source, target = _embedding_options(options)
    return RnnAttnConfig(
        vocab_size=len(vocabularies[0]),
        encoder_embedding_size=source.get("embedding_dim", 64),
        encoder_hidden_size=encoder["hidden_size"],
        encoder_layers=encoder.get("num_layers", 1),
        encoder_cell_type=encoder.get("rnn_type", "gru"),
        encoder_dropout=source.get("dropout", encoder.get("dropout", 0.0)),
        encoder_bidirectional=encoder.get("bidirectional", True),
        decoder_vocab_size=len(vocabularies[1]),
        decoder_embedding_size=target.get("embedding_dim", 64),
        decoder_hidden_size=decoder["hidden_size"],
        decoder_layers=decoder.get("num_layers", 1),
        decoder_cell_type=decoder.get("rnn_type", "gru"),
        decoder_dropout=decoder["embeddings"].get("dropout", decoder.get("dropout", 0.0)),
        **_bridge_options(decoder),
        attention_score="general" if decoder.get("attention", "bahdanau") == "luong" else "concat",
        attention_bias=True,
        input_feeding=decoder.get("input_feeding", True),
        # an embedding that is scaled is no longer the output layer's matrix
        tie_word_embeddings=options.get("tied_softmax", False) and not target.get("scale", False),
        share_encoder_decoder_embeddings=options.get("tied_embeddings", False),
        decoder_start_token_id=cast(int, tokenizer.bos_token_id),
        **tokenizer_settings(tokenizer),
    )


def _bridge_options(decoder: dict[str, Any]) -> dict[str, Any]:
    init_hidden = decoder.get("init_hidden", "bridge")
    if init_hidden == "zero":
        return {"bridge": "zero"}
    activation = "tanh" if init_hidden == "bridge" else "none"
    return {"bridge": "dense", "bridge_source": "last", "bridge_activation": activation}


def _weights(weights: Weights, config: RnnAttnConfig, options: dict[str, Any]) -> Weights:
    source, target = _embedding_options(options)
    hidden, context = take(weights, "decoder.att_vector_layer.weight").split(
        [config.decoder_hidden_size, config.memory_size], dim=1
    )
    taken = {
        f"{ENCODER}.embed_tokens.weight": _embeddings(weights, "src_embed", source),
        f"{DECODER}.embed_tokens.weight": _embeddings(weights, "trg_embed", target),
        f"{RECURRENCE}.combine.weight": torch.cat([context, hidden], 1),
        f"{RECURRENCE}.combine.bias": take(weights, "decoder.att_vector_layer.bias"),
        "lm_head.weight": take(weights, "decoder.output_layer.weight"),
        **take_stack(weights, "encoder.rnn", ENCODER, config.encoder_layers, direction_suffixes(config)),
        **take_stack(weights, "decoder.rnn", RECURRENCE, config.decoder_layers, ("",)),
        **_attention(weights, config),
    }
    return taken | _bridge(weights, config) if config.bridge == "dense" else taken


def _embeddings(weights: Weights, name: str, options: dict[str, Any]) -> torch.Tensor:
    table = take(weights, f"{name}.lut.weight")
    return table * table.shape[1] ** 0.5 if options.get("scale", False) else table


def _attention(weights: Weights, config: RnnAttnConfig) -> Weights:
    keys = take(weights, "decoder.attention.key_layer.weight")
    if config.attention_score == "general":
        # the toolkit projects the memory and not the query
        return {f"{ATTENTION}.memory_projection.weight": keys}
    return {
        f"{ATTENTION}.query_projection.weight": take(weights, "decoder.attention.query_layer.weight"),
        f"{ATTENTION}.memory_projection.weight": keys,
        f"{ATTENTION}.memory_projection.bias": torch.zeros(len(keys)),
        f"{ATTENTION}.score_vector.weight": take(weights, "decoder.attention.energy_layer.weight"),
    }


def _bridge(weights: Weights, config: RnnAttnConfig) -> Weights:
    """Returns the toolkit's bridge as one matrix for each decoder layer.

    The hidden state of the topmost encoder layer, through one matrix, is the first hidden state of every decoder layer,
    and its first cell.

    For `init_hidden: last` that matrix is the identity, or its upper rows: of a state that is twice as wide as the
    decoder's, the toolkit takes the forward half.
    """
    size, width = config.decoder_hidden_size, config.memory_size
    if config.bridge_activation == "none":
        matrix, vector = torch.eye(size, width), torch.zeros(size)
    else:
        matrix, vector = (take(weights, f"decoder.bridge_layer.{name}") for name in ("weight", "bias"))
    parts = CELLS[config.decoder_cell_type].state_count
    weight = torch.zeros(parts, size, CELLS[config.encoder_cell_type].state_count, width)
    weight[:, :, 0] = matrix
    taken = {}
    for layer in range(config.decoder_layers):
        taken[f"{DECODER}.bridge.projections.{layer}.weight"] = weight.reshape(parts * size, -1)
        taken[f"{DECODER}.bridge.projections.{layer}.bias"] = vector.repeat(parts)
    return taken


def _generation(testing: dict[str, Any], tokenizer: RnnAttnTokenizer, unnamed: list[str]) -> dict[str, Any]:
    """Returns generation settings of the toolkit's search: most special tokens never come, one token always."""
    unk_token = [] if testing.get("generate_unk", True) else [tokenizer.unk_token]
    never = [tokenizer.bos_token, tokenizer.pad_token, *unnamed, *unk_token]
    beams, length = testing.get("beam_size", 1), testing.get("max_output_length", -1)
    return {
        "num_beams": beams,
        **(
            {"length_penalty": max(0.0, float(testing.get("beam_alpha", testing.get("alpha", -1))))}
            if beams > 1
            else {}
        ),
        "suppress_tokens": [tokenizer.target_tokenizer.convert_tokens_to_ids(token) for token in never],
        "min_new_tokens": 1,
        # the decoder's start counts too
        **({"max_length": length + 1} if length > 0 else {}),
    }
