# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What the documentation says of the tests, and where its links lead."""

import ast
import re
from pathlib import Path

import pytest


TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "model_cards").rglob("*.md")]


def test_every_test_that_is_named_exists():
    text = (DOCS / "transformers.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 50
    for file, test in named:
        assert (TESTS / file).is_file(), file
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8") or not test, f"{file}::{test}"


def test_every_step_of_the_architecture_names_a_function_that_exists():
    text = " ".join((DOCS / "architecture.md").read_text(encoding="utf-8").split())
    steps = re.findall(r"`([\w.]+)`(?: and `([\w.]+)`)? in `(\w[\w/]+\.py)`", text)
    assert len(steps) > 15
    for *names, file in steps:
        defined = definitions_of(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert {name for name in names if name} <= defined, file


def definitions_of(tree: ast.AST, prefix: str = "") -> set[str]:
    """The functions and classes of a file, methods behind the name of their class."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found |= {prefix + node.name} | definitions_of(node, f"{prefix}{node.name}.")
    return found


def test_links_between_the_pages_lead_somewhere():
    links = [(page, link) for page in PAGES for link in links_of(page)]
    assert len(links) > 100
    assert [f"{page.relative_to(ROOT)}: {link}" for page, link in links if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("link", ["nowhere.md", "log/README.md#no-such-heading", "#no-such-heading"])
def test_a_link_that_leads_nowhere_is_found(link):
    assert not leads_somewhere(DOCS / "results.md", link)


def test_anchors_are_those_of_github():
    text = "# Four scores, and none\n```sh\n# a comment\n```\n## `align --step`: 100 %\n## Goals\n## Goals\n"
    assert anchors_of(text) == {"four-scores-and-none", "align---step-100-", "goals", "goals-1"}


def links_of(page: Path) -> list[str]:
    """The links of a page to files of the repository and to headings, pictures included."""
    found = re.findall(r"\]\(([^()\s]+)\)", without_code(page.read_text("utf-8")))
    return [link for link in found if "://" not in link]


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors_of(target.read_text("utf-8")))


def anchors_of(text: str) -> set[str]:
    """What a link writes behind `#` for each heading: its words in lower case, hyphens between them."""
    anchors = []
    for heading in re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchors.append(re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-"))
    earlier = [anchors[:place].count(anchor) for place, anchor in enumerate(anchors)]
    return {f"{anchor}-{count}" if count else anchor for anchor, count in zip(anchors, earlier, strict=True)}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
