# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reading, checking, encoding and batching parallel text."""

import contextlib
import csv
import gzip
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accelerate import Accelerator, skip_first_batches
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

import hf_rnn_attn.data as data_module
from hf_rnn_attn import packed
from hf_rnn_attn.data import (
    DataError,
    TokenBatchSampler,
    encode_pairs,
    group_references,
    pair_lengths,
    read_pairs,
)
from hf_rnn_attn.tokenization import squeeze


PAIRS = [("ein Haus", "a house"), ("zwei Häuser", "two houses")]


def texts(dataset):
    return [(row["source"], row["target"]) for row in dataset]


def write_tsv(path, rows, header=""):
    path.write_text(header + "".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")


def write_csv(path, rows):
    write_text(path, "source,target\n" + "".join(f'"{source}",{target}\r\n' for source, target in rows))


def write_jsonl(path, rows):
    write_text(path, "".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in rows))


def write_parquet(path, rows):
    pq.write_table(
        pa.table({"source": [s for s, _ in rows], "target": [t for _, t in rows], "n": [0] * len(rows)}), path
    )


def write_text(path, text):
    path.write_bytes(text.encode("utf-8"))


WRITERS = {"tsv": write_tsv, "csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


def compress(path):
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


@pytest.fixture
def tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>", "a", "b", "c"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_reads_every_format(tmp_path, name, packed, streaming):
    path = tmp_path / f"pairs.{name}"
    WRITERS[name](path, PAIRS)
    dataset = read_pairs(compress(path) if packed else path, streaming=streaming)
    assert isinstance(dataset, IterableDataset if streaming else Dataset)
    assert dataset.column_names == ["source", "target", "place"]
    assert texts(dataset) == PAIRS
    assert texts(dataset) == PAIRS, "a second pass gives the same"


@pytest.mark.parametrize("streaming", [False, True])
def test_reads_aligned_files_plain_and_packed(tmp_path, streaming):
    write_text(tmp_path / "x.de", "ein Haus\r\nzwei Häuser")
    write_text(tmp_path / "x.en", "a house\ntwo houses\n")
    dataset = read_pairs({"source": compress(tmp_path / "x.de"), "target": tmp_path / "x.en"}, streaming=streaming)
    assert texts(dataset) == PAIRS
    assert list(dataset)[1]["place"] == f"{tmp_path / 'x.de.gz'} and {tmp_path / 'x.en'}, line 2"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_list_is_one_corpus(tmp_path, streaming):
    write_tsv(tmp_path / "a.tsv", PAIRS[:1])
    write_jsonl(tmp_path / "b.jsonl", PAIRS[1:])
    dataset = read_pairs([tmp_path / "a.tsv", str(tmp_path / "b.jsonl")], streaming=streaming)
    assert texts(dataset) == PAIRS


def test_a_file_is_read_again_after_it_changed(tmp_path):
    write_tsv(tmp_path / "a.tsv", PAIRS[:1])
    assert texts(read_pairs(tmp_path / "a.tsv")) == PAIRS[:1]
    write_tsv(tmp_path / "a.tsv", PAIRS)
    assert texts(read_pairs(tmp_path / "a.tsv")) == PAIRS


def test_reads_a_data_set_folder_with_a_translation_column(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "corpus").mkdir()
    records = [{"translation": {"de": source, "en": target}} for source, target in PAIRS]
    write_text(tmp_path / "corpus" / "validation.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    corpus = {"path": str(tmp_path / "corpus"), "split": "validation"}
    for streaming in (False, True):
        dataset = read_pairs(corpus, source_column="de", target_column="en", streaming=streaming)
        assert texts(dataset) == PAIRS
    with pytest.raises(DataError, match=r"\(validation\), row 0: missing source \(no 'source' among 'de', 'en'\)"):
        read_pairs(corpus)


def test_a_name_that_is_no_file_goes_to_load_dataset(monkeypatch):
    calls = []

    def load(**arguments):
        calls.append(arguments)
        return Dataset.from_dict({"source": ["ein  Haus"], "target": ["a house"]})

    monkeypatch.setattr(data_module, "load_dataset", load)
    assert texts(read_pairs("user/corpus")) == PAIRS[:1]
    read_pairs({"path": "user/corpus", "name": "de-en", "split": "test"})
    assert calls == [
        {"path": "user/corpus", "split": "train", "streaming": False},
        {"path": "user/corpus", "name": "de-en", "split": "test", "streaming": False},
    ]


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_translation_column_in_files(tmp_path, name):
    records = [{"translation": {"de": source, "en": target}} for source, target in PAIRS]
    path = tmp_path / f"x.{name}"
    if name == "jsonl":
        write_text(path, "".join(json.dumps(record) + "\n" for record in records))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    assert texts(read_pairs(path, source_column="en", target_column="de")) == [(t, s) for s, t in PAIRS]


def test_tsv_takes_two_columns_or_named_ones_and_knows_no_quotes(tmp_path):
    path = tmp_path / "x.tsv"
    write_text(path, 'the "big" house\t"Haus\n"a\tein"\n')
    assert texts(read_pairs(path)) == [('the "big" house', '"Haus'), ('"a', 'ein"')]
    write_text(path, 'en\tde\tnote\nthe "big" house\t"Haus\tsee\n"a\tein"\t\n')
    assert texts(read_pairs(path, source_column="de", target_column="en")) == [
        ('"Haus', 'the "big" house'),
        ('ein"', '"a'),
    ]


def test_csv_fields_may_hold_commas_quotes_and_line_ends(tmp_path):
    path = tmp_path / "x.csv"
    write_text(path, '\ufeffsource,target\r\n"one, ""two""\nthree",eins\r\nfour,vier\r\n')
    dataset = read_pairs(path)
    assert texts(dataset) == [('one, "two" three', "eins"), ("four", "vier")]
    assert dataset["place"][:] == [f"{path}, line 2", f"{path}, line 4"]


def test_only_newlines_end_lines_and_white_space_is_squeezed(tmp_path):
    # str.splitlines would split at each of these
    odd = "a\u2028b\x0bc\x0cd\x1ce\x85f\u200bg\ufeff"
    write_text(tmp_path / "x.tsv", f"  {odd} \u00a0 h \t\u3000i  j\r\n")
    write_text(tmp_path / "x.src", f"{odd} h\n")
    write_text(tmp_path / "x.tgt", "i j\n")
    expected = [("a b c d e f g h", "i j")]
    assert texts(read_pairs(tmp_path / "x.tsv")) == expected
    assert texts(read_pairs({"source": tmp_path / "x.src", "target": tmp_path / "x.tgt"})) == expected


BAD_ROWS = {
    "tsv": b"a\tb\nc\nd\t \n\te\n\xff\tf\ng\th\n",
    "csv": b'source,target\na,b\nc\nd, \n,e\n\xff,f\n"x"y,z\ng,h\n',
    "jsonl": (
        b'{"source": "a", "target": "b"}\n{"source": "c"}\n{"source": "d", "target": " "}\n'
        b'{"source": "", "target": "e"}\n{"source": "\xff", "target": "f"}\n{"source": null, "target": "x"}\n'
        b'{"source": 3, "target": "x"}\n{"source"\n[1]\n{"source": "\\ud800", "target": "x"}\n'
        b'{"source": "g", "target": "h"}\n'
    ),
}
BAD_REASONS = {
    "tsv": {"missing target": 1, "empty target": 1, "empty source": 1, "broken UTF-8 in source": 1},
    "csv": {
        "missing target": 1,
        "empty target": 1,
        "empty source": 1,
        "broken UTF-8 in source": 1,
        "malformed CSV (',' expected after '\"')": 1,
    },
    "jsonl": {
        "missing target (no 'target' among 'source')": 1,
        "empty target": 1,
        "empty source": 1,
        "broken UTF-8 in source": 2,
        "missing source": 1,
        "source is not text but int": 1,
        "malformed JSON (Expecting ':' delimiter)": 1,
        "not a JSON object": 1,
    },
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_skipped_with_a_count(tmp_path, caplog, name, streaming):
    path = tmp_path / f"x.{name}"
    path.write_bytes(BAD_ROWS[name])
    dataset = read_pairs(path, on_bad_rows="skip", streaming=streaming)
    assert texts(dataset) == [("a", "b"), ("g", "h")]
    (record,) = caplog.records
    message, bad = record.getMessage(), sum(BAD_REASONS[name].values())
    assert record.levelno == logging.WARNING
    assert message.startswith(f"left out {bad} of {bad + 2} rows: ")
    for reason, count in BAD_REASONS[name].items():
        assert f"{count} x {reason} ({path}, line " in message


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"a\tb\nc\n", 2, "missing target"),
        (b"a\tb\nc\td\n\n", 3, "empty source"),
        (b"a\tb\n \td\n", 2, "empty source"),
        (b"a\tb\nc\td\ne\t\xc3\n", 3, "broken UTF-8 in target"),
    ],
)
def test_first_bad_row_raises_with_file_and_line(tmp_path, content, line, problem):
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_pairs(path)
    assert str(error.value).startswith(f"{path}, line {line}: {problem}. ")
    assert "on_bad_rows='skip'" in str(error.value)
    with pytest.raises(DataError, match=problem):
        list(read_pairs(path, streaming=True))


