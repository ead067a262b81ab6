# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Puts a finished run into the package, its weights in 16 bits, and its card into model_cards/:

python scripts/bundle.py runs/tatoeba_de_en tatoeba-de-en --languages de en

With the command that makes the weights, the card alone:

python scripts/bundle.py runs/cmudict cmudict --command "hf-rnn-attn train scripts/recipes/cmudict.yaml" \
    --sentences ATTENTION RECURRENT
"""

import argparse
import json
from pathlib import Path

from hf_rnn_attn import hub


ROOT = Path(__file__).parents[1]
TATOEBA = """Pairs of everyday sentences from [Tatoeba](https://tatoeba.org), in the selection of
[ManyThings.org](https://www.manythings.org/anki/), under CC BY 2.0 (France), with thanks to their authors. No sentence
of the validation or test set, on either side, occurs in the training set.

The sentences are short and simple: the model knows everyday language, seldom sees more than twenty words at a time, and
is at a loss with names, numbers and the vocabulary of special fields. It translates one sentence at a time."""
MULTI30K = """Captions of photographs from [Multi30k](https://github.com/multi30k/dataset) (Elliott et al. 2016; French:
Elliott et al. 2017), which states no licence: the model is for comparison with published scores and for nothing else.

It has seen one-sentence descriptions of pictures, in the present tense, of people and animals in their surroundings;
whatever else it is given, it turns into one."""
DISTILLED = """

Beside the pairs of the data, the training set holds pairs in which one side is another model's translation of the
other."""
CMUDICT = """English words and names with their pronunciations in ARPAbet without stress, from the
[CMU Pronouncing Dictionary](http://www.speech.cs.cmu.edu/cgi-bin/cmudict), copyright Carnegie Mellon University, under
its licence of the BSD kind, in the division g014b2b.

A pronunciation is guessed from the spelling alone; of words that are spoken in several ways, the model gives one."""
LOANWORDS = """Foreign words and names with their spelling in Hangul, from data of the National Institute of Korean
Language in a collection under Apache-2.0.

The language that a word comes from, which the rules of transcription depend on, is not told to the model."""
# by the folder of the training data: its licence, and what it is
DATA = {
    "tatoeba-de": ("cc-by-2.0", TATOEBA),
    "multi30k": ("unknown", MULTI30K),
    "tok": ("unknown", MULTI30K),
    "cmudict": ("bsd-2-clause", CMUDICT),
    "ko-loanwords": ("apache-2.0", LOANWORDS),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run of a recipe in scripts/recipes/")
    parser.add_argument("name", help="name of the checkpoint's folder and of the card's")
    parser.add_argument("--languages", nargs=2, help="codes of source and target language")
    parser.add_argument("--command", help="what makes the weights; they stay out of the package")
    parser.add_argument(
        "--sentences", nargs="+", default=(), help="what to show translations of; default: the first of the test set"
    )
    arguments = parser.parse_args()
    results = json.loads((Path(arguments.run) / hub.RESULTS_FILE).read_text(encoding="utf-8"))
    train = results["recipe"]["data"]["train"]
    first = train[0] if isinstance(train, list) else train
    license, data = DATA[Path(first["source"] if isinstance(first, dict) else first).parent.name]
    data += DISTILLED if isinstance(train, list) else ""
    about = hub.About(license, data, arguments.languages)
    card = ROOT / "model_cards" / arguments.name
    if arguments.command:
        hub.write_card(arguments.run, card, about, command=arguments.command, sentences=arguments.sentences)
    else:
        hub.bundle(arguments.run, ROOT / "hf_rnn_attn" / "checkpoints" / arguments.name, card, about)


if __name__ == "__main__":
    main()
