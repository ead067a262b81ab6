# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Forced decoding gives a translation the probability that the model's loss and its own search give it."""

import json

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianConfig, MarianMTModel, pipeline

from hf_rnn_attn import BUNDLED, RnnAttnConfig, RnnAttnForConditionalGeneration, cli
from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble
from hf_rnn_attn.scoring import score_pairs
from hf_rnn_attn.tokenization import train_tokenizer


PAIRS = [
    ("ein hund", "a dog"),
    ("zwei katzen und ein hund", "two cats and a dog"),
    ("und", "fish and"),
    ("", "a"),
    ("ein", ""),
]
SEPARATE = train_tokenizer(["ein hund und zwei katzen"], ["a dog and two cats"], kind="word", joint=False)
JOINT = train_tokenizer(["ein hund und zwei katzen"], ["a dog and two cats"], kind="word")


def rnn_attn(tokenizer, seed=0):
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(tokenizer)}
    if tokenizer is SEPARATE:
        sizes |= {"decoder_vocab_size": tokenizer.target_vocab_size, "share_encoder_decoder_embeddings": False}
    return RnnAttnForConditionalGeneration(
        RnnAttnConfig(**sizes, encoder_hidden_size=4, decoder_hidden_size=8, initializer_range=0.8)
    ).eval()


def marian(tokenizer):
    torch.manual_seed(0)
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    special = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0, "forced_eos_token_id": None}
    return MarianMTModel(MarianConfig(vocab_size=len(tokenizer), **sizes, **heads, **special)).eval()


MODELS = {
    "one vocabulary": (rnn_attn, JOINT),
    "two vocabularies": (rnn_attn, SEPARATE),
    "marian": (marian, JOINT),
}


def translator_of(model, tokenizer):
    return pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("tokens_per_batch", [1, 12, 1024])
@pytest.mark.parametrize("kind", MODELS)
def test_a_score_is_the_loss_of_the_model(kind, tokens_per_batch):
    make, tokenizer = MODELS[kind]
    model = make(tokenizer)
    scores = list(score_pairs(iter(PAIRS), translator_of(model, tokenizer), tokens_per_batch))
    assert len(scores) == len(PAIRS)
    for (source, target), score in zip(PAIRS, scores, strict=True):
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model(**tokenizer(source, return_tensors="pt"), labels=labels).loss.item()
        assert score.per_token == pytest.approx(-loss, abs=1e-5)
        assert score.total == pytest.approx(-loss * labels.shape[1], abs=1e-5)
        assert len(score.tokens) == labels.shape[1] == len(score.log_probabilities)
        assert score.tokens[-1] == "</s>"


def test_what_a_search_found_has_the_score_that_the_pipeline_gives_it():
    members = [AutoModelForSeq2SeqLM.from_pretrained(BUNDLED["de", "en"]) for _ in range(2)]
    with torch.no_grad():
        members[1].get_output_embeddings().weight.mul_(0.9)
    translator = translator_of(RnnAttnEnsemble(members), AutoTokenizer.from_pretrained(BUNDLED["de", "en"]))
    source = "Ich habe heute keinen Hunger."
    records = translator(source, num_beams=4, num_return_sequences=4, return_scores=True)
    scores = score_pairs([(source, record["translation_text"]) for record in records], translator)
    assert [score.total for score in scores] == pytest.approx([record["score"] for record in records], abs=1e-5)


@pytest.fixture
def place(tmp_path, monkeypatch):
    rnn_attn(JOINT).save_pretrained(tmp_path / "model")
    JOINT.save_pretrained(tmp_path / "model")
    (tmp_path / "in.txt").write_text("ein hund\nund\n", "utf-8")
    (tmp_path / "out.txt").write_text("a dog\nand\n", "utf-8")
    (tmp_path / "pairs.tsv").write_text("ein hund\ta dog\nund\tand\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("data", [["pairs.tsv"], ["in.txt", "out.txt"]])
@pytest.mark.parametrize("output", [None, "scores"])
def test_the_command_writes_a_line_for_each_pair(data, output, place, capsys):
    for kind in ("tsv", "jsonl"):
        options = ["--model", "model", "--format", kind] + (["-o", output] if output else [])
        assert cli.main(["score", *data, *options]) == 0
        printed = capsys.readouterr().out
        lines = ((place / output).read_text("utf-8") if output else printed).splitlines()
        if kind == "tsv":
            rows = [[float(value) for value in line.split("\t")] for line in lines]
    records = [json.loads(line) for line in lines]
    assert [(record["line"], record["source"], record["target"]) for record in records] == [
        (1, "ein hund", "a dog"),
        (2, "und", "and"),
    ]
    for record, (total, mean, length) in zip(records, rows, strict=True):
        assert sum(value for _, value in record["tokens"]) == pytest.approx(record["score"])
        assert [record["score"], record["score_per_token"]] == pytest.approx([total, mean], abs=1e-6)
        assert record["length"] == length == len(record["tokens"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["missing.tsv"], "missing.tsv: no such file"),
        (["in.txt", "pairs.tsv", "out.txt"], "got 3 files"),
        (["in.txt", "short.txt"], "short.txt"),
        (["pairs.tsv", "-o", "none/scores"], "no such folder to write to"),
    ],
)
def test_a_mistake_is_one_line(data, message, place, capsys):
    (place / "short.txt").write_text("a\n", "utf-8")
    assert cli.main(["score", *data, "--model", "model"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err and printed.err.count("\n") == 1