def test_many_bad_rows_are_counted_but_not_all_listed(tmp_path, caplog):
    write_text(tmp_path / "x.tsv", "a\tb\n" + "c\n" * 5)
    read_pairs(tmp_path / "x.tsv", on_bad_rows="skip")
    assert "5 x missing target" in caplog.text
    assert caplog.text.count("line ") == 3


def test_good_files_are_read_without_a_warning(tmp_path, caplog):
    write_tsv(tmp_path / "x.tsv", PAIRS)
    read_pairs(tmp_path / "x.tsv", on_bad_rows="skip")
    assert not caplog.records


def test_a_stream_that_is_left_early_still_reports(tmp_path, caplog):
    write_text(tmp_path / "x.tsv", "bad\na\tb\nc\td\n")
    rows = iter(read_pairs(tmp_path / "x.tsv", on_bad_rows="skip", streaming=True))
    assert next(rows)["source"] == "a"
    rows.close()
    assert "left out 1 of 2 rows" in caplog.text


@pytest.mark.parametrize("on_bad_rows", ["error", "skip"])
@pytest.mark.parametrize("streaming", [False, True])
def test_unequal_line_counts_always_raise(tmp_path, on_bad_rows, streaming):
    write_text(tmp_path / "x.de", "eins\nzwei\ndrei")
    write_text(tmp_path / "x.en", "one\ntwo\n")
    files = {"source": tmp_path / "x.de", "target": tmp_path / "x.en"}
    with pytest.raises(DataError, match=r"x\.de has 3 lines, .*x\.en has 2"):
        list(read_pairs(files, on_bad_rows=on_bad_rows, streaming=streaming))


