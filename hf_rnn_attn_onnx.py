# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation with exported graphs: onnxruntime, tokenizers and numpy, without torch and transformers.

Stands beside the package, because importing the package imports torch where it is installed; may be copied into
another program as it is. Holds the searches of `generate()` in numpy, and text in, text out as the pipeline has it.
Shapes: B batch, S source, T target so far, K hypotheses of a sentence, V target vocabulary.
"""

import itertools
import json
import logging
import math
import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


logger = logging.getLogger(__name__)

TOKENS_PER_BATCH = 1024
# of a source; characters are cut before they are counted in tokens
MOST_TOKENS, MOST_CHARACTERS = 10_000, 100_000
# an n-gram that stands so often in a row is a loop, and is decoded again without any three tokens twice
LOOP_REPEATS, LOOP_GUARD = 4, 3
# what the pipeline takes where the checkpoint sets nothing
DEFAULTS = {"num_beams": 4, "max_length": 257}
NO_TOKEN = -1
# settings of a checkpoint that change no search that is done here
NEUTRAL = {"_from_model_config", "transformers_version", "use_cache", "bos_token_id", "temperature", "top_k", "top_p"}
COUNTS = {"num_beams": 1, "num_return_sequences": 1, "max_length": 2, "max_new_tokens": 1, "no_repeat_ngram_size": 0}


@dataclass(frozen=True)
class Search:
    """How to search, by the names and with the meaning of the arguments of `generate()`.

    Raises:
        ValueError: if a setting has no meaning.
    """

    decoder_start_token_id: int
    eos_token_id: Any
    pad_token_id: int = 0
    num_beams: int = 1
    num_return_sequences: int = 1
    max_length: int = 20
    max_new_tokens: int | None = None
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    no_repeat_ngram_size: int = 0

    def __post_init__(self):
        for name, least in COUNTS.items():
            value = getattr(self, name)
            if name == "max_new_tokens" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={reprlib.repr(value)}: expected a whole number of at least {least}")
        if not isinstance(self.length_penalty, int | float) or not math.isfinite(self.length_penalty):
            raise ValueError(f"length_penalty={reprlib.repr(self.length_penalty)}: expected a number")
        if self.early_stopping not in (True, False, "never"):
            raise ValueError(f"early_stopping={reprlib.repr(self.early_stopping)}: expected True, False or 'never'")
        if self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences}: expected at most num_beams={self.num_beams}"
            )

    @property
    def limit(self) -> int:
        """Most tokens of a hypothesis, the start token included."""
        return self.max_length if self.max_new_tokens is None else 1 + self.max_new_tokens

    @property
    def ends(self) -> np.ndarray:
        """The tokens that end a sentence."""
        return np.atleast_1d(np.asarray(self.eos_token_id, dtype=np.int64))

    def changed(self, **arguments: Any) -> "Search":
        """Returns the search with other settings; one limit of length takes the place of the other.

        Raises:
            ValueError: if a setting has no meaning or is not known.
        """
        arguments = {name: value for name, value in arguments.items() if value is not None}
        for name in arguments:
            if name not in (*COUNTS, "length_penalty", "early_stopping"):
                raise ValueError(
                    f"{name}: no such argument; expected {', '.join(COUNTS)}, length_penalty, early_stopping or "
                    "avoid_loops"
                )
        if "max_length" in arguments:
            arguments.setdefault("max_new_tokens", None)
        return Search(**(vars(self) | arguments))


class OnnxModel:
    """The graphs of `hf-rnn-attn export`, and the searches over them: token for token what `generate()` gives.

    Args:
        folder (`str` or `Path`): what the command wrote.
        threads (`int`, *optional*): of a call. Defaults to one for each core.

    Attributes:
        settings (`dict`): fields of [`Search`] that the checkpoint sets.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or asks for a search that is not done here.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        self.folder = Path(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
        # threads that wait for work would take the cores from other programs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._encoder, self._step = (
            _read(self.folder / name, lambda file: onnxruntime.InferenceSession(file, options))
            for name in ("encoder.onnx", "step.onnx")
        )
        self.settings = _read(self.folder / "generation_config.json", _read_settings)

    def generate(self, input_ids: np.ndarray, attention_mask: np.ndarray, **settings: Any) -> np.ndarray:
        """Returns the tokens of the best hypotheses, (B * num_return_sequences, T), from the start token on, padded.

        Args:
            input_ids (`np.ndarray` of shape `(B, S)`): source tokens, int64.
            attention_mask (`np.ndarray` of shape `(B, S)`): 1 for tokens, 0 for padding, int64.
            settings: fields of [`Search`]; they default to what the checkpoint says.

        Raises:
            ValueError: if a setting has no meaning.
        """
        search = Search(**self.settings).changed(**settings)
        tensors = _run(self._encoder, {"input_ids": input_ids, "attention_mask": attention_mask})
        return (_greedy if search.num_beams == 1 else _beam_search)(self._step, tensors, search)

    def attend(self, source: Sequence[int], target: Sequence[int]) -> np.ndarray:
        """Returns the attention (T, S) of a sentence while the decoder reads a given target.

        Raises:
            ValueError: for a model without attention.
        """
        input_ids = np.array([source], dtype=np.int64)
        tensors = _run(self._encoder, {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)})
        rows = []
        for token in (self.settings["decoder_start_token_id"], *target[:-1]):
            outputs = _run(self._step, tensors | {"decoder_input_ids": np.array([[token]], dtype=np.int64)})
            if "attention" not in outputs:
                raise ValueError(f"{self.folder.name}: expected a model with attention, this one has none")
            rows.append(outputs["attention"][0])
            tensors |= _state_after(outputs)
        return np.stack(rows)


