# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Letters to phones: learns rules of spelling from invented syllables, and reads some that it has never seen.

python scripts/examples/pronunciation.py
"""

import argparse
import itertools
import random
from pathlib import Path

from transformers import pipeline

from hf_rnn_attn.training import load_recipe, train


ONSETS = {"b": "B", "c": "K", "ch": "CH", "d": "D", "f": "F", "ph": "F", "s": "S", "sh": "SH", "st": "S T", "th": "TH"}
VOWELS = {"a": "AE", "e": "EH", "i": "IH", "o": "AA", "u": "AH", "ee": "IY", "oo": "UW", "ai": "EY", "oa": "OW"}
CODAS = {"ck": "K", "d": "D", "ll": "L", "m": "M", "n": "N", "ng": "NG", "p": "P", "sh": "SH", "t": "T", "th": "TH"}
RECIPE = """
data: {train: train.tsv, validation: valid.tsv}
tokenizer: {kind: word, vocab_size: 100, joint: false}    # what stands between spaces: a letter, a phone
model: {encoder_hidden_size: 64, decoder_hidden_size: 128}
training: {max_steps: 400, per_device_train_batch_size: 32, learning_rate: 4e-3, dataloader_pin_memory: false}
generation: {max_length: 12}
evaluation: {metrics: {exact_match: {}, token_error_rate: {}}}
"""

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", default="400")
parser.add_argument("--output", type=Path, default="runs/pronunciation")
arguments = parser.parse_args()

words = [tuple(zip(*parts, strict=True)) for parts in itertools.product(*(t.items() for t in (ONSETS, VOWELS, CODAS)))]
lines = [f"{' '.join(''.join(letters))}\t{' '.join(phones)}\n" for letters, phones in words]
random.Random(0).shuffle(lines)
arguments.output.mkdir(parents=True, exist_ok=True)
for name, part in {"train.tsv": lines[:-100], "valid.tsv": lines[-100:], "recipe.yaml": [RECIPE]}.items():
    (arguments.output / name).write_text("".join(part), encoding="utf-8")
model = f"{arguments.output}/model"
settings = [f"training.max_steps={arguments.steps}", f"training.output_dir={model}"]
print(train(load_recipe(arguments.output / "recipe.yaml", settings))["scores"]["validation"])
print(pipeline("translation", model=model)(["sh e ll", "ph oa t h"], max_length=12))