def test_broken_utf8_in_parquet(tmp_path, caplog):
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")]
    )
    pq.write_table(pa.table({"source": broken, "target": ["x", "y"]}), tmp_path / "x.parquet")
    assert texts(read_pairs(tmp_path / "x.parquet", on_bad_rows="skip")) == [("a", "x")]
    assert f"1 x broken UTF-8 in source ({tmp_path / 'x.parquet'}, row 1)" in caplog.text


def test_parquet_null_and_wrong_type(tmp_path):
    pq.write_table(pa.table({"source": ["a", None], "target": ["x", "y"]}), tmp_path / "null.parquet")
    with pytest.raises(DataError, match="row 1: missing source"):
        read_pairs(tmp_path / "null.parquet")
    pq.write_table(pa.table({"source": [1], "target": ["x"]}), tmp_path / "int.parquet")
    with pytest.raises(DataError, match="column 'source' holds int64, expected text"):
        read_pairs(tmp_path / "int.parquet")


def test_wrong_names_say_which_there_are(tmp_path):
    write_csv(tmp_path / "x.csv", PAIRS)
    with pytest.raises(DataError, match="no column 'de'; it has 'source', 'target'"):
        read_pairs(tmp_path / "x.csv", source_column="de")
    write_parquet(tmp_path / "x.parquet", PAIRS)
    with pytest.raises(DataError, match="no column 'en'; it has 'source', 'target', 'n'"):
        read_pairs(tmp_path / "x.parquet", target_column="en")
    write_tsv(tmp_path / "x.txt", PAIRS)
    with pytest.raises(
        DataError, match="unknown format '.txt'; pass file_format, one of tsv, csv, jsonl, parquet, tmx"
    ):
        read_pairs(tmp_path / "x.txt")
    assert texts(read_pairs(tmp_path / "x.txt", file_format="tsv")) == PAIRS
    with pytest.raises(DataError, match="file_format must be one of"):
        read_pairs(tmp_path / "x.txt", file_format="xml")
    with pytest.raises(DataError, match=r"expected a file, .* got {'de': "):
        read_pairs({"de": tmp_path / "x.de", "en": tmp_path / "x.en"})
    with pytest.raises(ValueError, match="on_bad_rows must be 'error' or 'skip', got 'ignore'"):
        read_pairs(tmp_path / "x.csv", on_bad_rows="ignore")


