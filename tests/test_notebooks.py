# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The course: its code runs, both languages have the same, and pages and notebooks show the same outputs."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from scripts.course import DOCS, LANGUAGES, NAMES, code_cells, execute, notebook_of, run, with_outputs


def page_of(language, name):
    return (DOCS / "course" / language / f"{name}.md").read_text("utf-8")


def stored(language, name):
    return nbformat.read(DOCS / "notebooks" / language / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_runs(name):
    """Its assertions are the claims that the text makes."""
    shown = [cell.outputs for cell in code_cells(execute(name))]
    kept = [cell.outputs for cell in code_cells(stored("en", name))]
    kinds = [[[output.output_type for output in outputs] for outputs in cells] for cells in (shown, kept)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_page_and_notebook_are_the_same(language, name):
    page, notebook = page_of(language, name), stored(language, name)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in notebook_of(page).cells]
    shown, pictures = with_outputs(page, notebook, name)
    assert shown == page
    for file, picture in pictures.items():
        assert (DOCS / "course" / "pictures" / file).read_bytes() == picture


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_code(name):
    cells = [[(cell.source, cell.outputs) for cell in code_cells(stored(language, name))] for language in LANGUAGES]
    assert cells[0] == cells[1]


def test_every_picture_belongs_to_a_page():
    pictures = {path.name for path in (DOCS / "course" / "pictures").iterdir()}
    shown = "".join(page_of("en", name) for name in NAMES)
    assert pictures == {name for name in pictures if f"../pictures/{name})" in shown}


def test_a_page_goes_to_a_notebook_and_back(tmp_path):
    page = "---\nlang: ko\n---\n\n# One\n\n```python\nprint(1)\nprint(2)\n```\n\nText.\n\n```sh\nmake\n```\n"
    notebook = run(notebook_of(page), tmp_path)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown"]
    shown, pictures = with_outputs(page, notebook, "one")
    assert "```\n\n<!-- output -->\n\n```text\n1\n2\n```\n\n<!-- end -->\n\nText." in shown and not pictures
    assert with_outputs(shown, notebook, "one")[0] == shown
    assert notebook_of(shown).cells == notebook_of(page).cells


def test_a_claim_that_fails_is_noticed(tmp_path):
    with pytest.raises(CellExecutionError):
        run(notebook_of("```python\nassert 1 > 2\n```\n"), tmp_path)
