# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tags stay what they were, whatever a translation and its attention look like."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_rnn_attn.markup import Segment, Sentence, parse_html
from hf_rnn_attn.text import translate_html


TAG = re.compile(r"<[^<>]*>")


def render(text, translate=lambda words: words, attend=np.eye):
    """Translates each segment as one sentence; `attend` gives attention for a number of words in each language."""
    out = []
    for piece in parse_html(text):
        if isinstance(piece, Segment):
            source = piece.text.split()
            target = translate(source)
            attention = attend(len(target), len(source))
            piece = piece.render([Sentence(piece.text, "", " ".join(target), attention)])
        out.append(piece)
    return "".join(out)


SAME = [
    "",
    "Nur Text",
    "<p>Das ist <b>sehr</b> gut.</p>",
    "<p>\n  Das <b>ist</b>\n</p>\n\n<p>gut</p>\n",
    "Er sagte: „<b>Nein</b>“.",
    "<b>Er sagte: „Nein“.</b>",
    "Wie <i>geht</i> es?<br>Mir <b><i>gut</i></b>!",
    'Ein <a href="a?b=1&amp;c=2">Haus <em>am See</em></a>, nicht wahr?',
    "Haus <img src=x> und <wbr> Hof",
    "<!-- nichts --> Haus",
    "Haus<!-- nichts -->",
    "<script>if (a < b) '<b>'</script><style>p {}</style>",
    "Nimm <code>a < b</code> dafür.",
    "<span translate=no>Alles <b>bleibt</b></span> hier",
    '<div class="notranslate">Alles <div>bleibt</div> so</div>',
    "A &lt; B &amp; C",
    "&nbsp;12,5 &euro;<hr>- 3 -",
    "<!DOCTYPE html><html lang=de><head><title>Titel</title></head><body>Text</body></html>",
    "<a href=x><div>Haus</div> und</a> Hof",
    "<i></i>Haus",
    "<b>Haus",
    "Haus</b> Hof",
    "<textarea>Haus",
    "<x-word id=1>Haus</x-word> Hof",
]


@pytest.mark.parametrize("text", SAME)
def test_a_text_that_is_its_own_translation_comes_back(text):
    assert render(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>eins</b> zwei drei", "drei zwei <b>eins</b>"),
        ("eins <b>zwei drei</b>", "<b>drei zwei</b> eins"),
        ("<i>eins</i> <b>zwei</b> drei", "drei <b>zwei</b> <i>eins</i>"),
        ("eins <b>zwei <i>drei</i></b>", "<b><i>drei</i> zwei</b> eins"),
        ("ei<b>n</b>s zwei", "zwei <b>eins</b>"),
        ("eins <b>zwei</b>, drei", "drei <b>zwei</b>, eins"),
        ("eins <b>zwei,</b> drei", "drei <b>zwei,</b> eins"),
        ("eins <img> zwei drei", "drei zwei eins <img>"),
        ("eins zwei <code>x</code>", "zwei eins <code>x</code>"),
    ],
)
def test_tags_go_with_their_words(text, expected):
    turned = lambda target, source: np.eye(source)[::-1]  # noqa: E731
    assert render(text, lambda words: words[::-1], turned) == expected


def test_a_stray_word_does_not_stretch_a_tag():
    attention = np.array([[0.9, 0.1], [0, 1], [0, 1], [0.8, 0.2]])
    assert render("<b>eins</b> zwei", lambda _: list("abcd"), lambda *_: attention) == "<b>a</b> b c d"


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("<p>Ein&nbsp;Haus &amp; Hof</p>", ["Ein\xa0Haus & Hof"]),
        ("Eins<br>zwei<li>drei", ["Eins", "zwei", "drei"]),
        ("Ein\n   Satz\tmit <b> Raum </b>", ["Ein Satz mit  Raum "]),
        ("<pre>Haus</pre><td>17</td><code>x</code>", []),
        ("<p translate='no'>Haus<p translate='no'>Hof</p></p>Text", ["Text"]),
        ("<p>1 < 2 ist", ["1 < 2 ist"]),
    ],
)
def test_text_is_found(text, segments):
    assert [piece.text for piece in parse_html(text) if isinstance(piece, Segment)] == segments


