# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The files that corpora and shared tasks come in, each read by one line of a recipe; all rows are invented here."""

import bz2
import gzip
import lzma
import zipfile

import pyarrow as pa
import pytest

from hf_rnn_attn import packed
from hf_rnn_attn.data import DataError, read_pairs
from hf_rnn_attn.training.recipe import load_recipe


DE, EN = "ein Haus\nzwei Häuser\n", "a house\ntwo houses\n"
PAIRS = [("ein Haus", "a house"), ("zwei Häuser", "two houses")]
TABLE = "ein Haus\ta house\nzwei Häuser\ttwo houses\n"
MANYTHINGS = "a house\tein Haus\tCC-BY 1 (ann)\ntwo houses\tzwei Häuser\tCC-BY 2 (bob)\n"
TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="{en}"/><body>
<tu tuid="1"><tuv xml:lang="{en}"><seg>a house</seg></tuv><tuv xml:lang="fr"><seg>une maison</seg></tuv>
<tuv xml:lang="{de}"><seg>ein Haus</seg></tuv></tu>
<tu><prop type="n">1</prop><tuv xml:lang="{de}"><seg><bpt i="1">&lt;b&gt;</bpt>zwei<ept i="1">&lt;/b&gt;</ept>
<hi>Häuser</hi></seg></tuv><tuv xml:lang="{en}"><seg>two houses</seg></tuv></tu>
</body></tmx>"""
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def write(folder, name, content):
    """Writes a file; the members of an archive are a dict."""
    if isinstance(content, dict):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, text in content.items():
                archive.writestr(member, text)
    else:
        kind = name.rpartition(".")[2]
        data = content.encode()
        (folder / name).write_bytes(PACKERS[kind](data) if kind in PACKERS else data)


def read_recipe(folder, line):
    """Returns the pairs of the training data of a recipe with one line of data."""
    file = folder / "recipe.yaml"
    file.write_text(f"data: {{{line}}}\ntokenizer: {{kind: char}}\nmodel: {{}}\ntraining: {{output_dir: runs}}\n")
    data = load_recipe(file).data
    return [(pair["source"], pair["target"]) for pair in read_pairs(data.train, **data.reading)]


LANGUAGES = "source_column: de, target_column: en"
MOSES = {"README": "read me", "LICENSE": "free", "C.de-en.de": DE, "C.de-en.en": EN, "C.de-en.ids": "1\n2\n"}
FILES = [
    ("x.tsv", TABLE, "train: x.tsv"),
    *((f"x.tsv.{kind}", TABLE, f"train: x.tsv.{kind}") for kind in PACKERS),
    *((f"x.tmx.{kind}", TMX.format(de="de", en="en"), f"train: x.tmx.{kind}, {LANGUAGES}") for kind in PACKERS),
    ("x.tmx", TMX.format(de="de", en="en"), f"train: x.tmx, {LANGUAGES}"),
    ("x.tmx", TMX.format(de="de-AT", en="EN_us"), f"train: x.tmx, {LANGUAGES}"),
    ("x.tmx", TMX.format(de="de-AT", en="en"), "train: x.tmx, source_column: de-AT, target_column: en"),
    ("x.xml", TMX.format(de="de", en="en"), f"train: x.xml, file_format: tmx, {LANGUAGES}"),
    ("x.zip", MOSES, f"train: x.zip, {LANGUAGES}"),
    ("x.zip", {"sub/c.de": DE, "sub/c.en": EN, "sub/c.fr": "un\ndeux\n"}, f"train: x.zip, {LANGUAGES}"),
    ("x.zip", {"_about.txt": "about", "deu.txt": MANYTHINGS}, "train: x.zip, source_column: 2, target_column: 1"),
    ("x.zip", {"data.tsv": TABLE}, "train: x.zip"),
    ("x.zip", {"data.tsv": f"de\ten\n{TABLE}"}, f"train: x.zip, {LANGUAGES}"),
    ("x.zip", {"m.tmx": TMX.format(de="de", en="en")}, f"train: x.zip, {LANGUAGES}"),
    ("deu.txt", MANYTHINGS, "train: deu.txt, file_format: tsv, source_column: 2, target_column: 1"),
]


@pytest.mark.parametrize(("name", "content", "line"), FILES, ids=str)
def test_corpora_of_text(tmp_path, name, content, line):
    write(tmp_path, name, content)
    assert read_recipe(tmp_path, line) == PAIRS


@pytest.mark.parametrize("kind", PACKERS)
def test_texts_of_one_side_each(tmp_path, kind):
    write(tmp_path, f"x.de.{kind}", DE)
    write(tmp_path, "x.en", EN)
    assert read_recipe(tmp_path, f"train: {{source: x.de.{kind}, target: x.en}}") == PAIRS


TAGGED = [("[V][PST]go", "went"), ("[N][PL]ox", "oxen")]
TASKS = [
    ("SIGMORPHON 2016", "go\tV;PST\twent\nox\tN;PL\toxen\n", "source_column: 1, features_column: 2, target_column: 3"),
    (
        "2017 to 2020, UniMorph",
        "go\twent\tV;PST\nox\toxen\tN;PL\n",
        "source_column: 1, target_column: 2, features_column: 3",
    ),
    ("2021 to 2023", "go\tV;PST\twent\nox\tN;PL\toxen\n", "source_column: 1, target_column: 3, features_column: 2"),
    (
        "with commas",
        "go\twent\tV,PST\nox\toxen\tN,PL\n",
        "source_column: 1, target_column: 2, features_column: 3, features_separator: ','",
    ),
]


@pytest.mark.parametrize(("content", "columns"), [task[1:] for task in TASKS], ids=[task[0] for task in TASKS])
def test_files_of_inflection(tmp_path, content, columns):
    write(tmp_path, "train", content)
    assert read_recipe(tmp_path, f"train: train, file_format: tsv, {columns}") == TAGGED


def test_files_of_pronunciation(tmp_path):
    write(tmp_path, "eng.tsv", "go\tɡ oʊ\nox\tɑ k s\n")
    assert read_recipe(tmp_path, "train: eng.tsv") == [("go", "ɡ oʊ"), ("ox", "ɑ k s")]


BOMB = """<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>
<tmx><body><tu><tuv xml:lang="de"><seg>&b;</seg></tuv></tu></body></tmx>"""
OUTSIDE = """<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<tmx><body><tu><tuv xml:lang="de"><seg>&a;</seg></tuv></tu></body></tmx>"""
REFUSED = [
    ("x.tmx", TMX.format(de="de", en="en"), "train: x.tmx", "x.tmx, unit 1: missing source \\(no 'source' among 'en'"),
    ("x.tmx", TMX.format(de="de", en="en"), "train: x.tmx, source_column: pl, target_column: en", "no 'pl' among 'en'"),
    ("x.tmx", TMX.format(de="de", en="en"), "train: x.tmx, source_column: 1, target_column: 2", "expected names of"),
    ("x.tmx", TMX.format(de="de", en="en")[:-10], f"train: x.tmx, {LANGUAGES}", "broken or hostile XML after unit 2"),
    ("x.tmx", "plain text", f"train: x.tmx, {LANGUAGES}", "broken or hostile XML after unit 0"),
    ("x.tmx", BOMB, f"train: x.tmx, {LANGUAGES}", "broken or hostile XML after unit 0 \\(EntitiesForbidden"),
    ("x.tmx", OUTSIDE, f"train: x.tmx, {LANGUAGES}", "broken or hostile XML after unit 0 \\(EntitiesForbidden"),
    ("x.zip.gz", "PK", "train: x.zip.gz", "unknown format '.zip'; pass file_format"),
    ("x.zip", MOSES, "train: x.zip", "expected one table .*got C.de-en.de, C.de-en.en; name the languages with"),
    ("x.zip", {"a.tsv": TABLE, "b.tsv": TABLE}, "train: x.zip", "expected one table .*got a.tsv, b.tsv"),
    ("x.zip", {"README": "nothing", "folder/": ""}, "train: x.zip", "expected one table .*got none"),
    ("x.zip", {"c.de": DE, "c.en": "a house\n"}, f"train: x.zip, {LANGUAGES}", "x.zip/c.de has 2 lines, .*c.en has 1"),
    ("x.zip", {"c.de": DE, "c.en": "a house\n\n"}, f"train: x.zip, {LANGUAGES}", "x.zip/c.en, line 2: empty target"),
]


@pytest.mark.parametrize(("name", "content", "line", "message"), REFUSED, ids=str)
def test_what_cannot_be_read_says_why(tmp_path, name, content, line, message):
    write(tmp_path, name, content)
    with pytest.raises(DataError, match=message):
        read_recipe(tmp_path, line)


@pytest.mark.parametrize("kind", [*PACKERS, "zip"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_packed_files_are_named(tmp_path, kind, damage):
    name = f"x.tsv.{kind}" if kind != "zip" else "x.zip"
    write(tmp_path, name, {"x.tsv": TABLE} if kind == "zip" else TABLE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) - 9] if damage == "cut" else b"no such thing")
    with pytest.raises(DataError, match=f"{name}: broken {kind} file .*; fetch or pack it again"):
        read_pairs(tmp_path / name)


def test_an_archive_whose_places_are_damaged_is_refused(tmp_path):
    write(tmp_path, "x.zip", {"x.tsv": TABLE})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    # where the central directory begins, which moves the place of each member before the file
    place = data.index(b"PK\x05\x06") + 16
    data[place : place + 4] = (10**6).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match="broken zip file"):
        read_pairs(tmp_path / "x.zip")


def test_an_archive_with_a_password_is_refused(tmp_path):
    write(tmp_path, "x.zip", {"x.tsv": TABLE})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    # the flag of encryption, in the local and in the central header
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match="broken zip file .*password"):
        read_pairs(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [*PACKERS, "zip"])
def test_a_packed_file_that_grows_without_end_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(packed, "MAX_UNPACKED_BYTES", 10**6)
    name = f"x.tsv.{kind}" if kind != "zip" else "x.zip"
    write(tmp_path, name, {"x.tsv": "a" * 10**7} if kind == "zip" else "a" * 10**7)
    with pytest.raises(DataError, match="grows more than 100 times"):
        read_pairs(tmp_path / name)


def test_an_archive_whose_names_leave_the_folder_writes_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", "x.zip", {"../../evil.tsv": TABLE})
    assert len(read_pairs(tmp_path / "in" / "x.zip")) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.zip"]


def test_reading_a_translation_memory_takes_no_memory_for_its_units(tmp_path):
    unit = '<tu><tuv xml:lang="de"><seg>ein Haus</seg></tuv><tuv xml:lang="en"><seg>a house</seg></tuv></tu>\n'
    write(tmp_path, "x.tmx", f"<tmx><body>{unit * 5_000}</body></tmx>")
    pairs = read_pairs(tmp_path / "x.tmx", source_column="de", target_column="en", streaming=True)
    assert sum(1 for _ in pairs) == 5_000


def test_a_fault_of_the_reader_is_no_damage_of_the_file(tmp_path):
    write(tmp_path, "x.zip", {"x.tsv": TABLE})
    (member,) = packed.list_members(tmp_path / "x.zip")
    with pytest.raises(RuntimeError, match="of our own"), packed.open_text(member):
        raise RuntimeError("of our own")
