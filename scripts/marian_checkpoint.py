# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Makes an untrained MarianMT of the library, a Transformer about as large as the model of the recipes for Tatoeba,
with the tokenizer of one of their runs. A recipe whose `model` is its folder trains it like any of ours:

python scripts/marian_checkpoint.py runs/tatoeba_de_en/tokenizer runs/marian_de_en
hf-rnn-attn train scripts/recipes/tatoeba_de_en_marian.yaml
"""

import argparse

from transformers import AutoTokenizer, MarianConfig, MarianMTModel, set_seed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", help="folder of a tokenizer with one vocabulary for both languages")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    set_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    model = MarianMTModel(make_config(tokenizer, arguments.dropout))
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(f"{arguments.output}: {model.num_parameters():,} parameters")


def make_config(tokenizer, dropout: float) -> MarianConfig:
    return MarianConfig(
        vocab_size=len(tokenizer),
        d_model=256,
        encoder_layers=4,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=1024,
        dropout=dropout,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=None,
    )


if __name__ == "__main__":
    main()