TEXT = "x" * (data_module.MAX_TEXT + 1)
LINE = "x" * data_module.MAX_LINE
# the name of a file, what it holds, options of `read_pairs`, what stands behind the name
REFUSED_FILES = [
    ("x.tsv", b"a\tb\tc\n", {}, ": expected two columns, got 3: ['a', 'b', 'c']. Say which with source_column"),
    ("x.tsv", b"walk\tV;PST\twalked\n", {}, ": expected two columns, got 3: ['walk', 'V;PST', 'walked']"),
    ("x.tsv", b"1\tHallo\t2\tHello\n", {}, ": expected two columns, got 4: ['1', 'Hallo', '2', 'Hello']"),
    ("x.tsv", b"a\tb\nc\td\te\n", {}, ", line 2: 3 columns, more than 2"),
    ("x.tsv", b"a\tb\nc\n", {}, ", line 2: missing target"),
    ("x.tsv", b"a\tb\n\n", {}, ", line 2: empty source"),
    ("x.tsv", b"a\n", {}, ", line 1: missing target"),
    ("x.tsv", b"source\ttarget\na\tb\n", {}, ", line 1: 'source' and 'target' look like names of columns"),
    ("x.tsv", b"Source\tTarget\na\tb\n", {}, ", line 1: 'Source' and 'Target' look like names of columns"),
    ("x.tsv", b"src\ttgt\na\tb\n", {}, ", line 1: 'src' and 'tgt' look like names of columns"),
    ("x.tsv", b"\xef\xbb\xbfde\ten\r\na\tb\r\n", {}, ", line 1: 'de' and 'en' look like names of columns"),
    ("x.tsv", b"German\tEnglish\na\tb\n", {}, ", line 1: 'German' and 'English' look like names of columns"),
    ("x.tsv", b"word\tpronunciation\na\tb\n", {}, ", line 1: 'word' and 'pronunciation' look like names of columns"),
    ("x.tsv", b"lemma\tx\tform\n", {"source_column": 1, "target_column": 3}, ", line 1: 'lemma' and 'form' look"),
    ("x.tsv", b"a\tb\tc\nd\te\n", {"source_column": 1, "target_column": 3}, ", line 2: missing target"),
    ("x.tsv", b"a\tb\n", {"source_column": "a", "target_column": "c"}, ": no column 'c'; it has 'a', 'b'"),
    ("x.tsv", b"a\ta\tb\n", {"source_column": "a", "target_column": "b"}, ": the column 'a' is there twice"),
    ("x.tsv", b"a\tb\nc\td\te\n", {"source_column": "a", "target_column": "b"}, ", line 2: 3 columns, more than 2"),
    ("x.tsv", b"a\rb\tc\n", {}, ", line 1: carriage return inside of the line"),
    ("x.tsv", b"a\tb\rc\td\re\tf\r", {}, ", line 1: carriage return inside of the line"),
    ("x.tsv", b"a\tb\nc\0\td\n", {}, ", line 2: NUL character in source"),
    ("x.tsv", "a\tb\n".encode("utf-16"), {}, ", line 1: broken UTF-8 in source"),
    ("x.tsv", b"\xef\xbb\xbfa\tb\nc\td\xff\n", {}, ", line 2: broken UTF-8 in target"),
    ("x.tsv", b"a\tb\n" + TEXT.encode() + b"\ta\n", {}, ", line 2: source of more than 131,072 characters"),
    ("x.tsv", b"a\tb\na\t" + LINE.encode() * 3, {}, ", line 2: line of more than 1,048,576 characters"),
    ("x.csv", b"a,b\nc,d\n", {}, ": no column 'source' or 'target'; it has 'a', 'b'"),
    ("x.csv", b"source,source,target\n", {}, ": the column 'source' is there twice"),
    ("x.csv", b"source,target\na,b\nc,d,e\n", {}, ", line 3: 3 columns, more than 2"),
    ("x.csv", b"source,target\na\n", {}, ", line 2: missing target"),
    ("x.csv", b'source,target\n"a\rb",c\n', {}, ", line 2: carriage return inside of the line"),
    ("x.csv", b'source,target\n"a,b\n', {}, ", line 2: malformed CSV (unexpected end of data)"),
    ("x.csv", b"source,target\n" + LINE.encode(), {}, ", line 2: line of more than 1,048,576 characters"),
    ("x.csv", b"source,target\na\0,b\n", {}, ", line 2: NUL character in source"),
    ("x.csv", b"source,target\na,b\n\xff,d\n", {}, ", line 3: broken UTF-8 in source"),
    (
        "x.csv",
        b"de,en\n",
        {"source_column": 1, "target_column": 2},
        ", line 1: 'de' and 'en' look like names of columns",
    ),
    ("x.csv", b"source\r,target\na,b\n", {}, ", line 1: carriage return inside of the line, where the names"),
    (
        "x.jsonl",
        b'{"source": "a", "source": "b", "target": "c"}\n',
        {},
        ", line 1: malformed JSON (a key that is there",
    ),
    ("x.jsonl", b"[" * 100_000, {}, ", line 1: malformed JSON ("),
    ("x.jsonl", b'{"source": ' + b"9" * 5000 + b"}", {}, ", line 1: malformed JSON (Exceeds the limit"),
    ("x.jsonl", b'{"source": "a\\u0000", "target": "b"}', {}, ", line 1: NUL character in source"),
    ("x.jsonl", b'{"source": ["a"], "target": "b"}', {}, ", line 1: source is not text but list"),
    ("x.jsonl", b'{"source": "a", "target": "b"}\n{"source": "\xff", "target": "b"}', {}, ", line 2: broken UTF-8"),
    ("x.jsonl", b'{"a": "b"}', {"source_column": 1, "target_column": 2}, ": expected names of columns"),
    ("x.parquet", b"PAR1", {}, ": not a Parquet file, or a damaged one ("),
    ("x.parquet", b"", {}, ": not a Parquet file, or a damaged one ("),
    ("x.parquet", b"PAR1", {"source_column": 1, "target_column": 2}, ": expected names of columns"),
    ("x.rar", b"Rar!", {}, ": unknown format '.rar'; pass file_format, one of tsv, csv, jsonl, parquet, tmx"),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "content", "options", "message"), REFUSED_FILES)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, name, content, options, message, packed):
    path = tmp_path / name
    path.write_bytes(content)
    path = compress(path) if packed else path
    with pytest.raises(DataError) as error:
        read_pairs(path, **options)
    assert str(error.value).startswith(f"{path}{message}") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (b"a\nb\xff\n", b"c\nd\n", ", line 2: broken UTF-8 in source"),
        (b"\xef\xbb\xbfa\nb\n", b"c\n\xffd\n", ", line 2: broken UTF-8 in target"),
        (b"a\rb\n", b"c\n", ", line 1: carriage return inside of the line"),
        (b"a\n", b"c\rd\n", ", line 1: carriage return inside of the line"),
        (b"a\n", b"c\0\n", ", line 1: NUL character in target"),
        (b"a\n", LINE.encode() * 2, ", line 1: line of more than 1,048,576 characters"),
        (b"a\nb\n", b"c\n\n", ", line 2: empty target"),
        (b"a\n", b"\xef\xbb\xbf\n", ", line 1: empty target"),
    ],
)
def test_a_bad_line_of_aligned_text_is_named(tmp_path, source, target, message):
    paths = tmp_path / "x.de", tmp_path / "x.en"
    for path, content in zip(paths, (source, target), strict=True):
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_pairs({"source": paths[0], "target": paths[1]})
    assert str(error.value).startswith(f"{paths[0]} and {paths[1]}{message}")


