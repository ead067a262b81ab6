# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What static tools see of the package: the public names, by pyright, griffe and `dir`."""

import os
import subprocess
import sys
from pathlib import Path

import griffe
import pytest

import hf_rnn_attn


ROOT = Path(__file__).parents[1]
WRONG = "from hf_rnn_attn import RnnAttnConfig\n\nx: int = RnnAttnConfig()\n"


def pyright(folder, *options, **environment):
    (folder / "user.py").write_text(WRONG, "utf-8")
    (folder / "pyrightconfig.json").write_text("{}", "utf-8")
    command = [sys.executable, "-m", "pyright", *options, "user.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | environment).stdout


@pytest.mark.parametrize("install", ["editable", "wheel"])
def test_pyright_knows_the_types_of_the_public_names(install, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, *(["--editable"] if install == "editable" else []), str(ROOT)], check=True)
    # the folder comes first, and the libraries from the environment of the tests
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    lines = [file.read_text("utf-8") for file in (tmp_path / "site").glob("*.pth")] or [f"{tmp_path / 'site'}\n"]
    lines.append("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    (site / "packages.pth").write_text("".join(line if line.endswith("\n") else f"{line}\n" for line in lines), "utf-8")
    printed = pyright(tmp_path, "--pythonpath", str(python))
    assert '"RnnAttnConfig" is not assignable to "int"' in printed, printed


def test_griffe_and_dir_see_the_public_names():
    package = griffe.load("hf_rnn_attn", search_paths=[str(ROOT)], resolve_aliases=True)
    for name in hf_rnn_attn.__all__:
        assert name in package.members and name in dir(hf_rnn_attn)
    assert package["RnnAttnConfig"].is_class