WORDS = st.sampled_from(["eins", "zwei,", "(drei)", "“vier”.", "-", "a&amp;b"])
TEXT = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
LEAF = st.one_of(TEXT, st.just(" "), st.sampled_from(["<img src='a>b'>", "<code>x y</code>", "<!--z-->", "<wbr>"]))


def element(children):
    inner = st.lists(children, max_size=4).map("".join)
    return st.builds("<{0} id=x>{1}</{0}>".format, st.sampled_from(["b", "i", "a"]), inner)


WELL_FORMED = st.lists(st.recursive(LEAF, element, max_leaves=12), max_size=5).map("".join)
MALFORMED = st.lists(
    st.sampled_from(["<b>", "</b>", "<i>", "</i>", "<p>", "</p>", "<br>", "eins ", "zwei. ", "<img/>"]), max_size=25
).map("".join)


@st.composite
def rendered(draw, texts):
    text = draw(texts)
    seed = draw(st.integers(0, 1000))
    generator = np.random.default_rng(seed)
    words = lambda _: generator.choice(["uno", "(due)", "tre,", "-"], size=seed % 6).tolist()  # noqa: E731
    return text, render(text, words, lambda *shape: generator.random(shape) ** 4)


def tags_of(text):
    return Counter(TAG.findall(text.replace("'a>b'", "''")))


@given(rendered(st.one_of(WELL_FORMED, MALFORMED)))
def test_the_same_tags_and_none_inside_a_word(texts):
    text, out = texts
    assert tags_of(out) == tags_of(text)
    assert not re.search(r"[^\W\d_]<[^<>]*>[^\W\d_]", re.sub(r"<(code|!--|img|wbr|/code).*?>", " ", out))


@given(rendered(WELL_FORMED))
def test_what_was_well_formed_stays_so(texts):
    open_tags = []
    for closing, name in re.findall(r"<(/?)(b|i|a)\b", texts[1]):
        if not closing:
            open_tags.append(name)
        else:
            assert open_tags.pop() == name
    assert not open_tags


@pytest.mark.parametrize("part", ["<b>", "</b>", "<b>x</b> ", "<b>x ", "x</i> ", "x<img> ", "&amp;", "<", "x. "])
def test_long_texts_take_their_time_and_no_more(part):
    # a sentence of a million words would have a matrix of attention
    text = (part * 100 + "<br>") * 5 + part * 500
    assert tags_of(render(text)) == tags_of(text)


class Shouter:
    """A translator that says what it hears, louder."""

    task = "translation_de_to_en"

    def tokenizer(self, lines):
        return {"input_ids": [line.split() for line in lines]}

    def __call__(self, batches, num_return_sequences):
        return [[{"translation_text": line.upper()} for line in lines] for lines in batches]


def test_a_page_without_inline_tags_needs_no_attention():
    page = "<h1>Dr. Meier</h1>\n<ul><li>Eins. Zwei!</li> <li>3 &lt; vier</li></ul><script>fünf</script>"
    assert translate_html(Shouter(), page) == page.replace("Dr. Meier", "DR. MEIER").replace(
        "Eins. Zwei!", "EINS. ZWEI!"
    ).replace("vier", "VIER")


@pytest.fixture(scope="module")
def translator():
    from transformers import pipeline

    from hf_rnn_attn import BUNDLED

    return pipeline("translation_de_to_en", model=BUNDLED["de", "en"], device="cpu", num_beams=1)


def test_the_attention_is_that_of_the_model(translator):
    text = "<p>Ich habe <a href='x'>ein neues Auto</a> gekauft. Wie geht es <i>dir</i>?</p>"
    assert "<a href='x'>a new car</a>" in translate_html(translator, text)


@pytest.mark.parametrize("text", [None, b"<b>", ["<b>"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(TypeError, match="translate_html takes one str, got .*; call it for each text"):
        translate_html(Shouter(), text)
