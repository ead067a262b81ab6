# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""One sentence after the other by several runtimes of a model, in one process and in turn: ratios of medians.

    python scripts/benchmark_runtimes.py hf_rnn_attn/checkpoints/tatoeba-de-en onnx onnx-int8 dev.de --limit 200

`onnx` and `onnx-int8` are what `hf-rnn-attn export` made of the checkpoint, the second with `--int8`. With ctranslate2
installed, it takes part with a MarianMT (a Transformer of about the size of the model) of random weights, in int8; it
reads as many tokens as the model and writes as many.
"""

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

import torch

from hf_rnn_attn.inference.loading import load_model
from hf_rnn_attn.inference.quantization import quantize
from hf_rnn_attn.model.pipeline_rnn_attn import translation_pipeline
from hf_rnn_attn_onnx import OnnxTranslator


sys.path.insert(0, str(Path(__file__).parent / "benchmark_workers"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("onnx")
    parser.add_argument("onnx_int8")
    parser.add_argument("source", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = arguments.source.read_text("utf-8").splitlines()[: arguments.limit]
    model, tokenizer = load_model(arguments.checkpoint)
    int8 = quantize(load_model(arguments.checkpoint)[0])
    systems = {
        "torch int8": translation_pipeline(model=int8, tokenizer=tokenizer),
        "torch": translation_pipeline(model=model, tokenizer=tokenizer),
        "onnx": OnnxTranslator(arguments.onnx, threads=1),
        "onnx int8": OnnxTranslator(arguments.onnx_int8, threads=1),
    }
    with contextlib.suppress(ImportError):
        systems["CTranslate2 int8, Transformer"] = peer(tokenizer, model.num_parameters())
    print(
        "| beams | runtime | median, ms | ratio to torch int8 | same text as torch |\n| --: | --- | --: | --: | --: |"
    )
    for beams in arguments.beams:
        report(systems, lines, beams)


def report(systems, lines, beams):
    names, seconds, same = list(systems), {name: [] for name in systems}, dict.fromkeys(systems, 0)
    for number, line in enumerate(lines):
        texts = {}
        # each is the first in turn
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            texts[name] = systems[name](line, num_beams=beams)
            seconds[name].append(time.perf_counter() - start)
        for name in names:
            same[name] += texts[name] == texts["torch"]
    for name in names:
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["torch int8"], strict=True))
        agreement = "" if name.startswith("CT") else f"{same[name]} of {len(lines)}"
        print(f"| {beams} | {name} | {1000 * statistics.median(seconds[name]):.1f} | {ratio:.2f} | {agreement} |")


def peer(tokenizer, parameters):
    """CTranslate2 with a random MarianMT, called like a pipeline."""
    from worker_ctranslate2 import convert
    from worker_marian import new_model

    vocabulary = len(tokenizer)
    translator = convert(new_model(parameters, vocabulary), vocabulary, 1, "int8")

    def translate(line, num_beams):
        words = [str(min(max(token, 3), vocabulary - 3)) for token in tokenizer(line)["input_ids"]]
        length = {"min_decoding_length": len(words), "max_decoding_length": len(words)}
        return translator.translate_batch([[*words, "</s>"]], beam_size=num_beams, **length)[0].hypotheses[0]

    return translate


if __name__ == "__main__":
    main()
