# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo: dates as people write them, into ISO 8601, from the corpus to a picture of the attention.

This file only puts the parts of the package together in the order in which a user would.
"""

from pathlib import Path

from ..model.pipeline_rnn_attn import translation_pipeline
from ..training.recipe import load_recipe
from ..training.run import train
from ..visualization import plot_attention
from .dates import date_splits


RECIPE = Path(__file__).parents[1] / "templates" / "dates.yaml"
TRAIN, VALIDATION, TEST = 20_000, 500, 1_000
EXAMPLES = ("Montag, 3. März 2042", "2042년 3월 3일 월요일", "MONDAY, MARCH 3, 2042", "3 tháng 3, 2042")


def run_demo(output_dir: str | Path) -> float:
    """Trains, scores, saves, reloads and uses a model of dates, and says what it does.

    1. Writes the corpus as TSV files, and the recipe beside them.
    2. Trains tokenizer and model as the recipe says, and scores them on held-out dates.
    3. Loads the checkpoint again, translates through `pipeline("translation")` and draws an attention heat map.

    Args:
        output_dir (`str` or `Path`): The folder to write.

    Returns:
        `float`: the percentage of held-out dates that were translated without a mistake.

    Raises:
        ValueError: the folder holds an earlier demo.
    """
    output_dir = Path(output_dir)
    if (output_dir / "model").exists():
        raise ValueError(f"{output_dir} holds an earlier demo; remove it, or choose another folder (--output)")
    output_dir.mkdir(parents=True, exist_ok=True)
    recipe = _write_corpus(output_dir)
    checkpoint = output_dir / "model"
    results = train(load_recipe(recipe, [f"training.output_dir={checkpoint}"]))
    exact = results["scores"]["held_out"]["exact_match"]["score"]
    print(f"\nexact match on {TEST} held-out dates: {exact:.1f} % after {results['train_seconds']:.0f} s of training")
    print(f"checkpoint: {checkpoint}\n")

    translator = translation_pipeline(model=checkpoint)
    records = [translator(text, output_attentions=True)[0] for text in EXAMPLES]
    for text, record in zip(EXAMPLES, records, strict=True):
        print(f"{text}  →  {record['translation_text']}")
    first = records[0]
    picture = output_dir / "attention.png"
    plot_attention(
        first["attention"],
        first["source_tokens"],
        first["target_tokens"],
        title=f"{EXAMPLES[0]} → {first['translation_text']}",
    ).savefig(picture)
    print(f"\nattention heat map: {picture}")
    return exact


def _write_corpus(output_dir: Path) -> Path:
    """Writes the three splits and the recipe that reads them; returns the recipe's path."""
    for name, split in date_splits(TRAIN, VALIDATION, TEST).items():
        pairs = zip(split["source"], split["target"], strict=True)
        lines = [f"{source}\t{target}\n" for source, target in pairs]
        (output_dir / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    recipe = output_dir / "dates.yaml"
    recipe.write_text(RECIPE.read_text("utf-8"), "utf-8")
    return recipe
