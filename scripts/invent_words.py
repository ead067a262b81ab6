"""
Invents words in the spelling of a list of words: samples of its letter model of order 4, in which each letter follows
the four before it as often as it does in the list. For training with a model's labels on more words than there are.

    python scripts/invent_words.py train.tsv 150000 --without dev.tsv > invented.letters
"""

import argparse
import random
from collections import defaultdict
from pathlib import Path


ORDER = 4
START, END = "\x02", "\x03"
LONGEST = 20  # letters


def read_words(path: Path) -> set[str]:
    """The first column of a TSV file."""
    return {line.split("\t")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()}


def invent_words(words: set[str], count: int, without: set[str], seed: int = 1) -> list[str]:
    """`count` different words of up to 20 letters, none of them in `words` or `without`.

    Raises:
        ValueError: if the spelling of `words` allows hardly a further word: a thousand samples without a new one.
    """
    followers = defaultdict(list)
    for word in sorted(words):
        letters = START * ORDER + word + END
        for i in range(ORDER, len(letters)):
            followers[letters[i - ORDER : i]].append(letters[i])
    sampler = random.Random(seed)
    known, invented = words | without, {}
    samples_in_vain = 0
    while len(invented) < count:
        letters = START * ORDER
        while not letters.endswith(END):
            letters += sampler.choice(followers[letters[-ORDER:]])
        word = letters[ORDER:-1]
        samples_in_vain += 1
        if len(word) <= LONGEST and word not in known and word not in invented:
            invented[word] = None
            samples_in_vain = 0
        elif samples_in_vain == 1000:
            raise ValueError(
                f"count: expected {count} words, but after {len(invented)} a thousand samples had no new one; ask for "
                "fewer or give more words"
            )
    return list(invented)


def main():
    parser = argparse.ArgumentParser(description="Invents words in the spelling of a list of words.")
    parser.add_argument("words", type=Path, help="TSV file with the words in its first column")
    parser.add_argument("count", type=int, help="how many words to invent")
    parser.add_argument("--without", type=Path, nargs="*", default=[], help="TSV files with words that must not come")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    without = set().union(*map(read_words, arguments.without))
    print("\n".join(invent_words(read_words(arguments.words), arguments.count, without, arguments.seed)))


if __name__ == "__main__":
    main()
