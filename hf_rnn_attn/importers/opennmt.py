# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""RNN checkpoints of OpenNMT-py 3: its options, the names and layout of its weights, its vocabularies.

Does not know how checkpoints are read or models are built.
"""

import reprlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

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
    RECURRENT_WEIGHTS,
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
    "model_task": ("seq2seq",),
    "encoder_type": ("rnn", "brnn"),
    "decoder_type": ("rnn",),
    "rnn_type": ("LSTM", "GRU"),
    "global_attention": ("general", "dot", "mlp"),
    "global_attention_function": ("softmax",),
    "copy_attn": (False,),
    "coverage_attn": (False,),
    "context_gate": (None,),
    "position_encoding": (False,),
    "n_src_feats": (0,),
    "lora_layers": ([],),
    "lora_embedding": (False,),
    "quant_layers": ([],),
}
SPECIAL_TOKENS = {"unk_token": "<unk>", "pad_token": "<blank>", "bos_token": "<s>", "eos_token": "</s>"}
# what `onmt_translate` does unless told otherwise; the first of 251 tokens is the decoder's start
GENERATION = {"num_beams": 5, "max_length": 251}
EMBEDDINGS = "embeddings.make_embedding.emb_luts.0.weight"


def load_opennmt(
    path: str | Path, *, detokenize: Detokenization | None = None
) -> tuple[RnnAttnForConditionalGeneration, RnnAttnTokenizer]:
    """Reads an RNN checkpoint of OpenNMT-py 3.

    Args:
        path (`str` or `Path`):
            The checkpoint, `..._step_N.pt`. Saved with `-save_format safetensors`, its weights lie beside it.
        detokenize (`str`, *optional*):
            What makes text of translated tokens: `"subword-nmt"` joins `wa@@ ter`, `"sentencepiece"` `▁wa ter`,
            `"joiner"` `wa ￭ter`. By default the tokens, marks and all, are joined by spaces.

    Returns:
        The model, and a tokenizer with the toolkit's ids: it splits text at spaces, since the toolkit looks up words
        that were split into subwords before, and ends target texts, but not source texts, with `</s>`.

    Raises:
        ValueError: if the checkpoint holds an architecture, an option or an object that cannot be imported.
        FileNotFoundError: if there is none.

    Example:
    ```python
    >>> model, tokenizer = load_opennmt("model_step_20000.pt", detokenize="subword-nmt")
    >>> model.save_pretrained("imported")
    >>> files = tokenizer.save_pretrained("imported")

    ```
    """
    checkpoint = read_checkpoint(path)
    if not {"opt", "vocab"} <= checkpoint.keys():
        keys = reprlib.repr(list(checkpoint))
        raise ValueError(f"{path} is no checkpoint of OpenNMT-py 3: expected opt and vocab, got {keys}.")
    with explain(path, "OpenNMT-py 3"):
        options, vocabularies = vars(checkpoint["opt"]), checkpoint["vocab"]
        _check_architecture(options)
        tokenizer = _tokenizer(vocabularies, detokenize)
        config = _config(options, vocabularies, tokenizer)
        tensors = check_tensors(_tensors(path, checkpoint), path)
        weights = _weights(tensors, config)
        return build_model(config, weights, left_over=tensors, generation=GENERATION), tokenizer


def _check_architecture(options: dict[str, Any]) -> None:
    check_options("OpenNMT-py", options, OPTIONS)
    if options["enc_layers"] != options["dec_layers"]:
        raise ValueError(
            f"OpenNMT-py model with enc_layers={options['enc_layers']} and dec_layers={options['dec_layers']} cannot "
            "be imported; expected equal depths."
        )


def _tokenizer(vocabularies: dict[str, Any], detokenize: Detokenization | None) -> RnnAttnTokenizer:
    source = build_side(vocabularies["src"], SPECIAL_TOKENS.values(), SPECIAL_TOKENS["unk_token"])
    target = build_side(
        vocabularies["tgt"], SPECIAL_TOKENS.values(), SPECIAL_TOKENS["unk_token"], detokenize=detokenize
    )
    end_with(target, SPECIAL_TOKENS["eos_token"])
    return build_tokenizer(source, target, SPECIAL_TOKENS)


def _tensors(path: str | Path, checkpoint: dict[str, Any]) -> Weights:
    if "model" in checkpoint:
        return checkpoint["model"] | {f"generator.{name}": tensor for name, tensor in checkpoint["generator"].items()}
    base = Path(path).with_suffix("")
    # the toolkit writes the one and reads the other
    files = [*base.parent.glob(f"{base.name}.safetensors"), *base.parent.glob(f"{base.name}.*.safetensors")]
    if not files:
        raise ValueError(f"{path} holds no weights, and no {base}.safetensors lies beside it. Put it there.")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _config(options: dict[str, Any], vocabularies: dict[str, Any], tokenizer: RnnAttnTokenizer) -> RnnAttnConfig:
    dropout = options["dropout"][0] if isinstance(options["dropout"], list) else options["dropout"]
    directions = 2 if options["encoder_type"] == "brnn" else 1
    score = options["global_attention"]
    bridge: dict[str, Any] = {"bridge": "dense", "bridge_source": "all", "bridge_activation": "relu"}
    return RnnAttnConfig(
        vocab_size=len(vocabularies["src"]),
        encoder_embedding_size=options["src_word_vec_size"],
        encoder_hidden_size=options["enc_hid_size"] // directions,
        encoder_layers=options["enc_layers"],
        encoder_cell_type=options["rnn_type"].lower(),
        encoder_dropout=dropout,
        encoder_bidirectional=directions == 2,
        decoder_vocab_size=len(vocabularies["tgt"]),
        decoder_embedding_size=options["tgt_word_vec_size"],
        decoder_hidden_size=options["dec_hid_size"],
        decoder_layers=options["dec_layers"],
        decoder_cell_type=options["rnn_type"].lower(),
        decoder_dropout=dropout,
        **(bridge if options["bridge"] else {"bridge": "copy"}),
        attention_score="concat" if score == "mlp" else score,
        attention_bias=score == "mlp",
        attentional_activation="none" if score == "mlp" else "tanh",
        output_bias=True,
        input_feeding=bool(options["input_feed"]),
        tie_word_embeddings=options["share_decoder_embeddings"],
        share_encoder_decoder_embeddings=options["share_embeddings"],
        decoder_start_token_id=vocabularies["tgt"].index(vocabularies.get("decoder_start_token", "<s>")),
        **tokenizer_settings(tokenizer),
    )


def _weights(weights: Weights, config: RnnAttnConfig) -> Weights:
    taken = {
        f"{ENCODER}.embed_tokens.weight": take(weights, f"encoder.{EMBEDDINGS}"),
        f"{DECODER}.embed_tokens.weight": take(weights, f"decoder.{EMBEDDINGS}"),
        f"{RECURRENCE}.combine.weight": take(weights, "decoder.attn.linear_out.weight"),
        "lm_head.weight": take(weights, "generator.weight"),
        "lm_head.bias": take(weights, "generator.bias"),
        **take_stack(weights, "encoder.rnn", ENCODER, config.encoder_layers, direction_suffixes(config)),
        **_decoder_layers(weights, config),
        **_attention(weights, config),
    }
    return taken | _bridge(weights, config) if config.bridge == "dense" else taken


def _decoder_layers(weights: Weights, config: RnnAttnConfig) -> Weights:
    if not config.input_feeding:
        return take_stack(weights, "decoder.rnn", RECURRENCE, config.decoder_layers, ("",))
    # with input feeding the toolkit steps through cells, which have the layer elsewhere in their names
    return {
        f"{RECURRENCE}.layers.{layer}.{name}_l0": take(weights, f"decoder.rnn.layers.{layer}.{name}")
        for layer in range(config.decoder_layers)
        for name in RECURRENT_WEIGHTS
    }


def _attention(weights: Weights, config: RnnAttnConfig) -> Weights:
    if config.attention_score == "dot":
        return {}
    if config.attention_score == "general":
        linear_in = take(weights, "decoder.attn.linear_in.weight")
        return {f"{ATTENTION}.memory_projection.weight": linear_in.t().contiguous()}
    return {
        f"{ATTENTION}.query_projection.weight": take(weights, "decoder.attn.linear_query.weight"),
        f"{ATTENTION}.memory_projection.weight": take(weights, "decoder.attn.linear_context.weight"),
        # query and memory are added before the tanh: the bias may go with either
        f"{ATTENTION}.memory_projection.bias": take(weights, "decoder.attn.linear_query.bias"),
        f"{ATTENTION}.score_vector.weight": take(weights, "decoder.attn.v.weight"),
        f"{RECURRENCE}.combine.bias": take(weights, "decoder.attn.linear_out.bias"),
    }


def _bridge(weights: Weights, config: RnnAttnConfig) -> Weights:
    """Returns the toolkit's bridge as one matrix for each decoder layer, which reads all encoder layers.

    The toolkit has one matrix for hidden states and, for an LSTM, one for cells. It lays the states of all layers and
    directions end to end; with two directions, each half of that row goes through the matrix by itself.
    """
    parts, depth, width = CELLS[config.encoder_cell_type].state_count, config.encoder_layers, config.memory_size
    halves = len(direction_suffixes(config))
    # from (layer, part, unit) to (part, layer and unit)
    weight, bias = torch.zeros(parts, depth * width, depth, parts, width), torch.zeros(parts, depth * width)
    for part in range(parts):
        matrix = take(weights, f"encoder.bridge.{part}.weight")
        weight[part, :, :, part] = torch.block_diag(*[matrix] * halves).view(-1, depth, width)
        bias[part] = take(weights, f"encoder.bridge.{part}.bias").repeat(halves)
    taken = {}
    for layer in range(depth):
        units = slice(layer * width, (layer + 1) * width)
        taken[f"{DECODER}.bridge.projections.{layer}.weight"] = weight[:, units].reshape(parts * width, -1)
        taken[f"{DECODER}.bridge.projections.{layer}.bias"] = bias[:, units].flatten()
    return taken
