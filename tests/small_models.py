# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Small models and sentences that the tests of the model share."""

import torch

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration


CELLS = ["lstm", "gru", "rnn_tanh"]
SCORES = ["dot", "general", "concat", "location", "none"]
SPANS = ["global", "local-m", "local-p"]
# two sentence pairs of unequal length; the window of 2 is narrower than the first and wider than the second
SOURCES = [[5, 6, 7, 8, 9, 4, 2], [7, 5, 2]]
TARGETS = [[4, 8, 6, 5, 2], [9, 4, 2]]


def make_model(**options):
    settings = {
        "vocab_size": 12,
        "encoder_embedding_size": 5,
        "encoder_hidden_size": 4,
        "encoder_dropout": 0.0,
        "decoder_embedding_size": 6,
        "decoder_hidden_size": 8,
        "decoder_dropout": 0.0,
        "attention_window": 2,
        "initializer_range": 0.8,
    }
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(**(settings | options))).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):  # zero at first, when nobody would miss it
            torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return model


def pad(rows, value, left=False):
    length = max(map(len, rows))
    fill = [[value] * (length - len(row)) for row in rows]
    return torch.tensor([f + r if left else r + f for f, r in zip(fill, rows, strict=True)])


def mask_of(rows, left=False):
    return pad([[1] * len(row) for row in rows], 0, left)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
