# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Damages one file of a tiny checkpoint after the other and loads it: a load, or one line that says what is wrong.

    pip install atheris
    python tests/fuzz/fuzz_checkpoint.py -max_total_time=1800 -timeout=5 -rss_limit_mb=1500

The arguments are libFuzzer's: all time in seconds, the most for one input, and memory (the process has 500 MB before).
"""

import contextlib
import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

import atheris
import torch
from transformers.utils import logging as library_logging

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, train_tokenizer
from hf_rnn_attn.model.checkpoint_rnn_attn import load_checkpoint


FOLDER = Path(tempfile.mkdtemp())
SHARDED = FOLDER / "sharded"
WHOLE = FOLDER / "whole"
ODD = [None, True, -1, 0, 1.5, 10**6, 10**30, float("nan"), "", "x", "../x", [], [[]], {}, {"a": 1}, "é" * 1000]


def make_checkpoints():
    """Writes the checkpoint, once with its weights in one file and once in several; returns its files."""
    tokenizer = train_tokenizer(["ein Hund"], ["a dog"], kind="word", joint=False)
    config = RnnAttnConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer.target_tokenizer),
        encoder_embedding_size=2,
        encoder_hidden_size=2,
        decoder_embedding_size=2,
        decoder_hidden_size=2,
    )
    model = RnnAttnForConditionalGeneration(config)
    for folder, size in ((WHOLE, 10**6), (SHARDED, 300)):
        model.save_pretrained(folder, max_shard_size=size)
        tokenizer.save_pretrained(folder)
    return sorted(file for folder in (WHOLE, SHARDED) for file in folder.iterdir() if file.suffix != ".py")


def damage(content: bytes, choice: random.Random) -> bytes:
    """Returns the bytes of a file: cut, some of them overwritten, or with an odd value in the place of a JSON value."""
    kind = choice.choice(["cut", "bytes", "value"])
    start = choice.randrange(len(content))
    if kind == "cut":
        return content[:start]
    if kind == "bytes" or not content.lstrip().startswith(b"{"):
        new = choice.randbytes(choice.randrange(20))
        return content[:start] + new + content[start + choice.choice([0, len(new)]) :]
    value = settings = json.loads(content)
    while value and isinstance(value, (dict, list)):
        parent, key = value, choice.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = parent[key]
        if choice.random() < 0.3:
            break
    parent[key] = choice.choice(ODD)
    return json.dumps(settings).encode()


def load_damaged(data: bytes):
    """Loads the checkpoint with one damaged file; an error of another kind than those of the reader ends the run."""
    choice = random.Random(data)
    file = choice.choice(FILES)
    content = file.read_bytes()
    file.write_bytes(damage(content, choice))
    with contextlib.suppress(ValueError, OSError):
        load_checkpoint(file.parent)
    file.write_bytes(content)


if __name__ == "__main__":
    library_logging.set_verbosity(logging.CRITICAL)
    library_logging.disable_progress_bar()
    torch.set_num_threads(1)
    FILES = make_checkpoints()
    try:
        atheris.Setup(sys.argv, load_damaged)
        atheris.Fuzz()
    finally:
        shutil.rmtree(FOLDER)
