# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Training pairs as they are not found in a corpus: with placeholders, in capitals, in small letters, joined.

This file knows pairs of texts. It does not know where they come from and what is done with them.
"""

import random
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import Annotated, Any

from datasets import IterableDataset
from pydantic import Field

from .data import build_dataset
from .model.placeholders_rnn_attn import KINDS, Placeholders


Share = Annotated[float, Field(ge=0, le=1)]

# words of a pair that is joined with others
SHORT_PAIR = 8
# a name that is copied so often is known to the model
OFTEN_COPIED = 20
# of the pairs with known names, the share in which they are placeholders: elsewhere there are few to learn from
NAMES_SHARE = 0.2


def vary_pairs(
    pairs: Any,
    *,
    uppercase: Share = 0.0,
    lowercase: Share = 0.0,
    joined: Share = 0.0,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Any:
    """Returns pairs with varied copies among them.

    Args:
        pairs (`Dataset` or `IterableDataset`): string columns "source", "target" and "place".
        uppercase (`float`, *optional*): of this share of the pairs there is also a copy in capitals.
        lowercase (`float`, *optional*): the same with the source alone in small letters.
        joined (`float`, *optional*): of this share of the short pairs there is also a copy behind the short pair before
            it, or the two before it.
        seed (`int`, *optional*, defaults to 0): which pairs these are.

    Returns:
        `Dataset` or `IterableDataset`, as came in.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from hf_rnn_attn.variation import vary_pairs
    >>> pairs = Dataset.from_list([{"source": "Hallo!", "target": "Hello!", "place": "row 0"}])
    >>> vary_pairs(pairs, uppercase=1.0)["target"][:]
    ['Hello!', 'HELLO!']

    ```
    """
    options = {"pairs": pairs, "uppercase": uppercase, "lowercase": lowercase, "joined": joined, "seed": seed}
    return build_dataset(_varied, options, pairs.features, isinstance(pairs, IterableDataset))


def _varied(pairs: Any, uppercase: float, lowercase: float, joined: float, seed: int) -> Iterator[dict[str, Any]]:
    chosen, before = random.Random(seed), deque(maxlen=2)
    for pair in pairs:
        yield pair
        # drawn for every pair, so that one share does not change what another chooses
        draws = [chosen.random() for _ in range(4)]
        if draws[0] < uppercase:
            yield {**pair, "source": pair["source"].upper(), "target": pair["target"].upper()}
        if draws[1] < lowercase and not pair["source"].islower():
            yield {**pair, "source": pair["source"].lower()}
        if max(len(pair[side].split()) for side in ("source", "target")) > SHORT_PAIR:
            continue
        if draws[2] < joined and before:
            parts = [*list(before)[-1 if draws[3] < 0.5 else -2 :], pair]
            yield {**pair, **{side: " ".join(part[side] for part in parts) for side in ("source", "target")}}
        before.append(pair)


def known_words(pairs: Any) -> set[str]:
    """Returns the words of the sources, in small letters, but those that are always copied and rarely come."""
    words, copied = set(), Counter()
    for pair in pairs:
        others = set(re.findall(KINDS["name"], pair["target"]))
        for word in re.findall(KINDS["name"], pair["source"]):
            if word[0].isupper() and word in others:
                copied[word.lower()] += 1
            else:
                words.add(word.lower())
    return words | {word for word, count in copied.items() if count >= OFTEN_COPIED}


def mask_pairs(pairs: Any, placeholders: Placeholders, seed: int = 0) -> Any:
    """Returns pairs with placeholders for the pieces that both sides hold; a share of those with known names too."""
    options = {"pairs": pairs, "placeholders": placeholders, "seed": seed}
    return build_dataset(_masked, options, pairs.features, isinstance(pairs, IterableDataset))


def _masked(pairs: Any, placeholders: Placeholders, seed: int) -> Iterator[dict[str, Any]]:
    chosen = random.Random(seed)
    for pair in pairs:
        source, target = placeholders.mask_pair(pair["source"], pair["target"], chosen.random() < NAMES_SHARE)
        yield {**pair, "source": source, "target": target}
