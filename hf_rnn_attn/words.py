# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""From tokens to words, in numpy."""

from collections.abc import Sequence

import numpy as np


def word_attention(
    attention: np.ndarray, source_spans: Sequence[tuple[int, int]], source: str, target_spans, target: str
) -> np.ndarray:
    """Turns attention between tokens into attention between words.

    Columns of the tokens of one source word are added, rows of the tokens of one target word are averaged (Garg et al.
    2019, section 5). Tokens without text, such as the end of the sentence, are left out.

    Args:
        attention (`np.ndarray` of shape `(T, S)`): row t generated target token t.
        source_spans, target_spans (`Sequence[tuple[int, int]]`): where each token begins and ends in its text.
        source, target (`str`): the texts.

    Returns:
        `np.ndarray` of shape `(target words, source words)`.
    """
    source_share = _tokens_of_words(source_spans, source)
    target_share = _tokens_of_words(target_spans, target)
    target_share /= np.maximum(target_share.sum(1, keepdims=True), 1)
    return target_share @ attention @ source_share.T


def _tokens_of_words(spans, text: str) -> np.ndarray:
    """Returns a matrix (words, tokens) that is 1 where a token has a character of the word."""
    # a number for each character: the word that it belongs to, or -1 between words
    words, count = [], 0
    for index, character in enumerate(text):
        count += not character.isspace() and (index == 0 or text[index - 1].isspace())
        words.append(-1 if character.isspace() else count - 1)
    shares = np.zeros((count, len(spans)))
    for token, (start, end) in enumerate(spans):
        for word in set(words[start:end]) - {-1}:
            shares[word, token] = 1
    return shares
