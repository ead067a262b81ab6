# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Counts outputs with an n-gram four times in a row, without and with `avoid_loops`, on odd lines made of Tatoeba's.

python scripts/benchmark_loops.py de en /path/to/tatoeba-de/test.de
"""

import random
import sys
import time

from transformers.utils import logging

from hf_rnn_attn import BUNDLED
from hf_rnn_attn.model.pipeline_rnn_attn import LOOP_REPEATS, longest_repetition, translation_pipeline


def odd_lines(sentences):
    faces = [(face, count) for count in (1, 3, 5) for face in "😀😂❤🎉👍🙏"]
    return {
        "digits": [" ".join(map(str, range(start, start + n))) for n in range(1, 13) for start in (1, 5, 17, 100)],
        "capitals": [line.upper() for line in sentences[:60]],
        "six sentences": [" ".join(sentences[100 + 6 * i : 106 + 6 * i]) for i in range(60)],
        "URLs": [f"{line} https://www.example.com/a/{i}?q={i * 7}" for i, line in enumerate(sentences[500:540])],
        "emoji": [f"{line} {face * count}" for line, (face, count) in zip(sentences[600:], faces * 3, strict=False)],
        "no words": [mark * count for mark in "-=.!?*#" for count in (3, 10, 30)],
    }


def count_loops(translator, lines, avoid_loops):
    count = 0
    for start in range(0, len(lines), 20):
        some = lines[start : start + 20]
        (records,) = translator([some], avoid_loops=avoid_loops, return_tensors=True)
        for line, record in zip(some, records, strict=True):
            ids = [token for token in record["translation_token_ids"].tolist() if token > 2]
            longest = len(ids) // LOOP_REPEATS
            repeats = longest_repetition(ids, longest)
            source_ids = translator.tokenizer(line)["input_ids"]
            count += repeats >= LOOP_REPEATS and repeats > longest_repetition(source_ids, longest)
    return count


def main(source, target, path):
    logging.set_verbosity_error()
    with open(path, encoding="utf-8") as file:
        sentences = [line.strip() for line in file]
    random.Random(0).shuffle(sentences)
    translator = translation_pipeline(model=BUNDLED[source, target], device="cpu")
    for kind, lines in odd_lines(sentences).items():
        figures = []
        for avoid_loops in (False, True):
            start = time.perf_counter()
            figures += [count_loops(translator, lines, avoid_loops), round(time.perf_counter() - start, 1)]
        print(kind, len(lines), *figures, sep="\t", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