@pytest.mark.parametrize("letter", ["a", "ä", "한", "😀"])
def test_a_long_text_of_a_parquet_file_is_refused_and_one_at_the_limit_is_not(tmp_path, letter):
    write_parquet(tmp_path / "x.parquet", [(letter * data_module.MAX_TEXT, "a")])
    assert texts(read_pairs(tmp_path / "x.parquet")) == [(letter * data_module.MAX_TEXT, "a")]
    write_parquet(tmp_path / "x.parquet", [("a", "a"), (letter * 10 * data_module.MAX_TEXT, "a")])
    with pytest.raises(DataError, match="row 1: source of more than 131,072 characters"):
        read_pairs(tmp_path / "x.parquet")


@pytest.mark.parametrize(("name", "comma"), [("x.tsv", "\t"), ("x.csv", ",")])
@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (["1 a 2 b", "3 c 4 d"], (2, 4), [("a", "b"), ("c", "d")]),
        (["walk V;PST walked"], (1, 3), [("walk", "walked")]),
        (["walk walked V;PST"], (2, 1), [("walked", "walk")]),
        (["a b", "c d e"], (1, 2), [("a", "b"), ("c", "d")]),
        (["a b note", "c d"], (1, 2), [("a", "b"), ("c", "d")]),
        (["de en note", "c d e"], ("de", "en"), [("c", "d")]),
        (["note note source target", "x y c d"], (None, "target"), [("c", "d")]),
    ],
)
def test_columns_by_number_and_by_name(tmp_path, name, comma, rows, columns, expected):
    write_text(tmp_path / name, "".join(row.replace(" ", comma) + "\n" for row in rows))
    pairs = read_pairs(tmp_path / name, source_column=columns[0], target_column=columns[1])
    assert texts(pairs) == expected


@pytest.mark.parametrize("columns", [(1, None), (None, 2), (1, "en"), (0, 1), (-1, 1)])
def test_columns_are_two_names_or_two_numbers(tmp_path, columns):
    write_tsv(tmp_path / "x.tsv", PAIRS)
    with pytest.raises(DataError, match="expected names of columns, or numbers from 1") as error:
        read_pairs(tmp_path / "x.tsv", source_column=columns[0], target_column=columns[1])
    assert str(list(columns)) in str(error.value)


@pytest.mark.parametrize("first", ["so\tsuch", "the\tde", "en\tʊn", "Deutsch\tGerman", "I\tid"])
def test_words_are_no_header(tmp_path, first):
    write_text(tmp_path / "x.tsv", f"{first}\na\tb\n")
    assert texts(read_pairs(tmp_path / "x.tsv"))[0] == tuple(first.split("\t"))


def test_what_cannot_be_read_is_left_out_on_request(tmp_path, caplog):
    lines = ["de\ten", "a\tb", "a\rb\tc", "a\tb\tc", f"{TEXT}\ta", f"a\t{LINE}{LINE}", "\0\ta", "c\td"]
    write_text(tmp_path / "x.tsv", "\n".join(lines))
    assert texts(read_pairs(tmp_path / "x.tsv", on_bad_rows="skip")) == [("a", "b"), ("c", "d")]
    assert "left out 6 of 8 rows" in caplog.text
    assert all(f"line {number})" in caplog.text for number in (1, 3, 4, 5, 6, 7))


