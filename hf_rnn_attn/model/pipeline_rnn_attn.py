# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The tasks of encoder-decoders, which transformers 5 lacks: text in, text out; scores and attention on request.

[`Text2TextGenerationPipeline`], [`SummarizationPipeline`] and [`TranslationPipeline`] serve every encoder-decoder of
the library that reads text; arguments and output are those of transformers 4.57. [`register_pipelines`] teaches
`transformers.pipeline` the tasks. This file knows neither the configuration nor the model of this project: it sees them
as it sees Marian or T5, through `generate()`.
"""

import copy
import difflib
import enum
import functools
import inspect
import numbers
import re
import reprlib
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    GenerationMixin,
    Pipeline,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    pipelines,
)
from transformers.utils import logging

from .checkpoint_rnn_attn import load_checkpoint


logger = logging.get_logger(__name__)

TASK = "translation"
LENGTH_LIMITS = {"max_length", "max_new_tokens"}
# Used for what neither the call nor the checkpoint's generation_config sets
DEFAULT_MAX_NEW_TOKENS = 256
DEFAULT_NUM_BEAMS = 4
# What is loaded when no model is named: repository and revision, as in 4.57
DEFAULT_MODEL = ("google-t5/t5-base", "a9723ea")
DEFAULT_MODEL_TARGETS = ("fr", "de", "ro")
DEFAULT_SUMMARIZER = ("sshleifer/distilbart-cnn-12-6", "a4f8f3e")
# Cut before they are counted in tokens: so many characters for each token that may be read
CHARACTERS_PER_TOKEN = 10
# An n-gram that stands so often in a row is a loop, and is decoded again without any n-gram of that size twice
LOOP_REPEATS = 4
LOOP_GUARD = {"no_repeat_ngram_size": 3}

# What arguments may hold; others are checked by `generate()`
FLAGS = {
    "return_tensors",
    "return_text",
    "clean_up_tokenization_spaces",
    "output_attentions",
    "return_scores",
    "avoid_loops",
    "do_sample",
    "use_cache",
}
STRINGS = {"src_lang", "tgt_lang", "stop_sequence"}
NUMBERS = {"length_penalty", "repetition_penalty", "temperature", "top_p"}
COUNTS = {
    "batch_size": 1,
    "num_workers": 0,
    "num_return_sequences": 1,
    "num_beams": 1,
    "max_length": 1,
    "max_new_tokens": 1,
    "min_length": 0,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
}
# What `generate()` takes besides its parameters and those of the models
OTHER_ARGUMENTS = {"tokenizer", "assistant_tokenizer", "trust_remote_code"}


class ReturnType(enum.Enum):
    """What a record of the output holds: token ids or text."""

    TENSORS = 0
    TEXT = 1


def languages_of_task(task: str) -> tuple[str, str] | None:
    """Returns source and target language of a task name such as "translation_de_to_en"; `None` for one without them.

    Raises:
        KeyError: if the name starts like one with languages and is not.
    """
    if not task.startswith(f"{TASK}_"):
        return None
    languages = re.fullmatch(rf"{TASK}_(.+?)_to_(.+)", task)
    if languages is None:
        raise KeyError(f"Invalid translation task {task}: write it as translation_XX_to_YY, e.g. translation_de_to_en.")
    return cast(tuple[str, str], languages.groups())


def check_model(model: PreTrainedModel) -> None:
    """Raises a ValueError unless `model` is an encoder-decoder that reads token ids and can generate."""
    if model.config.is_encoder_decoder and model.can_generate() and model.main_input_name == "input_ids":
        return
    raise ValueError(
        f"This pipeline needs an encoder-decoder model that reads text and can generate, such as"
        f" RnnAttnForConditionalGeneration, MarianMTModel or T5ForConditionalGeneration, but got"
        f" {type(model).__name__}. Load the checkpoint with AutoModelForSeq2SeqLM, or use another task for it."
    )


def sides_of(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    """Returns the tokenizers of the source and of the target texts: the same object twice for one joint vocabulary.

    Example:
    ```python
    >>> source_side, target_side = sides_of(tokenizer)
    >>> source_side.tokenize("ein Hund"), target_side.tokenize("a dog")
    (['▁ein', '▁Hund'], ['▁a', '▁dog'])

    ```
    """
    # no isinstance: code from the Hub brings a class of its own, under the name of another module
    if hasattr(tokenizer, "target_tokenizer"):
        return cast(Any, tokenizer).source_tokenizer, cast(Any, tokenizer).target_tokenizer
    return tokenizer, tokenizer


def attention_of_sequences(outputs: Any) -> torch.Tensor:
    """Returns the cross attention of each returned sequence: the mean over the heads of the last layer.

    Args:
        outputs: what `generate(output_attentions=True, return_dict_in_generate=True)` returns for `batch_size` inputs.

    Returns:
        `torch.FloatTensor` of shape `(batch_size * num_return_sequences, generated_length, source_length)`; row t
        belongs to the t-th token after the decoder's prompt. Rows after the end of a sequence mean nothing.

    Raises:
        ValueError: if the model returned no cross attention.
    """
    layers = outputs.cross_attentions[0] if outputs.cross_attentions else ()
    if not layers or layers[-1] is None:
        raise ValueError(
            "output_attentions=True needs a model that returns cross attentions, and this one returned none. A"
            ' Transformer must be loaded with model_kwargs={"attn_implementation": "eager"}; a model without attention'
            " has none to show."
        )
    # The first step may have read a prompt of several tokens: its last position is the one that generated
    steps = torch.stack([layers[-1][:, :, -1].mean(1) for layers in outputs.cross_attentions], dim=1)  # (rows, T, S)
    beam_indices = getattr(outputs, "beam_indices", None)
    if beam_indices is None:
        return steps
    # Beams change rows on their way: beam_indices (batch * returned, T) names the row that generated each token,
    # -1 after the end
    rows = beam_indices.long().clamp(min=0)
    return steps[rows, torch.arange(rows.shape[1], device=rows.device)]


def check_values(arguments: Mapping[str, Any]) -> None:
    """Raises a ValueError for the first of these arguments that holds what it cannot; `None` stands for the default."""
    for name, value in arguments.items():
        if value is None:
            continue
        if name in FLAGS and not isinstance(value, bool):
            expected = "True or False"
        elif name in STRINGS and not isinstance(value, str):
            expected = "a str"
        elif name in NUMBERS and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
            expected = "a number"
        elif name in COUNTS and not _is_count(value, COUNTS[name]):
            expected = f"a whole number of at least {COUNTS[name]}"
        elif name == "return_type" and not isinstance(value, ReturnType):
            expected = "ReturnType.TENSORS or ReturnType.TEXT"
        elif name == "truncation" and value not in (True, False, "only_first", "longest_first", "do_not_truncate"):
            expected = 'True, False, "only_first", "longest_first" or "do_not_truncate"'
        elif name == "replace_unknown" and not _is_replacement(value):
            expected = "True, False, or a dict from words of the source to words of the output, both of them str"
        else:
            continue
        raise ValueError(f"{name}={_quote(value)}: expected {expected}.")


def _is_count(value: Any, least: int) -> bool:
    """Returns whether a value is a whole number of at least `least`."""
    return not isinstance(value, bool) and isinstance(value, numbers.Integral) and int(value) >= least


def _is_replacement(value: Any) -> bool:
    """Returns whether `replace_unknown` may be this."""
    if isinstance(value, Mapping):
        return all(isinstance(word, str) for entry in value.items() for word in entry)
    return isinstance(value, bool)


def _quote(value: Any) -> str:
    """Returns enough of a value to know it by, in one line."""
    return " ".join(reprlib.repr(value).split())


def _texts(inputs: Any) -> Any:
    """Returns any sequence of texts as a list and any other iterable as a generator, after a look at what they hold.

    Raises:
        TypeError: if there is something other than text in `inputs`: where, and what to pass instead.
    """
    if hasattr(inputs, "to_pylist"):  # pyarrow
        inputs = inputs.to_pylist()
    elif hasattr(inputs, "tolist"):  # numpy, pandas, torch
        inputs = inputs.tolist()
    if isinstance(inputs, (str, torch.utils.data.Dataset)):
        return inputs
    is_table = isinstance(inputs, (bytes, bytearray, Mapping)) or hasattr(inputs, "columns")
    if not is_table and all(hasattr(inputs, name) for name in ("__len__", "__iter__", "__getitem__")):
        texts = list(inputs)
        for place, text in enumerate(texts):
            _check_text(text, f" at position {place}")
        return texts
    if not is_table and isinstance(inputs, Iterable) and not hasattr(inputs, "__len__"):
        return (text for text in cast(Iterable[Any], inputs))
    _check_text(inputs)
    return inputs


def _check_text(text: Any, place: str = "") -> None:
    """Raises a TypeError unless `text` is a `str` or a list of them with at least one."""
    if isinstance(text, str) or (isinstance(text, list) and text and all(isinstance(part, str) for part in text)):
        return
    raise TypeError(
        f"The pipeline takes a str or a list of str, but got {type(text).__name__} {_quote(text)}{place}. Of a data set"
        ' pass one column, e.g. translator(dataset["text"]); of a file its text; in place of a missing value "".'
    )


def whole_characters(text: str) -> str:
    """Returns a text with U+FFFD for halves of surrogate pairs, which tokenizers refuse, and with the pairs joined."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_blank(text: str) -> bool:
    """Returns whether a text has nothing to see: white space, control and format characters alone."""
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


