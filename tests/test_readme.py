# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The README does what it says: its Python blocks and its commands are run in their order, in an empty folder."""

import re
import subprocess
import sys

import pytest
from documentation import ROOT, blocks_of, commands_of, run_program, write_file

from hf_rnn_attn.demo.dates import date_pairs


README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = blocks_of(README)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The files that the README takes for granted: pairs of one's own."""
    folder = tmp_path_factory.mktemp("readme")
    pairs = date_pairs(20, seed=7)
    (folder / "dates.txt").write_text("".join(f"{source}\n" for source, _ in pairs), "utf-8")
    for name in ("train.tsv", "valid.tsv", "pairs.tsv"):
        (folder / name).write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")
    return folder


def run_python(arguments, folder):
    ran = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_blocks_run_in_their_order(workplace, monkeypatch):
    assert [language for language, _ in BLOCKS].count("python") >= 2
    for language, block in BLOCKS:
        if language == "python":
            run_python(["-c", block], workplace)
        elif language == "yaml":
            write_file(block, workplace)
        else:
            for words in commands_of(block):
                run_program(words, workplace, monkeypatch)
    assert (workplace / "runs/first/model.safetensors").is_file()
    assert (workplace / "runs/dates/attention.png").stat().st_size > 5000
    assert "<html" in (workplace / "runs/dates/attention.html").read_text("utf-8")
    assert len((workplace / "iso.txt").read_text("utf-8").splitlines()) == 20


def test_the_readme_is_short():
    assert len(README.split()) <= 900


def test_the_tree_shows_what_is_there():
    (tree,) = re.findall(r"^```text\n(hf_rnn_attn/\n.*?)^```$", README, re.DOTALL | re.MULTILINE)
    inside = set(re.findall(r"^[├└]── (\S+)", tree, re.MULTILINE))
    beside = set(re.findall(r"^(\w\S+)", tree, re.MULTILINE))
    package = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "hf_rnn_attn").iterdir()}
    assert inside == package - {"__init__.py", "__pycache__/", "py.typed"}
    assert all((ROOT / name).exists() for name in beside) and len(beside) >= 5


def test_a_wrong_command_is_noticed(tmp_path, monkeypatch):
    with pytest.raises(AssertionError):
        run_program(["make", "coffee"], tmp_path, monkeypatch)
    with pytest.raises(AssertionError):
        run_program(["hf-rnn-attn", "translate", "--model", "nowhere", "--input", "nothing.txt"], tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="unknown key"):
        run_program(
            ["hf-rnn-attn", "train", "scripts/multi30k_de_en.yaml", "--set", "model.atention=dot"],
            tmp_path,
            monkeypatch,
        )
