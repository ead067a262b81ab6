# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The plugin of `make test-newest`, in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from removals import KNOWN, version_of


TEST = """
import warnings
from transformers.utils import logging

def test_that_passes():
    {line}
"""


def run(folder, line, *options):
    (folder / "test_example.py").write_text(TEST.format(line=line), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", str(folder), "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


WARNING = 'warnings.warn("`old` is deprecated and will be removed in version 6.0.0.", FutureWarning)'
LOG = 'logging.get_logger("transformers.x").warning("`older` is deprecated since 5.1, gone in v5.40")'


@pytest.mark.parametrize(
    ("line", "version", "options"),
    [(WARNING, "6.0.0", []), (LOG, "5.40", []), (LOG, "5.40", ["-W", "error"])],
)
def test_an_announced_removal_fails_the_run_and_names_its_version(tmp_path, line, version, options):
    outcome = run(tmp_path, line, "-p", "removals", "-n", "1", *options)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "1 passed" in outcome.stdout and f"removal in {version}: " in outcome.stdout
    assert run(tmp_path, line).returncode == 0


def test_another_warning_does_not(tmp_path):
    assert run(tmp_path, 'warnings.warn("slow")', "-p", "removals").returncode == 0


@pytest.mark.parametrize(
    ("message", "version"),
    [
        ("`x` is deprecated", "a version that is not named"),
        ("`x` is deprecated and will be removed in v6. Use `y`.", "6"),
        ("deprecated since 5.1.2, to be removed in 5.40", "5.40"),
    ],
)
def test_the_version_of_an_announcement(message, version):
    assert version_of(message) == version


def test_a_known_announcement_does_not_fail_the_run(tmp_path):
    line = f'warnings.warn("{next(iter(KNOWN))}", FutureWarning)'
    assert run(tmp_path, line, "-p", "removals").returncode == 0
