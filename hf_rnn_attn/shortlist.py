# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The vocabulary shortlist: the few target tokens that the translation of a sentence may need, given its tokens.

Holds the list, its file, and how it is learned from what a model looks at in sentence pairs. It does not know how a
model leaves the other tokens out.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from .alignment import encode_pairs, forced_attention


SHORTLIST_NAME = "shortlist.safetensors"


class Shortlist:
    """Target tokens for each source token, and some for every sentence (Jean et al. 2015, section 3.3).

    Args:
        table (`torch.Tensor` of shape `(source vocabulary, per_word)`): the target tokens of each source token, the
            most frequent first; a shorter list is filled up with a token of `always`.
        always (`torch.Tensor` of shape `(N,)`): the tokens of every sentence, first the special ones, then the others,
            the most frequent first.

    Example:

    ```python
    >>> translator = pipeline("translation", model=folder, shortlist=Shortlist.load(folder))
    ```
    """

    def __init__(self, table: torch.Tensor, always: torch.Tensor):
        self.table, self.always = table, always

    def words(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor) -> torch.LongTensor:
        """The target tokens for a batch.

        Args:
            input_ids, attention_mask (`torch.LongTensor` of shape `(B, S)`): the tokens, and 1 where they count.

        Returns:
            `torch.LongTensor` of shape `(K,)`: sorted, each once.

        Raises:
            ValueError: for a token that the list has no row for.
        """
        tokens = input_ids[attention_mask.bool()].unique().cpu()
        if tokens.numel() and tokens[-1] >= len(self.table):
            raise ValueError(
                f"expected source tokens below {len(self.table)}, got {tokens[-1]}; the shortlist is that of another "
                "model. Learn one with this model."
            )
        return torch.cat([self.always, self.table[tokens].flatten()]).unique().long()

    def save(self, folder: str | Path):
        """Writes `shortlist.safetensors` into a folder, which is that of a checkpoint as a rule."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file({"table": self.table, "always": self.always}, Path(folder) / SHORTLIST_NAME)

    @classmethod
    def load(cls, name: str | Path) -> "Shortlist":
        """Returns the shortlist of a checkpoint, a folder or Hub id.

        Raises:
            OSError: where there is none.
        """
        if Path(name).is_dir() and not (Path(name) / SHORTLIST_NAME).is_file():
            raise FileNotFoundError(f"no {SHORTLIST_NAME} in {name}; `hf-rnn-attn shortlist` learns one")
        return cls(**load_file(cached_file(name, SHORTLIST_NAME)))


def learn_shortlist(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    targets: Sequence[str],
    per_word: int = 100,
    always: int = 1000,
    batch_size: int = 32,
) -> Shortlist:
    """Learns which target tokens a source token becomes, by forced decoding of sentence pairs.

    1. Each target token counts for the source token that the model looked at most when it was made to say it.
    2. Each source token keeps the `per_word` target tokens that were counted most often.
    3. The `always` most frequent target tokens and the special ones come to every list.

    Args:
        model (`PreTrainedModel`): any encoder-decoder that returns cross attentions.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        sources, targets (`Sequence[str]`): the pairs, in the same order: some of the training data, or sentences like
            those to be translated with the model's own translations.
        per_word, always (`int`, *optional*, default to 100 and 1000): see above.
        batch_size (`int`, *optional*, defaults to 32): pairs at a time.

    Raises:
        ValueError: for different numbers of sources and targets, none of them, or a model without attention.
    """
    if len(sources) != len(targets) or not len(sources):
        raise ValueError(f"expected sources and as many targets, got {len(sources)} and {len(targets)}")
    links = torch.cat(
        [
            _link_tokens(model, tokenizer, sources[start : start + batch_size], targets[start : start + batch_size])
            for start in range(0, len(sources), batch_size)
        ]
    )
    special = getattr(tokenizer, "target_tokenizer", tokenizer).all_special_ids
    # each once, in this order
    everywhere = torch.tensor(list(dict.fromkeys(special + _most_frequent(links[:, 1], always))))
    table = everywhere.new_full((model.config.vocab_size, per_word), everywhere[0])
    source, rank, target = _rank_targets(links)
    kept = rank < per_word
    table[source[kept], rank[kept]] = target[kept]
    return Shortlist(table.int(), everywhere.int())


def _link_tokens(model, tokenizer, sources, targets) -> torch.LongTensor:
    """Pairs (N, 2) of a source token and a target token that looked at it."""
    source, target = encode_pairs(tokenizer, sources, targets)
    looked_at = forced_attention(model, source, target).argmax(-1)  # (B, T)
    links = torch.stack([source["input_ids"].gather(1, looked_at), target["input_ids"]], -1)
    return links[target["attention_mask"].bool()]


def _most_frequent(tokens: torch.LongTensor, count: int) -> list[int]:
    words, counts = tokens.unique(return_counts=True)
    return words[counts.argsort(descending=True, stable=True)[:count]].tolist()


def _rank_targets(links: torch.LongTensor) -> tuple[torch.LongTensor, torch.LongTensor, torch.LongTensor]:
    """Of each different link: source token, rank of the target token among those of the source token, target token."""
    pairs, counts = links.unique(dim=0, return_counts=True)
    pairs = pairs[counts.argsort(descending=True, stable=True)]
    pairs = pairs[pairs[:, 0].argsort(stable=True)]
    source, target = pairs.unbind(1)
    first = torch.searchsorted(source.contiguous(), source.contiguous())
    return source, torch.arange(len(pairs)) - first, target
