# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The embedded corpus of the demo: dates as people write them, and the same dates in ISO 8601.

The written forms come from the Unicode locale data (CLDR) in Babel, so no file has to be shipped or downloaded. This
file knows nothing of tokenizers, models or training.
"""

import random
import re
import unicodedata
from datetime import date

from datasets import Dataset, DatasetDict


LOCALES = ["cs", "de", "en_GB", "en_US", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "uk", "vi", "zh"]
STYLES = ("full", "long", "medium")
SKELETONS = ("yMMMd", "yMMMEd", "yMMMMd", "yMMMMEd", "yMd", "yMEd")
# written as the locale has it in half of all cases
LETTER_CASES = (str, str, str.lower, str.upper)

FIRST_DAY = date(1900, 1, 1)
LAST_DAY = date(2099, 12, 31)
DAYS = range(FIRST_DAY.toordinal(), LAST_DAY.toordinal() + 1)


def _babel():
    try:
        import babel.dates
    except ImportError as error:
        raise ImportError('The date corpus needs Babel. Install it with: pip install "hf_rnn_attn[demo]"') from error
    return babel


def date_patterns(locale: str) -> list[str]:
    """The CLDR patterns in which people of a locale write a whole date, e.g. `"EEEE, d. MMMM y"`.

    Left out are the patterns that read differently elsewhere: 03/04/2042 and 03-04-2042 are March or April. Numbers
    that begin with the year (2042/03/04) or stand between dots (04.03.2042) have one reading in all of `LOCALES`, and
    stay.
    """
    data = _babel().Locale.parse(locale)
    patterns = [data.date_formats[style].pattern for style in STYLES]
    patterns += [data.datetime_skeletons[name].pattern for name in SKELETONS if name in data.datetime_skeletons]
    year_after_slash_or_hyphen = re.compile(r"[dM][/-]y")
    return [pattern for pattern in dict.fromkeys(patterns) if not year_after_slash_or_hyphen.search(pattern)]


def write_date(day: date, pattern: str, locale: str) -> str:
    """Writes a date in a CLDR pattern, in Unicode form NFC, with plain spaces for narrow and unbreakable ones."""
    text = _babel().dates.format_date(day, pattern, locale=locale)
    return " ".join(unicodedata.normalize("NFC", text).split())


def date_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Draws `count` pairs such as `("Montag, 3. März 2042", "2042-03-03")`.

    Every pair has a calendar date of its own, from 1900-01-01 to 2099-12-31. Language, pattern and letter case are
    drawn at random. No written form has two readings, so no source occurs twice either. The same count and seed give
    the same pairs, as long as Babel's version stays the same: CLDR changes over the years.

    Raises:
        ValueError: if `count` is negative or exceeds the 73,049 days of these two centuries.
        ImportError: if Babel is absent.
    """
    if not 0 <= count <= len(DAYS):
        raise ValueError(f"Expected a count from 0 to {len(DAYS)}, one pair for a day of 1900-2099, but got {count}.")
    patterns = {locale: date_patterns(locale) for locale in LOCALES}
    generator = random.Random(seed)
    pairs = []
    for ordinal in generator.sample(DAYS, count):
        day = date.fromordinal(ordinal)
        locale = generator.choice(LOCALES)
        text = write_date(day, generator.choice(patterns[locale]), locale)
        pairs.append((generator.choice(LETTER_CASES)(text), day.isoformat()))
    return pairs


def date_splits(train: int, validation: int, test: int, seed: int = 0) -> DatasetDict:
    """A `DatasetDict` with the splits `train`, `validation`, `test` and the string columns `source` and `target`.

    No date of one split occurs in another, in whatever language: no model has seen the answer to a held-out pair.

    Raises:
        ValueError: if a size is negative or all together exceed the 73,049 days of 1900-2099.
        ImportError: if Babel is absent.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    if min(sizes.values()) < 0:
        raise ValueError(f"Expected sizes of zero or more, but got {sizes}.")
    pairs = iter(date_pairs(sum(sizes.values()), seed))
    splits = DatasetDict()
    for name, size in sizes.items():
        rows = [next(pairs) for _ in range(size)]
        columns = {"source": [source for source, _ in rows], "target": [target for _, target in rows]}
        splits[name] = Dataset.from_dict(columns)
    return splits
