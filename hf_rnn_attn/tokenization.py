# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Train tokenizers from text: BPE and unigram subwords, words, characters; one joint vocabulary or one for each side.

This file holds what a text becomes on its way to ids and back. It does not know where the text comes from, and it does
not know the model.

Every kind normalises to one Unicode form, NFC where nothing else is asked for (Hangul jamo and combining marks are
composed where a composed character exists), makes one space of every run of white space, with none at the ends, writes
a space as ▁ (U+2581; a ▁ in the text is read as a space) and appends `</s>`. White space is what Unicode calls so, and
the zero-width space U+200B, which separates words; a byte-order mark U+FEFF is left out. Decoding with
`skip_special_tokens=True` gives back the normalised text, with these exceptions:

| kind | a token is | not given back |
| --- | --- | --- |
| bpe, unigram | a part of a word, a digit, a part of a run of other signs | nothing else |
| char | a code point | characters that are not in the training text (`<unk>`) |
| word | a run of letters, marks and digits, or one other sign | unknown words (`<unk>`); spaces that divide no words |
| symbol | what stands between spaces, such as a phone | unknown symbols (`<unk>`) |

bpe and unigram spell characters that they do not know in UTF-8 bytes and never need `<unk>`.
The names of special tokens are ordinary text where they occur in a text (`split_special_tokens=True`): `<s>` is also
HTML. A word after a space (`▁word`) and the same one after a bracket or a hyphen (`word`) are two entries of a
vocabulary.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, PositiveInt
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .model.pipeline_rnn_attn import sides_of
from .model.placeholders_rnn_attn import PLACEHOLDER, PLACEHOLDERS
from .model.pretrained_rnn_attn import fingerprint
from .model.tokenization_rnn_attn import RnnAttnTokenizer


# the trainers set aside memory for it
VocabularySize = Annotated[int, Field(ge=1, le=10_000_000)]
TokenizerKind = Literal["bpe", "unigram", "word", "symbol", "char"]
Normalization = Literal["nfc", "nfd", "nfkc", "nfkd", "none"]

# their order gives their ids, 0 to 3
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
SETTINGS = {
    "padding_side": "right",
    "model_input_names": ["input_ids", "attention_mask"],
    "clean_up_tokenization_spaces": False,
    "split_special_tokens": True,
}

SPACE = "▁"
# the property White_Space of Unicode, U+200B, and the separators that Python counts too, for regular expressions of
# Python and of the tokenizers
WHITE_SPACE = r"\t-\r\x1c-\x20\u0085\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000"
_RUN_OF_WHITE_SPACE = re.compile(f"[{WHITE_SPACE}]+")
LETTER = r"\p{L}\p{M}"
# a piece takes the one space before it; letters, digits and signs never share a piece, so that no name of a special
# token or of a byte, all of which mix signs and letters, can be put together from text
# a placeholder is a piece by itself, whatever stands beside it
PRIVATE = f"{PLACEHOLDERS[0]}-{PLACEHOLDERS[-1]}"
SIGN = f"[^{LETTER}\\p{{N}}{SPACE}{PRIVATE}]"
SUBWORD_PATTERN = f"[{PRIVATE}]|{SPACE}?[{LETTER}]+|{SPACE}?\\p{{N}}|{SPACE}?{SIGN}+|{SPACE}"
WORD_PATTERN = f"{SPACE}(?=[{PRIVATE}])|[{PRIVATE}]|{SPACE}?[{LETTER}\\p{{N}}]+|{SPACE}?{SIGN}"
SYMBOL_PATTERN = f"{SPACE}(?=[{PRIVATE}])|[{PRIVATE}]|{SPACE}?[^{SPACE}{PRIVATE}]+"
PATTERNS = {"bpe": SUBWORD_PATTERN, "unigram": SUBWORD_PATTERN, "word": WORD_PATTERN, "symbol": SYMBOL_PATTERN}
UNICODE_FORMS = {
    "nfc": normalizers.NFC,
    "nfd": normalizers.NFD,
    "nfkc": normalizers.NFKC,
    "nfkd": normalizers.NFKD,
}
DECOMPOSING = ("nfd", "nfkd")


def squeeze(text: str) -> str:
    """Returns the text with one space for every run of white space and none at the ends, as the tokenizers read it."""
    return _RUN_OF_WHITE_SPACE.sub(" ", text.replace("\ufeff", "")).strip(" ")


