# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the metrics: values by hand, sacrebleu's own numbers, and what the trainer hands over."""

import unicodedata

import evaluate
import numpy as np
import pytest
import sacrebleu
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import EvalPrediction, PreTrainedTokenizerFast

from hf_rnn_attn.evaluation import METRICS, load_metric, score_by_length, trainer_metrics


PREDICTIONS = ["The cat sat on the mat.", "It rains today in Seoul", "A dog barks loudly ."]
REFERENCES = ["the cat sat on a mat.", "It rains in Seoul today", "A dog is barking loudly."]
MORE = ["The cat was sitting on the mat.", "Today it rains in Seoul", "A dog barks loudly."]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_an_evaluate_module(name):
    metric = load_metric(name, lowercase=True)
    assert isinstance(metric, evaluate.Metric)
    perfect = 100 if name in ("sacrebleu", "chrf", "exact_match") else 0
    result = metric.compute(predictions=["A b c d e."], references=["a B c d e."])
    assert isinstance(result["score"], float)
    assert result["score"] == pytest.approx(perfect)
    with_case = load_metric(name).compute(predictions=["A b c d e."], references=["a B c d e."])
    assert with_case["score"] != pytest.approx(perfect)


def test_unknown_metric_lists_the_valid_names():
    with pytest.raises(
        ValueError, match="unknown metric 'blue'; expected one of sacrebleu, chrf, ter, exact_match, cer"
    ):
        load_metric("blue")
    with pytest.raises(ValueError, match="tokenize must be one of none, zh, 13a.*got 'moses'"):
        load_metric("sacrebleu", tokenize="moses")


def test_sacrebleu_scores_and_signatures():
    columns = [REFERENCES, MORE]
    both = [list(pair) for pair in zip(*columns, strict=True)]
    bleu = load_metric("sacrebleu", lowercase=True, tokenize="intl").compute(predictions=PREDICTIONS, references=both)
    assert bleu["score"] == sacrebleu.corpus_bleu(PREDICTIONS, columns, lowercase=True, tokenize="intl").score
    assert bleu["signature"].startswith("nrefs:2|case:lc|eff:no|tok:intl|smooth:exp|version:")
    chrf = load_metric("chrf", word_order=2).compute(predictions=PREDICTIONS, references=both)
    assert chrf["score"] == sacrebleu.corpus_chrf(PREDICTIONS, columns, word_order=2).score
    assert chrf["signature"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:2|space:no|version:")
    ter = load_metric("ter", normalized=True).compute(predictions=PREDICTIONS, references=both)
    assert ter["score"] == sacrebleu.corpus_ter(PREDICTIONS, columns, case_sensitive=True, normalized=True).score
    assert ter["signature"].startswith("nrefs:2|case:mixed|tok:tercom|norm:yes|")


def test_second_reference_counts():
    one = load_metric("sacrebleu").compute(predictions=PREDICTIONS, references=REFERENCES)
    two = load_metric("sacrebleu").compute(
        predictions=PREDICTIONS, references=[list(pair) for pair in zip(REFERENCES, MORE, strict=True)]
    )
    assert two["score"] > one["score"] + 10


def test_numbers_of_references_may_differ():
    mixed = [REFERENCES[0], [REFERENCES[1], MORE[1]], [REFERENCES[2]]]
    bleu = load_metric("sacrebleu").compute(predictions=PREDICTIONS, references=mixed)
    columns = [REFERENCES, [None, MORE[1], None]]
    assert bleu["score"] == sacrebleu.corpus_bleu(PREDICTIONS, columns).score
    assert bleu["signature"].startswith("nrefs:var|")


def test_exact_match_by_hand():
    metric = load_metric("exact_match")
    assert metric.compute(predictions=["a", "b", "c", "d"], references=["a", ["x", "b"], "C", "d "])["score"] == 50.0


def test_error_rates_by_hand():
    # kitten → sitting: 3 edits of 7 characters; abc → abc: 0 of 3
    result = load_metric("cer").compute(predictions=["kitten", "abc"], references=["sitting", "abc"])
    assert result == {"score": pytest.approx(30.0), "edits": 3, "length": 10}
    # one phone too many, one wrong, one missing, of 3 + 2 + 1
    result = load_metric("token_error_rate").compute(
        predictions=["AA B K D", "AA T", ""], references=["AA B D", "AA D", "S"]
    )
    assert result == {"score": pytest.approx(50.0), "edits": 3, "length": 6}


def test_nearest_reference_counts_with_its_own_length():
    metric = load_metric("token_error_rate")
    result = metric.compute(predictions=["a b c d"], references=[["x y", "a b c e", "a b c d e f"]])
    assert result == {"score": 25.0, "edits": 1, "length": 4}
    result = metric.compute(predictions=["a b"], references=[["a", "a b c"]])
    assert result["length"] == 3, "of equally near references the longest"


def test_one_spelling_of_what_unicode_calls_the_same():
    composed = "é 한국"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    for name, perfect in (("exact_match", 100.0), ("cer", 0.0), ("token_error_rate", 0.0)):
        assert load_metric(name).compute(predictions=[decomposed], references=[composed])["score"] == perfect
    assert load_metric("cer").compute(predictions=["한"], references=["힌"]) == {
        "score": 100.0,
        "edits": 1,
        "length": 1,
    }


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("ab", "ba", 2),
        ("flaw", "lawn", 2),
        ("abcd", "acd", 1),
    ],
)
def test_edits_of_characters_and_of_tokens(first, second, edits):
    # the second pair is there because a corpus of empty references has no error rate
    predictions, references = [first, "x"], [second, "x"]
    assert load_metric("cer").compute(predictions=predictions, references=references)["edits"] == edits
    tokens = load_metric("token_error_rate").compute(predictions=references, references=predictions)
    assert tokens["edits"] == (first != second)


