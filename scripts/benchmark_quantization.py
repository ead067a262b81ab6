# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Size, speed and score of a checkpoint in int8, as ratios to the same checkpoint in float32.

    python scripts/benchmark_quantization.py runs/multi30k_de_en val.de val.en --lowercase --limit 300

Both models translate each batch in turn, and which goes first alternates; the speed is the median over the batches.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import hf_rnn_attn
from hf_rnn_attn.evaluation import load_metric
from hf_rnn_attn.inference.quantization import WEIGHTS_NAME, load_quantized, quantize, save_quantized


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--limit", type=int, help="sentences to use")
    parser.add_argument("--lowercase", action="store_true")
    arguments = parser.parse_args()
    hf_rnn_attn.register()
    torch.set_num_threads(1)
    lines = [path.read_text("utf-8").splitlines()[: arguments.limit] for path in (arguments.source, arguments.target)]
    models = load_both(arguments.checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    metric = load_metric("sacrebleu", lowercase=arguments.lowercase)
    print("| beams | batch | BLEU float32 | BLEU int8 | time int8 / float32 |\n| --- | --- | --- | --- | --- |")
    for beams in arguments.beams:
        for batch_size in arguments.batch_size:
            texts, ratio = translate(models, tokenizer, lines[0], batch_size, num_beams=beams)
            scores = [metric.compute(predictions=text, references=lines[1])["score"] for text in texts]
            print(f"| {beams} | {batch_size} | {scores[0]:.2f} | {scores[1]:.2f} | {ratio:.2f} |", flush=True)


def load_both(checkpoint):
    """The float32 model and the int8 model as it comes back from disk; prints the ratio of their files."""
    models = [AutoModelForSeq2SeqLM.from_pretrained(checkpoint) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        models[0].save_pretrained(f"{folder}/float32")
        save_quantized(quantize(models[1]), f"{folder}/int8")
        sizes = [Path(folder, name).stat().st_size for name in ("float32/model.safetensors", f"int8/{WEIGHTS_NAME}")]
        models[1] = load_quantized(f"{folder}/int8")
    print(f"size: {sizes[0] / 1e6:.1f} MB float32, {sizes[1] / 1e6:.1f} MB int8, ratio {sizes[1] / sizes[0]:.2f}\n")
    return models


def translate(models, tokenizer, lines, batch_size, **generation):
    """Returns the translations by each model, and the median ratio of their times for a batch."""
    order = sorted(range(len(lines)), key=lambda index: len(lines[index]))
    texts, ratios = [[""] * len(lines) for _ in models], []
    for start in range(0, len(lines), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer([lines[row] for row in rows], padding=True, return_tensors="pt")
        seconds = [0.0, 0.0]
        for index in (0, 1) if start // batch_size % 2 else (1, 0):
            begin = time.perf_counter()
            words = models[index].generate(batch["input_ids"], attention_mask=batch["attention_mask"], **generation)
            seconds[index] = time.perf_counter() - begin
            for row, text in zip(rows, tokenizer.batch_decode(words, skip_special_tokens=True), strict=True):
                texts[index][row] = text
        ratios.append(seconds[1] / seconds[0])
    return texts, statistics.median(ratios)


if __name__ == "__main__":
    main()
