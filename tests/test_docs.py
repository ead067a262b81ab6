# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What the documentation says of the tests."""

import re
from pathlib import Path


TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"


def test_every_test_that_is_named_exists():
    text = (DOCS / "transformers.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 50
    for file, test in named:
        assert (TESTS / file).is_file(), file
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8") or not test, f"{file}::{test}"


def test_links_between_the_pages_lead_somewhere():
    pages = [*DOCS.glob("*.md"), TESTS.parent / "README.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([\w/]+\.md)\)", page.read_text("utf-8"))]
    assert len(links) > 5
    assert [link for page, link in links if not (page.parent / link).is_file()] == []
