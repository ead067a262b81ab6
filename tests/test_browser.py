# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the page in a real browser: what is seen, by mouse, by keyboard and to a screen reader."""

import importlib.util
import random
import shutil
from pathlib import Path

import pytest

from hf_rnn_attn.inspection import BeamNode, Hypothesis, Inspection, Step
from hf_rnn_attn.visualization import AttentionPage


sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

ROOT = Path(__file__).parents[1]
EVIL = [
    "<script>window.evil=1</script>",
    "</script><img src=x onerror=window.evil=1>",
    "<!--",
    "&amp;",
    "'\"{{7*7}}\u2028",
]


def make_hypothesis(tokens, sources, *, words=None, score=-0.5, path=(), seed=0):
    """A hypothesis of random weights, each row with one that is large; a word is a token that begins with ▁."""
    draw = random.Random(seed)
    attention = []
    for row in range(len(tokens)):
        rest = [draw.random() ** 4 + 1e-9 for _ in sources]
        rest[min(row, len(sources) - 1)] += 4
        attention.append([value / sum(rest) for value in rest])
    numbers = [sum(token.startswith("▁") for token in tokens[: place + 1]) - 1 for place in range(len(tokens))]
    numbers = [None if token == "</s>" else number for token, number in zip(tokens, numbers, strict=True)]
    words = words or "".join(token for token in tokens if token != "</s>").replace("▁", " ").split()
    source_words = "".join(token for token in sources if token != "</s>").replace("▁", " ").split()
    return Hypothesis(
        text=" ".join(words),
        log_probability=score * len(tokens),
        score=score,
        tokens=tokens,
        words=words,
        word_of_token=numbers,
        attention=attention,
        word_attention=[[0.75] + [0.25 / max(1, len(source_words) - 1)] * (len(source_words) - 1) for _ in words],
        steps=[Step(0.5, 1.25, [(token, 0.5), ("other", 0.25), ("<unk>", 0.125)]) for token in tokens],
        path=list(path),
    )


def make_inspection(sources, *targets, beam=(), is_given=False):
    paths = [[0, 0, 1], [0, 1, 2]] if beam else [[], []]
    return Inspection(
        source="".join(sources).replace("▁", " ").replace("</s>", "").strip(),
        source_tokens=sources,
        source_words="".join(token for token in sources if token != "</s>").replace("▁", " ").split(),
        word_of_source_token=[None] * len(sources),
        hypotheses=[
            make_hypothesis(target, sources, score=-0.5 - rank, path=paths[rank % 2], seed=rank)
            for rank, target in enumerate(targets)
        ],
        beam=list(beam),
        is_given=is_given,
    )


BEAM = [
    [BeamNode("▁a", 0, -0.1, None), BeamNode("▁the", 0, -2.0, None)],
    [BeamNode("▁dog", 0, -0.3, None), BeamNode("▁dogs", 1, -2.5, None)],
    [BeamNode("▁and", 0, -4.0, None), BeamNode("</s>", 0, -0.4, 0), BeamNode("</s>", 1, -2.6, 1)],
]
GERMAN = ["▁ein", "▁Hu", "nd", "</s>"]
PLAIN = make_inspection(GERMAN, ["▁a", "▁dog", "</s>"], ["▁a", "▁dogs", "</s>"], beam=BEAM)
ARABIC = make_inspection(["▁الكتاب", "▁على", "▁الطاولة", "</s>"], ["▁the", "▁book", "</s>"])
HEBREW = make_inspection(["▁the", "▁book", "</s>"], ["▁הספר", "▁על", "▁השולחן", "</s>"])
MARKUP = make_inspection(EVIL, EVIL, is_given=True)


