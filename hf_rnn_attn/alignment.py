# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Word alignments from attention: each word of a translation is linked to the source word with most of its attention.

Holds the forced decoding of sentence pairs, attention between words from attention between tokens, the Pharaoh format
and the alignment error rate. A word is what stands between white space. Links are pairs (i, j) of a
source and a target word, from 0.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from .evaluation import TextMetric
from .model.pipeline_rnn_attn import sides_of
from .words import word_attention


Links = set[tuple[int, int]]


def links_of(attention: np.ndarray) -> Links:
    """Links each target word to the source word with the largest weight in attention between words (target, source)."""
    if attention.shape[1] == 0:
        return set()
    return {(int(source), target) for target, source in enumerate(attention.argmax(1))}


def intersect(forward: Iterable[Links], backward: Iterable[Links]) -> Iterator[Links]:
    """Yields the links of each pair that both directions found; those of `backward` are (target, source)."""
    for links, turned in zip(forward, backward, strict=True):
        yield links & {(source, target) for target, source in turned}


def learn_dictionary(sources: Sequence[str], targets: Sequence[str], alignments: Iterable[Links]) -> dict[str, str]:
    """Returns for each source word the target word that it is linked to most often.

    Of equally frequent ones it is the first in the alphabet. `replace_unknown` of the translation pipeline takes this.
    """
    counts = defaultdict(Counter)
    for source, target, links in zip(sources, targets, alignments, strict=True):
        source_words, target_words = source.split(), target.split()
        for i, j in links:
            counts[source_words[i]][target_words[j]] += 1
    return {word: min(linked, key=lambda other: (-linked[other], other)) for word, linked in sorted(counts.items())}


def format_links(links: Links) -> str:
    """Writes links in the Pharaoh format: `i-j` for each link, in order."""
    return " ".join(f"{source}-{target}" for source, target in sorted(links))


def parse_links(line: str) -> tuple[Links, Links]:
    """Reads the sure and the possible links of a line: `i-j` is sure, `ipj` possible; what is sure is possible too.

    Raises:
        ValueError: for anything else.
    """
    sure, possible = set(), set()
    for text in line.split():
        mark = "p" if "p" in text else "-"
        ends = text.split(mark)
        if len(ends) != 2 or not all(end.isdecimal() for end in ends):
            raise ValueError(f"expected links such as 0-1 or 0p1, got {text!r} in {line!r}")
        link = (int(ends[0]), int(ends[1]))
        possible.add(link)
        if mark == "-":
            sure.add(link)
    return sure, possible


class AlignmentErrorRate(TextMetric):
    """AER (Och & Ney 2003), in percent, lower is better: 1 - (|A and S| + |A and P|) / (|A| + |S|) over all sentences.

    Gives `score`, `precision` (|A and P| / |A|) and `recall` (|A and S| / |S|), all from 0 to 100.

    Example:
    ```python
    >>> AlignmentErrorRate().compute(predictions=["0-0 1-2"], references=["0-0 1p2 2-1"])["score"]
    25.0

    ```
    """

    description = "Alignment error rate against sure and possible links in the Pharaoh format."
    citation = "Och & Ney (2003), A Systematic Comparison of Various Statistical Alignment Models"

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        found = in_sure = in_possible = total_sure = 0
        for prediction, (reference,) in zip(predictions, references, strict=True):
            links, (sure, possible) = parse_links(prediction)[0], parse_links(reference)
            found, total_sure = found + len(links), total_sure + len(sure)
            in_sure, in_possible = in_sure + len(links & sure), in_possible + len(links & possible)
        if not found or not total_sure:
            raise ValueError(f"expected at least one predicted and one sure link, got {found} and {total_sure}")
        return {
            "score": 100 * (1 - (in_sure + in_possible) / (found + total_sure)),
            "precision": 100 * in_possible / found,
            "recall": 100 * in_sure / total_sure,
        }


def align(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    targets: Sequence[str],
    batch_size: int = 32,
) -> Iterator[Links]:
    """Aligns sentences with their translations by forced decoding: the decoder reads the targets, and attends.

    A target word is linked by the attention of the steps that predict its tokens (Luong et al. 2015).

    Args:
        model (`PreTrainedModel`): any encoder-decoder that returns cross attentions; those of the last layer are used,
            their heads averaged.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer, a fast one.
        sources, targets (`Sequence[str]`): the pairs, in the same order.
        batch_size (`int`, *optional*, defaults to 32): pairs at a time.

    Yields:
        `set[tuple[int, int]]`: the links of each pair.

    Raises:
        ValueError: for different numbers of sources and targets, or a model without attention.
    """
    if len(sources) != len(targets):
        raise ValueError(f"expected as many targets as sources, got {len(targets)} and {len(sources)}")
    yield from map(links_of, attend_words(model, tokenizer, sources, targets, batch_size))


def attend_words(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    targets: Sequence[str],
    batch_size: int = 32,
) -> Iterator[np.ndarray]:
    """Yields the attention between words of each pair, (target words, source words); arguments as in [`align`]."""
    for start in range(0, len(sources), batch_size):
        some_sources, some_targets = sources[start : start + batch_size], targets[start : start + batch_size]
        source, target = encode_both_sides(tokenizer, some_sources, some_targets, return_offsets_mapping=True)
        attention = forced_attention(model, source, target).float().numpy()
        for row, texts in enumerate(zip(some_sources, some_targets, strict=True)):
            spans = [side["offset_mapping"][row].tolist() for side in (source, target)]
            yield word_attention(attention[row], spans[0], texts[0], spans[1], texts[1])


def encode_both_sides(
    tokenizer: PreTrainedTokenizerBase, sources: Sequence[str], targets: Sequence[str], **options
) -> tuple[BatchEncoding, BatchEncoding]:
    """Tokenizes both sides of sentence pairs, padded on the right; `options` go to the tokenizer."""
    options = {"padding": True, "return_tensors": "pt", "padding_side": "right"} | options
    source_side, target_side = sides_of(tokenizer)
    return source_side(list(sources), **options), target_side(list(targets), **options)


@torch.no_grad()
def forced_attention(model: PreTrainedModel, source: BatchEncoding, target: BatchEncoding) -> torch.Tensor:
    """Returns the cross attention of the last layer, mean over its heads, while the decoder reads the targets.

    Returns:
        `torch.FloatTensor` of shape `(B, T, S)`, on the CPU; row t generated target token t.

    Raises:
        ValueError: for a model without attention.
    """
    labels = target["input_ids"].masked_fill(target["attention_mask"] == 0, -100)
    outputs = model(
        input_ids=source["input_ids"].to(model.device),
        attention_mask=source["attention_mask"].to(model.device),
        labels=labels.to(model.device),
        output_attentions=True,
    )
    if not outputs.cross_attentions or outputs.cross_attentions[-1] is None:
        raise ValueError(
            f"alignment needs a model with cross attention, {type(model).__name__} returned none; choose another model"
        )
    return outputs.cross_attentions[-1].mean(1).cpu()
