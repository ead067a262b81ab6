# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Alignments by hand: from subwords to words, Pharaoh format, error rate, forced decoding."""

import numpy as np
import pytest
import torch
from small_models import make_model

from hf_rnn_attn.alignment import (
    AlignmentErrorRate,
    align,
    format_links,
    intersect,
    learn_dictionary,
    links_of,
    parse_links,
    word_attention,
)
from hf_rnn_attn.tokenization import train_tokenizer


def test_subwords_become_words():
    # "das Haus </s>" in tokens das | Ha | us | </s>; "the house </s>" in the | hou | se | </s>
    attention = np.array([[0.6, 0.3, 0.1, 0.0], [0.2, 0.1, 0.3, 0.4], [0.4, 0.5, 0.1, 0.0], [0.0, 0.0, 0.0, 1.0]])
    source_spans, target_spans = [(0, 3), (3, 6), (6, 8), (0, 0)], [(0, 3), (4, 7), (7, 9), (0, 0)]
    words = word_attention(attention, source_spans, "das Haus", target_spans, "the house")
    assert words == pytest.approx(np.array([[0.6, 0.4], [0.3, 0.5]]))
    assert links_of(words) == {(0, 0), (1, 1)}


def test_nothing_to_look_at_gives_no_links():
    assert links_of(word_attention(np.ones((2, 1)), [(0, 0)], "", [(0, 3), (0, 0)], "the")) == set()


def test_pharaoh_format():
    assert format_links({(10, 2), (0, 1), (1, 0)}) == "0-1 1-0 10-2"
    assert parse_links("0-1 2p3\n") == ({(0, 1)}, {(0, 1), (2, 3)})
    for wrong in ("0", "0-", "a-b", "0-1-2", "0:1"):
        with pytest.raises(ValueError, match="expected links such as"):
            parse_links(wrong)


def test_alignment_error_rate():
    # A = 4 links, S = 4, A and S = 2, A and P = 3 over both sentences
    result = AlignmentErrorRate().compute(predictions=["0-0 1-2", "0-1 1-1"], references=["0-0 1p2 2-1", "0-1 3-3 2p2"])
    assert result == pytest.approx({"score": 100 * (1 - 5 / 8), "precision": 75.0, "recall": 50.0})
    assert AlignmentErrorRate().compute(predictions=["0-0 1-1"], references=["0-0 1-1"])["score"] == 0
    with pytest.raises(ValueError, match="at least one"):
        AlignmentErrorRate().compute(predictions=[""], references=["0-0"])


class Diagonal(torch.nn.Module):
    """A model whose word t looks at word t of the source, counted from the right where `mirrored`."""

    device = torch.device("cpu")

    def __init__(self, mirrored):
        super().__init__()
        self.mirrored = mirrored

    def forward(self, input_ids, attention_mask, labels, output_attentions):
        attention = torch.zeros(len(labels), 1, labels.shape[1], input_ids.shape[1])
        for row, length in enumerate(attention_mask.sum(-1).tolist()):
            for place in range(min(length, labels.shape[1])):
                attention[row, 0, place, length - 2 - place if self.mirrored and place < length - 1 else place] = 1
        return type("Output", (), {"cross_attentions": (attention,)})


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize(("mirrored", "expected"), [(False, ["0-0 1-1 2-2", "0-0"]), (True, ["0-2 1-1 2-0", "0-0"])])
def test_pairs_are_aligned_by_what_was_looked_at(joint, mirrored, expected):
    sources, targets = ["der Hund schläft", "Katze"], ["the  dog sleeps", "cat"]
    tokenizer = train_tokenizer(sources, targets, kind="word", joint=joint)
    found = align(Diagonal(mirrored), tokenizer, sources, targets, batch_size=2)
    assert [format_links(links) for links in found] == expected


def test_a_dictionary_holds_the_most_frequent_links():
    sources, targets = ["ein hund", "hund da", "da"], ["a dog", "dog", "there here"]
    links = [{(0, 0), (1, 1)}, {(0, 0), (1, 0)}, {(0, 0), (0, 1)}]
    # of da's three, each linked once, the first in the alphabet
    assert learn_dictionary(sources, targets, links) == {"da": "dog", "ein": "a", "hund": "dog"}
    assert list(learn_dictionary(["b a"], ["x y"], [{(0, 0), (1, 1)}])) == ["a", "b"]


def test_both_directions_agree():
    forward, backward = [{(0, 0), (1, 2)}, {(3, 0)}], [{(0, 0), (2, 1), (1, 1)}, set()]
    assert list(intersect(forward, backward)) == [{(0, 0), (1, 2)}, set()]


def test_a_model_aligns_a_pair_alike_alone_and_in_company():
    sources, targets = ["der Hund schläft tief", "Katze"], ["the dog sleeps", "a cat naps"]
    tokenizer = train_tokenizer(sources, targets, kind="char", joint=False)
    model = make_model(vocab_size=len(tokenizer), decoder_vocab_size=tokenizer.target_vocab_size)
    together = list(align(model, tokenizer, sources, targets))
    assert together == list(align(model, tokenizer, sources, targets, batch_size=1))
    assert [len(links) for links in together] == [3, 3] and together[1] == {(0, 0), (0, 1), (0, 2)}


def test_what_cannot_be_aligned_is_refused():
    tokenizer = train_tokenizer(["a"], ["b"], kind="word")
    with pytest.raises(ValueError, match="as many targets as sources, got 2 and 1"):
        list(align(make_model(), tokenizer, ["a"], ["b", "b"]))
    with pytest.raises(ValueError, match="returned none"):
        list(align(make_model(attention_score="none"), tokenizer, ["a"], ["b"]))
