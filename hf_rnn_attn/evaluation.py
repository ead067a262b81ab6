# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores of translations and transductions, as `evaluate` metrics that need no network.

This file knows predicted and accepted texts, and how the trainer hands over token ids. It does not know any model.

Every metric takes texts and gives `{"score": float, ...}` on a scale of 0 to 100 (error rates can exceed 100). A
reference is one text or a list of accepted texts. sacreBLEU, chrF and TER are computed by sacrebleu itself and come
with the signature that has to stand beside a published score.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import evaluate
import numpy as np
from datasets import Features, List, Value
from pydantic import NonNegativeInt
from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics import BLEU, CHRF, TER
from transformers import EvalPrediction, PreTrainedTokenizerBase


class TextMetric(evaluate.Metric):
    """Base class of the metrics: compares texts with one or several references, all in memory.

    Nothing is written to the cache folder of `evaluate`, so that metrics in several processes cannot clash. Under
    several processes, gather the texts first (the Trainer does) and compute on one.

    Args:
        lowercase (`bool`): Lowercase predictions and references before they are compared.
    """

    description: str
    citation: str

    def __init__(self, *, lowercase: bool = False):
        super().__init__(keep_in_memory=True)
        self.lowercase = lowercase

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.citation,
            inputs_description="predictions: texts. references: for each, one text or a list of accepted texts.",
            features=Features({"predictions": Value("string"), "references": List(Value("string"))}),
        )

    def add_batch(self, *, predictions: Sequence[str], references: Sequence[str | Sequence[str]]):
        """Adds texts and what they are compared with, in the same order; numbers of references may differ.

        Raises:
            ValueError: nothing to score, different numbers of predictions and references, or a prediction with no
            reference.
        """
        if predictions is None or references is None or len(predictions) != len(references) or len(predictions) == 0:
            counts = ["none" if texts is None else len(texts) for texts in (predictions, references)]
            raise ValueError(
                f"expected as many predictions as references, and at least one, got {counts[0]} and {counts[1]}"
            )
        references = [[accepted] if isinstance(accepted, str) else list(accepted) for accepted in references]
        empty = next((index for index, accepted in enumerate(references) if not accepted), None)
        if empty is not None:
            raise ValueError(f"prediction {empty} has no reference; expected a text or a list of at least one text")
        super().add_batch(predictions=list(predictions), references=references)

    def add(self, *, prediction: str, reference: str | Sequence[str]):
        """Adds one text and its reference or list of references."""
        self.add_batch(predictions=[prediction], references=[reference])

    def result(self, predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> dict[str, Any]:
        """Returns what `compute` does, which in a process that is not the first returns `None`."""
        return cast(dict[str, Any], self.compute(predictions=predictions, references=references))


def _sacrebleu_result(metric: BLEU | CHRF | TER, predictions: list[str], references: list[list[str]]) -> dict:
    """Returns score and signature; sacrebleu takes the first references of all texts, then the second, and so on."""
    most = max(map(len, references))
    columns: Any = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    score = metric.corpus_score(predictions, columns).score
    return {"score": float(score), "signature": str(metric.get_signature())}


class SacreBleu(TextMetric):
    """BLEU as sacrebleu computes it (Post 2018). Gives `score` and `signature`.

    Args:
        lowercase (`bool`): Case does not count; `case:lc` in the signature.
        tokenize (`str`): One of sacrebleu's tokenizers: "13a", "intl", "char", "zh", "none" ...; a few of them
            ("ja-mecab", "ko-mecab", "flores200", "spm") need packages or a download.

    Example:
    ```python
    >>> bleu = SacreBleu(lowercase=True)
    >>> bleu.compute(predictions=["The cat sat down"], references=["the cat sat down"])
    {'score': 100.0..., 'signature': 'nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:...'}

    ```
    """

    description = "BLEU, the geometric mean of clipped n-gram precisions with a brevity penalty, through sacrebleu."
    citation = "Post (2018), A Call for Clarity in Reporting BLEU Scores, https://aclanthology.org/W18-6319"

    def __init__(self, *, lowercase: bool = False, tokenize: str = BLEU.TOKENIZER_DEFAULT):
        super().__init__(lowercase=lowercase)
        if tokenize not in BLEU.TOKENIZERS:
            raise ValueError(f"tokenize must be one of {', '.join(BLEU.TOKENIZERS)}, got {tokenize!r}")
        self.tokenize = tokenize

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        return _sacrebleu_result(BLEU(lowercase=self.lowercase, tokenize=self.tokenize), predictions, references)


class Chrf(TextMetric):
    """chrF2, the F-score of character n-grams (Popović 2015), through sacrebleu. Gives `score` and `signature`.

    Args:
        lowercase (`bool`): Case does not count.
        word_order (`int`): Longest word n-gram that counts too; 2 gives chrF++.
    """

    description = "chrF, the F-score of character n-grams, through sacrebleu."
    citation = (
        "Popović (2015), chrF: character n-gram F-score for automatic MT evaluation, https://aclanthology.org/W15-3049"
    )

    def __init__(self, *, lowercase: bool = False, word_order: NonNegativeInt = CHRF.WORD_ORDER):
        super().__init__(lowercase=lowercase)
        self.word_order = word_order

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        return _sacrebleu_result(CHRF(lowercase=self.lowercase, word_order=self.word_order), predictions, references)


class Ter(TextMetric):
    """Translation edit rate (Snover et al. 2006), through sacrebleu. Gives `score` (lower is better) and `signature`.

    Args:
        lowercase (`bool`): Case does not count. sacrebleu's own command lowercases; pass True for its numbers.
        normalized (`bool`): Tokenize as Tercom does; otherwise texts are split at white space.
    """

    description = "TER, edits and shifts of words per reference word, through sacrebleu."
    citation = (
        "Snover et al. (2006), A Study of Translation Edit Rate with Targeted Human Annotation, "
        "https://aclanthology.org/2006.amta-papers.25"
    )

    def __init__(self, *, lowercase: bool = False, normalized: bool = False):
        super().__init__(lowercase=lowercase)
        self.normalized = normalized

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        metric = TER(case_sensitive=not self.lowercase, normalized=self.normalized)
        return _sacrebleu_result(metric, predictions, references)


def _canonical(text: str, lowercase: bool) -> str:
    """Returns the text in NFC, where a composed é or Hangul syllable equals the decomposed one."""
    text = unicodedata.normalize("NFC", text)
    return text.lower() if lowercase else text


class ExactMatch(TextMetric):
    """Per cent of predictions that equal one of their references, character by character. Gives `score`."""

    description = "Per cent of predictions that are exactly one of their references (after NFC)."
    citation = ""

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        hits = sum(
            _canonical(prediction, self.lowercase) in [_canonical(text, self.lowercase) for text in accepted]
            for prediction, accepted in zip(predictions, references, strict=True)
        )
        return {"score": 100.0 * hits / len(predictions)}


class CharacterErrorRate(TextMetric):
    """Edits per 100 characters (code points, after NFC) of the references. Gives `score`, `edits` and `length`."""

    description = "Insertions, deletions and substitutions of characters per 100 reference characters; lower is better."
    citation = ""

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        return _error_rate(predictions, references, lambda text: list(_canonical(text, self.lowercase)))


class TokenErrorRate(TextMetric):
    """Edits per 100 tokens of the references, where white space separates tokens: the phone error rate of
    pronunciations, the word error rate of sentences. Gives `score`, `edits` and `length`.

    Example:
    ```python
    >>> TokenErrorRate().compute(predictions=["T AH M"], references=[["T AH M AA", "T OW M"]])
    {'score': 25.0, 'edits': 1, 'length': 4}

    ```
    """

    description = "Insertions, deletions and substitutions of tokens per 100 reference tokens; lower is better."
    citation = ""

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        return _error_rate(predictions, references, lambda text: _canonical(text, self.lowercase).split())


def _error_rate(predictions: list[str], references: list[list[str]], units: Callable[[str], list[str]]) -> dict:
    """Returns edits per 100 units of the references.

    Of several references the nearest counts, with its own length; of equally near ones the longest.
    """
    edits = length = 0
    for prediction, accepted in zip(predictions, references, strict=True):
        predicted = units(prediction)
        candidates = [
            (Levenshtein.distance(predicted, reference), len(reference)) for reference in map(units, accepted)
        ]
        nearest = min(candidates, key=lambda candidate: (candidate[0], -candidate[1]))
        edits, length = edits + nearest[0], length + nearest[1]
    if length == 0:
        raise ValueError("the references are all empty; an error rate needs at least one unit to divide by")
    return {"score": 100.0 * edits / length, "edits": edits, "length": length}


# the names of the Hub's own metrics where it has one
METRICS: dict[str, type[TextMetric]] = {
    "sacrebleu": SacreBleu,
    "chrf": Chrf,
    "ter": Ter,
    "exact_match": ExactMatch,
    "cer": CharacterErrorRate,
    "token_error_rate": TokenErrorRate,
}


# metrics of which less is better
ERROR_RATES = ("ter", "cer", "token_error_rate")


def load_metric(name: str, **options) -> TextMetric:
    """Makes the metric of this name.

    Args:
        name (`str`): "sacrebleu", "chrf", "ter", "exact_match", "cer" (character error rate) or "token_error_rate" (of
            phones or words).
        options:
            Keyword arguments of the metric's class; `lowercase` is one of all of them.

    Raises:
        ValueError: no metric has this name.

    Example:
    ```python
    >>> load_metric("exact_match").compute(predictions=["a", "b"], references=["a", "c"])
    {'score': 50.0}

    ```
    """
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; expected one of {', '.join(METRICS)}")
    return METRICS[name](**options)


def trainer_metrics(
    tokenizer: PreTrainedTokenizerBase, metrics: Mapping[str, TextMetric]
) -> Callable[[EvalPrediction], dict[str, float]]:
    """Makes the function for `Seq2SeqTrainer(compute_metrics=...)`, to be used with `predict_with_generate=True`.

    Predictions and labels are decoded with the tokenizer, so what the tokenizer cannot represent counts for neither.
    Scores for publication compare texts with texts.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Decodes target ids.
        metrics (`Mapping[str, TextMetric]`):
            Each under the name that its score gets (the trainer puts `eval_` before it).

    Returns:
        `Callable`: from an `EvalPrediction` with ids of shape `(rows, length)`, padded with -100 or the padding
        token, to a flat dict of floats.

    Example:
    ```python
    >>> compute_metrics = trainer_metrics(tokenizer, {"bleu": load_metric("sacrebleu", lowercase=True)})

    ```
    """

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        predictions = _decode(tokenizer, prediction.predictions)
        references = _decode(tokenizer, prediction.label_ids)
        return {name: metric.result(predictions, references)["score"] for name, metric in metrics.items()}

    return compute_metrics


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Any) -> list[str]:
    if not isinstance(ids, np.ndarray) or ids.ndim != 2:
        raise ValueError(
            "expected token ids of shape (rows, length), got logits or a tuple; set predict_with_generate=True in "
            "Seq2SeqTrainingArguments"
        )
    # the trainer pads with -100 what it gathers, predictions included; no tokenizer has such an id
    ids = np.where(ids == -100, cast(int, tokenizer.pad_token_id), ids)
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def score_texts(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str | Sequence[str]],
    metrics: Mapping[str, TextMetric],
    by_length: Sequence[int] = (),
) -> dict[str, Any]:
    """Returns the result of each metric by its name; with `by_length`, also the first metric by length of the source.

    Args:
        sources, translations, references (`Sequence`):
            In the same order; a reference is one text or a list of accepted texts.
        metrics (`Mapping[str, TextMetric]`): Each under the name that its result gets.
        by_length (`Sequence[int]`, *optional*): The `edges` of [`score_by_length`].
    """
    results: dict[str, Any] = {name: metric.result(translations, references) for name, metric in metrics.items()}
    if by_length:
        first = next(iter(metrics.values()))
        results["by_length"] = score_by_length(sources, translations, references, first, by_length)
    return results


