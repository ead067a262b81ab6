# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs the course: its pages become notebooks, and what the notebooks print and draw goes into the pages.

    python scripts/course.py                 # every page
    python scripts/course.py seq2seq scores  # these

A page is written in docs/course/en; its Korean version in docs/course/ko has the same code. The code is run once, as
the notebook docs/notebooks/en/NAME.ipynb. Between `<!-- output -->` and `<!-- end -->` a page shows what came out;
do not edit that by hand. Pictures are in docs/course/pictures.
"""

import argparse
import base64
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode, v4


DOCS = Path(__file__).parents[1] / "docs"
LANGUAGES = ("en", "ko")
NAMES = sorted(path.stem for path in (DOCS / "course" / "en").glob("*.md"))
OUTPUT = re.compile(r"\n\n<!-- output -->\n.*?<!-- end -->", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def notebook_of(page: str) -> NotebookNode:
    """Returns a page as a notebook without outputs: what is between the blocks of Python is text."""
    page = re.sub(r"\A---\n.*?---\n", "", OUTPUT.sub("", page), flags=re.DOTALL)
    cells = []
    for index, part in enumerate(CODE.split(page)):
        if part.strip():
            make = v4.new_code_cell if index % 2 else v4.new_markdown_cell
            cells.append(make(part.strip(), id=f"cell-{len(cells)}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Runs a notebook in a folder, and leaves of its outputs what was printed and drawn."""
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in code_cells(notebook):
        cell.metadata.clear()
        cell.outputs = merged(output for output in cell.outputs if is_shown(output))
    return notebook


def is_shown(output: NotebookNode) -> bool:
    """Whether an output is text of the program or a picture, and not a progress bar or a warning."""
    return output.get("name") == "stdout" or ("data" in output and "text/html" not in output.data)


def merged(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Returns the outputs, with what was printed in several pieces in one."""
    pieces: list[NotebookNode] = []
    for output in outputs:
        if pieces and output.output_type == pieces[-1].output_type == "stream":
            pieces[-1].text += output.text
        else:
            pieces.append(output)
    return pieces


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Returns the cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def with_outputs(page: str, notebook: NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Returns the page with what its cells put out, and its pictures by the names of their files."""
    pictures: dict[str, bytes] = {}
    cells = iter(code_cells(notebook))

    def show(code: re.Match[str]) -> str:
        shown = []
        for output in next(cells).outputs:
            picture = output.get("data", {}).get("image/png")
            if picture is None:
                text = output.text if output.output_type == "stream" else output.data["text/plain"]
                shown.append(f"```text\n{text.rstrip()}\n```\n")
            else:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(picture)
                shown.append(f"![Figure {len(pictures)}](../pictures/{file})\n")
        return code[0] + ("\n\n<!-- output -->\n\n" + "\n".join(shown) + "\n<!-- end -->" if shown else "")

    return CODE.sub(show, OUTPUT.sub("", page)), pictures


def execute(name: str) -> NotebookNode:
    """Returns the notebook of an English page, run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return run(notebook_of((DOCS / "course" / "en" / f"{name}.md").read_text("utf-8")), Path(folder))


def write(name: str, executed: NotebookNode) -> None:
    """Writes the notebooks of a page in both languages, its outputs and its pictures."""
    for language in LANGUAGES:
        path = DOCS / "course" / language / f"{name}.md"
        page = path.read_text("utf-8")
        notebook = notebook_of(page)
        for cell, done in zip(code_cells(notebook), code_cells(executed), strict=True):
            if cell.source != done.source:
                raise ValueError(f"{path}: expected the code of the English page, got another block:\n{cell.source}")
            cell.outputs, cell.execution_count = done.outputs, done.execution_count
        nbformat.write(notebook, DOCS / "notebooks" / language / f"{name}.ipynb")
        page, pictures = with_outputs(page, notebook, name)
        path.write_text(page, "utf-8")
        for file, picture in pictures.items():
            (DOCS / "course" / "pictures" / file).write_bytes(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help="pages to run (default: all)")
    for name in parser.parse_args().names:
        write(name, execute(name))
        print(name)
