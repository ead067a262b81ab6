# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The task "translation", which transformers 5 lacks: text in, text out, and the attention behind it on request.

[`TranslationPipeline`] serves every encoder-decoder of the library that reads text; arguments and output are those of
transformers 4.57. [`register_translation_pipeline`] teaches `transformers.pipeline` the task. This file knows neither
the configuration nor the model of this project: it sees them as it sees Marian or T5, through `generate()`.
"""

import copy
import enum
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    GenerationConfig,
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
# What `pipeline("translation_en_to_de")` loads when no model is named: repository and revision, as in 4.57
DEFAULT_MODEL = ("google-t5/t5-base", "a9723ea")
DEFAULT_MODEL_TARGETS = ("fr", "de", "ro")


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
        f"The translation pipeline needs an encoder-decoder model that reads text and can generate, such as"
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


def _list_of_texts(inputs: Any) -> Any:
    """Returns a tuple, array, series or column of texts as a list, and everything else as it is."""
    is_sequence = all(hasattr(inputs, name) for name in ("__len__", "__iter__", "__getitem__"))
    if not is_sequence or isinstance(inputs, (str, list, bytes, Mapping, torch.utils.data.Dataset)):
        return inputs
    texts = list(inputs)
    return texts if all(isinstance(text, str) for text in texts) else inputs


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


class TranslationPipeline(Pipeline):
    """Translates text with any encoder-decoder model of the library.

    Arguments of a call (and, as defaults for every call, of `pipeline(...)`):

    * `return_tensors` (`bool`, *optional*): token ids under "translation_token_ids" instead of the text;
      `return_type` ([`ReturnType`]) says the same and wins; `return_text` is accepted and changes nothing, as in 4.57.
    * `clean_up_tokenization_spaces` (`bool`, *optional*, defaults to `False`): handed to the tokenizer's `decode`.
    * `truncation` (*optional*): handed to the tokenizer; the input is not truncated unless this says so.
    * `src_lang`, `tgt_lang` (`str`, *optional*): for tokenizers of many languages (mBART, NLLB, M2M100 ...); others
      ignore them. They default to those in the task's name, "translation_XX_to_YY".
    * `stop_sequence` (`str`, *optional*): its first token takes the place of the end-of-sequence token.
    * `output_attentions` (`bool`, *optional*, defaults to `False`): adds "source_tokens" (S strings), "target_tokens"
      (T strings) and "attention" (T lists of S floats) to a record: the cross attention of the last layer, averaged
      over its heads, that generated each token of the returned sequence. Padding is left out; the end-of-sequence
      token is kept on both sides.
    * `replace_unknown` (`bool` or `Mapping[str, str]`, *optional*, defaults to `False`): puts the source word that was
      attended to most, or its entry in the mapping, in the place of each unknown token of the output (Luong et al.
      2015, section 4.1). For vocabularies of whole words; needs a fast tokenizer and a model with attention.
    * everything else goes to `model.generate()`.

    Generation parameters come from the call, then from `config.task_specific_params` of the task, then from the
    checkpoint's generation_config, then from here: `max_new_tokens=256` (unless either length limit is set) and
    `num_beams=4`. A `generation_config` argument replaces all of them.

    Example:
    ```python
    >>> import hf_rnn_attn
    >>> from transformers import pipeline

    >>> translator = pipeline("translation", model="path/to/checkpoint")
    >>> translator("Ein Mann fährt auf einem Fahrrad.")
    [{'translation_text': 'A man is driving on a bicycle.'}]

    ```

    Raises:
        ValueError: if the model is no encoder-decoder that reads text and can generate.
    """

    # any of the library's; some have what others lack
    model: Any
    tokenizer: Any

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    # The base class would prepare generation parameters too, differently from release to release
    _pipeline_calls_generate = False

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        check_model(model)
        super().__init__(model, *args, **kwargs)
        if hasattr(model, "check_tokenizer"):
            cast(Any, model).check_tokenizer(self.tokenizer)
        self.task = self._task_with_parameters()
        parameters = dict(self._task_specific_params().get(self.task, {}))
        self.prefix = parameters.pop("prefix", getattr(model.config, "prefix", None)) or ""
        generation_names = GenerationConfig().to_dict()
        self.task_generate_kwargs = {name: value for name, value in parameters.items() if name in generation_names}

    def _task_specific_params(self) -> dict[str, dict[str, Any]]:
        """Returns the parameters in the model's configuration, by task."""
        return getattr(self.model.config, "task_specific_params", None) or {}

    def _task_with_parameters(self) -> str:
        """Returns the task, or for plain "translation" the first one that the configuration has parameters for."""
        parameters = self._task_specific_params()
        named = [task for task in parameters if task.startswith(f"{TASK}_")]
        if self.task not in ("", TASK) or TASK in parameters or not named:
            return self.task or TASK
        warnings.warn(
            f'The task "translation" does not say from which language into which; using "{named[0]}", the first one'
            " that the model's configuration has parameters for.",
            UserWarning,
            stacklevel=2,
        )
        return named[0]

    # the library's own pipelines name their parameters too, in this method and those below
    def _sanitize_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        return_type: ReturnType | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: Any = None,
        stop_sequence: str | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        output_attentions: bool | None = None,
        replace_unknown: bool | Mapping[str, str] | None = None,
        **forward_params: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Divides the arguments of a call among `preprocess`, `_forward` and `postprocess`."""
        if return_type is None and return_tensors is not None:
            return_type = ReturnType.TENSORS if return_tensors else ReturnType.TEXT
        if stop_sequence is not None:
            forward_params["eos_token_id"] = self._first_token_id(stop_sequence)
        # an empty mapping is a mapping
        replaces = None if replace_unknown is None else replace_unknown is not False
        preprocess_params = {
            "truncation": truncation,
            "src_lang": src_lang,
            "tgt_lang": tgt_lang,
            "return_words": replaces,
        }
        if output_attentions is not None:
            forward_params["output_attentions"] = output_attentions
        postprocess_params = {
            "return_type": return_type,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
            "output_attentions": output_attentions,
            "replace_unknown": replace_unknown,
        }
        return _given(preprocess_params), forward_params, _given(postprocess_params)

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
        """Translates one text or many.

        Args:
            inputs: a `str`, a list of them, or a dataset or generator of them; an element may itself be a list of
                `str`, which is translated as one padded batch. A tuple, an array, a series or the column of a data set
                works like a list. A text of white space alone has an empty translation.
            kwargs: see the class.

        Returns:
            For a `str` a list with one dict per returned sequence; for a list of `str` one flat list of dicts if each
            has one returned sequence, else a list of such lists; for a dataset or generator an iterable of such lists.
        """
        inputs = _list_of_texts(inputs)
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
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        return_words: bool = False,
    ) -> Any:
        """Turns one text, or a list of them, into the model's inputs.

        Args:
            inputs (`str` or `list[str]`): what to translate; a list becomes one padded batch.
            truncation, src_lang, tgt_lang: see the class.
            return_words (`bool`, *optional*, defaults to `False`): whether to add "source_words", for each text the
                word that each of its tokens stands for.

        Raises:
            TypeError: if `inputs` is something else.
        """
        is_batch = isinstance(inputs, list)
        if not all(isinstance(text, str) for text in (inputs if is_batch else [inputs])):
            raise TypeError(
                f"The translation pipeline takes a str or a list of str, but got {inputs!r}. Of a data set pass one"
                ' column, e.g. translator(dataset["text"]).'
            )
        settings = {"padding": is_batch, "truncation": truncation, "return_tensors": "pt"}
        if hasattr(self.tokenizer, "_build_translation_inputs"):
            task_src_lang, task_tgt_lang = languages_of_task(self.task) or (None, None)
            features = self.tokenizer._build_translation_inputs(
                inputs, src_lang=src_lang or task_src_lang, tgt_lang=tgt_lang or task_tgt_lang, **settings
            )
        else:
            texts: Any = [self.prefix + text for text in inputs] if is_batch else self.prefix + inputs
            features = self.tokenizer(texts, **settings)
            # Some tokenizers make it, generate() refuses it
            features.pop("token_type_ids", None)
            if return_words:
                features["source_words"] = [
                    self._source_words(text, truncation) for text in (texts if is_batch else [texts])
                ]
        features["is_blank"] = torch.tensor([not text.strip() for text in (inputs if is_batch else [inputs])])
        return features

    def _source_words(self, text: str, truncation: Any) -> list[str]:
        """Returns what each source token stands for in the text; an empty string for a special token."""
        tokenizer, _ = sides_of(cast(PreTrainedTokenizerBase, self.tokenizer))
        if not tokenizer.is_fast:
            raise ValueError(
                f"replace_unknown has to know where a token stands in the text, which {type(tokenizer).__name__} does"
                " not tell. Use a fast tokenizer, or leave replace_unknown out."
            )
        spans = tokenizer(text, truncation=truncation, return_offsets_mapping=True)["offset_mapping"]
        return [text[start:end].strip() for start, end in spans]

    def _forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model_inputs: Any, output_attentions: bool = False, **generate_kwargs: Any
    ) -> dict[str, Any]:
        """Translates one batch; returns token ids, and what `postprocess` needs for attention and unknown tokens."""
        batch_size, input_length = model_inputs["input_ids"].shape
        source_words = model_inputs.pop("source_words", None)
        is_blank = model_inputs.pop("is_blank")
        output_attentions = output_attentions or source_words is not None
        generate_kwargs = self._with_defaults(generate_kwargs)
        self._warn_if_long(input_length, generate_kwargs)
        if output_attentions:
            generate_kwargs = _with_settings(generate_kwargs, output_attentions=True, return_dict_in_generate=True)
        outputs = self.model.generate(**model_inputs, **generate_kwargs)
        output_ids = outputs if isinstance(outputs, torch.Tensor) else outputs.sequences
        output_ids = output_ids.unflatten(0, (batch_size, -1))
        if is_blank.any():
            # There is nothing to translate, and a model would invent a sentence
            output_ids = output_ids.masked_fill(is_blank[:, None, None], self.tokenizer.pad_token_id)
        model_outputs = {"output_ids": output_ids}
        if output_attentions:
            model_outputs["attention"] = attention_of_sequences(outputs).unflatten(0, (batch_size, -1))
            model_outputs["input_ids"] = model_inputs["input_ids"]
            model_outputs["attention_mask"] = model_inputs["attention_mask"]
        if source_words is not None:
            model_outputs["source_words"] = source_words
        return model_outputs

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

    def _warn_if_long(self, input_length: int, generate_kwargs: dict[str, Any]) -> None:
        """Warns of an input that is nearly as long as the translation may become."""
        config = generate_kwargs.get("generation_config", self.model.generation_config)
        settings = _given(config.to_dict()) | generate_kwargs
        limit = settings.get("max_new_tokens", settings.get("max_length"))
        if limit is not None and input_length > 0.9 * limit:
            logger.warning(
                f"The input has {input_length} tokens, more than 0.9 * {limit}, the most that the translation may have,"
                " so its end may be cut off. Raise the limit, e.g. translator(text, max_new_tokens=400)."
            )

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
        if return_type == ReturnType.TENSORS:
            records: list[dict[str, Any]] = [{"translation_token_ids": output_ids} for output_ids in sequences]
        else:
            texts = [self._decode(output_ids, clean_up_tokenization_spaces) for output_ids in sequences]
            if replace_unknown is not False:
                dictionary: Mapping[str, str] = {} if replace_unknown is True else replace_unknown
                texts = self._without_unknown(model_outputs, texts, dictionary, clean_up_tokenization_spaces)
            records = [{"translation_text": text} for text in texts]
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
        pad_token_id = self.tokenizer.pad_token_id
        for row, attention in enumerate(model_outputs["attention"].flatten(0, 1)):
            source_ids = model_outputs["input_ids"][row // returned]
            source_mask = model_outputs["attention_mask"][row // returned].bool()
            # The decoder's prompt comes before the tokens that attention was paid for
            target_ids = model_outputs["output_ids"].flatten(0, 1)[row, -target_length:]
            target_mask = target_ids != pad_token_id
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


def register_translation_pipeline() -> None:
    """Makes `pipeline("translation")` and `pipeline("translation_XX_to_YY")` known to transformers.

    `pipeline(model=...)` without a task then translates too where the checkpoint's configuration names that task, be it
    a folder or a Hub id, with network or without. Calling it again changes nothing, and a task "translation" that is
    already there stays as it is. The other tasks that transformers 5 removed stay removed.
    """
    registry = pipelines.PIPELINE_REGISTRY
    if TASK in registry.supported_tasks:
        return
    # Not through register_pipeline(): it would make save_pretrained() of a Marian pipeline copy this file to the
    # checkpoint, which then could not be loaded without trust_remote_code
    registry.supported_tasks[TASK] = {
        "impl": TranslationPipeline,
        "pt": (AutoModelForSeq2SeqLM,),
        "default": {("en", target): {"model": DEFAULT_MODEL} for target in DEFAULT_MODEL_TARGETS},
        "type": "text",
    }
    # From 5.19 on, `pipeline` refuses the tasks in this table before it asks the registry
    getattr(pipelines, "REMOVED_TASKS", {}).pop(TASK, None)
    registry.check_task = functools.partial(_check_task, registry.check_task)
    pipelines.get_task = functools.partial(_get_task, pipelines.get_task)


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


__all__ = ["ReturnType", "TranslationPipeline", "register_translation_pipeline"]
