# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of given translations, by forced decoding: the decoder reads the target, and its tokens are scored.

Works with every encoder-decoder of a [`TranslationPipeline`], and with several together. A score says how likely a
model finds a text; it is no measure of its quality.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .alignment import encode_both_sides
from .inference.bulk import WINDOW_LINES, cut_batches


@dataclass(frozen=True)
class ForcedScore:
    """What a model gives to a translation.

    Args:
        tokens (`list[str]`): of the target, its end included.
        log_probabilities (`list[float]`): natural logarithm of each token's probability, behind the tokens before it.
    """

    tokens: list[str]
    log_probabilities: list[float]

    @property
    def total(self) -> float:
        """The logarithm of P(target | source): the sum over the tokens."""
        return sum(self.log_probabilities)

    @property
    def per_token(self) -> float:
        """The mean over the tokens, which is the model's loss with its sign changed."""
        return self.total / len(self.tokens)


def score_pairs(
    pairs: Iterable[tuple[str, str]], translator: Any, tokens_per_batch: int = 1024
) -> Iterator[ForcedScore]:
    """Scores pairs of source and target as they come, in their order.

    Args:
        pairs (`Iterable[tuple[str, str]]`): at most a window of them is read ahead.
        translator ([`TranslationPipeline`]): of any model.
        tokens_per_batch (`int`, *optional*, defaults to 1024): most tokens at a time of the longer side, padding
            included; a longer pair is a batch by itself.

    Example:
    ```python
    >>> from transformers import pipeline
    >>> from hf_rnn_attn.scoring import score_pairs
    >>> right, wrong = score_pairs([("Guten Morgen!", "Good morning."), ("Guten Morgen!", "Good night.")],
    ...                            pipeline("translation_de_to_en"))
    >>> right.total > wrong.total
    True

    ```
    """
    pairs = iter(pairs)
    while window := list(itertools.islice(pairs, WINDOW_LINES)):
        sides = encode_both_sides(
            translator.tokenizer,
            [translator.prefix + source for source, _ in window],
            [target for _, target in window],
            padding=False,
            return_tensors=None,
        )
        lengths = {row: max(len(side["input_ids"][row]) for side in sides) for row in range(len(window))}
        scores: dict[int, ForcedScore] = {}
        for rows in cut_batches(lengths, tokens_per_batch):
            batch = ([side["input_ids"][row] for row in rows] for side in sides)
            scores |= zip(rows, _score_batch(translator, *batch), strict=True)
        yield from (scores[row] for row in range(len(window)))


@torch.no_grad()
def _score_batch(translator: Any, sources: list[list[int]], targets: list[list[int]]) -> Iterator[ForcedScore]:
    model, tokenizer = translator.model, translator.tokenizer
    source = tokenizer.pad({"input_ids": sources}, padding_side="right", return_tensors="pt").to(model.device)
    labels = tokenizer.pad({"input_ids": targets}, padding_side="right", return_tensors="pt")["input_ids"]
    labels = labels.to(model.device)
    start = torch.full_like(labels[:, :1], model.config.decoder_start_token_id)
    logits = model(
        input_ids=source["input_ids"],
        attention_mask=source["attention_mask"],
        decoder_input_ids=torch.cat([start, labels[:, :-1]], 1),
        use_cache=False,
    ).logits
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    chosen = log_probs.gather(-1, labels[..., None]).squeeze(-1).tolist()
    for ids, values in zip(targets, chosen, strict=True):
        yield ForcedScore(tokenizer.convert_ids_to_tokens(ids), values[: len(ids)])


def format_score(kind: str, number: int, source: str, target: str, score: ForcedScore) -> str:
    """Returns a line: `"tsv"` has total, mean and number of tokens; `"jsonl"` has the texts and the tokens too."""
    if kind == "tsv":
        return f"{score.total:.6f}\t{score.per_token:.6f}\t{len(score.tokens)}"
    record = {
        "line": number,
        "source": source,
        "target": target,
        "score": score.total,
        "score_per_token": score.per_token,
        "length": len(score.tokens),
        "tokens": [list(token) for token in zip(score.tokens, score.log_probabilities, strict=True)],
    }
    return json.dumps(record, ensure_ascii=False)