def score_by_length(
    sources: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    metric: TextMetric,
    edges: Sequence[int],
) -> list[dict]:
    """Scores sentences in groups by the length of their source.

    Args:
        sources, predictions, references (`Sequence`):
            In the same order. Length is counted in words of the source, as white space separates them; at least one.
        metric (`TextMetric`): Computed on each bucket by itself.
        edges (`Sequence[int]`):
            Longest length of each bucket but the last, rising: `(10, 20)` makes 1-10, 11-20 and 21 or more.

    Returns:
        `list[dict]`: for each bucket `length` ("11-20", "21+"), `count` of sentences, and `score`, None in an empty
        bucket.

    Raises:
        ValueError: edges that do not rise, or sequences of different length.
    """
    check_edges(edges)
    bounds = [0, *edges, math.inf]
    if not len(sources) == len(predictions) == len(references):
        raise ValueError(
            "expected as many sources as predictions and references, got "
            f"{len(sources)}, {len(predictions)} and {len(references)}"
        )
    lengths = [max(len(source.split()), 1) for source in sources]
    rows = []
    for low, high in zip(bounds, bounds[1:], strict=False):
        chosen = [index for index, length in enumerate(lengths) if low < length <= high]
        score = None
        if chosen:
            predicted, accepted = [predictions[i] for i in chosen], [references[i] for i in chosen]
            score = metric.result(predicted, accepted)["score"]
        rows.append({"length": _bucket_name(low, high), "count": len(chosen), "score": score})
    return rows


def check_edges(edges: Sequence[int]):
    """Raises a ValueError unless the edges are positive and rise."""
    if any(low >= high for low, high in zip((0, *edges), edges, strict=False)):
        raise ValueError(f"edges must be positive and rise, got {list(edges)}")


def _bucket_name(low: int, high: float) -> str:
    if high == math.inf:
        return f"{low + 1}+"
    return str(high) if high == low + 1 else f"{low + 1}-{high}"