@pytest.mark.parametrize("name", ["x.tsv.gz", "x.csv.gz", "x.jsonl.gz", "x.parquet.gz", "x.de.gz"])
def test_a_packed_file_that_grows_without_end_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(packed, "MAX_UNPACKED_BYTES", 10**6)
    (tmp_path / name).write_bytes(gzip.compress(b"a" * 10**7))
    data = {"source": tmp_path / name, "target": tmp_path / name} if "de" in name else tmp_path / name
    with pytest.raises(DataError, match="got a file of 9,7.. bytes that grows more than 100 times; unpack it"):
        read_pairs(data)


TABLES = st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=3), min_size=1, max_size=4)


@given(TABLES, st.sampled_from(["tsv", "csv", "jsonl"]))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_a_table_is_read_as_it_was_written_or_refused(table, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{kind}"
        with open(path, "w", encoding="utf-8", newline="") as file:
            if kind == "jsonl":
                file.writelines(json.dumps(dict(zip("abc", row, strict=False))) + "\n" for row in table)
            elif kind == "tsv":
                file.writelines("\t".join(map(squeeze, row)) + "\n" for row in table)
            else:
                csv.writer(file, lineterminator="\n").writerows(table)
        columns = ("a", "b") if kind == "jsonl" else (1, 2)
        # an empty text, a NUL, a header are refused
        with contextlib.suppress(DataError):
            rows = texts(read_pairs(path, source_column=columns[0], target_column=columns[1]))
            assert rows == [(squeeze(row[0]), squeeze(row[1])) for row in table]


@pytest.mark.parametrize("streaming", [False, True])
def test_missing_files_are_found_at_the_call(tmp_path, streaming):
    with pytest.raises(FileNotFoundError, match="x.tsv: no such file"):
        read_pairs(tmp_path / "x.tsv", streaming=streaming)
    write_text(tmp_path / "x.de", "a\n")
    with pytest.raises(FileNotFoundError, match="x.en: no such file"):
        read_pairs({"source": tmp_path / "x.de", "target": tmp_path / "x.en"}, streaming=streaming)


def test_nothing_usable_raises(tmp_path):
    write_text(tmp_path / "x.tsv", "")
    with pytest.raises(DataError, match="no usable pair in 0 rows"):
        read_pairs(tmp_path / "x.tsv")
    write_text(tmp_path / "x.tsv", "a\nb\n")
    with pytest.raises(DataError, match="no usable pair in 2 rows: 2 x missing target"):
        read_pairs(tmp_path / "x.tsv", on_bad_rows="skip")


def test_broken_containers_name_the_file(tmp_path):
    write_tsv(tmp_path / "x.tsv", PAIRS)
    whole = compress(tmp_path / "x.tsv").read_bytes()
    (tmp_path / "cut.tsv.gz").write_bytes(whole[:-9])
    with pytest.raises(DataError, match="cut.tsv.gz: broken gz file"):
        read_pairs(tmp_path / "cut.tsv.gz")
    (tmp_path / "plain.tsv.gz").write_bytes(b"a\tb\n")
    with pytest.raises(DataError, match="plain.tsv.gz: broken gz file"):
        read_pairs(tmp_path / "plain.tsv.gz")
    (tmp_path / "x.parquet").write_bytes(b"a\tb\n" * 9)
    with pytest.raises(DataError, match="x.parquet: not a Parquet file"):
        read_pairs(tmp_path / "x.parquet")


def test_stream_is_read_whole_and_once_by_several_workers(tmp_path, tokenizer):
    for name in ("1", "2"):
        write_tsv(tmp_path / f"{name}.tsv", [("a", "b")] * 10)
    pairs = read_pairs([tmp_path / "1.tsv", tmp_path / "2.tsv"], streaming=True)
    encoded = encode_pairs(pairs, tokenizer)
    assert pairs.num_shards == encoded.num_shards == 1
    assert len(list(DataLoader(encoded, batch_size=None, num_workers=2))) == 20


@pytest.mark.parametrize("streaming", [False, True])
def test_encode_pairs(tmp_path, tokenizer, streaming):
    write_tsv(tmp_path / "x.tsv", [("a b", "c"), ("z", "a a a")])
    encoded = encode_pairs(read_pairs(tmp_path / "x.tsv", streaming=streaming), tokenizer)
    assert isinstance(encoded, IterableDataset if streaming else Dataset)
    assert list(encoded) == [
        {"input_ids": [4, 5, 2], "attention_mask": [1, 1, 1], "labels": [6, 2]},
        {"input_ids": [3, 2], "attention_mask": [1, 1], "labels": [4, 4, 4, 2]},
    ]


LONG = {"source": ["a", "a a a", "b", "a a a"], "target": ["b", "b", "b b b b", "c c c c c"]}


def test_long_sentences_raise_with_their_place(tmp_path, tokenizer):
    write_tsv(tmp_path / "x.tsv", list(zip(LONG["source"], LONG["target"], strict=True)))
    pairs = read_pairs(tmp_path / "x.tsv")
    with pytest.raises(DataError, match=r"x\.tsv, line 2: the source has 4 tokens, more than max_source_length=3"):
        encode_pairs(pairs, tokenizer, max_source_length=3)
    with pytest.raises(DataError, match="row 2: the target has 5 tokens, more than max_target_length=4"):
        encode_pairs(Dataset.from_dict(LONG), tokenizer, max_target_length=4)
    at_the_limit = encode_pairs(pairs, tokenizer, max_source_length=4, max_target_length=6)
    assert len(at_the_limit) == 4


@pytest.mark.parametrize("streaming", [False, True])
def test_long_sentences_are_skipped_with_a_count(tokenizer, caplog, streaming):
    pairs = Dataset.from_dict(LONG)
    pairs = pairs.to_iterable_dataset() if streaming else pairs
    encoded = list(encode_pairs(pairs, tokenizer, max_source_length=3, max_target_length=4, on_long="skip"))
    assert [row["input_ids"] for row in encoded] == [[4, 2]]
    (record,) = caplog.records
    assert record.getMessage() == (
        "left out 3 of 4 rows: 1 x source too long (row 1), 1 x target too long (row 2), "
        "1 x source and target too long (row 3)"
    )


def test_long_sentences_are_truncated_with_a_count(tokenizer, caplog):
    encoded = encode_pairs(
        Dataset.from_dict(LONG), tokenizer, max_source_length=3, max_target_length=4, on_long="truncate"
    )
    assert encoded["input_ids"][:] == [[4, 2], [4, 4, 2], [5, 2], [4, 4, 2]]
    assert encoded["labels"][:] == [[5, 2], [5, 2], [5, 5, 5, 2], [6, 6, 6, 2]]
    assert "truncated 3 of 4 rows" in caplog.text
    caplog.clear()
    one_side = encode_pairs(Dataset.from_dict(LONG), tokenizer, max_target_length=4, on_long="truncate")
    assert one_side["input_ids"][3] == [4, 4, 4, 2], "the side without a limit stays whole"


def test_encode_pairs_refuses_wrong_options(tokenizer):
    pairs = Dataset.from_dict(LONG)
    with pytest.raises(ValueError, match="on_long must be"):
        encode_pairs(pairs, tokenizer, on_long="ignore")
    with pytest.raises(ValueError, match="max_target_length must be at least 2"):
        encode_pairs(pairs, tokenizer, max_target_length=1)
    with pytest.raises(DataError, match="no pair is left of 2: 2 x target too long"):
        encode_pairs(pairs.select([2, 3]), tokenizer, max_target_length=2, on_long="skip")


def test_references_of_a_source_are_grouped_wherever_they_stand():
    pairs = Dataset.from_dict({"source": ["a", "b", "a", "a"], "target": ["x", "y", "z", "x"]})
    rows = group_references(pairs).to_list()
    assert rows == [
        {"source": "a", "target": "x", "references": ["x", "z"]},
        {"source": "b", "target": "y", "references": ["y"]},
    ]


def test_pair_lengths_follow_the_order_of_the_rows(tokenizer):
    encoded = encode_pairs(Dataset.from_dict(LONG), tokenizer)
    assert pair_lengths(encoded) == [2, 4, 5, 6]
    assert pair_lengths(encoded.select([3, 0])) == [6, 2]


LENGTHS = np.random.default_rng(0).integers(2, 40, size=500).tolist()


def test_batches_by_hand():
    # sorted 2 3 3 4 6: 2+3 rows up to length 3 take 9 tokens, a fourth of length 4 would take 16
    batches = list(TokenBatchSampler([6, 3, 2, 4, 3], tokens_per_batch=10))
    assert sorted(map(sorted, batches)) == [[0], [1, 2, 4], [3]]


@pytest.mark.parametrize("tokens_per_batch", [39, 100, 1000, 10**6])
def test_batches_hold_every_row_once_within_the_limit(tokens_per_batch):
    sampler = TokenBatchSampler(LENGTHS, tokens_per_batch)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(500))
        assert max(len(batch) * max(LENGTHS[index] for index in batch) for batch in batches) <= tokens_per_batch
        assert len(batches) == len(sampler), "the trainer asks for the length once and relies on it in all epochs"


