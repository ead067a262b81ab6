# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The README does what it says: its Python blocks and its commands are run in their order, in an empty folder.

Commands that would train for longer than a test may (a make target, a recipe of `scripts/`) are checked as far as they
can be without doing so: the target exists, the recipe and its overrides are valid. A recipe that the README itself
shows is trained, on a few pairs.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hf_rnn_attn import cli
from hf_rnn_attn.demo.dates import date_pairs
from hf_rnn_attn.training.recipe import load_recipe


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(python|sh|yaml)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands_of(block):
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


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


def run_program(words, folder, monkeypatch):
    """Runs a command of the README, or checks it where running it would take too long."""
    if words[0] == "make":
        listing = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert listing.returncode == 0, listing.stderr
        for line in listing.stdout.splitlines():
            program, *arguments = shlex.split(line)
            if program.endswith("hf-rnn-attn"):
                cli.build_parser().parse_args(arguments)
    elif words[:2] == ["pip", "install"]:
        assert words[2] == "." and (ROOT / "pyproject.toml").is_file()
    elif words[:2] == ["hf-rnn-attn", "train"] and (folder / words[2]).is_file():
        # a process of its own, because `train` sets what the whole process does with memory
        run_python(["-m", "hf_rnn_attn.cli", *words[1:]], folder)
    elif words[:2] == ["hf-rnn-attn", "train"]:
        arguments = cli.build_parser().parse_args(words[1:])
        load_recipe(ROOT / arguments.recipe, arguments.set)
    else:
        assert words[0] == "hf-rnn-attn", f"the README runs {words[0]!r}, which this test does not know"
        monkeypatch.chdir(folder)
        assert cli.main(words[1:]) == 0


def test_blocks_run_in_their_order(workplace, monkeypatch):
    assert [language for language, _ in BLOCKS].count("python") >= 2
    for language, block in BLOCKS:
        if language == "python":
            run_python(["-c", block], workplace)
        elif language == "yaml":
            # its first line is a comment with the name of the file
            (workplace / block.splitlines()[0].removeprefix("# ")).write_text(block, "utf-8")
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
