# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs what the pages show: their Python blocks and their commands, in an empty folder.

A recipe that a page itself shows is trained for a few steps. What would train for longer than a test may (a make
target, a recipe of `scripts/`) is checked as far as it can be without doing so.
"""

import re
import shlex
import subprocess
from pathlib import Path

from hf_rnn_attn import cli
from hf_rnn_attn.training.recipe import load_recipe


ROOT = Path(__file__).parents[1]


def blocks_of(text):
    """Returns the blocks of a page that can be run, as pairs of language and text."""
    return re.findall(r"^```(python|sh|yaml)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands_of(block):
    """Returns the words of each command of a block."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_page(text, folder, monkeypatch):
    """Runs the blocks of a page in their order; its Python blocks go on from one another."""
    names = {"__name__": "__main__"}
    monkeypatch.chdir(folder)
    for language, block in blocks_of(text):
        if language == "python":
            exec(compile(block, "the page", "exec"), names)
        elif language == "yaml":
            write_file(block, folder)
        else:
            for words in commands_of(block):
                run_program(words, folder, monkeypatch)


def write_file(block, folder):
    """Writes a block whose first line is a comment with the name of the file."""
    (folder / block.splitlines()[0].removeprefix("# ")).write_text(block, "utf-8")


def run_program(words, folder, monkeypatch):
    """Runs a command of a page, or checks it where running it would take too long."""
    if words[0] == "make":
        listing = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert listing.returncode == 0, listing.stderr
        for line in listing.stdout.splitlines():
            program, *arguments = shlex.split(line)
            if program.endswith("hf-rnn-attn"):
                cli.build_parser().parse_args(arguments)
    elif words[:2] == ["pip", "install"]:
        extra = re.fullmatch(r"\.(?:\[(\w+)\])?", words[2])
        assert extra and f"\n{extra[1] or 'name'} = " in (ROOT / "pyproject.toml").read_text("utf-8"), words[2]
    elif words[:2] == ["hf-rnn-attn", "train"] and not (folder / words[2]).is_file():
        check_command(words)
    elif words[:2] == ["hf-rnn-attn", "serve"]:
        # it would not end
        check_command(words)
    else:
        assert words[0] == "hf-rnn-attn", f"the page runs {words[0]!r}, which this test does not know"
        if words[1] == "train":
            words = [*words, "--set", "training.max_steps=2", "--set", "training.dataloader_pin_memory=false"]
            words += ["--set", "generation.max_length=8"]
            # they set what the whole process does with memory
            monkeypatch.setattr("hf_rnn_attn.training.run.keep_freed_memory", lambda: None)
            monkeypatch.setattr("hf_rnn_attn.training.run.keep_compiled_products", lambda: None)
        monkeypatch.chdir(folder)
        assert cli.main(words[1:]) == 0


def check_command(words):
    """Checks the arguments of a command, and the recipe of a training and what it overrides."""
    arguments = cli.build_parser().parse_args(words[1:])
    if words[1] == "train" and (ROOT / arguments.recipe).is_file():
        load_recipe(ROOT / arguments.recipe, arguments.set)