def test_batches_waste_little_padding():
    batches = list(TokenBatchSampler(LENGTHS, 400))
    padded = sum(len(batch) * max(LENGTHS[index] for index in batch) for batch in batches)
    in_order = [range(start, start + 20) for start in range(0, 500, 20)]
    padded_in_order = sum(20 * max(LENGTHS[index] for index in batch) for batch in in_order)
    assert sum(LENGTHS) / padded > 0.9 > 0.7 > sum(LENGTHS) / padded_in_order


def test_order_depends_on_seed_and_epoch_alone():
    def batches(seed, epoch):
        sampler = TokenBatchSampler(LENGTHS, 200, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(1, 0) == batches(1, 0)
    different = [batches(1, 0), batches(1, 1), batches(2, 0)]
    assert all(first != second for first, second in zip(different, different[1:] + different[:1], strict=True))
    as_sets = [{frozenset(batch) for batch in epoch} for epoch in different]
    assert as_sets[0] != as_sets[1], "an epoch has other batches, not only the same in another order"
    short_first = [np.mean([LENGTHS[index] for index in batch]) for batch in batches(1, 0)]
    assert short_first != sorted(short_first), "short sentences do not all come first"


def test_a_row_longer_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="row 1 has 11 tokens, more than tokens_per_batch=10"):
        TokenBatchSampler([3, 11, 4], 10)
    with pytest.raises(ValueError, match="at least one row"):
        TokenBatchSampler([], 10)


