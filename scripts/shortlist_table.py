# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What a vocabulary shortlist costs and saves: its size, BLEU and time with lists of several lengths, as a table.

Times are those of one sentence at a time, as a part of the time without a shortlist: each sentence is translated with
every list in turn, and the medians over the sentences are added up.
"""

import argparse
import itertools
import statistics
import time

import torch
from transformers import pipeline

import hf_rnn_attn  # noqa: F401
from hf_rnn_attn.evaluation import load_metric
from hf_rnn_attn.shortlist import Shortlist


SEARCHES = {"greedy": {"num_beams": 1}, "beam 5": {"num_beams": 5}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="checkpoint folder, with the longest shortlist to try in it")
    parser.add_argument("source", help="text file, one sentence a line")
    parser.add_argument("target", help="text file with their translations")
    parser.add_argument("--shortlist", help="folder of the shortlist; default: that of the model")
    parser.add_argument("--sentences", type=int, default=300, help="sentences for BLEU (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=60, help="sentences for the times (default: %(default)s)")
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["10:100", "10:1000", "100:1000"],
        metavar="PER_WORD:ALWAYS",
        help="the lists to try, cut from the one that was learned (default: %(default)s)",
    )
    arguments = parser.parse_args()
    sources, targets = (read_lines(path, arguments.sentences) for path in (arguments.source, arguments.target))
    translator = pipeline("translation", model=arguments.model)
    longest = Shortlist.load(arguments.shortlist or arguments.model)
    lists = {"none": None} | {size: cut(longest, *map(int, size.split(":"))) for size in arguments.sizes}
    times = {name: measure_times(translator, sources[: arguments.timed], lists, s) for name, s in SEARCHES.items()}
    columns = ["shortlist", "words, 1 sentence", "words, 32"]
    columns += [f"{what}, {search}" for search in SEARCHES for what in ("BLEU", "time")]
    print("|", " | ".join(columns), "|")
    print("| --: " * len(columns) + "|")
    for size, shortlist in lists.items():
        cells = [size, *(f"{100 * share(translator, sources, shortlist, batch):.1f} %" for batch in (1, 32))]
        for name, search in SEARCHES.items():
            cells += [f"{bleu(translator, sources, targets, shortlist, search):.2f}"]
            cells += [f"{times[name][size] / times[name]['none']:.2f}"]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


def read_lines(path, count):
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n") for line in itertools.islice(file, count)]


def cut(shortlist, per_word, always) -> Shortlist:
    """The list that would have been learned with smaller sizes, but that special tokens count as some of `always`."""
    return Shortlist(shortlist.table[:, :per_word], shortlist.always[:always])


def measure_times(translator, sources, lists, search) -> dict:
    """Seconds of each list: the sum over the sentences of the median of five repeats."""
    translator(sources[0], **search)
    seconds = dict.fromkeys(lists, 0.0)
    for source in sources:
        repeats = {size: [] for size in lists}
        for _, (size, shortlist) in itertools.product(range(5), lists.items()):
            start = time.perf_counter()
            translator(source, shortlist=shortlist, **search)
            repeats[size].append(time.perf_counter() - start)
        for size, values in repeats.items():
            seconds[size] += statistics.median(values)
    return seconds


def share(translator, sources, shortlist, batch_size) -> float:
    """Mean part of the vocabulary that is in the lists of the batches."""
    if shortlist is None:
        return 1.0
    batches = [sources[start : start + batch_size] for start in range(0, len(sources), batch_size)]
    encoded = (translator.tokenizer(batch, padding=True, return_tensors="pt") for batch in batches)
    counts = [len(shortlist.words(batch["input_ids"], batch["attention_mask"])) for batch in encoded]
    return statistics.mean(counts) / translator.model.config.decoder_vocab_size


def bleu(translator, sources, targets, shortlist, search) -> float:
    """BLEU of translating one sentence at a time, when the lists are shortest."""
    records = translator(sources, shortlist=shortlist, **search)
    translations = [record["translation_text"] for record in records]
    return load_metric("sacrebleu").compute(predictions=translations, references=targets)["score"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
