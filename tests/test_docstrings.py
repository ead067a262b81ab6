# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of the package, run in an empty folder with what they take for granted."""

import doctest
import gzip
import importlib
import pkgutil
import shutil

import pytest
import torch
from small_models import make_model
from toolkit_checkpoints import joeynmt_model, write_opennmt

import hf_rnn_attn
from hf_rnn_attn import train_tokenizer


MODULES = [module.name for module in pkgutil.walk_packages(hf_rnn_attn.__path__, "hf_rnn_attn.")]
EXAMPLES = [
    example
    for name in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The files that examples read: pairs, a bundled checkpoint, checkpoints of other toolkits."""
    (tmp_path / "train.de").write_text("ein Hund\n", "utf-8")
    with gzip.open(tmp_path / "train.en.gz", "wt", encoding="utf-8") as file:
        file.write("a dog\n")
    (tmp_path / "wmt14-sample.jsonl").write_text('{"de": "ein Hund", "en": "a dog"}\n', "utf-8")
    (tmp_path / "models" / "iwslt_rnn").mkdir(parents=True)
    joeynmt_model(tmp_path / "models" / "iwslt_rnn")
    write_opennmt(tmp_path)
    shutil.move(tmp_path / "model.pt", tmp_path / "model_step_20000.pt")
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "checkpoint").symlink_to(hf_rnn_attn.BUNDLED["de", "en"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names():
    """The objects that examples speak of without making them."""
    tokenizer = train_tokenizer(["ein Hund"], ["a dog"], kind="word", vocab_size=12)
    sizes = {"vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    return {"tokenizer": tokenizer, "first": make_model(**sizes).float(), "second": make_model(**sizes).float()}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_does_what_it_says(example, workplace):
    example.globs.update({name: value for name, value in names().items() if name not in example.globs})
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    printed = []
    runner.run(example, out=printed.append)
    assert runner.failures == 0, "".join(printed)


def test_the_examples_were_found():
    assert len(EXAMPLES) >= 15
