# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What finished runs of `hf-rnn-attn train` reached, as a table, and pictures of how they learned and of BLEU by the
length of the source.

python scripts/results_report.py runs/multi30k_en_de runs/multi30k_en_fr --pictures docs/pictures
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure


SIZE = (6, 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="output folders of recipes")
    parser.add_argument("--pictures", type=Path, help="folder to write learning.png and length.png to")
    parser.add_argument("--split", default="validation", help="of the picture by length (default: %(default)s)")
    arguments = parser.parse_args()
    results = {run.name: json.loads((run / "results.json").read_text("utf-8")) for run in arguments.runs}
    print(*table(results), sep="\n")
    if arguments.pictures:
        logs = {run.name: json.loads((run / "trainer_state.json").read_text("utf-8")) for run in arguments.runs}
        draw_learning(logs).savefig(arguments.pictures / "learning.png", dpi=120)
        draw_lengths(results, arguments.split).savefig(arguments.pictures / "length.png", dpi=120)


def table(results: dict[str, dict]) -> list[str]:
    """Lines in Markdown: a row for each run, a column for each split and metric that any of them has."""
    columns = dict.fromkeys(
        (split, metric)
        for result in results.values()
        for split, scores in result["scores"].items()
        for metric in scores
        if metric != "by_length"
    )
    heads = ["run", "parameters", "steps", "minutes", *(f"{split} {metric}" for split, metric in columns)]
    lines = ["| " + " | ".join(heads) + " |", "| --- " + "| --: " * (len(heads) - 1) + "|"]
    for name, result in results.items():
        cells = [name, f"{result['parameters']:,}", f"{result['steps']:,}", f"{result['train_seconds'] / 60:.0f}"]
        for split, metric in columns:
            found = result["scores"].get(split, {}).get(metric)
            cells.append("" if found is None else f"{found['score']:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def draw_learning(logs: dict[str, dict]) -> Figure:
    """The validation loss of each run over its epochs."""
    curves = {
        name: [(entry["epoch"], entry["eval_loss"]) for entry in log["log_history"] if "eval_loss" in entry]
        for name, log in logs.items()
    }
    return draw(curves, "epoch", "validation loss per token")


def draw_lengths(results: dict[str, dict], split: str) -> Figure:
    """The first metric of each run by the length of the source."""
    curves = {
        name: [(row["length"], row["score"]) for row in result["scores"].get(split, {}).get("by_length", [])]
        for name, result in results.items()
    }
    return draw(curves, "words of the source", f"score, {split}")


def draw(curves: dict[str, list[tuple]], xlabel: str, ylabel: str) -> Figure:
    figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        if points:
            axes.plot(*zip(*points, strict=True), "o-", markersize=4, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main()
