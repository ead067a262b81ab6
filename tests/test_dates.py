# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the date corpus: every written form has one reading, the splits share no date, the text is clean."""

import sys
import unicodedata
from datetime import date, timedelta

import pytest

from hf_rnn_attn.demo.dates import DAYS, LETTER_CASES, LOCALES, date_pairs, date_patterns, date_splits, write_date


@pytest.mark.parametrize(
    ("locale", "pattern", "text"),
    [
        ("de", "EEEE, d. MMMM y", "Montag, 3. März 2042"),
        ("en_US", "MMM d, y", "Mar 3, 2042"),
        ("ja", "y年M月d日EEEE", "2042年3月3日月曜日"),
        ("ko", "y년 MMM d일 (E)", "2042년 3월 3일 (월)"),
        ("vi", "EEEE, d MMMM, y", "Thứ Hai, 3 tháng 3, 2042"),
    ],
)
def test_a_date_is_written_as_its_locale_does(locale, pattern, text):
    assert pattern in date_patterns(locale)
    assert write_date(date(2042, 3, 3), pattern, locale) == text


def test_white_space_of_the_locale_data_becomes_plain():
    russian = next(pattern for pattern in date_patterns("ru") if "\u202f" in pattern)
    assert "\u202f" not in write_date(date(2042, 3, 3), russian, "ru")


def test_patterns_that_read_differently_elsewhere_are_left_out():
    assert not {"M/d/y", "E, M/d/y"} & set(date_patterns("en_US"))
    assert not {"dd/MM/y", "E, dd/MM/y"} & set(date_patterns("en_GB"))
    assert "d-M-y" not in date_patterns("nl")
    assert {"d.M.y", "dd.MM.y"} <= set(date_patterns("de"))
    assert {"y/M/d", "y/MM/dd"} <= set(date_patterns("ja"))


def test_no_written_form_has_two_readings():
    """Exhaustive over languages, patterns and letter cases, for every day of a leap year."""
    readings = {}
    for offset in range(366):
        day = date(2044, 1, 1) + timedelta(days=offset)
        for locale in LOCALES:
            for pattern in date_patterns(locale):
                text = write_date(day, pattern, locale)
                for letter_case in LETTER_CASES:
                    readings.setdefault(letter_case(text), set()).add(day)
    assert {text: days for text, days in readings.items() if len(days) > 1} == {}


def test_every_form_names_the_whole_year():
    """So what holds for the days of one year holds for all the others."""
    for locale in LOCALES:
        for pattern in date_patterns(locale):
            assert "1907" in write_date(date(1907, 8, 9), pattern, locale)


def test_pairs_are_unique_clean_and_in_iso_8601():
    pairs = date_pairs(5000, seed=1)
    sources = [source for source, _ in pairs]
    assert len(pairs) == len(set(sources)) == 5000
    for source, target in pairs:
        assert date.fromisoformat(target).isoformat() == target
        assert source == unicodedata.normalize("NFC", " ".join(source.split()))
        assert source.isprintable()


def test_the_seed_alone_decides():
    assert date_pairs(50, seed=3) == date_pairs(50, seed=3)
    assert date_pairs(50, seed=3) != date_pairs(50, seed=4)


def test_every_script_and_letter_case_occurs():
    text = "\n".join(source for source, _ in date_pairs(5000))
    for sample in ("년", "年", "tháng", " г.", "września", "SEPTEMBER", "september", "September"):
        assert sample in text


def test_splits_share_no_date():
    splits = date_splits(train=400, validation=30, test=20, seed=5)
    assert {name: split.num_rows for name, split in splits.items()} == {"train": 400, "validation": 30, "test": 20}
    assert splits["train"].column_names == ["source", "target"]
    dates = [target for split in splits.values() for target in split["target"]]
    assert len(set(dates)) == 450


def test_splits_can_be_empty():
    assert date_splits(train=2, validation=0, test=1)["validation"].num_rows == 0


@pytest.mark.parametrize("count", [-1, len(DAYS) + 1])
def test_a_count_beyond_the_calendar_is_an_error(count):
    with pytest.raises(ValueError, match=rf"from 0 to 73049.*got {count}"):
        date_pairs(count)


def test_a_negative_split_is_an_error():
    with pytest.raises(ValueError, match="'test': -1"):
        date_splits(train=10, validation=1, test=-1)


def test_absent_babel_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel.dates", None)
    with pytest.raises(ImportError, match=r'pip install "hf_rnn_attn\[demo\]"'):
        date_pairs(1)
