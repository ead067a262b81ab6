# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Takes the picture of the attention page that the documentation shows, `docs/pictures/viewer.png`.

Needs Chromium and the extra `dev`:

    python scripts/viewer_picture.py
"""

import shutil
import tempfile
from pathlib import Path

import hf_rnn_attn
from hf_rnn_attn.inspection import inspect_translations
from hf_rnn_attn.model.pipeline_rnn_attn import translation_pipeline
from hf_rnn_attn.visualization import AttentionPage


PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "viewer.png"
SENTENCE = "Ich habe das Buch gestern gelesen."
WIDTH = 1120


def take_picture(browser, path):
    translator = translation_pipeline(model=hf_rnn_attn.BUNDLED["de", "en"])
    page = browser.new_page(viewport={"width": WIDTH, "height": 800})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        AttentionPage(inspect_translations(translator, [SENTENCE])).save(file)
        page.goto(file.as_uri())
        page.click("#target button:nth-child(2)")
        page.mouse.move(0, 0)
        grid = page.locator(".grid").bounding_box()
        area = {"x": 0, "y": 0, "width": WIDTH, "height": grid["y"] + grid["height"] + 12}
        page.screenshot(path=path, full_page=True, clip=area)
    page.close()


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        take_picture(playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]), PICTURE)
