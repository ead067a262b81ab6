# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Text of any size: reading a corpus as a stream while it grows, and bulk translation beside its batches alone.

    python scripts/benchmark_text.py train.de train.en

Each figure comes from a process of its own, with the most memory that it (or one of its own processes) had. The corpora
are the given pairs again and again; the model is the one that comes with the package, greedy search. "Batches alone" is
`generate` on batches that were sorted and encoded beforehand: what no reading, sorting and decoding can beat.
"""

import argparse
import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

import hf_rnn_attn
from hf_rnn_attn.data import encode_pairs, read_pairs
from hf_rnn_attn.inference.bulk import batches_by_length, translate_lines
from hf_rnn_attn.training.run import keep_freed_memory


MODEL = hf_rnn_attn.BUNDLED["de", "en"]
LINES_READ = (10_000, 100_000, 1_000_000, 10_000_000)
LINES_ENCODED = 10_000
LINES_TRANSLATED = (4096, 16384)
TOKENS_PER_BATCH = 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of each translation, in turn (default: %(default)s)")
    arguments = parser.parse_args()
    sides = [path.read_text("utf-8").splitlines() for path in (arguments.source, arguments.target)]
    with tempfile.TemporaryDirectory() as folder:
        print("| lines | pairs read a second | pairs encoded a second | memory, MiB |\n| --: | --: | --: | --: |")
        for count in LINES_READ:
            paths = [write_lines(Path(folder, name), side, count) for name, side in zip("st", sides, strict=True)]
            (read, encoded), memory = in_a_process(read_corpus, *paths)
            print(f"| {count:,} | {read:,.0f} | {encoded:,.0f} | {memory:,.0f} |", flush=True)
        print("\n| lines | speed, batches alone: 1 | memory, MiB |\n| --: | --: | --: |")
        for count in LINES_TRANSLATED:
            path = write_lines(Path(folder, "s"), sides[0], count)
            ratio, memory = compare(path, arguments.threads, arguments.repeats)
            print(f"| {count:,} | {ratio:.2f} | {memory:,.0f} |", flush=True)


def write_lines(path: Path, lines: list[str], count: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in itertools.islice(itertools.cycle(lines), count))
    return path


def in_a_process(work: Callable, *arguments):
    """What `work` returns, and the MiB that a process of its own, or the largest of its processes, had at most."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(with_memory, work, *arguments).result()


def with_memory(work: Callable, *arguments):
    result = work(*arguments)
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return result, max(peaks) / 1024


def read_corpus(source: Path, target: Path) -> tuple[float, float]:
    """Pairs a second: all of them read as a stream, and the first ones read and encoded."""
    data = {"source": str(source), "target": str(target)}
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    start = time.perf_counter()
    number = sum(1 for _ in read_pairs(data, streaming=True))
    read = time.perf_counter()
    first = sum(1 for _ in itertools.islice(encode_pairs(read_pairs(data, streaming=True), tokenizer), LINES_ENCODED))
    return number / (read - start), first / (time.perf_counter() - read)


def compare(path: Path, threads: int, repeats: int) -> tuple[float, float]:
    """Returns the speed, where that of the batches alone is 1, and the memory in MiB; medians."""
    rounds = []
    for _ in range(repeats):
        alone, _ = in_a_process(translate_batches, path, threads)
        seconds, memory = in_a_process(translate_text, path, threads)
        rounds.append((alone / seconds, memory))
    ratio, memory = map(statistics.median, zip(*rounds, strict=True))
    return ratio, memory


def translate_batches(path: Path, threads: int) -> float:
    """Seconds of `generate` alone."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    tokenizer, model = AutoTokenizer.from_pretrained(MODEL), AutoModelForSeq2SeqLM.from_pretrained(MODEL)
    lines = path.read_text("utf-8").splitlines()
    batches = [
        tokenizer([lines[row] for row in rows], padding=True, return_tensors="pt")
        for rows in batches_by_length(lines, tokenizer, TOKENS_PER_BATCH)
    ]
    start = time.perf_counter()
    for batch in batches:
        model.generate(**batch, num_beams=1)
    return time.perf_counter() - start


def translate_text(path: Path, threads: int) -> float:
    """Returns the seconds from the first line to the last translation."""
    torch.set_num_threads(threads)
    translator = pipeline("translation", model=MODEL, num_beams=1)
    with path.open(encoding="utf-8") as file:
        lines = (line.rstrip("\n") for line in file)
        start = time.perf_counter()
        count = sum(map(len, translate_lines(lines, translator, TOKENS_PER_BATCH)))
        seconds = time.perf_counter() - start
    if count != sum(1 for _ in path.open(encoding="utf-8")):
        raise RuntimeError(f"{count} translations do not belong to the lines of {path}")
    return seconds


if __name__ == "__main__":
    main()