@pytest.mark.parametrize("tokens_per_batch", [200, 220])
def test_two_processes_share_the_batches(tokens_per_batch):
    sampler = TokenBatchSampler(LENGTHS, tokens_per_batch, seed=3)
    shards = [BatchSamplerShard(sampler, 2, process) for process in (0, 1)]
    batches = [list(shard) for shard in shards]
    assert len(batches[0]) == len(batches[1]) == len(shards[0]) == len(shards[1]) == (len(sampler) + 1) // 2
    in_turns = [batch for turn in zip(*batches, strict=True) for batch in turn]
    whole = list(sampler)
    assert in_turns == whole + whole[: len(in_turns) - len(whole)], "an odd last turn is filled from the beginning"


def test_two_processes_cover_even_and_odd_numbers_of_batches():
    assert {len(TokenBatchSampler(LENGTHS, tokens)) % 2 for tokens in (200, 220)} == {0, 1}


def test_loader_passes_epochs_on_and_resumes_in_the_middle():
    sampler = TokenBatchSampler(LENGTHS, 200)
    loader = Accelerator(cpu=True).prepare(DataLoader(list(range(500)), batch_sampler=sampler))
    epochs = [[batch.tolist() for batch in loader] for _ in range(2)]
    expected = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        expected.append(list(sampler))
    assert epochs == expected
    assert epochs[0] != epochs[1]
    sampler.set_epoch(1)
    rest = skip_first_batches(loader, 5)
    assert len(rest) == len(sampler) - 5
    assert [batch.tolist() for batch in rest] == expected[1][5:]


@pytest.mark.parametrize(
    ("name", "separator", "columns"),
    [("x.tsv", "\t", (1, 3, 2)), ("x.csv", ",", (1, 3, 2)), ("x.tsv", "\t", ("lemma", "form", "tags"))],
)
def test_tags_stand_before_the_source(tmp_path, name, separator, columns):
    header = [["lemma", "tags", "form"]] if isinstance(columns[0], str) else []
    rows = [*header, ["gān", "V; PST;;", "ēode"], ["on", "", "on"]]
    write_text(tmp_path / name, "".join(separator.join(row) + "\n" for row in rows))
    options = dict(zip(("source_column", "target_column", "features_column"), columns, strict=True))
    pairs = read_pairs(tmp_path / name, **options)
    assert texts(pairs) == [("[V][PST]gān", "ēode"), ("on", "on")]
    assert pairs["features"] == [["[V]", "[PST]"], []]


def test_tags_of_records(tmp_path):
    write_text(tmp_path / "x.jsonl", '{"source": "a", "target": "b", "tags": "N|PL"}\n{"source": "c", "target": "d"}\n')
    options = {"features_column": "tags", "features_separator": "|", "on_bad_rows": "skip"}
    assert texts(read_pairs(tmp_path / "x.jsonl", **options)) == [("[N][PL]a", "b")]


def test_tags_of_another_type_are_refused(tmp_path):
    write_text(tmp_path / "x.jsonl", '{"source": "a", "target": "b", "tags": 3}\n')
    with pytest.raises(DataError, match="line 1: features is not text but int"):
        read_pairs(tmp_path / "x.jsonl", features_column="tags")


def test_broken_utf8_in_the_name_of_a_parquet_column(tmp_path):
    write_parquet(tmp_path / "x.parquet", PAIRS)
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content.replace(b"source", b"sour\xffe"))
    with pytest.raises(DataError, match="not a Parquet file, or a damaged one"):
        read_pairs(tmp_path / "x.parquet")
