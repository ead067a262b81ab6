# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""RnnAttnTokenizer: two fast tokenizers, one for the source text and one for the target text, behind one interface.

This file holds how the two sides are called, decoded, saved and loaded. It does not know how they were trained: any
two backends of the `tokenizers` library will do. Joint vocabularies need nothing from here; the library's own fast
tokenizer serves them.
"""

import contextlib
import os
import unicodedata
from collections.abc import Generator
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerFast


TARGET_TOKENIZER_FILE = "target_tokenizer.json"

# one text; several, or one that is split into words; several that are split into words
Text = str | list[str] | list[list[str]]


@contextlib.contextmanager
def _reading(file: str | None) -> Generator[None]:
    """Raises a ValueError that names the file where the `tokenizers` library cannot read it."""
    try:
        yield
    except BaseException as error:
        # that library raises the class of all exceptions, or panics with no subclass of it; its messages name no file
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{file}: expected a serialised tokenizer, got another or a damaged file: {error}") from error


class RnnAttnTokenizer(PreTrainedTokenizerFast):
    """A fast tokenizer with separate source and target vocabularies.

    What goes in as text is source text, unless it is handed over as `text_target`; what goes in as ids or tokens is
    target text, since ids come out of the model's decoder:

    | source side | target side |
    | --- | --- |
    | `tokenizer(text)` | `tokenizer(text_target=...)`; with both texts, the `labels` beside the `input_ids` |
    | `encode`, `tokenize`, `convert_tokens_to_ids` | `decode`, `batch_decode`, `convert_ids_to_tokens` |
    | `vocab_size`, `len()`, `get_vocab` | `target_vocab_size` |

    For everything else, [`source_tokenizer`] and [`target_tokenizer`] are plain fast tokenizers of one side each:
    `tokenizer.source_tokenizer.convert_ids_to_tokens(input_ids)` names the columns of an attention picture,
    `model.generate(..., stop_strings=..., tokenizer=tokenizer.target_tokenizer)` looks for target strings, and
    `tokenizer.target_tokenizer.add_tokens(...)` enlarges the target vocabulary (`tokenizer.add_tokens` the source's).

    Padding, truncation, `max_length` and `return_tensors` act on both sides; `max_target_length` sets a limit of its
    own for the targets.

    Args:
        target_tokenizer_file (`str`, *optional*):
            A serialised `tokenizers.Tokenizer` for the target side. Either this or `target_tokenizer_object` is needed.
        target_tokenizer_object (`tokenizers.Tokenizer`, *optional*): The same, as an object. It is copied.
        pad_token (`str`, *optional*, defaults to `"<pad>"`):
            The padding token. The four special tokens must have the same ids on both sides.
        bos_token (`str`, *optional*, defaults to `"<s>"`): The token that starts the decoder. Encoding does not add it.
        eos_token (`str`, *optional*, defaults to `"</s>"`): The token that ends every encoded text.
        unk_token (`str`, *optional*, defaults to `"<unk>"`): The token for what the vocabulary cannot spell.
        kwargs:
            `tokenizer_file` or `tokenizer_object` for the source side, and every other argument of
            [`PreTrainedTokenizerFast`].

    Raises:
        ValueError: if there is no target side, or if a special token has different ids on the two sides.

    Example:
    ```python
    >>> from hf_rnn_attn import train_tokenizer

    >>> tokenizer = train_tokenizer(["ein Hund", "eine Katze"], ["a dog", "a cat"], kind="word", joint=False)
    >>> batch = tokenizer(["eine Katze"], text_target=["a cat"], return_tensors="pt")
    >>> tokenizer.batch_decode(batch["labels"], skip_special_tokens=True)
    ['a cat']
    >>> tokenizer.source_tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    ['▁eine', '▁Katze', '</s>']

    ```
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", "target_tokenizer_file": TARGET_TOKENIZER_FILE}
    model_input_names = ["input_ids", "attention_mask"]
    _tokenizer: Any  # the source side's backend, a `tokenizers.Tokenizer`

    def __init__(
        self,
        target_tokenizer_file: str | None = None,
        target_tokenizer_object: Any = None,
        pad_token: str = "<pad>",
        bos_token: str = "<s>",
        eos_token: str = "</s>",
        unk_token: str = "<unk>",
        **kwargs: Any,
    ) -> None:
        if target_tokenizer_file is None and target_tokenizer_object is None:
            raise ValueError(
                f"RnnAttnTokenizer has two sides and found no target side. Expected the file {TARGET_TOKENIZER_FILE} "
                "beside tokenizer.json, or the argument `target_tokenizer_object`. "
                "For a joint vocabulary use PreTrainedTokenizerFast."
            )
        kwargs.pop("auto_map", None)  # saving writes it anew; kept, it would go along when one side is saved alone
        tokens = {"pad_token": pad_token, "bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token}
        with _reading(kwargs.get("tokenizer_file")):
            super().__init__(**tokens, **kwargs)
            self._tokenizer.encode("a")  # some damage is met by the first text alone
        with _reading(target_tokenizer_file):
            target = PreTrainedTokenizerFast(
                tokenizer_file=target_tokenizer_file, tokenizer_object=target_tokenizer_object
            )
            target.backend_tokenizer.encode("a")
        self._target_backend: Any = target.backend_tokenizer
        self._check_special_tokens()

    # only the library calls it, with arguments that have names
    @classmethod
    def convert_to_native_format(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns the arguments of `__init__` as they are."""
        # both files hold a whole tokenizer; the base class takes the source's apart for a class that has an __init__
        return kwargs

    def _check_special_tokens(self) -> None:
        """Raises a ValueError unless the special tokens have the same ids on both sides."""
        # extra special tokens may be added to one side alone; those that padding, decoding and the loss rely on may not
        for token in (self.pad_token, self.bos_token, self.eos_token, self.unk_token):
            source_id, target_id = self._tokenizer.token_to_id(token), self._target_backend.token_to_id(token)
            if source_id != target_id:
                raise ValueError(
                    f"The special token {token} has id {source_id} in the source vocabulary and {target_id} in the "
                    "target vocabulary; both must be equal. Train both sides with the same list of special tokens."
                )

    def _side(self, backend: Any) -> PreTrainedTokenizerFast:
        """Returns one side as a tokenizer of its own."""
        # made anew at each use, so that both sides always share every setting (padding side, maximal length, ...)
        side = PreTrainedTokenizerFast.__new__(PreTrainedTokenizerFast)
        side.__dict__.update(self.__dict__, _tokenizer=backend)
        return side

    @property
    def source_tokenizer(self) -> PreTrainedTokenizerFast:
        """The source side alone, for encoding and decoding, with all settings."""
        return self._side(self._tokenizer)

    @property
    def target_tokenizer(self) -> PreTrainedTokenizerFast:
        """The target side alone, for encoding and decoding, with all settings."""
        return self._side(self._target_backend)

    @property
    def target_vocab_size(self) -> int:
        """The size of the target vocabulary without added tokens, as `vocab_size` is of the source vocabulary."""
        return self.target_tokenizer.vocab_size

    # the library's method names the arguments that are handed on here, and takes them by their place too
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        text: Text | None = None,
        text_pair: Text | None = None,
        text_target: Text | None = None,
        text_pair_target: Text | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Encodes `text` with the source side and `text_target` with the target side; arguments as in the library.

        Returns:
            [`BatchEncoding`]: `input_ids` and `attention_mask` of `text`, and `labels` if both texts are given; of
            `text_target` if that is given alone.
        """
        if text_target is None:
            return super().__call__(text, text_pair, **kwargs)
        target = self.target_tokenizer(text_target=text_target, text_pair_target=text_pair_target, **kwargs)
        if text is None:
            return target
        encoding = super().__call__(text, text_pair, **kwargs)
        encoding["labels"] = target["input_ids"]
        return encoding

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, use_source_tokenizer: bool = False, **kwargs: Any
    ) -> str | list[str]:
        """Returns the text of target ids, or of source ids with `use_source_tokenizer=True`; for a batch a list.

        Where that side takes characters apart (NFD), the text has them composed again.
        """
        side = self.source_tokenizer if use_source_tokenizer else self.target_tokenizer
        text = side.decode(token_ids, skip_special_tokens=skip_special_tokens, **kwargs)
        normalizer = side.backend_tokenizer.normalizer
        if normalizer is None or not unicodedata.is_normalized("NFD", normalizer.normalize_str("é")):
            return text
        if isinstance(text, list):
            return [unicodedata.normalize("NFC", part) for part in text]
        return unicodedata.normalize("NFC", text)

    def convert_ids_to_tokens(self, ids: int | list[int], skip_special_tokens: bool = False) -> str | list[str]:
        """Returns the tokens of target ids; `source_tokenizer.convert_ids_to_tokens` returns those of source ids."""
        return self.target_tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=skip_special_tokens)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Joins target tokens to a text."""
        return self.target_tokenizer.convert_tokens_to_string(tokens)

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Writes the files of both sides; returns the names of all files."""
        file_names = super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        target_file = os.path.join(save_directory, prefix + TARGET_TOKENIZER_FILE)
        self._target_backend.save(target_file)
        return (*file_names, target_file)


RnnAttnTokenizer.register_for_auto_class()
