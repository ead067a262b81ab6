# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Transliteration: Korean syllables into Latin letters, syllable by syllable (Revised Romanization).

python scripts/examples/transliteration.py
"""

import argparse
import random
from pathlib import Path

from transformers import pipeline

from hf_rnn_attn.training import load_recipe, train


# in the order in which Unicode composes syllables
INITIALS = "g kk n d tt r m b pp s ss - j jj ch k t p h".replace("-", "").split(" ")
VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split()
FINALS = {0: "", 1: "k", 4: "n", 7: "t", 8: "l", 16: "m", 17: "p", 21: "ng"}
RECIPE = """
data: {train: train.tsv, validation: valid.tsv}
tokenizer: {kind: char, joint: false}
model: {encoder_hidden_size: 64, decoder_hidden_size: 128}
training: {max_steps: 800, per_device_train_batch_size: 64, learning_rate: 4e-3, dataloader_pin_memory: false}
generation: {max_length: 24}
evaluation: {metrics: {exact_match: {}, cer: {}}}
"""

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", default="800")
parser.add_argument("--output", type=Path, default="runs/transliteration")
arguments = parser.parse_args()

chance, lines = random.Random(0), []
for _ in range(8000):
    word = [(chance.randrange(19), chance.randrange(21), chance.choice([*FINALS])) for _ in range(chance.randint(1, 3))]
    hangul = "".join(chr(0xAC00 + (initial * 21 + vowel) * 28 + final) for initial, vowel, final in word)
    lines.append(f"{hangul}\t{''.join(INITIALS[i] + VOWELS[v] + FINALS[f] for i, v, f in word)}\n")
arguments.output.mkdir(parents=True, exist_ok=True)
for name, part in {"train.tsv": lines[:-100], "valid.tsv": lines[-100:], "recipe.yaml": [RECIPE]}.items():
    (arguments.output / name).write_text("".join(part), encoding="utf-8")
model = f"{arguments.output}/model"
settings = [f"training.max_steps={arguments.steps}", f"training.output_dir={model}"]
print(train(load_recipe(arguments.output / "recipe.yaml", settings))["scores"]["validation"])
print(pipeline("translation", model=model)(["서울", "부산", "한강"], max_length=24))