def _read(file: Path, read: Callable[[str], Any]) -> Any:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; expected a folder that `hf-rnn-attn export CHECKPOINT FOLDER` wrote"
        )
    try:
        return read(str(file))
    # onnxruntime and tokenizers raise classes of their own, and plain Exception, for a file that they cannot read
    except Exception as error:
        raise ValueError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error


def _read_settings(file: str) -> dict[str, Any]:
    settings = {name: value for name, value in json.loads(Path(file).read_text("utf-8")).items() if value is not None}
    known = {name: value for name, value in settings.items() if name in Search.__dataclass_fields__}
    for name in settings.keys() - known.keys() - NEUTRAL:
        if settings[name] is not False and not name.startswith("output_"):
            raise ValueError(f"expected settings of greedy or beam search, got {name}={reprlib.repr(settings[name])}")
    Search(**known)
    return known


def _run(session: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    feeds = {argument.name: tensors[argument.name] for argument in session.get_inputs()}
    return dict(zip(names, session.run(names, feeds), strict=True))


def _take_step(step: Any, tensors: dict[str, Any], tokens: np.ndarray) -> np.ndarray:
    """Reads tokens (N,), puts the state after them into `tensors`, and returns the scores (N, V) of those to follow."""
    outputs = _run(step, tensors | {"decoder_input_ids": tokens[:, None]})
    tensors |= _state_after(outputs)
    return outputs["logits"]


def _state_after(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("next_"): tensor for name, tensor in outputs.items() if name.startswith("next_")}


def _forbid_repeats(scores: np.ndarray, tokens: np.ndarray, size: int) -> None:
    """Sets the scores (N, V) of tokens that would repeat an n-gram of `tokens` (N, T) to -inf; none for size 0."""
    start = tokens.shape[1] - size + 1
    if size == 0:
        return
    for row, line in enumerate(tokens.tolist()):
        scores[row, [line[at + size - 1] for at in range(start) if line[at : at + size - 1] == line[start:]]] = -np.inf


def _greedy(step: Any, tensors: dict[str, Any], search: Search) -> np.ndarray:
    count = len(next(iter(tensors.values())))
    tokens = np.full((count, 1), search.decoder_start_token_id, dtype=np.int64)
    has_ended = np.zeros(count, dtype=bool)
    while tokens.shape[1] < search.limit and not has_ended.all():
        scores = _take_step(step, tensors, tokens[:, -1])
        _forbid_repeats(scores, tokens, search.no_repeat_ngram_size)
        best = np.where(has_ended, search.pad_token_id, scores.argmax(-1))
        has_ended |= np.isin(best, search.ends)
        tokens = np.concatenate([tokens, best[:, None]], axis=1)
    return tokens


def _beam_search(step: Any, tensors: dict[str, Any], search: Search) -> np.ndarray:
    """Does what `BeamSearch` of the package's `search_rnn_attn.py` does, where the steps are explained."""
    beams, ends = search.num_beams, search.ends
    count = len(next(iter(tensors.values())))
    running = np.full((count, 1, 1), search.decoder_start_token_id, dtype=np.int64)  # tokens (B, K, T)
    running_scores = np.zeros((count, 1), dtype=np.float32)
    ended = np.full((count, beams, 1), NO_TOKEN, dtype=np.int64)
    ended_scores = np.full((count, beams), -np.inf, dtype=np.float32)
    places, results = np.arange(count), {}
    while len(places) > 0:
        scores = _take_step(step, tensors, running[..., -1].ravel())
        log_probs = scores - scores.max(-1, keepdims=True)
        log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
        _forbid_repeats(log_probs, running.reshape(-1, running.shape[-1]), search.no_repeat_ngram_size)
        size = scores.shape[-1]
        if size < beams * (1 + len(ends)):
            raise ValueError(
                f"num_beams={beams}: expected a vocabulary of {beams * (1 + len(ends))} tokens, got {size}"
            )
        log_probs = (log_probs.reshape(*running_scores.shape, size) + running_scores[..., None]).reshape(
            len(places), -1
        )
        index, candidate_scores = _best(log_probs, beams * (1 + len(ends)))
        parents, last = index // size, index % size
        candidates = np.concatenate([_take(running, parents), last[..., None]], axis=-1)
        length = candidates.shape[-1] - 1
        is_end = np.isin(last, ends) | (length + 1 >= search.limit)
        penalised = np.where(is_end, candidate_scores, -np.inf) / np.float32(length**search.length_penalty)
        lengthened = np.pad(ended, ((0, 0), (0, 0), (0, 1)), constant_values=NO_TOKEN)
        ended = np.concatenate([lengthened, candidates[:, :beams]], axis=1)
        index, ended_scores = _best(np.concatenate([ended_scores, penalised[:, :beams]], axis=1), beams)
        ended = _take(ended, index)
        index, next_scores = _best(np.where(is_end, -np.inf, candidate_scores), beams)
        rows = np.take_along_axis(parents, index, 1) + running_scores.shape[1] * np.arange(len(places))[:, None]
        running, running_scores = _take(candidates, index), next_scores
        is_over = _is_over(running_scores[:, 0], ended_scores[:, -1], length, search)
        for place, tokens in zip(places[is_over], ended[is_over], strict=True):
            results[place] = tokens[: search.num_return_sequences]
        running, running_scores, ended, ended_scores, places, rows = (
            part[~is_over] for part in (running, running_scores, ended, ended_scores, places, rows)
        )
        tensors = {name: tensor[rows.ravel()] for name, tensor in tensors.items()}
    return _padded([line[line != NO_TOKEN] for _, lines in sorted(results.items()) for line in lines], search)


def _is_over(best: np.ndarray, worst: np.ndarray, length: int, search: Search) -> np.ndarray:
    """Returns whether the search for a sentence is over, (B,)."""
    if search.early_stopping is True:
        is_over = worst > -np.inf
    else:
        longest = search.limit - 1 if search.early_stopping == "never" else length
        is_over = best / np.float32(max(length**search.length_penalty, longest**search.length_penalty)) <= worst
    return is_over | (best == -np.inf)


def _best(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places (B, count) of the best of the scores (B, N), in their order, and these scores."""
    index = np.argpartition(-scores, count - 1, axis=1)[:, :count] if count < scores.shape[1] else None
    some = scores if index is None else np.take_along_axis(scores, index, 1)
    order = np.argsort(-some, axis=1, kind="stable")
    return order if index is None else np.take_along_axis(index, order, 1), np.take_along_axis(some, order, 1)


def _take(tokens: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the tokens (B, index.shape[1], T) of those hypotheses."""
    return np.take_along_axis(tokens, index[..., None], 1)


def _padded(lines: Sequence[np.ndarray], search: Search) -> np.ndarray:
    # as in the library, where a padding of 0 counts as none
    tokens = np.full((len(lines), max(map(len, lines))), search.pad_token_id or search.ends[0], dtype=np.int64)
    for row, line in zip(tokens, lines, strict=True):
        row[: len(line)] = line
    return tokens


class OnnxTokenizer:
    """The tokenizer of an exported folder; called like the library's, with lists of texts and for token ids alone.

    Args:
        folder (`str` or `Path`): with `tokenizer.json`, and where there are two vocabularies `target_tokenizer.json`.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self._source = self._target = _read(folder / "tokenizer.json", Tokenizer.from_file)
        # what reads like a special token in a text is text
        self._source.encode_special_tokens = True
        self._source.enable_truncation(MOST_TOKENS)
        self._composes = (folder / "target_tokenizer.json").is_file()
        if self._composes:
            self._target = _read(folder / "target_tokenizer.json", Tokenizer.from_file)
            # two vocabularies whose target side takes characters apart: the package's tokenizer composes them again
            normalizer = self._target.normalizer
            self._composes = normalizer is not None and not unicodedata.is_normalized(
                "NFD", normalizer.normalize_str("é")
            )

    def __call__(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Returns the source tokens of texts under "input_ids"."""
        return {"input_ids": [encoding.ids for encoding in self._source.encode_batch(list(texts))]}

    def encode(self, text: str, target: bool = False) -> Any:
        """Returns the encoding of the `tokenizers` library."""
        return (self._target if target else self._source).encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of target tokens, without special ones."""
        text = self._target.decode(token_ids, skip_special_tokens=True)
        return unicodedata.normalize("NFC", text) if self._composes else text


class OnnxTranslator:
    """Translates text with an exported model, and is called like `pipeline("translation")`.

    Args:
        folder (`str` or `Path`): what `hf-rnn-attn export CHECKPOINT FOLDER`, with or without `--int8`, wrote.
        threads (`int`, *optional*): of a call. Defaults to one for each core.

    Example:
    ```python
    >>> from hf_rnn_attn_onnx import OnnxTranslator

    >>> translator = OnnxTranslator("onnx")
    >>> translator("Guten Morgen!")
    [{'translation_text': 'Good morning.'}]

    ```
    """

    task = "translation"

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        self.model = OnnxModel(folder, threads)
        self.tokenizer = OnnxTokenizer(folder)
        self.search = Search(**(DEFAULTS | self.model.settings))

    def __call__(self, inputs: str | Sequence[Any], avoid_loops: bool = True, **settings: Any) -> Any:
        """Translates one text, or many; those of a list are put into batches by their length.

        Args:
            inputs (`str`, or a sequence of them): an element may itself be a list of texts.
            avoid_loops (`bool`, *optional*, defaults to `True`):
                Whether to decode an output again that has some tokens four times in a row, as the pipeline does.
            settings: `num_beams`, `num_return_sequences`, `max_length`, `max_new_tokens`, `length_penalty`,
                `early_stopping` and `no_repeat_ngram_size`; they default to what the checkpoint says.

        Returns:
            For a text a list with a dict for each returned translation, its text under "translation_text". For several
            texts one flat list of dicts if each has one translation, else a list of such lists.

        Raises:
            TypeError: if `inputs` is no text and no sequence of texts.
            ValueError: if a setting has no meaning.
        """
        search = self.search.changed(**settings)
        if isinstance(inputs, str):
            return self._translate([inputs], search, avoid_loops)[0]
        if not isinstance(inputs, Iterable) or isinstance(inputs, bytes | Mapping):
            raise TypeError(f"expected a str or a list of str, got {type(inputs).__name__}")
        texts = list(inputs)
        nested = [text if isinstance(text, list) else [text] for text in texts]
        flat = list(itertools.chain.from_iterable(nested))
        for place, text in enumerate(flat):
            if not isinstance(text, str):
                raise TypeError(f"expected a str or a list of str, got {type(text).__name__} at position {place}")
        results = iter(self._translate(flat, search, avoid_loops))
        if any(isinstance(text, list) for text in texts):
            parts = [[next(results) for _ in part] for part in nested]
            return [list(itertools.chain.from_iterable(part)) for part in parts]
        return _flat(list(results))

    def attend(self, sources: Sequence[str], targets: Sequence[str]) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Yields for each pair the attention between tokens (T, S) while the decoder reads the target, and where the
        tokens of source and target begin and end in their texts.

        Raises:
            ValueError: for a model without attention.
        """
        for source, target in zip(sources, targets, strict=True):
            tokens, own = self.tokenizer.encode(source), self.tokenizer.encode(target, target=True)
            yield self.model.attend(tokens.ids, own.ids), tokens.offsets, own.offsets

    def _translate(self, texts: list[str], search: Search, avoid_loops: bool) -> list[list[dict[str, str]]]:
        """Returns the records of each text."""
        cut = ["" if _is_blank(text) else whole_characters(text[:MOST_CHARACTERS]) for text in texts]
        sources = self.tokenizer(cut)["input_ids"]
        for text, source in zip(texts, sources, strict=True):
            if len(text) > MOST_CHARACTERS or len(source) == MOST_TOKENS:
                logger.warning("Of %s only the first %d tokens were read.", reprlib.repr(text), len(source))
        records = [[{"translation_text": ""}] * search.num_return_sequences for _ in texts]
        for rows in _batches([len(source) if text else 0 for text, source in zip(cut, sources, strict=True)]):
            outputs = self._search([sources[row] for row in rows], search)
            if avoid_loops and search.no_repeat_ngram_size == 0:
                self._search_loops_again([sources[row] for row in rows], outputs, search)
            for row, lines in zip(rows, outputs, strict=True):
                if any(len(line) == search.limit - 1 and line[-1] not in search.ends for line in lines):
                    logger.warning("The output for %s was cut off at the length limit.", reprlib.repr(texts[row]))
                records[row] = [{"translation_text": self.tokenizer.decode(line)} for line in lines]
        return records

    def _search(self, sources: list[list[int]], search: Search) -> list[list[list[int]]]:
        """Returns for each source the target tokens of its translations, with their end and without padding."""
        input_ids = np.full((len(sources), max(map(len, sources))), search.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(input_ids)
        for row, source in enumerate(sources):
            input_ids[row, : len(source)], mask[row, : len(source)] = source, 1
        settings = {name: getattr(search, name) for name in (*COUNTS, "length_penalty", "early_stopping")}
        outputs = []
        for line in self.model.generate(input_ids, mask, **settings)[:, 1:].tolist():
            end = next((place for place, token in enumerate(line) if token in search.ends), len(line) - 1)
            outputs.append(line[: end + 1])
        count = search.num_return_sequences
        return [outputs[start : start + count] for start in range(0, len(outputs), count)]

    def _search_loops_again(self, sources: list[list[int]], outputs: list[list[list[int]]], search: Search) -> None:
        """Puts new outputs in the places of those that repeat themselves more often than their sources."""
        rows = [
            row
            for row, (source, lines) in enumerate(zip(sources, outputs, strict=True))
            if any(_loops(source, line) for line in lines)
        ]
        if rows:
            again = self._search([sources[row] for row in rows], search.changed(no_repeat_ngram_size=LOOP_GUARD))
            for row, lines in zip(rows, again, strict=True):
                outputs[row] = lines


def _flat(records: list[list[dict[str, str]]]) -> list[Any]:
    return [one[0] for one in records] if all(len(one) == 1 for one in records) else records


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yields the places of lengths that are not 0, longest first, in batches of at most `TOKENS_PER_BATCH` tokens."""
    rows = sorted((row for row, length in enumerate(lengths) if length), key=lambda row: -lengths[row])
    while rows:
        size = max(1, TOKENS_PER_BATCH // lengths[rows[0]])
        yield rows[:size]
        rows = rows[size:]


# As in the package's pipeline_rnn_attn.py, which travels to the Hub and shares nothing with this file


def whole_characters(text: str) -> str:
    """Returns a text with U+FFFD for halves of surrogate pairs, which tokenizers refuse, and with the pairs joined."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_blank(text: str) -> bool:
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


def _loops(source: Sequence[int], output: Sequence[int]) -> bool:
    """Returns whether an output has an n-gram `LOOP_REPEATS` times in a row, and more often than its source has one."""
    longest = len(output) // LOOP_REPEATS
    repeats = _longest_repetition(output, longest)
    return repeats >= LOOP_REPEATS and repeats > _longest_repetition(source, longest)


def _longest_repetition(tokens: Sequence[int], longest: int) -> int:
    """Returns how often an n-gram of at most `longest` tokens stands in a row: 3 times in "a b a b a b"."""
    best = 1
    for size in range(1, longest + 1):
        equal = 0
        for token, later in zip(tokens, tokens[size:], strict=False):
            equal = equal + 1 if token == later else 0
            best = max(best, 1 + equal // size)
    return best
