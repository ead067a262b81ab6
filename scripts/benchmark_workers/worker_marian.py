# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""MarianMT of transformers with as many parameters, random, through the library's `generate`."""

import torch
from serving import decoding_tasks, pad, serve
from transformers import MarianConfig, MarianMTModel


EOS, HEADS, LAYERS = 0, 8, 3


def config_of(width: int, vocabulary: int) -> MarianConfig:
    return MarianConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        pad_token_id=vocabulary - 1,
        eos_token_id=EOS,
        bos_token_id=EOS,
        forced_eos_token_id=None,
        decoder_start_token_id=vocabulary - 1,
        max_position_embeddings=512,
    )


def count_parameters(config: MarianConfig) -> int:
    with torch.device("meta"):
        return MarianMTModel(config).num_parameters()


def new_model(parameters: int, vocabulary: int) -> MarianMTModel:
    """The model whose number of parameters, all tables included, is nearest to `parameters`."""
    low, high = 1, 100
    while high - low > 1:
        middle = (low + high) // 2
        if count_parameters(config_of(middle * HEADS, vocabulary)) > parameters:
            high = middle
        else:
            low = middle
    sizes = (config_of(units * HEADS, vocabulary) for units in (low, high))
    config = min(sizes, key=lambda config: abs(count_parameters(config) - parameters))
    torch.manual_seed(0)
    model = MarianMTModel(config).eval()
    model.lm_head.weight.data[EOS] = 0
    return model


def build(workload: dict):
    model = new_model(workload["parameters"], workload["sizes"]["vocabulary"])
    pad_id, length = model.config.pad_token_id, workload["length"]

    def decode(rows, beams):
        input_ids = pad([row + [EOS] for row in rows], pad_id)
        mask = (input_ids != pad_id).long()
        words = model.generate(input_ids, attention_mask=mask, num_beams=beams, max_length=None, max_new_tokens=length)
        return words[:, 1:].numel()

    return decoding_tasks(workload, decode)


if __name__ == "__main__":
    serve(build)
