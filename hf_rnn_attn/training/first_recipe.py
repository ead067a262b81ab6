# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A first recipe from a file of pairs: what the columns, symbols, lengths and number of pairs say about a model.

The settings are those of the recipes in `scripts/recipes/`, which were measured on pronunciation, inflection, dates and
captions. Reading is left to [`hf_rnn_attn.data.read_pairs`].
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..data import HEADER_NAMES, READERS, DataError, read_pairs
from ..packed import open_text, unpacked_suffix


ROWS_LOOKED_AT = 10_000
# one pair in ten is held out, but not more than this
MOST_HELD_OUT = 1_000
FEWEST_PAIRS = 20
# tags such as V;PST or N(ACC,PL), with no letters of lower case
TAGS = re.compile(r"[^\sa-z]+([;,|+][^\sa-z]+)+")
# more words than these are no inventory of symbols
MOST_SYMBOLS = 500
# phones are shorter than this, words longer
SYMBOL_LETTERS = 2.8
# above this many words on average, sides are sentences
SENTENCE_WORDS = 2.5

TEMPLATE = """\
# Made by `hf-rnn-attn init` from {file}: {pairs:,} pairs, of them {held_out:,} held out.
#   hf-rnn-attn train {recipe}
data:
{data}
tokenizer:
{tokenizer}
model:
{model}
training:
{training}
generation: {{num_beams: 5, max_length: {longest}}}

evaluation:
  metrics: {metrics}
  group_references: true     # a source with several targets is right if one of them is met
"""


class Side(NamedTuple):
    """What one side of the pairs looks like.

    Attributes:
        kind: how its tokenizer cuts it: "symbol", "char" or "bpe".
        normalization: the Unicode form with fewer characters that the held-out part alone has.
        longest: characters of the longest text.
        unseen: rates of held-out texts with a character that the others lack, in NFC and NFD.
    """

    kind: str
    normalization: str
    longest: int
    unseen: tuple[float, float]


def guess_columns(rows: Sequence[Sequence[str]]) -> dict[str, int]:
    """Returns the numbers, from 1, of the columns of a table: source, target and, where tags are found, features.

    Raises:
        DataError: if there are not two columns of text.
    """
    width = min(map(len, rows), default=0)
    columns = [[row[index] for row in rows] for index in range(width)]
    tags = [index for index, texts in enumerate(columns) if _share(texts, TAGS.fullmatch) > 0.5]
    # an attribution, as in files of ManyThings, is no text
    others = [
        index
        for index, texts in enumerate(columns)
        if index not in tags and _share(texts, lambda text: "CC-BY" in text) < 0.5
    ]
    if len(others) < 2:
        raise DataError(
            f"expected two columns of text, got {width} of which {len(tags)} hold tags; name them with --source-column "
            "and --target-column"
        )
    features = {"features_column": tags[0] + 1} if tags else {}
    return {"source_column": others[0] + 1, "target_column": others[1] + 1, **features}


def _share(texts: Sequence[str], test: Any) -> float:
    return sum(bool(test(text)) for text in texts) / max(len(texts), 1)


def look_at(texts: Sequence[str], held_out: Sequence[str]) -> Side:
    """Returns what a side looks like; `held_out` texts say which Unicode form has fewer unseen characters."""
    words = [text.split() for text in texts]
    counts = Counter(word for row in words for word in row)
    mean = sum(map(len, words)) / max(len(words), 1)
    letters = sum(len(word) * count for word, count in counts.items()) / max(counts.total(), 1)
    if mean > 1.5 and letters < SYMBOL_LETTERS and len(counts) <= MOST_SYMBOLS:
        kind = "symbol"
    else:
        kind = "bpe" if mean > SENTENCE_WORDS else "char"
    unseen = (_unseen(texts, held_out, "NFC"), _unseen(texts, held_out, "NFD"))
    normalization = "nfd" if kind == "char" and unseen[1] < unseen[0] else "nfc"
    return Side(kind, normalization, max(map(len, texts), default=0), unseen)


def _unseen(texts: Sequence[str], held_out: Sequence[str], form: Any) -> float:
    known = set(unicodedata.normalize(form, "".join(texts)))
    return _share(held_out, lambda text: not known.issuperset(unicodedata.normalize(form, text)))


