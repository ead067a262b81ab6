# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""HTML in translation: what is text and what is not, and where the tags inside of a sentence belong afterwards.

[`parse_html`] cuts HTML into what stays as it is and segments of running text; [`Segment.render`] puts the tags of a
segment into its translation, by attention between words. This file does not know how a text is translated.

Whatever the attention says, a rendered segment has the tags of its source, each once, none inside a word, and nested
properly if they were so in the source.
"""

import html
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np


# these end a sentence; all others may stand inside of one
BLOCKS = {
    *("address", "article", "aside", "audio", "base", "blockquote", "body", "br", "button", "caption", "center"),
    *("col", "colgroup", "datalist", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption"),
    *("figure", "footer", "form", "frame", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header"),
    *("hgroup", "hr", "html", "iframe", "input", "legend", "li", "link", "main", "menu", "meta", "nav", "noscript"),
    *("object", "ol", "optgroup", "option", "p", "param", "pre", "script", "section", "select", "source", "style"),
    *("summary", "table", "tbody", "td", "template", "textarea", "tfoot", "th", "thead", "title", "tr", "track"),
    *("ul", "video"),
}
VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track"),
    "wbr",
}
# elements whose content is no language
UNTOUCHED = {
    *("code", "kbd", "math", "noscript", "pre", "samp", "script", "style", "svg", "template", "textarea", "var"),
}
WHITE_SPACE = " \t\n\r\f"
# of tags in a segment; deeper ones are written where they stood, without a content
MAX_DEPTH = 100
WORD = re.compile(r"\S+")


class Sentence(NamedTuple):
    """A sentence of a segment and its translation.

    Attributes:
        source, space: the sentence, and the white space behind it.
        translation: the sentence in the other language.
        attention: `np.ndarray` of shape `(words of the translation, words of the source)`; what stands between white
            space is a word.
    """

    source: str
    space: str
    translation: str
    attention: np.ndarray


@dataclass
class Tag:
    """A start tag and its end tag, or an element that holds no text.

    Attributes:
        opening, closing: as they are written; empty where that one is missing in the segment.
        start, end: where the content stands in the text; equal for an element without text.
        children: the tags inside of it.
    """

    opening: str
    closing: str
    start: int
    end: int
    children: list["Tag"] = field(default_factory=list)


@dataclass
class Segment:
    """Running text without its tags.

    Attributes:
        before, after: white space around it, as it was.
        text: the text, unescaped, with one space for each run of white space.
        tags: the outermost tags in it.
    """

    before: str
    text: str
    after: str
    tags: list[Tag]

    def render(self, sentences: Sequence[Sentence]) -> str:
        """Returns the translation, escaped, with the tags in it; `sentences` joined are the text."""
        placement = _Placement(self.text, sentences)
        end, parts = placement.render(self.tags, 0, len(placement.target))
        return "".join([self.before, *parts, placement.escaped(end, None), self.after])


class _Placement:
    """Finds for the places of a text those in its translation, all of them at the edges of words."""

    def __init__(self, source: str, sentences: Sequence[Sentence]) -> None:
        self.source = source
        self.target = "".join(sentence.translation + sentence.space for sentence in sentences)
        self.source_words = _words((sentence.source, sentence.space) for sentence in sentences)
        self.target_words = _words((sentence.translation, sentence.space) for sentence in sentences)
        shapes = [sentence.attention.shape for sentence in sentences]
        # the number of the first word of each sentence, in both languages
        self.rows = [0, *accumulate(height for height, _ in shapes)]
        self.columns = [0, *accumulate(width for _, width in shapes)]
        # without what is paid to tokens outside of words
        self.shares = [s.attention / np.maximum(s.attention.sum(1, keepdims=True), 1e-12) for s in sentences]

    def _attending(self, first: int, last: int) -> tuple[int, np.ndarray]:
        """Returns what target words pay to a run of source words, and the number of the first of these target words."""
        start, end = bisect_right(self.columns, first) - 1, bisect_right(self.columns, last)
        shares = [
            self.shares[index][:, max(0, first - self.columns[index]) : last + 1 - self.columns[index]].sum(1)
            for index in range(start, end)
        ]
        return self.rows[start], np.concatenate(shares)

    def escaped(self, start: int, end: int | None) -> str:
        """Returns a part of the translation as HTML."""
        return html.escape(self.target[start:end], quote=False)

    def render(self, tags: Sequence[Tag], start: int, end: int) -> tuple[int, list[str]]:
        """Returns the end of the last tag between two places of the translation, and all that is up to there."""
        parts = []
        spans = [sorted(max(start, min(place, end)) for place in self.span(tag)) for tag in tags]
        order = sorted(range(len(tags)), key=lambda index: spans[index][0])
        limits = [*(spans[index][0] for index in order[1:]), end]
        for index, limit in zip(order, limits, strict=False):
            tag, (first, last) = tags[index], spans[index]
            last = min(last, limit)
            parts += [self.escaped(start, first), self._with_spaces(tag, first)]
            start, inner = self.render(tag.children, first, last)
            parts += [*inner, self.escaped(start, last), tag.closing]
            start = last
        return start, parts

    def _with_spaces(self, tag: Tag, place: int) -> str:
        """Returns what opens a tag; an element without text has the white space around it that it had."""
        if tag.closing or tag.start != tag.end:
            return tag.opening
        before = self.source[max(0, tag.start - 1) : tag.start].isspace() and place > 0
        after = self.source[tag.end : tag.end + 1].isspace() and place < len(self.target)
        before = before and not self.target[place - 1].isspace()
        return " " * before + tag.opening + " " * (after and not self.target[place].isspace())

    def span(self, tag: Tag) -> tuple[int, int]:
        """Returns where the content of a tag stands in the translation."""
        first = bisect_right(self.source_words, tag.start, key=lambda edges: edges[3])
        last = bisect_left(self.source_words, tag.end, key=lambda edges: edges[0]) - 1
        offset, shares = self._attending(first, last) if first <= last else (0, np.empty(0))
        if not len(shares):
            place = self._behind(tag.start)
            return place, place
        start, core_start, _, _ = self.source_words[first]
        _, _, core_end, end = self.source_words[last]
        # a sign at the edge of a word belongs to the tag if it did so before
        has_lead, has_trail = tag.start <= start < core_start, core_end < end <= tag.end
        first, last = _best_run(shares - 0.5)
        return self.target_words[offset + first][not has_lead], self.target_words[offset + last][2 + has_trail]

    def _behind(self, place: int) -> int:
        """Returns the place behind the translation of the word that stands before a place."""
        count = bisect_right(self.source_words, place, key=lambda edges: edges[2])
        if not count or not self.target_words:
            return 0
        end = self.source_words[count - 1][3]
        if count == len(self.source_words) and place >= end:
            return self.target_words[-1][3]
        offset, shares = self._attending(count - 1, count - 1)
        if not len(shares):
            return self.target_words[offset - 1][3] if offset else 0
        return self.target_words[offset + int(shares.argmax())][3 if place >= end else 2]


def _words(texts: Iterable[tuple[str, str]]) -> list[tuple[int, int, int, int]]:
    """Returns for each word of sentences with their spaces its start, that of its letters, their end, and its end."""
    words, offset = [], 0
    for text, space in texts:
        for match in WORD.finditer(text):
            letters = [place for place, character in enumerate(match[0], match.start()) if character.isalnum()]
            core = (letters[0], letters[-1] + 1) if letters else match.span()
            words.append(tuple(offset + place for place in (match.start(), *core, match.end())))
        offset += len(text) + len(space)
    return words


def _best_run(scores: np.ndarray) -> tuple[int, int]:
    """Returns the first and the last index of the run with the largest sum (Kadane's algorithm)."""
    best, run, start = -np.inf, 0.0, 0
    found = (0, 0)
    for index, score in enumerate(scores):
        if run <= 0:
            run, start = 0.0, index
        run += score
        if run > best:
            best, found = run, (start, index)
    return found


class _Part(NamedTuple):
    """A part of HTML: `kind` is "text", "open", "close", "element" (without text inside) or "block"."""

    kind: str
    name: str
    raw: str


class _Scanner(HTMLParser):
    """Notes where each part of a text in HTML begins, what it is, and whether its content is to be left alone."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.lines = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
        self.found: list[tuple[int, str, str, bool]] = []
        self.feed(text)
        self.close()

    def _add(self, kind: str, name: str = "", is_untouched: bool = False) -> None:
        line, column = self.getpos()
        self.found.append((self.lines[line - 1] + column, kind, name, is_untouched))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        says_no = values.get("translate") == "no" or "notranslate" in (values.get("class") or "").split()
        self._add("element" if tag in VOID else "open", tag, tag in UNTOUCHED or says_no)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add("element", tag)

    def handle_endtag(self, tag: str) -> None:
        self._add("close", tag)

    def handle_data(self, data: str) -> None:
        self._add("text")

    def handle_comment(self, data: str) -> None:
        self._add("element")

    handle_pi = handle_comment

    def handle_decl(self, decl: str) -> None:
        self._add("element", "html")

    def unknown_decl(self, data: str) -> None:
        self._add("element", "html")


def _parts(text: str) -> Iterator[_Part]:
    """Yields the parts of HTML; joined they are the text."""
    found = _Scanner(text).found
    if not found:
        return
    starts = [0, *(start for start, *_ in found[1:]), len(text)]
    until, depth, kept = "", 0, ""
    for (_, kind, name, is_untouched), (start, end) in zip(found, pairwise(starts), strict=True):
        raw = text[start:end]
        if not depth and is_untouched and kind == "open":
            until = name
        if until:
            kept += raw
            depth += {"open": 1, "close": -1}.get(kind, 0) * (name == until)
            if depth:
                continue
            kind, raw, until, kept = "element", kept, "", ""
        yield _Part("block" if name in BLOCKS and kind != "text" else kind, name, raw)
    if kept:
        yield _Part("block", "", kept)


def parse_html(text: str) -> list[str | Segment]:
    """Cuts HTML into segments of running text, and what is between them and stays as it is.

    Text in `<code>`, `<script>`, `<style>` and the like, in elements with `translate="no"`, and text without a letter
    is no running text. HTML may be malformed: a tag without its other half is a tag too.

    Example:
    ```python
    >>> from hf_rnn_attn.markup import parse_html
    >>> opening, segment, closing = parse_html("<p>Das ist <b>sehr</b> gut.</p>")
    >>> segment.text, segment.tags[0].opening, segment.tags[0].start
    ('Das ist sehr gut.', '<b>', 8)

    ```
    """
    found: list[str | Segment] = []
    inline: list[_Part] = []
    for part in [*_parts(text), _Part("block", "", "")]:
        if part.kind != "block":
            inline.append(part)
            continue
        is_text = any(c.isalpha() for other in inline if other.kind == "text" for c in html.unescape(other.raw))
        found += [_segment(inline)] if is_text else [other.raw for other in inline]
        found.append(part.raw)
        inline = []
    return found[:-1] if not found[-1] else found


def _segment(parts: Sequence[_Part]) -> Segment:
    first, last = parts[0], parts[-1]
    before = first.raw[: len(first.raw) - len(first.raw.lstrip(WHITE_SPACE))] if first.kind == "text" else ""
    after = last.raw[len(last.raw.rstrip(WHITE_SPACE)) :] if last.kind == "text" else ""
    text, outermost = "", Tag("", "", 0, 0)
    open_tags, names, missing = [outermost], [], 0
    for index, part in enumerate(parts):
        siblings = open_tags[-1].children
        if part.kind == "text":
            raw = part.raw[len(before) if index == 0 else 0 :]
            raw = raw[: len(raw) - len(after)] if index == len(parts) - 1 else raw
            text += html.unescape(re.sub(f"[{WHITE_SPACE}]+", " ", raw))
        elif part.kind == "open" and len(names) < MAX_DEPTH:
            siblings.append(Tag(part.raw, "", len(text), len(text)))
            open_tags.append(siblings[-1])
            names.append(part.name)
        elif part.kind == "close" and part.name in names:
            while names.pop() != part.name:
                open_tags.pop().end = len(text)
            open_tags[-1].closing, open_tags[-1].end = part.raw, len(text)
            open_tags.pop()
        elif part.kind == "close" and not names and missing < MAX_DEPTH:
            # it was opened before this segment
            missing += 1
            outermost.children[:] = [Tag("", part.raw, 0, len(text), list(outermost.children))]
        else:
            siblings.append(Tag(part.raw, "", len(text), len(text)))
    # and these are closed behind it
    for tag in open_tags[1:]:
        tag.end = len(text)
    return Segment(before, text, after, outermost.children)
