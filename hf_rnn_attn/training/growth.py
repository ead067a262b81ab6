# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A vocabulary that grows: what a checkpoint reads as `<unk>` in new pairs gets tokens, and rows in the model.

The ids and the weights of the old tokens stay as they are. Knows nothing of the training that follows.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..model.checkpoint_rnn_attn import load_tokenizer
from ..model.configuration_rnn_attn import ONE_VOCABULARY_OPTIONS
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.pipeline_rnn_attn import sides_of
from ..model.tokenization_rnn_attn import TARGET_TOKENIZER_FILE
from ..tokenization import SYMBOL_PATTERN, feature_tokens, tokenizer_settings


logger = logging.getLogger(__name__)

TOKENIZER_FILE = "tokenizer.json"
TOKENS_SHOWN = 10


def grow_tokenizer(
    tokenizer: PreTrainedTokenizerBase, pairs: Any, folder: Path, *, every_kind: bool
) -> PreTrainedTokenizerBase:
    """Returns a tokenizer that knows the pairs: new tokens, the most frequent first, follow the old ones.

    Tags of `features_column` become tokens in any case.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer of a checkpoint.
        pairs (`Dataset` or `IterableDataset`): String columns "source" and "target", and "features" where rows have
            tags; a stream is read once for each side.
        folder (`Path`): Where the tokenizer is saved.
        every_kind (`bool`): Also give tokens to unknown words, and to characters that subwords spell in bytes; else to
            characters and symbols alone.

    Raises:
        ValueError: with `every_kind`, a tokenizer that cannot be given tokens.
    """
    if "features" in (pairs.column_names or ()):
        tags = set(chain.from_iterable(pair["features"] for pair in pairs))
        tokenizer.add_tokens(cast(Any, feature_tokens(tags)))
    tokenizer.save_pretrained(folder)
    columns = {TOKENIZER_FILE: ["source", "target"]}
    if hasattr(tokenizer, "target_tokenizer"):
        columns = {TOKENIZER_FILE: ["source"], TARGET_TOKENIZER_FILE: ["target"]}
    for name, sides in columns.items():
        file = folder / name
        state = json.loads(file.read_text("utf-8")) if file.is_file() else {"model": {}}
        obstacle = _obstacle(state)
        if obstacle and every_kind:
            raise ValueError(f"expected a tokenizer that can be given tokens, got {obstacle}; set grow to false")
        if obstacle or not (every_kind or _is_of_symbols(state)):
            continue
        backend = Tokenizer.from_file(str(file))
        new = _unknown_tokens(backend, (pair[side] for pair in pairs for side in sides))
        if new:
            _add_tokens(state, backend.get_vocab(), new)
            file.write_text(json.dumps(state, ensure_ascii=False), "utf-8")
            shown, more = ", ".join(new[:TOKENS_SHOWN]), len(new) - TOKENS_SHOWN
            logger.warning(
                "new %s tokens: %s%s; tokenizer.grow: false leaves them out",
                " and ".join(sides),
                shown,
                f" and {more} more" if more > 0 else "",
            )
    return load_tokenizer(folder)


def _obstacle(state: dict[str, Any]) -> str | None:
    """Returns what keeps tokens from being added to a serialised tokenizer."""
    model = state["model"]
    if model.get("type") not in ("BPE", "WordLevel", "Unigram"):
        return f"one of the kind {model.get('type')}"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "one that marks the parts of a word"
    return None


def _is_of_symbols(state: dict[str, Any]) -> bool:
    """Returns whether a token is a character, or what stands between spaces."""
    model, splitter = state["model"], state["pre_tokenizer"] or {}
    is_of_characters = model["type"] == "BPE" and not model["merges"] and not model["byte_fallback"]
    return is_of_characters or splitter.get("pattern") == {"Regex": SYMBOL_PATTERN}


def _unknown_tokens(backend: Tokenizer, texts: Iterable[str]) -> list[str]:
    # added tokens are found before anything else is done to a text
    added = [token.content for token in backend.get_added_tokens_decoder().values() if not token.special]
    pattern = re.compile("|".join(map(re.escape, added)) or "(?!)")
    pieces = chain.from_iterable(_pieces(backend, pattern.sub("", text)) for text in texts)
    is_of_words = type(backend.model).__name__ == "WordLevel"
    counts = Counter(pieces if is_of_words else chain.from_iterable(pieces))
    return sorted(counts.keys() - backend.get_vocab().keys(), key=lambda token: (-counts[token], token))


def _pieces(backend: Tokenizer, text: str) -> Iterator[str]:
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is None:
        return iter([text])
    return (piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text))


def _add_tokens(state: dict[str, Any], vocab: dict[str, int], new: list[str]):
    """Writes new tokens into a serialised tokenizer.

    Those that were added to it before, such as tags, get a place in its model too: their ids come before the new ones.
    """
    tokens, model = [*sorted(vocab, key=lambda token: vocab[token]), *new], state["model"]
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        model["vocab"] = [[token, scores.get(token, min(scores.values()))] for token in tokens]
    else:
        model["vocab"] = {token: index for index, token in enumerate(tokens)}


@torch.no_grad()
def grow_model(
    model: RnnAttnForConditionalGeneration, known: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Gives a model rows for the tokens that `tokenizer` has after those of `known`, the model's own.

    Their embeddings, and their weights and biases in the output layer, are the mean of those of the old tokens (Hewitt
    2021, "Initializing New Word Embeddings for Pretrained Language Models"). All else stays as it is, and with it the
    logits of the old tokens.

    Returns:
        `list[str]`: the names of the parameters that have new rows.
    """
    config = model.config
    before, after = ([len(side) for side in sides_of(part)] for part in (known, tokenizer))
    if after == before:
        return []
    # a vocabulary may have rows to spare
    sizes = [max(config.vocab_size, after[0]), max(cast(int, config.decoder_vocab_size), after[1])]
    model.resize_token_embeddings(sizes[0], mean_resizing=False)
    if not any(getattr(config, name) for name in ONE_VOCABULARY_OPTIONS):
        model.resize_decoder_token_embeddings(sizes[1], mean_resizing=False)
    grown = []
    for name, side in (("model.encoder.embed_tokens", 0), ("model.decoder.embed_tokens", 1), ("lm_head", 1)):
        if after[side] > before[side]:
            grown.append(f"{name}.weight")
            _fill(model.get_submodule(name), before[side], after[side], known.all_special_ids)
    config.update(tokenizer_settings(tokenizer))
    return grown


def _fill(table: Any, old: int, new: int, special_ids: list[int]):
    rows = [index for index in range(old) if index not in special_ids]
    for values in (table.weight, getattr(table, "bias", None)):
        if values is not None:
            values[old:new] = values[rows].mean(0)