def of_length(count):
    names = ["▁Wort", "teil", "▁und", "▁Donaudampfschiff", "▁ja", "n"]
    tokens = [names[place % len(names)] for place in range(count - 1)] + ["</s>"]
    return make_inspection(tokens, tokens)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page of inspections; afterwards it must have logged nothing and asked for nothing but itself."""
    heard, pages = [], []

    def open_page(*inspections, width=1280, html=None, **options):
        path = tmp_path / "page.html"
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
        path.write_text(html or AttentionPage(inspections, "A title").html, encoding="utf-8")
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert heard == []


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def links(page):
    """The opacities of the links that are drawn."""
    return [
        float(value)
        for value in page.eval_on_selector_all("path", "all => all.map(p => p.getAttribute('stroke-opacity'))")
    ]


def pressed(page):
    return texts(page, ".pieces button[aria-pressed=true]")


# what is seen


def test_both_lines_and_every_link(show):
    page = show(PLAIN)
    assert (texts(page, "#source button"), texts(page, "#target button")) == (GERMAN, ["▁a", "▁dog", "</s>"])
    expected = [weight for row in PLAIN.hypotheses[0].attention for weight in row if weight >= 0.02]
    assert links(page) == pytest.approx(expected)
    assert page.title() == page.inner_text("h1") == "A title"


def test_pointing_at_either_side_shows_where_it_looked_and_who_looked_at_it(show):
    page = show(PLAIN)
    attention = PLAIN.hypotheses[0].attention
    page.hover("#target button:nth-child(2)")
    assert links(page) == pytest.approx([weight for weight in attention[1] if weight >= 0.02])
    assert pressed(page) == ["▁dog"]
    assert "▁dog\u2069 looked at: \u2068▁Hu\u2069 " in page.inner_text("#summary")
    page.hover("#source button:nth-child(1)")
    assert links(page) == pytest.approx([row[0] for row in attention if row[0] >= 0.02])
    assert "▁ein\u2069 was looked at by: \u2068▁a\u2069 " in page.inner_text("#summary")
    page.hover("h1")
    assert pressed(page) == [] and len(links(page)) > 4


def test_words_instead_of_pieces(show):
    page = show(PLAIN)
    page.check("input[value=words]")
    assert (texts(page, "#source button"), texts(page, "#target button")) == (["ein", "Hund"], ["a", "dog"])
    assert texts(page, "#matrix td[style]") == ["75", "25"] * 2
    page.click("#target button:nth-child(2)")
    assert page.inner_text("#steps output") == "2 of 3" and pressed(page) == ["dog"]
    page.click("#next")  # the end of the sentence belongs to no word
    assert page.inner_text("#summary") == "This piece has no text." and links(page) == []


def test_another_translation_and_another_sentence(show):
    page = show(PLAIN, ARABIC)
    assert texts(page, "#hypotheses .number") == ["−0.500", "−1.500"]
    assert texts(page, "#beam .path bdi") == ["▁a", "▁dog", "</s>"]
    page.check("#hypotheses label:nth-of-type(2) input")
    assert texts(page, "#target button") == ["▁a", "▁dogs", "</s>"]
    assert texts(page, "#beam .path bdi") == ["▁a", "▁dogs", "</s>"]
    page.select_option("#sentence", "1")
    assert texts(page, "#target button") == ["▁the", "▁book", "</s>"]
    assert not page.is_visible("#beam")
    assert not show(PLAIN).is_visible("#sentence")


def test_the_beam_is_a_table_and_leads_back(show):
    page = show(PLAIN)
    assert texts(page, "#beam thead th") == ["step", "1", "2", "3"]
    assert texts(page, "#beam tbody th") == ["1", "2", "end", "end"]
    page.hover("#beam tr:nth-child(2) td:nth-of-type(2)")
    assert texts(page, "#beam .path bdi") == ["▁the", "▁dogs"]
    page.hover("h1")
    assert texts(page, "#beam .path bdi") == ["▁a", "▁dog", "</s>"]


def test_steps_with_distribution_and_entropy(show):
    page = show(PLAIN)
    assert "log P −1.50" in page.inner_text("#choices caption")
    assert texts(page, "#choices tbody tr")[0].split() == ["▁a", "50", "%", "1.25"]
    page.click("#next")
    page.click("#next")
    assert page.inner_text("#steps output") == "2 of 3"
    assert page.inner_text("#written") == "▁a ▁dog" and page.inner_text("#written mark") == "▁dog"
    assert "Entropy 1.25 bits" in page.inner_text("#choices caption")
    assert [row.split()[:3] for row in texts(page, "#choices tbody tr")] == [
        ["▁dog", "(chosen)", "50"],
        ["other", "25", "%"],
        ["<unk>", "13", "%"],
    ]
    assert texts(page, "#target .later") == ["</s>"] and pressed(page) == ["▁dog"]
    page.click("#all")
    assert page.inner_text("#steps output") == "3 steps" and page.is_disabled("#previous")


def test_markup_is_text(show):
    page = show(MARKUP)
    assert texts(page, "#source button") == texts(page, "#target button") == EVIL
    assert texts(page, "#matrix tbody th") == EVIL
    assert page.evaluate("window.evil") is None and page.locator("img").count() == 0
    assert page.inner_text("#hypotheses legend") == "Given translation"
    page = show(PLAIN, html=AttentionPage([PLAIN], "</title><script>window.evil=1</script>").html)
    assert page.evaluate("window.evil") is None and page.inner_text("h1").startswith("</title>")


@pytest.mark.parametrize(("inspection", "side"), [(ARABIC, "source"), (HEBREW, "target")])
def test_right_to_left(show, inspection, side):
    page = show(inspection)
    first, second = (page.locator(f"#{side} button").nth(place).bounding_box()["x"] for place in (0, 1))
    assert second < first
    page.focus(f"#{side} button")
    page.keyboard.press("ArrowLeft")
    assert pressed(page) == texts(page, f"#{side} button")[1:2]
    assert page.get_attribute("#matrix table", "dir") == ("rtl" if side == "source" else "ltr")
    other = "target" if side == "source" else "source"
    assert page.get_attribute(f"#{other}", "dir") == "ltr"


@pytest.mark.parametrize("count", [1, 12, 25, 60])
def test_nothing_overlaps_and_the_page_is_never_too_wide(show, count):
    page = show(of_length(count))
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.eval_on_selector_all(
            ".pieces button",
            "all => all.map(b => b.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])",
        )
        for place, (left, top, right, bottom) in enumerate(boxes):
            assert left >= 0 and right <= width
            for other in boxes[place + 1 :]:
                assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
        sections = page.eval_on_selector_all(
            "section:not([hidden])",
            "all => all.map(s => [s.getBoundingClientRect().right, s.scrollWidth - s.clientWidth])",
        )
        assert all(right <= width and overflow <= 0 for right, overflow in sections)


def test_dark_and_light(show):
    colours = {
        scheme: show(PLAIN, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert colours == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 26)"}


# keyboard and screen reader


def test_keys_move_along_a_line_and_choose_a_step(show):
    page = show(PLAIN)
    page.focus("#source button")
    page.keyboard.press("ArrowRight")
    assert pressed(page) == ["▁Hu"]
    page.keyboard.press("End")
    assert pressed(page) == ["</s>"]
    page.keyboard.press("Tab")  # a line is one stop
    assert pressed(page) == ["▁a"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.inner_text("#steps output") == "2 of 3"
    page.keyboard.press("Home")
    assert pressed(page) == ["▁a"] and page.inner_text("#steps output") == "2 of 3"


def test_keys_step_through_the_decoding(show):
    page = show(PLAIN)
    for key, expected in [
        ("ArrowRight", "1 of 3"),
        ("ArrowRight", "2 of 3"),
        ("ArrowLeft", "1 of 3"),
        ("End", "3 of 3"),
        ("ArrowRight", "3 of 3"),
        ("Home", "3 steps"),
        ("ArrowLeft", "3 steps"),
    ]:
        page.keyboard.press(key)
        assert page.inner_text("#steps output") == expected
    page.focus("#step")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#steps output") == "1 of 3"
    assert page.get_attribute("#step", "aria-valuetext") == "step 1 of 3: ▁a"


def test_a_screen_reader_has_names_and_the_matrix_as_a_table(show):
    page = show(PLAIN)
    for role, name in [
        ("toolbar", "source"),
        ("toolbar", "translation"),
        ("slider", "step"),
        ("button", "next step"),
        ("group", "The 2 best translations, by score"),
        ("region", "Matrix"),
        ("region", "Beam"),
    ]:
        assert page.get_by_role(role, name=name, exact=True).count() >= 1, (role, name)
    table = page.get_by_role("table", name="How many per cent of its attention each target piece")
    assert table.get_by_role("columnheader").all_inner_texts() == GERMAN
    row = table.get_by_role("row").nth(1)
    assert row.get_by_role("rowheader").inner_text() == "▁a"
    shares = [int(text or 0) for text in row.get_by_role("cell").all_inner_texts()]
    assert shares == pytest.approx([100 * weight for weight in PLAIN.hypotheses[0].attention[0]], abs=0.6)
    crowd = show(of_length(20)).get_by_role("table", name="How many per cent").get_by_role("cell")
    assert " %" in crowd.nth(1).text_content()  # where cells are too small to be read, the numbers are still there


@pytest.mark.parametrize(
    ("inspection", "scheme"),
    [(PLAIN, "light"), (PLAIN, "dark"), (ARABIC, "light"), (of_length(20), "light"), (of_length(31), "dark")],
    ids=["light", "dark", "arabic", "longer", "long"],
)
def test_axe_finds_nothing(show, inspection, scheme):
    page = show(inspection, color_scheme=scheme)
    page.click("#next")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found] == []


# elsewhere


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(show):
    cell = AttentionPage([MARKUP, PLAIN])._repr_html_()
    page = show(html=f"<!DOCTYPE html><style>button {{ display: none }}</style>{cell}")
    frame = page.frame_locator("iframe")
    frame.locator("#sentence").select_option("1")
    frame.locator("#target button").nth(1).hover()
    assert "looked at" in frame.locator("#summary").inner_text()


def test_the_picture_of_the_readme(browser, tmp_path):
    spec = importlib.util.spec_from_file_location("viewer_picture", ROOT / "scripts" / "viewer_picture.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.take_picture(browser, tmp_path / "viewer.png")
    for path in (tmp_path / "viewer.png", ROOT / "docs" / "pictures" / "viewer.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and 20_000 < path.stat().st_size < 150_000