def longest_repetition(tokens: Sequence[int], longest: int) -> int:
    """Returns how often an n-gram of at most `longest` tokens stands in a row: 3 times in "a b a b a b"."""
    best = 1
    for size in range(1, longest + 1):
        equal = 0
        for token, later in zip(tokens, tokens[size:], strict=False):
            equal = equal + 1 if token == later else 0
            best = max(best, 1 + equal // size)
    return best


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that are not `None`."""
    return {name: value for name, value in values.items() if value is not None}


def _with_settings(generate_kwargs: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Returns `generate_kwargs` with `settings`, in a copy of its `generation_config` if it has one."""
    if "generation_config" not in generate_kwargs:
        return {**generate_kwargs, **settings}
    # generate() wants them in one place
    config = copy.deepcopy(generate_kwargs["generation_config"])
    config.update(**settings)
    return {**generate_kwargs, "generation_config": config}


def _loops(source_ids: list[int], output_ids: list[int]) -> bool:
    """Returns whether an output has an n-gram `LOOP_REPEATS` times in a row, and more often than its source has one."""
    longest = len(output_ids) // LOOP_REPEATS
    repeats = longest_repetition(output_ids, longest)
    return repeats >= LOOP_REPEATS and repeats > longest_repetition(source_ids, longest)


def _may_repeat(generate_kwargs: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Returns whether a loop can be decoded again: found by a search, that nothing keeps from repeating itself."""
    if any(
        isinstance(value, torch.Tensor) or name in ("streamer", "custom_generate")
        for name, value in generate_kwargs.items()
    ):
        return False
    has_guard = settings.get("no_repeat_ngram_size", 0) > 0 or settings.get("repetition_penalty", 1.0) != 1.0
    return not (has_guard or settings.get("do_sample", False))


def _is_end(output_ids: torch.Tensor, settings: Mapping[str, Any]) -> torch.Tensor:
    """Returns which tokens end a sequence."""
    ends = torch.as_tensor(settings.get("eos_token_id", []), dtype=output_ids.dtype, device=output_ids.device)
    return torch.isin(output_ids, ends)


def _lengthened(part: torch.Tensor, length: int, padding: Any) -> torch.Tensor:
    """Returns `part` (B, R, T, ...) padded to `length` in its third dimension."""
    missing = [0, 0] * (part.ndim - 3) + [0, length - part.shape[2]]
    return F.pad(part, missing, value=padding)


class Text2TextGenerationPipeline(Pipeline):
    """Turns text into text with any encoder-decoder model of the library.

    Arguments of a call (and, as defaults for every call, of `pipeline(...)`):

    * `return_tensors` (`bool`, *optional*): token ids under "generated_token_ids" instead of the text;
      `return_type` ([`ReturnType`]) says the same and wins; `return_text` is accepted and changes nothing, as in 4.57.
    * `clean_up_tokenization_spaces` (`bool`, *optional*, defaults to `False`): handed to the tokenizer's `decode`.
    * `truncation` (*optional*): handed to the tokenizer. What is cut off is warned of.
    * `stop_sequence` (`str`, *optional*): its first token takes the place of the end-of-sequence token.
    * `return_scores` (`bool`, *optional*, defaults to `False`): adds "score" to a record, the natural logarithm of the
      probability that the model gives to the returned sequence: the sum over its tokens, the end-of-sequence token
      included, before any temperature or other processing. Records stay in the order of the search, which beam search
      finds by the score divided by `length ** length_penalty`. A score says nothing about the quality of a text.
    * `output_attentions` (`bool`, *optional*, defaults to `False`): adds "source_tokens" (S strings), "target_tokens"
      (T strings) and "attention" (T lists of S floats) to a record: the cross attention of the last layer, averaged
      over its heads, that generated each token of the returned sequence. Padding is left out; the end-of-sequence
      token is kept on both sides.
    * `replace_unknown` (`bool` or `Mapping[str, str]`, *optional*, defaults to `False`): puts the source word that was
      attended to most, or its entry in the mapping, in the place of each unknown token of the output (Luong et al.
      2015, section 4.1). For vocabularies of whole words; needs a fast tokenizer and a model with attention.
    * `avoid_loops` (`bool`, *optional*, defaults to `False`): decodes a text again, without any three tokens twice, if
      the output has some tokens four times in a row or more often, and the text has not. What was sampled, and what the
      call, the task or the checkpoint keeps from repeating, is left as it is.
    * `names` (`list[str]`, *optional*): what warnings call the texts of a batch, such as `"in.txt:3"`; by default they
      quote the text.
    * everything else goes to `model.generate()`.

    Generation parameters come from the call, then from `config.task_specific_params` of the task, then from the
    checkpoint's generation_config, then from here: `max_new_tokens=256` (unless either length limit is set) and
    `num_beams=4`. A `generation_config` argument replaces all of them.

    A text of more than `max_source_tokens` tokens, an attribute of the pipeline, is cut there with a warning; so is one
    of more than ten times as many characters. An output that a length limit cut off is warned of too.

    Example:
    ```python
    >>> import hf_rnn_attn
    >>> from transformers import pipeline

    >>> generator = pipeline("text2text-generation", model="path/to/checkpoint")
    >>> generator("Guten Morgen!")
    [{'generated_text': 'Good morning.'}]

    ```

    Raises:
        ValueError: if the model is no encoder-decoder that reads text and can generate.
    """

    # any of the library's; some have what others lack
    model: Any
    tokenizer: Any

    return_name = "generated"
    max_source_tokens = 5_000
    avoids_loops = False

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    # The base class would prepare generation parameters too, differently from release to release
    _pipeline_calls_generate = False

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        check_model(model)
        check_values(kwargs)
        super().__init__(model, *args, **kwargs)
        if hasattr(model, "check_tokenizer"):
            cast(Any, model).check_tokenizer(self.tokenizer)
        parameters = dict(self._task_specific_params().get(self.task, {}))
        self.prefix = parameters.pop("prefix", getattr(model.config, "prefix", None)) or ""
        generation_names = GenerationConfig().to_dict()
        self.task_generate_kwargs = {name: value for name, value in parameters.items() if name in generation_names}

    def _task_specific_params(self) -> dict[str, dict[str, Any]]:
        """Returns the parameters in the model's configuration, by task."""
        return getattr(self.model.config, "task_specific_params", None) or {}

    @functools.cached_property
    def _generate_arguments(self) -> set[str]:
        """The names of what `generate()` takes with this model."""
        functions = [cast(Any, GenerationMixin).generate, self.model.generate, self.model.forward]
        functions += [part.forward for part in (self.model.get_encoder(), self.model.get_decoder()) if part is not None]
        names = {name for function in functions for name in inspect.signature(function).parameters}
        return (names | GenerationConfig().to_dict().keys() | OTHER_ARGUMENTS) - {"self", "args", "kwargs"}

    # the library's own pipelines name their parameters too, in this method and those below
    def _sanitize_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        return_type: ReturnType | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: Any = None,
        stop_sequence: str | None = None,
        return_scores: bool | None = None,
        output_attentions: bool | None = None,
        replace_unknown: bool | Mapping[str, str] | None = None,
        avoid_loops: bool | None = None,
        names: list[str] | None = None,
        **forward_params: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Divides the arguments of a call among `preprocess`, `_forward` and `postprocess`."""
        self._check_names(forward_params)
        if return_type is None and return_tensors is not None:
            return_type = ReturnType.TENSORS if return_tensors else ReturnType.TEXT
        if stop_sequence is not None:
            forward_params["eos_token_id"] = self._first_token_id(stop_sequence)
        # an empty mapping is a mapping
        replaces = None if replace_unknown is None else replace_unknown is not False
        preprocess_params = {"truncation": truncation, "return_words": replaces, "names": names}
        extras = {"return_scores": return_scores, "output_attentions": output_attentions, "avoid_loops": avoid_loops}
        forward_params |= _given(extras)
        postprocess_params = {
            "return_type": return_type,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
            "output_attentions": output_attentions,
            "replace_unknown": replace_unknown,
        }
        return _given(preprocess_params), forward_params, _given(postprocess_params)

    def _check_names(self, arguments: Mapping[str, Any]) -> None:
        """Raises a ValueError for an argument that neither the pipeline nor `generate()` knows."""
        for name in arguments.keys() - self._generate_arguments:
            own = FLAGS | STRINGS | COUNTS.keys() | {"return_type", "truncation", "replace_unknown"}
            nearest = difflib.get_close_matches(name, self._generate_arguments | own, 1)
            advice = f"Did you mean {nearest[0]}?" if nearest else "It takes those of its class and of generate()."
            raise ValueError(f"{name}: the pipeline of {self.task!r} has no such argument. {advice}")

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """Warns of lengths that do not go together, in tokens; this task knows of none. Returns `True`."""
        return True

    def _first_token_id(self, stop_sequence: str) -> int:
        """Returns the first token of a text that is to end the output.

        Raises:
            ValueError: if the text has no token.
        """
        token_ids = self.tokenizer(text_target=stop_sequence, add_special_tokens=False)["input_ids"]
        if not token_ids:
            raise ValueError(f"stop_sequence needs at least one token, but {stop_sequence!r} has none.")
        if len(token_ids) > 1:
            warnings.warn(
                f"stop_sequence {stop_sequence!r} has {len(token_ids)} tokens; generation stops at the first of them.",
                UserWarning,
                stacklevel=2,
            )
        return token_ids[0]

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: Any, **kwargs: Any
    ) -> Any:
        """Turns one text, or many, into text.

        Args:
            inputs: a `str`, a list of them, or a dataset or generator of them; an element may itself be a list of
                `str`, which is read as one padded batch. A tuple, an array, a series or the column of a data set works
                like a list, and any iterator like a generator. A text with nothing to see has an empty output. Half of
                a surrogate pair is read as U+FFFD.
            kwargs: see the class.

        Returns:
            For a `str` a list with one dict per returned sequence; for a list of `str` one flat list of dicts if each
            has one returned sequence, else a list of such lists; for a dataset or generator an iterable of such lists.
        """
        check_values(kwargs)
        inputs = _texts(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        results: Any = super().__call__(inputs, **kwargs)
        if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
            return results
        return [records[0] for records in results] if all(len(records) == 1 for records in results) else results

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Any,
        truncation: Any = False,
        return_words: bool = False,
        names: list[str] | None = None,
        **languages: str,
    ) -> Any:
        """Turns one text, or a list of them, into the model's inputs.

        Args:
            inputs (`str` or `list[str]`): what to read; a list becomes one padded batch.
            truncation: see the class.
            return_words (`bool`, *optional*, defaults to `False`): whether to add "source_words", for each text the
                word that each of its tokens stands for.
            names (`list[str]`, *optional*): see the class.
            languages: of a translation.

        Raises:
            TypeError: if `inputs` is something else.
        """
        _check_text(inputs)
        texts: list[str] = inputs if isinstance(inputs, list) else [inputs]
        names = names or [f"{reprlib.repr(text)} ({len(text)} characters)" for text in texts]
        most = CHARACTERS_PER_TOKEN * self.max_source_tokens
        cut = [whole_characters(text[:most]) for text in texts]
        truncates = truncation not in (False, "do_not_truncate")
        limit = min(self.max_source_tokens, self.tokenizer.model_max_length) if truncates else self.max_source_tokens
        settings = {
            "padding": isinstance(inputs, list),
            "return_tensors": "pt",
            "return_attention_mask": True,
            "verbose": not truncates,
        }
        features = self._encode(cut, **settings, **languages)
        lengths = features["attention_mask"].sum(-1)
        if (lengths > limit).any():
            features = self._encode(cut, truncation=True, max_length=limit, **settings, **languages)
        for name, text, length in zip(names, texts, lengths.tolist(), strict=True):
            if length > limit or len(text) > most:
                logger.warning(f"Only the first {limit} tokens, of at most {most} characters, were read of {name}.")
        if return_words:
            features["source_words"] = [self._source_words(self.prefix + text, limit) for text in cut]
        features["names"] = names
        features["is_blank"] = torch.tensor([_is_blank(text) for text in texts])
        return features

    def _encode(self, texts: list[str], **settings: Any) -> Any:
        """Returns the token ids of texts behind the prefix."""
        features = self.tokenizer([self.prefix + text for text in texts], **settings)
        # Some tokenizers make it, generate() refuses it
        features.pop("token_type_ids", None)
        return features

    def _source_words(self, text: str, limit: int) -> list[str]:
        """Returns what each of at most `limit` source tokens stands for; an empty string for a special token."""
        tokenizer, _ = sides_of(cast(PreTrainedTokenizerBase, self.tokenizer))
        if not tokenizer.is_fast:
            raise ValueError(
                f"replace_unknown has to know where a token stands in the text, which {type(tokenizer).__name__} does"
                " not tell. Use a fast tokenizer, or leave replace_unknown out."
            )
        spans = tokenizer(text, truncation=True, max_length=limit, return_offsets_mapping=True)["offset_mapping"]
        return [text[start:end].strip() for start, end in spans]

    def _forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model_inputs: Any,
        output_attentions: bool = False,
        return_scores: bool = False,
        avoid_loops: bool | None = None,
        **generate_kwargs: Any,
    ) -> dict[str, Any]:
        """Decodes one batch; returns token ids, and what `postprocess` needs for the rest of a record."""
        passed_on = {name: model_inputs.pop(name) for name in ("names", "source_words") if name in model_inputs}
        is_blank = model_inputs.pop("is_blank")
        output_attentions = output_attentions or "source_words" in passed_on
        generate_kwargs = self._with_defaults(generate_kwargs)
        settings = self._settings(generate_kwargs)
        limit = settings.get("max_new_tokens", settings.get("max_length"))
        if limit is not None:
            self.check_inputs(model_inputs["input_ids"].shape[1], settings.get("min_length", 0), limit)
        outputs = self._generate(model_inputs, generate_kwargs, output_attentions)
        if (self.avoids_loops if avoid_loops is None else avoid_loops) and _may_repeat(generate_kwargs, settings):
            guarded = _with_settings(generate_kwargs, **LOOP_GUARD)
            self._decode_loops_again(model_inputs, guarded, outputs, self._is_generated(outputs, settings))
        is_generated = self._is_generated(outputs, settings)
        if return_scores:
            outputs["scores"] = self._log_probabilities(model_inputs, outputs["output_ids"], is_generated)
        outputs["is_cut"] = self._is_cut(outputs["output_ids"], is_generated, settings)
        if is_blank.any():
            # There is nothing to read, and a model would invent a sentence
            padding = cast(int, self.tokenizer.pad_token_id)
            outputs["output_ids"] = outputs["output_ids"].masked_fill(is_blank[:, None, None], padding)
            is_generated = is_generated & ~is_blank[:, None, None]
            for name in {"is_cut", "scores"} & outputs.keys():
                outputs[name] = outputs[name].masked_fill(is_blank[:, None], 0)
        if output_attentions:
            outputs |= {name: model_inputs[name] for name in ("input_ids", "attention_mask")}
            outputs["is_generated"] = is_generated & (outputs["output_ids"] != self.tokenizer.pad_token_id)
        return outputs | passed_on

    def _settings(self, generate_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Returns the generation parameters of a call that are set, wherever they are set."""
        config = generate_kwargs.get("generation_config", self.model.generation_config)
        return _given(config.to_dict()) | _given(generate_kwargs)

    def _generate(
        self, model_inputs: Any, generate_kwargs: dict[str, Any], output_attentions: bool
    ) -> dict[str, torch.Tensor]:
        """Returns "output_ids" (B, R, T) for R sequences of each text and, on request, "attention" (B, R, T', S)."""
        batch_size = len(model_inputs["input_ids"])
        if output_attentions:
            generate_kwargs = _with_settings(generate_kwargs, output_attentions=True, return_dict_in_generate=True)
        outputs = self.model.generate(**model_inputs, **generate_kwargs)
        output_ids = outputs if isinstance(outputs, torch.Tensor) else outputs.sequences
        named = {"output_ids": output_ids.unflatten(0, (batch_size, -1))}
        if output_attentions:
            named["attention"] = attention_of_sequences(outputs).unflatten(0, (batch_size, -1))
        return named

    def _is_generated(self, outputs: dict[str, torch.Tensor], settings: dict[str, Any]) -> torch.Tensor:
        """Returns which of the tokens (B, R, T) the model chose: not the prompt, and not the padding behind the end."""
        output_ids = outputs["output_ids"]
        is_end = _is_end(output_ids, settings)
        prompt = settings["decoder_input_ids"].shape[1] if "decoder_input_ids" in settings else 1
        is_end[..., :prompt] = False
        is_before_end = is_end.cumsum(-1) - is_end.int() == 0
        is_token = is_end | (output_ids != settings.get("pad_token_id"))
        is_generated = is_before_end & (is_token.flip(-1).cumsum(-1).flip(-1) > 0)
        is_generated[..., :prompt] = False
        return is_generated

    def _decode_loops_again(
        self,
        model_inputs: Any,
        generate_kwargs: dict[str, Any],
        outputs: dict[str, torch.Tensor],
        is_generated: torch.Tensor,
    ) -> None:
        """Puts new outputs in the places of those that repeat themselves more often than their texts."""
        rows = [
            row
            for row, mask in enumerate(model_inputs["attention_mask"].bool())
            if any(
                _loops(model_inputs["input_ids"][row, mask].tolist(), output_ids[is_token].tolist())
                for output_ids, is_token in zip(outputs["output_ids"][row], is_generated[row], strict=True)
            )
        ]
        if not rows:
            return
        some = {name: part[rows] if isinstance(part, torch.Tensor) else part for name, part in model_inputs.items()}
        again = self._generate(some, generate_kwargs, "attention" in outputs)
        paddings = {"output_ids": outputs["output_ids"].new_tensor(self.tokenizer.pad_token_id), "attention": 0}
        for name, first in outputs.items():
            length = max(first.shape[2], again[name].shape[2])
            old, new = (_lengthened(part, length, paddings[name]) for part in (first, again[name]))
            outputs[name] = old.index_copy(0, torch.tensor(rows, device=old.device), new)

    def _log_probabilities(
        self, model_inputs: Any, output_ids: torch.Tensor, is_generated: torch.Tensor
    ) -> torch.Tensor:
        """Returns log P of each sequence (B, R), from one pass of the model for each of the R."""
        inputs = {name: model_inputs[name] for name in ("input_ids", "attention_mask")}
        scores: list[torch.Tensor] = []
        for sequences, counts in zip(output_ids.unbind(1), is_generated.unbind(1), strict=True):
            logits = self.model(**inputs, decoder_input_ids=sequences[:, :-1], use_cache=False).logits
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            log_probs = logits.log_softmax(-1).gather(-1, sequences[:, 1:, None]).squeeze(-1)
            scores.append(log_probs.where(counts[:, 1:], 0).sum(-1))
        return torch.stack(scores, 1)

    def _is_cut(self, output_ids: torch.Tensor, is_generated: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        """Returns which sequences (B, R) a length limit ended."""
        length = is_generated.sum(-1)
        prompt = settings["decoder_input_ids"].shape[1] if "decoder_input_ids" in settings else 1
        limit = settings.get("max_new_tokens", settings.get("max_length", 0) - prompt)
        # where the last token is forced to be the end, it says nothing
        has_end = (_is_end(output_ids, settings) & is_generated).any(-1)
        return (length == limit) & ~(has_end & ("forced_eos_token_id" not in settings))

    def _with_defaults(self, generate_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments for `generate()`: those of the call, and defaults that it does not find by itself."""
        if "generation_config" in generate_kwargs:
            return generate_kwargs
        arguments = {**self.task_generate_kwargs, **generate_kwargs}
        if LENGTH_LIMITS & generate_kwargs.keys():
            # One limit takes the place of the other
            arguments = {n: v for n, v in arguments.items() if n in generate_kwargs or n not in LENGTH_LIMITS}
        settled = _given(self.model.generation_config.to_dict()).keys() | arguments.keys()
        if not LENGTH_LIMITS & settled:
            arguments["max_new_tokens"] = DEFAULT_MAX_NEW_TOKENS
        if "num_beams" not in settled:
            arguments["num_beams"] = DEFAULT_NUM_BEAMS
        if "pad_token_id" not in settled:
            arguments["pad_token_id"] = self.tokenizer.pad_token_id
        return arguments

    def postprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model_outputs: dict[str, Any],
        return_type: ReturnType = ReturnType.TEXT,
        clean_up_tokenization_spaces: bool = False,
        output_attentions: bool = False,
        replace_unknown: bool | Mapping[str, str] = False,
    ) -> list[dict[str, Any]]:
        """Turns the model's outputs into records, one for each returned sequence; for the arguments see the class."""
        sequences = model_outputs["output_ids"].flatten(0, 1)
        for name, is_cut in zip(model_outputs["names"], model_outputs["is_cut"], strict=True):
            if is_cut.any():
                logger.warning(f"The output for {name} was cut off at the length limit. Raise it: max_new_tokens=400.")
        if return_type == ReturnType.TENSORS:
            records: list[dict[str, Any]] = [{f"{self.return_name}_token_ids": output_ids} for output_ids in sequences]
        else:
            texts = [self._decode(output_ids, clean_up_tokenization_spaces) for output_ids in sequences]
            if replace_unknown is not False:
                dictionary: Mapping[str, str] = {} if replace_unknown is True else replace_unknown
                texts = self._without_unknown(model_outputs, texts, dictionary, clean_up_tokenization_spaces)
            records = [{f"{self.return_name}_text": text} for text in texts]
        if "scores" in model_outputs:
            for record, score in zip(records, model_outputs["scores"].flatten().tolist(), strict=True):
                record["score"] = score
        if output_attentions:
            for record, sequence in zip(records, self._attended(model_outputs), strict=True):
                record.update(self._attention_record(*sequence))
        return records

    def _decode(self, output_ids: Any, clean_up_tokenization_spaces: bool, skip_special_tokens: bool = True) -> str:
        """Returns the text of one sequence."""
        return self.tokenizer.decode(
            output_ids,
            skip_special_tokens=skip_special_tokens,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
        )

    def _attended(self, model_outputs: dict[str, Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yields source ids (S), generated ids (T) and attention (T, S) of each returned sequence, without padding."""
        _, returned, target_length, _ = model_outputs["attention"].shape
        for row, attention in enumerate(model_outputs["attention"].flatten(0, 1)):
            source_ids = model_outputs["input_ids"][row // returned]
            source_mask = model_outputs["attention_mask"][row // returned].bool()
            # The decoder's prompt comes before the tokens that attention was paid for
            target_ids = model_outputs["output_ids"].flatten(0, 1)[row, -target_length:]
            # not by the padding: behind an end the library fills up with ends where the padding is token 0
            target_mask = model_outputs["is_generated"].flatten(0, 1)[row, -target_length:]
            yield source_ids[source_mask], target_ids[target_mask], attention[target_mask][:, source_mask]

    def _attention_record(
        self, source_ids: torch.Tensor, target_ids: torch.Tensor, attention: torch.Tensor
    ) -> dict[str, Any]:
        """Returns what `output_attentions` adds to a record."""
        return {
            "source_tokens": self._source_tokens(source_ids.tolist()),
            "target_tokens": self.tokenizer.convert_ids_to_tokens(target_ids.tolist()),
            "attention": attention.tolist(),
        }

    def _without_unknown(
        self,
        model_outputs: dict[str, Any],
        texts: list[str],
        dictionary: Mapping[str, str],
        clean_up_tokenization_spaces: bool,
    ) -> list[str]:
        """Returns the texts with words of the source in the places of unknown tokens."""
        returned, replaced = model_outputs["attention"].shape[1], []
        for row, (_, target_ids, attention) in enumerate(self._attended(model_outputs)):
            words = model_outputs["source_words"][row // returned]
            if self.tokenizer.unk_token_id not in target_ids or not any(words):
                replaced.append(texts[row])
                continue
            no_word = torch.tensor([not word for word in words])
            looked_at = attention[target_ids == self.tokenizer.unk_token_id].masked_fill(no_word, -1).argmax(-1)
            replacements = [dictionary.get(words[index], words[index]) for index in looked_at]
            pieces = self._decode_around_unknown(target_ids.tolist(), clean_up_tokenization_spaces)
            replaced.append("".join(piece + word for piece, word in zip(pieces, [*replacements, ""], strict=True)))
        return replaced

    def _decode_around_unknown(self, token_ids: list[int], clean_up_tokenization_spaces: bool) -> list[str]:
        """Returns the pieces of text before, between and after the unknown tokens."""
        skipped = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        token_ids = [token_id for token_id in token_ids if token_id not in skipped]
        text = self._decode(token_ids, clean_up_tokenization_spaces, skip_special_tokens=False)
        return text.split(self.tokenizer.unk_token)

    def _source_tokens(self, token_ids: list[int]) -> list[str]:
        """Returns the tokens of source ids."""
        if hasattr(self.tokenizer, "get_src_vocab"):
            # Marian and FSMT: convert_ids_to_tokens() knows only the target vocabulary
            tokens = {token_id: token for token, token_id in self.tokenizer.get_src_vocab().items()}
            return [tokens[token_id] for token_id in token_ids]
        source_side, _ = sides_of(cast(PreTrainedTokenizerBase, self.tokenizer))
        return cast(list[str], source_side.convert_ids_to_tokens(token_ids))


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Summarizes texts with any encoder-decoder model of the library.

    A record has "summary_text" or "summary_token_ids"; all else is as in [`Text2TextGenerationPipeline`].

    Example:
    ```python
    >>> import hf_rnn_attn
    >>> from transformers import pipeline

    >>> summarizer = pipeline("summarization", model="path/to/checkpoint")
    >>> summarizer("Guten Morgen!", max_length=5)
    [{'summary_text': '...'}]

    ```
    """

    return_name = "summary"

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """Warns of limits that contradict each other, and of a summary that may become longer than its text."""
        if max_length < min_length:
            logger.warning(f"min_length={min_length} is more than max_length={max_length}.")
        # not of the limit that nobody chose
        if input_length < max_length != DEFAULT_MAX_NEW_TOKENS:
            logger.warning(
                f"The text has {input_length} tokens, and its summary may have {max_length}. A summary is shorter than"
                f" its text: lower the limit, e.g. summarizer(text, max_length={input_length // 2})."
            )
        return True


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translates text with any encoder-decoder model of the library.

    A record has "translation_text" or "translation_token_ids". Arguments are those of [`Text2TextGenerationPipeline`],
    of which `avoid_loops` defaults to `True` here, and:

    * `src_lang`, `tgt_lang` (`str`, *optional*): for tokenizers of many languages (mBART, NLLB, M2M100 ...); others
      ignore them. They default to those in the task's name, "translation_XX_to_YY".

    Example:
    ```python
    >>> import hf_rnn_attn
    >>> from transformers import pipeline

    >>> translator = pipeline("translation", model="path/to/checkpoint")
    >>> translator("Ein Mann fährt auf einem Fahrrad.")
    [{'translation_text': 'A man is driving on a bicycle.'}]

    ```
    """

    return_name = "translation"
    avoids_loops = True

    def __init__(self, model: PreTrainedModel, *args: Any, task: str = TASK, **kwargs: Any) -> None:
        super().__init__(model, *args, task=self._task_with_parameters(model, task or TASK), **kwargs)

    def _task_with_parameters(self, model: PreTrainedModel, task: str) -> str:
        """Returns the task, or for plain "translation" the first one that the configuration has parameters for."""
        parameters = getattr(model.config, "task_specific_params", None) or {}
        named = [name for name in parameters if name.startswith(f"{TASK}_")]
        if task != TASK or TASK in parameters or not named:
            return task
        warnings.warn(
            f'The task "translation" does not say from which language into which; using "{named[0]}", the first one'
            " that the model's configuration has parameters for.",
            UserWarning,
            stacklevel=3,
        )
        return named[0]

    def _sanitize_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_params, forward_params, postprocess_params = super()._sanitize_parameters(**kwargs)
        preprocess_params |= _given({"src_lang": src_lang, "tgt_lang": tgt_lang})
        return preprocess_params, forward_params, postprocess_params

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """Warns of an input that is nearly as long as the translation may become."""
        if input_length > 0.9 * max_length:
            logger.warning(
                f"The input has {input_length} tokens, more than 0.9 * {max_length}, the most that the translation may"
                " have, so its end may be cut off. Raise the limit, e.g. translator(text, max_new_tokens=400)."
            )
        return True

    def _encode(
        self, texts: list[str], src_lang: str | None = None, tgt_lang: str | None = None, **settings: Any
    ) -> Any:
        if not hasattr(self.tokenizer, "_build_translation_inputs"):
            return super()._encode(texts, **settings)
        task_src_lang, task_tgt_lang = languages_of_task(self.task) or (None, None)
        return self.tokenizer._build_translation_inputs(
            texts, src_lang=src_lang or task_src_lang, tgt_lang=tgt_lang or task_tgt_lang, **settings
        )


PIPELINES = {
    "text2text-generation": (Text2TextGenerationPipeline, {"model": DEFAULT_MODEL}),
    "summarization": (SummarizationPipeline, {"model": DEFAULT_SUMMARIZER}),
    TASK: (TranslationPipeline, {("en", target): {"model": DEFAULT_MODEL} for target in DEFAULT_MODEL_TARGETS}),
}


def translation_pipeline(**options: Any) -> TranslationPipeline:
    """Returns `pipeline("translation", **options)`, under a type that the library's signature does not have.

    Raises:
        OSError: if a file of the checkpoint `model` is missing.
        ValueError: if one is damaged, or model and tokenizer do not belong together.
    """
    model = options.get("model")
    if isinstance(model, (str, Path)):
        names = ("device_map", "dtype", "revision", "token", "trust_remote_code")
        given = {name: options.pop(name) for name in names if name in options}
        options["model"], tokenizer = load_checkpoint(model, **given, **options.pop("model_kwargs", {}))
        options.setdefault("tokenizer", tokenizer)
    make_pipeline: Any = pipelines.pipeline
    return make_pipeline(TASK, **options)


def register_pipelines() -> None:
    """Makes the tasks "text2text-generation", "summarization" and "translation" known to transformers, and the names
    "translation_XX_to_YY".

    `pipeline(model=...)` without a task then translates too where the checkpoint's configuration names that task, be it
    a folder or a Hub id, with network or without. Calling it again changes nothing, and a task that is already there
    stays as it is. The other tasks that transformers 5 removed stay removed.
    """
    registry = pipelines.PIPELINE_REGISTRY
    if TASK not in registry.supported_tasks:
        registry.check_task = functools.partial(_check_task, registry.check_task)
        pipelines.get_task = functools.partial(_get_task, pipelines.get_task)
    for task, (pipeline_class, default) in PIPELINES.items():
        # Not through register_pipeline(): it would make save_pretrained() of a Marian pipeline copy this file to the
        # checkpoint, which then could not be loaded without trust_remote_code
        implementation = {"impl": pipeline_class, "pt": (AutoModelForSeq2SeqLM,), "default": default, "type": "text"}
        registry.supported_tasks.setdefault(task, implementation)
        # From 5.19 on, `pipeline` refuses the tasks in this table before it asks the registry
        getattr(pipelines, "REMOVED_TASKS", {}).pop(task, None)


def _check_task(check_registered_task: Callable[[str], tuple[str, Any, Any]], task: str) -> tuple[str, Any, Any]:
    """Does what `PipelineRegistry.check_task` does, for task names with languages too."""
    languages = languages_of_task(task)
    if languages is None:
        return check_registered_task(task)
    name, implementation, _ = check_registered_task(TASK)
    return name, implementation, languages


def _get_task(get_task_from_hub: Callable[..., str], model: str, token: str | None = None, **kwargs: Any) -> str:
    """Does what `pipelines.get_task` does, which asks the Hub, after a look for the task in the configuration."""
    config, _ = PreTrainedConfig.get_config_dict(model, token=token)
    return TASK if TASK in config.get("custom_pipelines", {}) else get_task_from_hub(model, token, **kwargs)


__all__ = [
    "ReturnType",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TranslationPipeline",
    "register_pipelines",
]