def test_wrong_inputs_are_refused():
    metric = load_metric("exact_match")
    with pytest.raises(ValueError, match="got 2 and 1"):
        metric.compute(predictions=["a", "b"], references=["a"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        metric.compute(predictions=[], references=[])
    with pytest.raises(ValueError, match="got 1 and none"):
        metric.compute(predictions=["a"])
    with pytest.raises(ValueError, match="prediction 1 has no reference"):
        metric.compute(predictions=["a", "b"], references=["a", []])
    with pytest.raises(ValueError, match="references are all empty"):
        load_metric("cer").compute(predictions=["a"], references=[""])


def test_metrics_gather_batches_side_by_side_and_leave_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", tmp_path)
    first, second = load_metric("exact_match"), load_metric("exact_match")
    first.add_batch(predictions=["a", "b"], references=["a", "x"])
    second.add(prediction="c", reference=["d", "c"])
    first.add_batch(predictions=["a"], references=[["a"]])
    assert first.compute()["score"] == pytest.approx(200 / 3)
    assert second.compute()["score"] == 100.0
    assert first.compute(predictions=["a"], references=["b"])["score"] == 0.0, "the next result starts afresh"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>", "a", "b", "c"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_trainer_metrics(tokenizer):
    compute = trainer_metrics(
        tokenizer, {"accuracy": load_metric("exact_match"), "per": load_metric("token_error_rate")}
    )
    predictions = np.array([[1, 4, 5, 2, -100], [1, 6, 2, 0, 0], [1, 4, 4, 4, 2]])
    labels = np.array([[4, 5, 2, -100], [6, 2, -100, -100], [4, 5, 6, 2]])
    scores = compute(EvalPrediction(predictions=predictions, label_ids=labels))
    assert scores == {"accuracy": pytest.approx(200 / 3), "per": pytest.approx(100 * 2 / 6)}
    assert all(type(score) is float for score in scores.values())
    assert labels[0, 3] == -100, "the trainer's own array is not changed"


def test_trainer_metrics_refuse_logits(tokenizer):
    compute = trainer_metrics(tokenizer, {"accuracy": load_metric("exact_match")})
    labels = np.array([[4, 2]])
    for logits in (np.zeros((1, 2, 7)), (np.zeros((1, 2, 7)), np.zeros((1, 2)))):
        with pytest.raises(ValueError, match="predict_with_generate=True"):
            compute(EvalPrediction(predictions=logits, label_ids=labels))


def test_score_by_length():
    sources = ["", "1 2", "1 2 3", "1  2 3 4", "1 2 3 4 5"]
    predictions = ["a", "b", "x", "d", "x"]
    references = ["a", "b", "c", ["y", "d"], "e"]
    rows = score_by_length(sources, predictions, references, load_metric("exact_match"), edges=(2, 4, 5, 9))
    assert rows == [
        {"length": "1-2", "count": 2, "score": 100.0},
        {"length": "3-4", "count": 2, "score": 50.0},
        {"length": "5", "count": 1, "score": 0.0},
        {"length": "6-9", "count": 0, "score": None},
        {"length": "10+", "count": 0, "score": None},
    ]


def test_score_by_length_refuses_wrong_input():
    metric = load_metric("exact_match")
    for edges in ((3, 2), (2, 2), (0, 2), (-1,)):
        with pytest.raises(ValueError, match="edges must be positive and rise"):
            score_by_length(["a"], ["a"], ["a"], metric, edges)
    with pytest.raises(ValueError, match="got 1, 1 and 2"):
        score_by_length(["a"], ["a"], ["a", "b"], metric, (3,))
