# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Inflection: a verb and what is asked for give a form. Letters of the stem may be copied from the source.

python scripts/examples/inflection.py
"""

import argparse
import random
from pathlib import Path

from transformers import pipeline

from hf_rnn_attn.training import load_recipe, train


VERBS = """ask bake bat beg boil call carry clap clean climb close cook copy cry dance drop dry empty fill fix fry grab
hop hurry jog jump kick knit like look love marry miss mix move nod open paint pat pet place plan play point pour pull
push race rain reply rob rub save shop show skip slip smile spy stop study talk tap tidy touch trim try use wait walk
want wash watch wave wish work worry wrap""".split()
RECIPE = """
data: {train: train.tsv, validation: valid.tsv}
tokenizer: {kind: word, vocab_size: 100}    # what stands between spaces: a letter, or PAST, THIRD, GERUND
model: {encoder_hidden_size: 64, decoder_hidden_size: 128, pointer_generator: true}
training: {max_steps: 500, per_device_train_batch_size: 32, learning_rate: 4e-3, dataloader_pin_memory: false}
generation: {max_length: 16}
evaluation: {metrics: {exact_match: {}}}
"""


def inflect(verb, form):
    """The rules of English spelling that the model has to find."""
    if form == "GERUND" and verb[-1] == "e":
        return verb[:-1] + "ing"
    if verb[-1] == "y" and verb[-2] not in "aeou" and form != "GERUND":
        return verb[:-1] + {"PAST": "ied", "THIRD": "ies"}[form]
    if form == "THIRD":
        return verb + ("es" if verb.endswith(("s", "x", "ch", "sh")) else "s")
    doubled = verb[-1] if verb[-1] in "bdgmnpt" and verb[-2] in "aeiou" and verb[-3] not in "aeiou" else ""
    return verb + (doubled + "ing" if form == "GERUND" else "d" if verb[-1] == "e" else doubled + "ed")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", default="500")
parser.add_argument("--output", type=Path, default="runs/inflection")
arguments = parser.parse_args()

cells = [(verb, form) for verb in VERBS for form in ("PAST", "THIRD", "GERUND")]
lines = [f"{form} {' '.join(verb)}\t{' '.join(inflect(verb, form))}\n" for verb, form in cells]
random.Random(0).shuffle(lines)
arguments.output.mkdir(parents=True, exist_ok=True)
for name, part in {"train.tsv": lines[:-40], "valid.tsv": lines[-40:], "recipe.yaml": [RECIPE]}.items():
    (arguments.output / name).write_text("".join(part), encoding="utf-8")
model = f"{arguments.output}/model"
settings = [f"training.max_steps={arguments.steps}", f"training.output_dir={model}"]
print(train(load_recipe(arguments.output / "recipe.yaml", settings))["scores"]["validation"])
print(pipeline("translation", model=model)(["PAST w i n k", "GERUND h u g"], max_length=16))
