# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints as OpenNMT-py and JoeyNMT leave them behind, with random weights."""

import argparse

import torch
import yaml
from torch import nn


LAYERS = {"lstm": (nn.LSTM, nn.LSTMCell, 2), "gru": (nn.GRU, nn.GRUCell, 1)}
SOURCE_WORDS = ["<unk>", "<blank>", "<s>", "</s>", "ein", "hund", "kat@@", "ze"]
TARGET_WORDS = ["<unk>", "<blank>", "<s>", "</s>", "a", "dog", "c@@", "at", "bird"]
JOEY_SPECIALS = ["<unk>", "<pad>", "<s>", "</s>"]


def named(prefix, module):
    """The module's weights, uniform in [-0.8, 0.8], under the names that a toolkit gives them."""
    return {f"{prefix}.{name}": torch.empty_like(x).uniform_(-0.8, 0.8) for name, x in module.state_dict().items()}


def opennmt_checkpoint(**options):
    """What `torch.save` of the toolkit holds, as far as a translation depends on it."""
    settings = {
        "model_task": "seq2seq",
        "encoder_type": "brnn",
        "decoder_type": "rnn",
        "rnn_type": "LSTM",
        "enc_layers": 1,
        "dec_layers": 1,
        "src_word_vec_size": 5,
        "tgt_word_vec_size": 6,
        "enc_hid_size": 8,
        "dec_hid_size": 8,
        "global_attention": "general",
        "input_feed": 1,
        "bridge": False,
        "share_embeddings": False,
        "share_decoder_embeddings": False,
        "dropout": [0.3],
    } | options
    opt = argparse.Namespace(**settings)
    layer, cell, parts = LAYERS[opt.rnn_type.lower()] if opt.rnn_type.lower() in LAYERS else LAYERS["gru"]
    brnn, size, depth = opt.encoder_type == "brnn", opt.dec_hid_size, opt.dec_layers
    half = opt.enc_hid_size // (2 if brnn else 1)
    encoder = layer(opt.src_word_vec_size, half, opt.enc_layers, bidirectional=brnn)
    if opt.input_feed:
        sizes = [opt.tgt_word_vec_size + size] + [size] * (depth - 1)
        decoder = nn.ModuleDict({"layers": nn.ModuleList(cell(width, size) for width in sizes)})
    else:
        decoder = layer(opt.tgt_word_vec_size, size, depth)
    mlp = opt.global_attention == "mlp"
    attention = {"linear_out": nn.Linear(2 * size, size, bias=mlp)}
    if opt.global_attention == "general":
        attention["linear_in"] = nn.Linear(size, size, bias=False)
    if mlp:
        attention |= {"linear_context": nn.Linear(size, size, bias=False), "linear_query": nn.Linear(size, size)}
        attention["v"] = nn.Linear(size, 1, bias=False)
    weights = named("encoder.rnn", encoder) | named("decoder.rnn", decoder)
    weights |= named("decoder.attn", nn.ModuleDict(attention))
    if opt.bridge:
        width = half * opt.enc_layers
        weights |= named("encoder.bridge", nn.ModuleList(nn.Linear(width, width) for _ in range(parts)))
    name = "embeddings.make_embedding.emb_luts.0"
    weights |= named(f"encoder.{name}", nn.Embedding(len(SOURCE_WORDS), opt.src_word_vec_size))
    weights |= named(f"decoder.{name}", nn.Embedding(len(TARGET_WORDS), opt.tgt_word_vec_size))
    generator = {"weight": torch.randn(len(TARGET_WORDS), size), "bias": torch.randn(len(TARGET_WORDS))}
    if opt.share_decoder_embeddings:
        generator["weight"] = weights[f"decoder.{name}.weight"]
    vocab = {"src": SOURCE_WORDS, "tgt": TARGET_WORDS, "data_task": "seq2seq", "decoder_start_token": "<s>"}
    return {"model": weights, "generator": generator, "vocab": vocab, "opt": opt, "optim": {"step": 7}}


def joeynmt_options(encoder, decoder):
    defaults = {"type": "recurrent", "rnn_type": "lstm", "num_layers": 1, "embeddings": {"embedding_dim": 5}}
    decoder_defaults = {"hidden_size": 8, "attention": "bahdanau", "init_hidden": "bridge", "input_feeding": True}
    return {
        "encoder": defaults | {"hidden_size": 4, "bidirectional": True} | encoder,
        "decoder": defaults | decoder_defaults | decoder,
    }


def joeynmt_model(folder, encoder=(), decoder=(), data=(), testing=(), model=()):
    """Writes a folder as the toolkit leaves it behind; returns weights and options."""
    options = joeynmt_options(dict(encoder), dict(decoder))
    enc, dec = options["encoder"], options["decoder"]
    size, width = dec["hidden_size"], enc["hidden_size"] * (2 if enc["bidirectional"] else 1)
    embedding = dec["embeddings"]["embedding_dim"]
    encoder_layer, decoder_layer = LAYERS[enc["rnn_type"]][0], LAYERS[dec["rnn_type"]][0]
    modules = {
        "src_embed.lut": nn.Embedding(len(SOURCE_WORDS), enc["embeddings"]["embedding_dim"]),
        "trg_embed.lut": nn.Embedding(len(TARGET_WORDS), embedding),
        "encoder.rnn": encoder_layer(
            enc["embeddings"]["embedding_dim"],
            enc["hidden_size"],
            enc["num_layers"],
            bidirectional=enc["bidirectional"],
        ),
        "decoder.rnn": decoder_layer(embedding + size * dec["input_feeding"], size, dec["num_layers"]),
        "decoder.att_vector_layer": nn.Linear(size + width, size),
        "decoder.output_layer": nn.Linear(size, len(TARGET_WORDS), bias=False),
        "decoder.attention.key_layer": nn.Linear(width, size, bias=False),
    }
    if dec["attention"] == "bahdanau":
        modules["decoder.attention.query_layer"] = nn.Linear(size, size, bias=False)
        modules["decoder.attention.energy_layer"] = nn.Linear(size, 1, bias=False)
    if dec["init_hidden"] == "bridge":
        modules["decoder.bridge_layer"] = nn.Linear(width, size)
    weights = {}
    for name, module in modules.items():
        weights |= named(name, module)
    torch.save({"model_state": weights, "optimizer_state": {"step": 1}}, folder / "best.ckpt")
    side = {"lang": "xx", "level": "word"} | dict(data)
    settings = {"data": {"src": side, "trg": side}, "model": options | dict(model), "testing": dict(testing)}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name, words in (("src", SOURCE_WORDS), ("trg", TARGET_WORDS)):
        lines = "".join(f"{word}\n" for word in JOEY_SPECIALS + words[4:])
        (folder / f"{name}_vocab.txt").write_text(lines, encoding="utf-8")
    return weights, options


def write_opennmt(folder, **options):
    checkpoint = opennmt_checkpoint(**options)
    torch.save(checkpoint, folder / "model.pt")
    return checkpoint
