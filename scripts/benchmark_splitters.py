# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Measures libraries that split text into sentences, on joined sentences of Tatoeba and on hard pairs.

python scripts/benchmark_splitters.py /path/to/data pysbd sentencex
"""

import random
import re
import sys
import time
from pathlib import Path


FILES = {"de": "tatoeba-de/test.de", "en": "tatoeba-de/test.en", "fr": "tatoeba-fr/test.fr"}
# one line for each language
# ruff: noqa: E501
# fmt: off
HARD = {
"de":[["Dr. Müller kommt am 3. Mai.","Er bringt z. B. Äpfel mit."],["Das kostet 3.499,50 Euro.","Nehmen Sie es?"],["Er sagte: „Komm her.“","Dann ging er."],["Ich weiß nicht ...","Vielleicht morgen."],["Die Sitzung ist am 12. Dezember um 10.30 Uhr.","Bitte kommen Sie pünktlich."],["Wir treffen uns bei Nr. 5 in der St.-Georg-Str. 12.","Bis dann!"],["Prof. Dr. h. c. Schmidt, geb. 1950, lehrt in Köln.","Sie ist seit 2001 dort."],["Das gilt u. a. für Hunde, Katzen usw. und auch für Vögel.","Alle wissen das."],["Heinrich VIII. war König.","Er hatte sechs Frauen."],["Was?!","Das darf nicht sein!"],["Siehe www.example.com für mehr.","Danke."],["Im 19. Jahrhundert war das anders.","Heute nicht."],["„Wer ist da?“, fragte er.","Niemand antwortete."],["Er hat ca. 20 Bücher, d. h. fast alle.","Ich habe keins."],["Es war 5 Uhr.","3 Leute warteten."],["Die Firma A. B. Schulz GmbH & Co. KG wächst.","Sie sucht Leute."],["Er kam um 8.","Sie kam später."],["1. Öffnen Sie die Tür.","2. Gehen Sie hinein."]],
"en":[["Dr. Smith arrived at 5 p.m. on Monday.","He left early."],["The U.S. is big.","Canada is bigger."],["He works for the U.S. Government in Washington D.C. these days.","She does not."],["It costs $3,499.50.","Will you take it?"],['He said, "Come here."',"Then he left."],["I don't know...","Maybe tomorrow."],["Mr. and Mrs. J. R. Brown met Prof. Lee.","They talked."],["What?!","No way!"],["See e.g. fig. 3, i.e. the last one.","It is clear."],["Visit www.example.com for more.","Thanks."],['"Who is there?" he asked.',"Nobody answered."],["She lives at 12 St. James St. in London.","He does too."],["I was born on Jan. 5, 1990.","She was born in Feb. 1991."],["Apple Inc. and Acme Corp. merged.","Shares rose."],["Version 2.0 is out.","3 people use it."],["(He was late.)","She was not."],["It was 5 p.m.","The shop was closed."],["No. 5 is alive.","No!"]],
"fr":[["M. Dupont est arrivé le 1er mai.","Mme Durand aussi."],["Cela coûte 3.499,50 euros.","Le prenez-vous ?"],["Il a dit : « Viens ici. »","Puis il est parti."],["Je ne sais pas...","Peut-être demain."],["Le Dr. Martin habite au 5, av. J. Jaurès.","Il est médecin."],["Quoi ?!","Ce n'est pas possible !"],["Voir p. ex. la fig. 3, c.-à-d. la dernière.","C'est clair."],["Av. J.-C., Rome régnait.","Tout a changé."],["Visitez www.example.com pour plus.","Merci."],["« Qui est là ? » demanda-t-il.","Personne ne répondit."],["Il est né en janv. 1990 à St. Denis.","Elle en 1991."],["Les O.N.G. sont là, etc. et tout va bien.","Bon."]],
}
# fmt: on


def load_splitter(name):
    """Returns a function of language and text."""
    if name == "punctuation":
        return lambda language, text: re.split(r"(?<=[.!?…])\s+", text)
    if name == "pysbd":
        import pysbd

        splitters = {language: pysbd.Segmenter(language, clean=False) for language in FILES}
        return lambda language, text: splitters[language].segment(text)
    if name == "sentencex":
        import sentencex

        return sentencex.segment
    if name == "sentence-splitter":
        from sentence_splitter import SentenceSplitter

        splitters = {language: SentenceSplitter(language) for language in FILES}
        return lambda language, text: splitters[language].split(text)
    if name == "syntok":
        from syntok import segmenter

        return lambda language, text: [
            "".join(token.spacing + token.value for token in sentence)
            for paragraph in segmenter.process(text)
            for sentence in paragraph
        ]
    if name == "icu":
        import icu

        return lambda language, text: split_with_icu(icu, language, text)
    if name == "nupunkt":
        import nupunkt

        return lambda language, text: nupunkt.sent_tokenize(text)
    raise SystemExit(f"unknown splitter {name}")


def split_with_icu(icu, language, text):
    breaks = icu.BreakIterator.createSentenceInstance(icu.Locale(f"{language}@ss=standard"))
    breaks.setText(text)
    units, start, sentences = icu.UnicodeString(text), 0, []
    for end in breaks:
        sentences.append(str(units[start:end]))
        start = end
    return sentences


def inner_ends(sentences):
    """Where the sentences end but the last, counted without white space."""
    ends, length = set(), 0
    for sentence in sentences:
        length += len("".join(sentence.split()))
        ends.add(length)
    return ends - {length}


def measure(split, language, groups):
    found = missed = invented = exact = 0
    for group in groups:
        gold, got = inner_ends(group), inner_ends(split(language, " ".join(group)))
        found, missed, invented = found + len(gold & got), missed + len(gold - got), invented + len(got - gold)
        exact += gold == got
    return 200 * found / (2 * found + missed + invented), 100 * exact / len(groups)


def groups_of(path):
    draw = random.Random(1)
    sentences = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    draw.shuffle(sentences)
    groups = []
    while sentences:
        size = draw.randint(2, 5)
        groups.append(sentences[:size])
        sentences = sentences[size:]
    return groups


def main(folder, *names):
    for name in names:
        split = load_splitter(name)
        for language, file in FILES.items():
            groups = groups_of(Path(folder, file))
            start = time.perf_counter()
            f1, exact = measure(split, language, groups)
            seconds = time.perf_counter() - start
            speed = sum(len(" ".join(group)) for group in groups) / seconds / 1e6
            hard, _ = measure(split, language, HARD[language])
            print(name, language, f"{f1:.2f}", f"{exact:.1f}", f"{hard:.1f}", f"{speed:.2f} MB/s", sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