def write_first_recipe(
    data: str | Path, recipe: str | Path, *, validation: str | Path | None = None, columns: Mapping[str, Any]
) -> str:
    """Writes a commented recipe for a file of pairs, and returns what was seen, in one line.

    Without `validation`, one pair in ten (at most 1,000; chosen by a checksum of the source, so that equal sources
    stay together) is held out, and both parts are written as TSV files beside the recipe.

    Args:
        data (`str` or `Path`): What [`~hf_rnn_attn.data.read_pairs`] reads as one file.
        recipe (`str` or `Path`): The YAML file to write.
        validation (`str` or `Path`, *optional*): A file of the same form to score on.
        columns (`dict`): Arguments of `read_pairs` for the columns. Those of a TSV file are found where it is empty.

    Raises:
        DataError: for a file that cannot be read, or columns that are not found.
        FileExistsError: if the recipe or a part is there already.
    """
    recipe, data = Path(recipe), Path(data)
    columns = columns or _columns_of(data)
    pairs = list(read_pairs(data, on_bad_rows="skip", **columns))
    parts = {"train": recipe.with_suffix(".train.tsv"), "validation": recipe.with_suffix(".validation.tsv")}
    written = [recipe] if validation else [recipe, *parts.values()]
    for file in written:
        if file.exists():
            raise FileExistsError(f"{file} is there already; remove it, or name another recipe with --output")
    every = max(10, len(pairs) // MOST_HELD_OUT)
    train, held_out = [], []
    for pair in pairs:
        (train if zlib.crc32(pair["source"].encode()) % every else held_out).append(pair)
    if len(pairs) < FEWEST_PAIRS or not held_out:
        raise DataError(f"{data}: {len(pairs)} pairs are too few; expected at least {FEWEST_PAIRS}")
    source = look_at([_bare(pair) for pair in train], [_bare(pair) for pair in held_out])
    target = look_at([pair["target"] for pair in train], [pair["target"] for pair in held_out])
    if validation is None:
        names = ["source_column", "target_column", *(["features_column"] if "features_column" in columns else [])]
        columns = {name: number for number, name in enumerate(names, 1)}
        files = {name: file.name for name, file in parts.items()}
        for name, rows in (("train", train), ("validation", held_out)):
            parts[name].write_text("".join(map(_line, rows)), encoding="utf-8")
    else:
        files = {"train": str(data), "validation": str(validation)}
        train = pairs
    text = TEMPLATE.format(
        file=data.name,
        recipe=recipe,
        pairs=len(pairs),
        held_out=0 if validation else len(held_out),
        data=_lines({**files, **columns}),
        longest=2 * target.longest + 10,
        **_settings(source, target, len(train), recipe.stem),
    )
    recipe.write_text(text, encoding="utf-8")
    kinds = f"{source.kind} ({source.normalization}) to {target.kind} ({target.normalization})"
    return f"{len(pairs):,} pairs, {kinds}; wrote {', '.join(map(str, written))}"


def _columns_of(data: Path) -> dict[str, Any]:
    """Returns the arguments of `read_pairs` for a table of tab-separated columns, and none for other formats."""
    if unpacked_suffix(data).removeprefix(".") in set(READERS) - {"tsv"}:
        return {}
    with open_text(data) as file:
        rows = [line.rstrip("\r\n").split("\t") for line in islice(file, ROWS_LOOKED_AT)]
    columns: dict[str, Any] = guess_columns([row for row in rows if len(row) > 1])
    names = [rows[0][number - 1].strip() for number in columns.values()]
    if all(name.lower() in HEADER_NAMES or name.lower() in ("features", "tags") for name in names):
        columns = dict(zip(columns, names, strict=True))
    return {"file_format": "tsv", **columns}


def _bare(pair: Mapping[str, Any]) -> str:
    return pair["source"].removeprefix("".join(pair.get("features", ())))


def _line(pair: Mapping[str, Any]) -> str:
    tags = ";".join(tag[1:-1] for tag in pair["features"]) if "features" in pair else None
    return "\t".join(filter(None, (_bare(pair), pair["target"], tags))) + "\n"


def _settings(source: Side, target: Side, pairs: int, name: str) -> dict[str, str]:
    """Returns the sections of the recipe that follow from what was seen."""
    is_text = "bpe" in (source.kind, target.kind)
    joint = source.kind == target.kind != "symbol"
    tokenizer: dict[str, Any] = {"kind": source.kind}
    if is_text:
        tokenizer["vocab_size"] = min(8000, max(1000, pairs // 5))
    if not joint:
        tokenizer["target_kind"] = target.kind
    tokenizer["joint"] = str(joint).lower()
    if source.normalization != "nfc":
        tokenizer["normalization"] = f"nfd     # unseen characters in {_rates(source)} of held-out sources"
    if not joint and target.normalization != source.normalization:
        tokenizer["target_normalization"] = f"{target.normalization}     # the same in {_rates(target)} of targets"
    width, dropout = 256 if is_text else 128, 0.3
    model = {
        "encoder_embedding_size": width,
        "encoder_hidden_size": "256   # per direction",
        "encoder_dropout": dropout,
        "decoder_embedding_size": width,
        "decoder_hidden_size": 512,
        "decoder_dropout": dropout,
        "attentional_size": 256,
        "attention_score": "general",
        "input_feeding": str(is_text).lower(),
    }
    if is_text and joint:
        model |= {"tie_word_embeddings": "true", "share_encoder_decoder_embeddings": "true"}
    # about as many steps whatever the number of pairs, within a few minutes to an hour of a core
    epochs = min(60, max(8, round((400_000 if is_text else 240_000) / pairs)))
    training = {
        "output_dir": f"runs/{name}",
        "num_train_epochs": epochs,
        "tokens_per_batch": f"{3000 if is_text else 500}    # similarly long pairs together",
        "learning_rate": "2e-3" if is_text else "1.5e-3",
        "lr_scheduler_type": "cosine",
        "warmup_steps": 200,
        "max_grad_norm": 1.0,
        "label_smoothing_factor": 0.1,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 3,
        "average_checkpoints": "3    # the saved model is the mean of the last three",
        "report_to": "none",
    }
    metrics = "{sacrebleu: {}, chrf: {}}" if is_text else "{exact_match: {}, token_error_rate: {}}"
    return {
        "tokenizer": _lines(tokenizer),
        "model": _lines(model),
        "training": _lines(training),
        "metrics": metrics,
    }


def _rates(side: Side) -> str:
    return f"{side.unseen[0]:.1%} (nfc), {side.unseen[1]:.1%} (nfd)"


def _lines(section: Mapping[str, Any]) -> str:
    return "".join(f"  {key}: {value}\n" for key, value in section.items())
