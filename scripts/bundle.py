# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Puts a finished run into the package, its weights in 16 bits, and its card into model_cards/.

python scripts/bundle.py runs/tatoeba_de_en tatoeba-de-en de en
"""

import argparse
from pathlib import Path

from hf_rnn_attn import hub


ROOT = Path(__file__).parents[1]
DATA = """Pairs of everyday sentences from [Tatoeba](https://tatoeba.org), in the selection of
[ManyThings.org](https://www.manythings.org/anki/), under CC BY 2.0 (France), with thanks to their authors. No sentence
of the validation or test set, on either side, occurs in the training set.

The sentences are short and simple: the model knows everyday language, seldom sees more than twenty words at a time, and
is at a loss with names, numbers and the vocabulary of special fields. It translates one sentence at a time."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run on Tatoeba")
    parser.add_argument("name", help="name of the checkpoint's folder and of the card's")
    parser.add_argument("languages", nargs=2, help="codes of source and target language")
    arguments = parser.parse_args()
    checkpoint = ROOT / "hf_rnn_attn" / "checkpoints" / arguments.name
    card = ROOT / "model_cards" / arguments.name
    hub.bundle(arguments.run, checkpoint, card, license="cc-by-2.0", data=DATA, languages=arguments.languages)


if __name__ == "__main__":
    main()
