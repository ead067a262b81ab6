# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Dates as people write them into ISO 8601, with the stock trainer of the library.

python scripts/examples/dates.py
"""

import argparse

from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, pipeline

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, train_tokenizer
from hf_rnn_attn.data import encode_pairs
from hf_rnn_attn.demo import date_splits
from hf_rnn_attn.evaluation import load_metric


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--output", default="runs/dates")
arguments = parser.parse_args()

pairs = date_splits(train=5000, validation=0, test=100)
tokenizer = train_tokenizer(pairs["train"]["source"], pairs["train"]["target"], kind="char", joint=False)
sizes = {"encoder_hidden_size": 64, "decoder_hidden_size": 128}
config = RnnAttnConfig(vocab_size=len(tokenizer), decoder_vocab_size=tokenizer.target_vocab_size, **sizes)
model = RnnAttnForConditionalGeneration(config)
settings = {"max_steps": arguments.steps, "learning_rate": 4e-3, "per_device_train_batch_size": 32}
trainer = Seq2SeqTrainer(
    model=model,
    args=Seq2SeqTrainingArguments(arguments.output, report_to="none", dataloader_pin_memory=False, **settings),
    train_dataset=encode_pairs(pairs["train"], tokenizer),
    data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    processing_class=tokenizer,
)
trainer.train()
trainer.save_model()
translator = pipeline("translation", model=arguments.output, max_length=16)
found = [record["translation_text"] for record in translator(list(pairs["test"]["source"]), batch_size=50)]
print(load_metric("exact_match").compute(predictions=found, references=pairs["test"]["target"]))
print(translator("Montag, 3. März 2042"))