def _normalizer(kind: TokenizerKind, lowercase: bool, normalization: Normalization) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    if normalization != "none":
        steps.append(UNICODE_FORMS[normalization]())
    steps += [
        normalizers.Replace(Regex(r"\ufeff"), ""),
        normalizers.Replace(Regex(f"[{WHITE_SPACE}{SPACE}]+"), " "),
        normalizers.Strip(),
    ]
    if kind != "char":
        # the first word gets a space too and is the same token wherever it stands; the decoder takes it off again
        steps.append(normalizers.Prepend(SPACE))
    steps.append(normalizers.Replace(" ", SPACE))
    return normalizers.Sequence(steps)


def _decoder(kind: TokenizerKind) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(SPACE, " ")]
    if kind in ("bpe", "unigram"):
        steps.append(decoders.ByteFallback())
    if kind in ("word", "symbol"):
        steps.append(decoders.Replace(SPECIAL_TOKENS["unk_token"], f" {SPECIAL_TOKENS['unk_token']}"))
    steps.append(decoders.Fuse())
    if kind != "char":
        steps.append(decoders.Strip(" ", left=1, right=0))
    return decoders.Sequence(steps)


def _untrained(model: models.Model, kind: TokenizerKind, normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    if kind in PATTERNS:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERNS[kind]), behavior="isolated")
    tokenizer.decoder = _decoder(kind)
    return tokenizer


def _train_subwords(
    texts: Iterable[str],
    kind: TokenizerKind,
    vocab_size: int,
    normalizer: normalizers.Normalizer,
    min_frequency: int,
    reserved: list[str],
) -> Tokenizer:
    unk_token = SPECIAL_TOKENS["unk_token"]
    common = {"vocab_size": vocab_size, "special_tokens": reserved, "show_progress": False}
    if kind == "bpe":
        model = models.BPE(unk_token=unk_token)
        # the rarest characters are left to the bytes where the vocabulary cannot hold all
        trainer = trainers.BpeTrainer(min_frequency=min_frequency, limit_alphabet=vocab_size - len(reserved), **common)
    else:
        model, trainer = models.Unigram(), trainers.UnigramTrainer(unk_token=unk_token, **common)
    tokenizer = _untrained(model, kind, normalizer)
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def _with_ordinary_tokens(tokenizer: Tokenizer, spells_bytes: bool) -> Tokenizer:
    # the trainers take bytes and placeholders as special tokens only; decoding would skip them, so they are made
    # ordinary again
    state, special = json.loads(tokenizer.to_str()), SPECIAL_TOKENS.values()
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    if spells_bytes:
        state["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(state))


def _train_words(
    texts: Iterable[str],
    kind: TokenizerKind,
    vocab_size: int,
    normalizer: normalizers.Normalizer,
    min_frequency: int,
    reserved: list[str],
) -> Tokenizer:
    tokenizer = _untrained(models.WordLevel(unk_token=SPECIAL_TOKENS["unk_token"]), kind, normalizer)
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=reserved,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def _train_characters(
    texts: Iterable[str],
    kind: TokenizerKind,
    vocab_size: int,
    normalizer: normalizers.Normalizer,
    min_frequency: int,
    reserved: list[str],
) -> Tokenizer:
    counts = Counter(chain.from_iterable(normalizer.normalize_str(text) for text in texts))
    kept = [char for char in counts if counts[char] >= min_frequency]
    kept.sort(key=lambda char: (-counts[char], char))
    names = [*reserved, *kept][:vocab_size]
    vocab = {name: index for index, name in enumerate(names)}
    # BPE without merges leaves every character alone and needs no splitting of the text into words of one character
    tokenizer = _untrained(models.BPE(vocab, [], unk_token=SPECIAL_TOKENS["unk_token"]), kind, normalizer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS.values()])
    return tokenizer


TRAINERS = {
    "bpe": _train_subwords,
    "unigram": _train_subwords,
    "word": _train_words,
    "symbol": _train_words,
    "char": _train_characters,
}


