# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What a translator makes of text as it is written: numbers, links, names, capitals, lines, loops; one row for each.

    python scripts/benchmark_behaviour.py de en ../shared/data/tatoeba-de [--model CHECKPOINT] [--beams 5] [--lines 500]

Items are made of the templates below and of Tatoeba's dev set, chosen with a fixed seed. `--lines` limits what is taken
of the dev set (all) and, for loops, of the training set (10,000).
"""

import argparse
import random
import re
from pathlib import Path

from benchmark_loops import count_loops, odd_lines
from sacrebleu.metrics import BLEU
from transformers.utils import logging

from hf_rnn_attn import BUNDLED
from hf_rnn_attn.inference import translate_lines
from hf_rnn_attn.model.pipeline_rnn_attn import translation_pipeline
from hf_rnn_attn.text import split_text, translate_html, translate_text


ITEMS = 60
TEMPLATES = {
    "de": {
        "piece": ["Siehe {} für mehr.", "Was bedeutet {} hier?", "Ich verstehe {} nicht.", "Bitte lies {} nochmal."],
        "number": ["Das kostet {} Euro.", "Der Zug kommt um {} an.", "Zimmer {} ist frei.", "Wir haben {} davon."],
        "emoji": ["Das ist sehr gut {}", "{} Ich freue mich!", "Ich liebe dich {} und das weißt du."],
        "name": ["Frau {} ist nicht da.", "Ich wohne in {}.", "Kennst du {}?", "Gestern hat {} angerufen."],
        "html": ["Das ist <b>sehr</b> gut.", "Ich habe <a href='/x?a=1'>ein neues Auto</a> gekauft.",
                 "<i>Tom</i> und <b>Maria</b> sind <u>hier</u>."],
    },
    "en": {
        "piece": ["See {} for more.", "What does {} mean here?", "I don't understand {}.", "Please read {} again."],
        "number": ["That costs {} euros.", "The train arrives at {}.", "Room {} is free.", "We bought {} of them."],
        "emoji": ["That is very good {}", "{} I am glad!", "I love you {} and you know it."],
        "name": ["Mrs. {} is not here.", "I live in {}.", "Do you know {}?", "{} called yesterday."],
        "html": ["That is <b>very</b> good.", "I bought <a href='/x?a=1'>a new car</a>.",
                 "<i>Tom</i> and <b>Mary</b> are <u>here</u>."],
    },
}  # fmt: skip
PIECES = {
    "numbers": ("number", ["3.499,50", "10:30", "1,000", "12", "7", "2024-05-01", "1/2", "99,9", "-5", "192.168.0.1"]),
    "URLs": ("piece", ["https://www.example.com/a?b=1", "www.example.org", "http://x.de/ä/b#c", "example.net"]),
    "e-mails": ("piece", ["a.b@example.com", "info@x-y.co.uk", "tom_1@mail.de"]),
    "emoji": ("emoji", ["😀", "👍🏽", "❤️❤️❤️", "👨‍👩‍👧", "🇩🇪", "1️⃣", ":-)"]),
    "code": ("piece", ["`git push`", "`x = y + 1`", "{name}", "%s", "/etc/hosts", "main.py"]),
}
NAMES = [
    *("Schmidt-Öztürk", "Wojciechowski", "Nguyen", "Kowalski", "Papadopoulos", "Svensson", "Okonkwo", "Ivanov"),
    *("Yılmaz", "O'Brien", "Lindqvist", "Krzysztof", "Oberammergau", "Gelsenkirchen", "Nakamura", "Jürgensen"),
    *("Hüseyin", "Adebayo", "Castellanos", "Dvořák", "Zhukova", "Bhattacharya", "Quispe", "Vanderberg"),
]
NO_LETTERS = [
    "1",
    "12",
    "1.",
    "3 + 4 = 7",
    "10:30",
    "---",
    "...",
    "😀😀",
    "12 - 13!",
    "50 %",
    "(1)",
    "€ 3.499,50",
    "***",
]


def made(templates, pieces):
    return [(template.format(piece), piece) for piece in pieces for template in templates]


def limited(items):
    return random.Random(0).choices(items, k=ITEMS) if len(items) < ITEMS else random.Random(0).sample(items, ITEMS)


def percent(hits):
    hits = list(hits)
    return f"{100 * sum(hits) / len(hits):.1f} % of {len(hits)}"


class Behaviour:
    """A translator, and a method for each row that returns the figure."""

    def __init__(self, translator, source, dev, train):
        self.translator, self.source, self.dev, self.train = translator, source, dev, train
        self.templates = TEMPLATES[source]

    def translate(self, lines):
        return [line for window in translate_lines(lines, self.translator, 1024) for line in window]

    def no_letters(self):
        lines = limited([*NO_LETTERS, *map(str, range(1, 61))])
        return percent(line == output for line, output in zip(lines, self.translate(lines), strict=True))

    def copies(self, templates, pieces):
        items = limited(made(self.templates[templates], pieces))
        outputs = self.translate([line for line, _ in items])
        # whole: 12 is not in 212, and 3 not in 3.5
        whole = [rf"(?<![\w.,]){re.escape(piece)}(?![\w]|[.,]\d)" for _, piece in items]
        return percent(bool(re.search(pattern, output)) for pattern, output in zip(whole, outputs, strict=True))

    def tags(self):
        lines = limited([template.replace("Tom", name) for template in self.templates["html"] for name in NAMES])
        outputs = [translate_html(self.translator, line) for line in lines]
        find = re.compile(r"<[^<>]*>").findall
        return percent(
            sorted(find(line)) == sorted(find(output)) and not re.search(r"\w<[^<>]*>\w", output)
            for line, output in zip(lines, outputs, strict=True)
        )

    def case(self, change, lower_references):
        sources = [source for source, _ in self.dev]
        references = [[reference for _, reference in self.dev]]
        scorer = BLEU(lowercase=lower_references)
        cased, other = (scorer.corpus_score(self.translate(lines), references).score for lines in (
            sources, [change(line) for line in sources]))  # fmt: skip
        return f"{other / cased:.2f} ({other:.1f} of {cased:.1f})"

    def shape(self):
        chosen, hits = random.Random(0), []
        for _ in range(ITEMS):
            lines = [" ".join(source for source, _ in chosen.sample(self.dev, chosen.randint(1, 3))) for _ in range(3)]
            text = "\n\n".join(lines)
            parts, output = split_text(text, self.source), translate_text(self.translator, text)
            hits.append(
                output.count("\n\n") == 2 and all(len(line) > 0 for line in output.split("\n\n")) and len(parts) > 2
            )
        return percent(hits)

    def loops(self):
        lines = self.train + [line for lines in odd_lines(self.train[:700]).values() for line in lines]
        return f"{count_loops(self.translator, lines, True)} of {len(lines)}"

    def bleu(self):
        outputs = self.translate([source for source, _ in self.dev])
        return f"{BLEU().corpus_score(outputs, [[reference for _, reference in self.dev]]).score:.1f}"

    def rows(self):
        yield "a line without letters comes back", "100 %", self.no_letters()
        for name, (templates, pieces) in PIECES.items():
            yield f"{name} survive in a sentence", "≥ 99 %", self.copies(templates, pieces)
        yield "unknown capitalised names are copied", "≥ 95 %", self.copies("name", NAMES)
        yield "inline tags: the same, none inside a word", "100 %", self.tags()
        yield "all upper case, BLEU without case", "≥ 0.9 of the cased form's", self.case(str.upper, True)
        yield "all lower case, BLEU", "≥ 0.9 of the cased form's", self.case(str.lower, False)
        yield "lines in = lines out", "100 %", self.shape()
        yield "outputs with a fourfold repeat", "≤ 1 in 5,000", self.loops()
        yield "BLEU on dev", "today's - 0.3", self.bleu()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", choices=["de", "en"])
    parser.add_argument("target", choices=["de", "en"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--lines", type=int, default=0)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    read = lambda name: (arguments.data / name).read_text("utf-8").splitlines()  # noqa: E731
    dev = list(zip(read(f"dev.{arguments.source}"), read(f"dev.{arguments.target}"), strict=True))
    train = random.Random(0).sample(read(f"train.{arguments.source}"), arguments.lines or 10_000)
    translator = translation_pipeline(
        model=arguments.model or BUNDLED[arguments.source, arguments.target], device="cpu", num_beams=arguments.beams
    )
    print("| behaviour | reach | measured |\n| --- | --- | --- |")
    for row in Behaviour(translator, arguments.source, dev[: arguments.lines or None], train).rows():
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
