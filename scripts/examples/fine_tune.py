# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: the German to English model of the package learns the words of a railway station.

python scripts/examples/fine_tune.py
"""

import argparse
import itertools

from datasets import Dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    pipeline,
)

import hf_rnn_attn
from hf_rnn_attn.data import encode_pairs


TRAINS = {"Der Regionalexpress": "The regional express", "Die S-Bahn": "The suburban train", "Der ICE": "The ICE"}
TRACKS = {f"Gleis {number}": f"platform {number}" for number in range(1, 10)}
EVENTS = {"fährt heute von {} ab": "departs from {} today", "hält ausnahmsweise an {}": "exceptionally stops at {}"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--output", default="runs/station")
arguments = parser.parse_args()

rows = itertools.product(TRAINS.items(), EVENTS.items(), TRACKS.items())
pairs = [{"source": f"{t} {e.format(g)}.", "target": f"{u} {f.format(h)}."} for (t, u), (e, f), (g, h) in rows]
checkpoint = hf_rnn_attn.BUNDLED["de", "en"]
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
settings = {"max_steps": arguments.steps, "learning_rate": 1e-3, "per_device_train_batch_size": 16}
trainer = Seq2SeqTrainer(
    model=model,
    args=Seq2SeqTrainingArguments(arguments.output, report_to="none", dataloader_pin_memory=False, **settings),
    train_dataset=encode_pairs(Dataset.from_list(pairs[:-6]), tokenizer),
    data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    processing_class=tokenizer,
)
sentence = pairs[-1]["source"]
print("before:", pipeline("translation", model=checkpoint)(sentence))
trainer.train()
trainer.save_model()
print("after: ", pipeline("translation", model=arguments.output)(sentence))