def end_with(tokenizer: Tokenizer, eos_token: str):
    """Makes every encoded text end with `eos_token`."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {eos_token}",
        pair=f"$A $B {eos_token}",
        special_tokens=[(eos_token, tokenizer.token_to_id(eos_token))],
    )


def _train_side(
    texts: Iterable[str],
    kind: TokenizerKind,
    vocab_size: int,
    normalization: Normalization,
    lowercase: bool,
    min_frequency: int,
    placeholders: bool,
) -> Tokenizer:
    normalizer, reserved = _normalizer(kind, lowercase, normalization), _reserved(kind, placeholders)
    if placeholders:
        # some trainers would give them a second entry
        texts = (PLACEHOLDER.sub(" ", text) for text in texts)
    tokenizer = TRAINERS[kind](texts, kind, vocab_size, normalizer, min_frequency, reserved)
    tokenizer = _with_ordinary_tokens(tokenizer, BYTE_TOKENS[0] in reserved)
    _check_result(tokenizer, kind, vocab_size, len(reserved))
    end_with(tokenizer, SPECIAL_TOKENS["eos_token"])
    return tokenizer


def check_options(
    kind: str,
    target_kind: str | None,
    vocab_size: int,
    target_vocab_size: int | None,
    normalization: str,
    target_normalization: str | None,
    joint: bool,
    lowercase: bool,
    min_frequency: int,
    placeholders: bool = False,
):
    """Raises a ValueError for options of [`train_tokenizer`] that are unknown, too small, or exclude each other."""
    if joint and not (target_kind is None and target_vocab_size is None and target_normalization is None):
        raise ValueError(
            "target_kind, target_vocab_size and target_normalization belong to separate vocabularies, got one of them "
            "with joint=True. Leave it out or pass joint=False."
        )
    if joint and normalization in DECOMPOSING:
        raise ValueError(
            f"normalization={normalization!r} takes characters apart, and the tokenizer of separate vocabularies alone "
            "puts them together again. Pass joint=False."
        )
    for name in (normalization, target_normalization or normalization):
        if name not in get_args(Normalization):
            raise ValueError(f"Expected normalization to be one of {', '.join(get_args(Normalization))}, got {name!r}.")
    for side_kind, size in ((kind, vocab_size), (target_kind or kind, target_vocab_size or vocab_size)):
        _check_side(side_kind, size, min_frequency, placeholders)


def _check_side(kind: str, vocab_size: int, min_frequency: int, placeholders: bool):
    if kind not in get_args(TokenizerKind):
        raise ValueError(f"Expected kind to be one of {', '.join(get_args(TokenizerKind))}, got {kind!r}.")
    if min_frequency < 1:
        raise ValueError(f"Expected min_frequency to be at least 1, got {min_frequency}.")
    if kind == "unigram" and min_frequency != 1:
        raise ValueError(
            f"min_frequency={min_frequency} has no meaning for kind='unigram', which keeps the pieces that explain the "
            "text best. Leave min_frequency out, or choose kind='bpe'."
        )
    reserved = len(_reserved(kind, placeholders))
    if vocab_size <= reserved:
        raise ValueError(
            f"Expected vocab_size above {reserved} for kind={kind!r}, got {vocab_size}: {reserved} entries are taken "
            "by special tokens" + (" and bytes. Raise it, or choose kind='char' or 'word'." if reserved > 4 else ".")
        )


def _reserved(kind: str, placeholders: bool) -> list[str]:
    """Returns the entries of a vocabulary that no text has to hold."""
    tokens = [*SPECIAL_TOKENS.values(), *(BYTE_TOKENS if kind in ("bpe", "unigram") else [])]
    if placeholders and kind in ("word", "symbol"):
        # elsewhere it is a token of words
        tokens.append(SPACE)
    return [*tokens, *(PLACEHOLDERS if placeholders else [])]


def _check_result(tokenizer: Tokenizer, kind: str, vocab_size: int, reserved: int):
    size = tokenizer.get_vocab_size()
    if size == reserved:
        raise ValueError(
            "The text to train the tokenizer on gave no vocabulary. Was the iterator used up before, is the text "
            "empty, or is min_frequency too high?"
        )
    if size > vocab_size:
        raise ValueError(
            f"kind={kind!r} keeps every character of the text and needs {size} entries, more than "
            f"vocab_size={vocab_size}. Raise vocab_size, or choose kind='bpe', which spells rare characters in bytes."
        )


def train_tokenizer(
    source: Iterable[str],
    target: Iterable[str],
    *,
    kind: TokenizerKind = "bpe",
    target_kind: TokenizerKind | None = None,
    vocab_size: VocabularySize = 8000,
    target_vocab_size: VocabularySize | None = None,
    normalization: Normalization = "nfc",
    target_normalization: Normalization | None = None,
    joint: bool = True,
    lowercase: bool = False,
    min_frequency: PositiveInt = 1,
    features: Iterable[str] = (),
    placeholders: Iterable[str] = (),
    known_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast | RnnAttnTokenizer:
    """Trains the tokenizer of a source and a target language on text.

    Training on the same text gives the same tokenizer again, except for `unigram`: there the trainer of the
    `tokenizers` library adds up its numbers in no fixed order, and ids can change places from run to run. Save it and
    load it.

    Args:
        source (`Iterable[str]`): Source texts. A generator will do; it is read once.
        target (`Iterable[str]`): Target texts. They need not be aligned with the source texts.
        kind (`str`, *optional*, defaults to `"bpe"`):
            `"bpe"`, `"unigram"`, `"word"`, `"symbol"` or `"char"`. See the table at the head of this module for what
            each keeps.
        target_kind (`str`, *optional*, defaults to `kind`):
            The kind of the target side, for separate vocabularies only: letters to phones is `"char"` to `"symbol"`.
        vocab_size (`int`, *optional*, defaults to 8000): The largest number of entries, special tokens included, of the
            joint or the source vocabulary. For `bpe` and `unigram` 260 of them are the special tokens and the bytes.
        target_vocab_size (`int`, *optional*, defaults to `vocab_size`):
            The same for the target side, for separate vocabularies only.
        normalization (`str`, *optional*, defaults to `"nfc"`): The Unicode form in which a text is read: `"nfc"`,
            `"nfd"`, `"nfkc"`, `"nfkd"` or `"none"`. With `"nfd"`, the letters of a Hangul syllable, or an accent, are
            characters of their own. Decoded text is in NFC again, except with `"none"`.
        target_normalization (`str`, *optional*, defaults to `normalization`):
            The same for the target side, for separate vocabularies only.
        joint (`bool`, *optional*, defaults to `True`): One vocabulary for both sides, or one for each.
        lowercase (`bool`, *optional*, defaults to `False`): Lowercase both sides, before the
            Unicode form is made.
        min_frequency (`int`, *optional*, defaults to 1):
            A pair is merged (`bpe`) and a word or character is kept (`word`, `char`) if the text holds it that often.
            With 2 or more, a word model meets `<unk>` in its training.
        features (`Iterable[str]`, *optional*): Strings that are one token each wherever they stand in a source text,
            such as `[PST]`; white space beside them is no part of the text.
        placeholders (`Iterable[str]`, *optional*): Kinds of pieces that the texts have placeholders for, names in
            `hf_rnn_attn.model.placeholders_rnn_attn.KINDS`. They are saved with the tokenizer.
        known_words (`Iterable[str]`, *optional*): Words that are no names, saved with the placeholders.

    Returns:
        A plain fast tokenizer of the library if `joint`, otherwise an [`RnnAttnTokenizer`]. `<pad>`, `<s>`, `</s>` and
        `<unk>` have the ids 0 to 3, and an encoded text ends with `</s>`.

    Raises:
        ValueError: for an unknown kind, an empty text, a vocabulary that is too small, and arguments that exclude each
            other.

    Example:
    ```python
    >>> from hf_rnn_attn.tokenization import train_tokenizer
    >>> tokenizer = train_tokenizer(["안녕 하세요"], ["hello there"], kind="char")
    >>> tokenizer.decode(tokenizer("하세요")["input_ids"], skip_special_tokens=True)
    '하세요'

    ```
    """
    if isinstance(source, str) or isinstance(target, str):
        raise ValueError("Expected iterables of texts to train a tokenizer, got one string. Pass [text] instead.")
    normal = (normalization, target_normalization)
    sizes, has_placeholders = (vocab_size, target_vocab_size), bool(placeholders := list(placeholders))
    check_options(kind, target_kind, *sizes, *normal, joint, lowercase, min_frequency, has_placeholders)
    features = sorted(features)
    if features:
        pattern = re.compile("|".join(map(re.escape, features)))
        source = (pattern.sub("", text) for text in source)
    options = {"lowercase": lowercase, "min_frequency": min_frequency, "placeholders": has_placeholders}
    settings: dict[str, Any] = {**SPECIAL_TOKENS, **SETTINGS}
    if placeholders:
        settings |= {"placeholders": placeholders, "known_words": " ".join(sorted(known_words))}
    if joint:
        backend = _train_side(chain(source, target), kind, vocab_size, normalization, **options)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **settings)
    else:
        target_side = (target_kind or kind, target_vocab_size or vocab_size, target_normalization or normalization)
        tokenizer = RnnAttnTokenizer(
            tokenizer_object=_train_side(source, kind, vocab_size, normalization, **options),
            target_tokenizer_object=_train_side(target, *target_side, **options),
            **settings,
        )
    tokenizer.add_tokens(cast(Any, feature_tokens(features)))
    return tokenizer


def feature_tokens(features: Iterable[str]) -> list[AddedToken]:
    """Returns the strings as tokens to be added, in their order; white space beside them is no part of the text."""
    return [AddedToken(feature, lstrip=True, rstrip=True, normalized=False) for feature in sorted(features)]


def tokenizer_settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Returns what a configuration says of its tokenizer beside sizes: special tokens and `vocabulary_fingerprints`."""
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return {**special, "vocabulary_fingerprints": [fingerprint(side, len(side)) for side in sides_of(tokenizer)]}
