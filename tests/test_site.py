# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The site: its pages do what they say, its navigation has them all, and it builds, strictly."""

import importlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from documentation import ROOT, blocks_of, check_command, commands_of, run_page, run_program


DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}

# pages whose blocks other tests run
RUN_ELSEWHERE = {
    "hub.md": "test_hub.py",
    "importers.md": "test_importers.py",
    "peft.md": "test_peft.py",
    "export.md": "test_peft.py",
    "guides/inspection-tools.md": "test_inspection_tools.py",
}
# pages whose commands need data or hours: their arguments are checked
CHECKED = ["command-line.md", "performance.md", "recipes.md", "results.md"]
# the course is run as notebooks; the log shows commands of the version of its day
RUN = [
    name
    for name, text in PAGES.items()
    if blocks_of(text) and not name.startswith(("course/", "log/")) and name not in [*RUN_ELSEWHERE, *CHECKED]
]


@pytest.mark.parametrize("name", RUN)
def test_a_page_runs(name, tmp_path, monkeypatch):
    run_page(PAGES[name], tmp_path, monkeypatch)


def test_the_pages_that_run_are_those_with_blocks():
    assert {"index.md", "quickstart.md", "guides/fine-tuning.md", "concepts/decoding.md"} <= set(RUN)
    for name, test in RUN_ELSEWHERE.items():
        assert name in (ROOT / "tests" / test).read_text("utf-8")


@pytest.mark.parametrize("name", CHECKED)
def test_the_commands_of_a_page_are_valid(name):
    blocks = [block for language, block in blocks_of(PAGES[name]) if language == "sh"]
    # a pipe's first command, without what the shell makes of its output
    commands = [words for block in blocks for words in commands_of(block.replace("cat source.txt | ", ""))]
    for words in commands:
        if words[0] == "hf-rnn-attn":
            check_command(words[: words.index(">")] if ">" in words else words)
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), words
        else:
            assert words[0] in ("accelerate", "export") or "=" in words[0], words


@pytest.mark.parametrize(
    "words", [["hf-rnn-attn", "translate", "--beam-size", "3"], ["hf-rnn-attn", "shortlist", "runs/first"]]
)
def test_a_wrong_command_is_noticed(words, capsys):
    with pytest.raises(SystemExit):
        check_command(words)
    assert "error" in capsys.readouterr().err


def test_a_wrong_extra_is_noticed(tmp_path, monkeypatch):
    run_program(["pip", "install", ".[viz]"], tmp_path, monkeypatch)
    with pytest.raises(AssertionError):
        run_program(["pip", "install", ".[pictures]"], tmp_path, monkeypatch)


def pages_of(entries):
    """Yields the pages of a part of the navigation."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else pages_of(value)


def test_the_navigation_has_every_page_once():
    navigation = list(pages_of(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    assert sorted(navigation) == sorted(PAGES)


@pytest.mark.parametrize("package", ["", ".demo", ".importers", ".inference", ".training"])
def test_the_reference_has_every_public_name(package):
    module = importlib.import_module(f"hf_rnn_attn{package}")
    described = re.findall(r"^::: (\S+)$", "".join(PAGES[name] for name in PAGES if "reference/" in name), re.MULTILINE)
    assert {f"{module.__name__}.{name}" for name in module.__all__} <= set(described)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A copy of what the site is made of."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "scripts", "hf_rnn_attn"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
    for name in ("zensical.toml", "hf_rnn_attn_onnx.py"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(folder):
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_site_builds_and_loads_nothing_from_elsewhere(place):
    ran = build(place)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    pages = {path.parent.name: path.read_text("utf-8") for path in (place / "site").rglob("index.html")}
    assert len(pages) > 40
    for name, html in pages.items():
        assert re.findall(r"<(?:script|img|iframe|link)[^>]* (?:src|href)=\"?https?:[^>]*", html) == [], name
    assert 'src="data:image/svg+xml' in pages["architecture"]
    assert "<math" in pages["one-step"] and "$" not in re.sub(r"<script.*?</script>", "", pages["one-step"], flags=re.S)


@pytest.mark.parametrize("link", ["nowhere.md", "results.md#no-such-heading"])
def test_a_link_that_leads_nowhere_fails_the_build(place, link):
    page = place / "docs" / "performance.md"
    text = page.read_text("utf-8")
    page.write_text(f"{text}\n[lost]({link})\n", "utf-8")
    assert build(place).returncode != 0
    page.write_text(text, "utf-8")
