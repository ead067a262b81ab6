# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the RNN encoder-decoder with Luong attention.

Holds every hyperparameter and every rule about which of them go together. Knows nothing of tensors or weights.
"""

import copy
import dataclasses
import difflib
import math
import re
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import PreTrainedConfig

from .cache_rnn_attn import CACHE_NAMES
from .pipeline_rnn_attn import register_pipelines


CellType = Literal["lstm", "gru", "rnn_tanh"]

# options that need source and target to have one vocabulary
ONE_VOCABULARY_OPTIONS = ("share_encoder_decoder_embeddings", "pointer_generator")


class ConfigurationError(StrictDataclassFieldValidationError, ValueError):
    """A hyperparameter of another type, or with a value that is not among those it may have."""

    def __init__(self, field: str, cause: Exception) -> None:
        super().__init__(field, cause)
        self.args = (f"`{field}`: {cause}",)


Class = TypeVar("Class", bound=type)


def explained(cls: Class) -> Class:
    """Makes a strict dataclass say in one line what it expected of a field, and which value is the nearest.

    Raises:
        ConfigurationError: instead of the error of the library, of which it is a kind.
    """
    assign: Any = cls.__setattr__
    types = {field.name: field.type for field in dataclasses.fields(cls)}

    def explain(self: Any, name: str, value: Any) -> None:
        try:
            assign(self, name, value)
        except StrictDataclassFieldValidationError as error:
            kind = types[name]
            choices: tuple[str, ...] = get_args(kind) if get_origin(kind) is Literal else ()
            expected = f"one of {', '.join(choices)}" if choices else kind.__name__ if isinstance(kind, type) else kind
            nearest = difflib.get_close_matches(str(value), choices, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigurationError(name, TypeError(f"expected {expected}, got {value!r}.{hint}")) from error

    cls.__setattr__ = explain  # pyright: ignore[reportAttributeAccessIssue] (a class, not `type` itself)
    return cls


@explained
@strict
class RnnAttnConfig(PreTrainedConfig):
    r"""Hyperparameters of a [`RnnAttnModel`]. Encoder and decoder are two models, joined by the thought vector and by
    attention; sizes, depths, cell types and vocabularies may all differ. The defaults are those of a small
    translation model that trains on a CPU.

    Args:
        vocab_size (`int`, *optional*, defaults to 8000):
            Number of source tokens, and of target tokens where `decoder_vocab_size` is not given.
        decoder_vocab_size (`int`, *optional*): Number of target tokens. Defaults to `vocab_size`.
        encoder_embedding_size, decoder_embedding_size (`int`, *optional*, defaults to 256):
            Width of the token embeddings of each side.
        encoder_hidden_size (`int`, *optional*, defaults to 256): Width of the encoder's hidden state, per direction.
        decoder_hidden_size (`int`, *optional*, defaults to 512): Width of the decoder's hidden state h_t.
        encoder_layers, decoder_layers (`int`, *optional*, defaults to 1): Depth of each stack.
        encoder_cell_type, decoder_cell_type (`str`, *optional*, defaults to `"lstm"`):
            `"lstm"`, `"gru"` or `"rnn_tanh"`.
        encoder_dropout, decoder_dropout (`float`, *optional*, defaults to 0.2): Probability of dropping a unit of the
            embeddings, between the layers, and (decoder) of the attentional state that predicts the token.
        encoder_bidirectional (`bool`, *optional*, defaults to `True`):
            Whether the encoder also reads from right to left. The states of both directions are concatenated.
        encoder_residual, decoder_residual (`bool`, *optional*, defaults to `False`):
            Whether the second and higher layers add their input to their output (Wu et al. 2016, §3.1).
        reverse_source (`bool`, *optional*, defaults to `False`): Whether the encoder reads the sentence backwards
            (Sutskever et al. 2014, §3.3). Attention weights stay in the order of `input_ids`.
        bridge (`str`, *optional*, defaults to `"dense"`):
            How the encoder's final state becomes the decoder's first: `"copy"` (equal sizes), `"dense"` (a learned
            layer for each decoder layer; any sizes) or `"zero"` (not at all: attention is the only link). With
            unequal depths the topmost layers are matched, and spare decoder layers take the first encoder layer.
        bridge_source (`str`, *optional*, defaults to `"matched"`): Which encoder layers a decoder layer of the dense
            bridge sees: `"matched"` (the one that is as far below the top), `"last"` (the topmost) or `"all"`.
        bridge_activation (`str`, *optional*, defaults to `"tanh"`):
            What follows the dense bridge: `"tanh"`, `"relu"` or `"none"`.
        attention_score (`str`, *optional*, defaults to `"general"`): `"dot"`, `"general"`, `"concat"`, `"location"`
            (Luong et al. 2015, §3.1), or `"none"` for the plain encoder-decoder of Sutskever et al. 2014.
        attention_span (`str`, *optional*, defaults to `"global"`):
            `"global"`, `"local-m"` (monotonic: p_t = t) or `"local-p"` (predicted p_t) (Luong et al. 2015, §3.2).
        attention_window (`int`, *optional*, defaults to 10):
            D of the local spans: source positions from p_t - D to p_t + D are attended to.
        location_size (`int`, *optional*, defaults to 100):
            Number of source positions that `attention_score="location"` has weights for; later tokens get none.
        attention_bias (`bool`, *optional*, defaults to `False`):
            Whether W_c of the attentional state, and W_a of the concat score, have biases.
        attentional_size (`int`, *optional*): Width of the attentional state. Defaults to `decoder_hidden_size`.
        attentional_activation (`str`, *optional*, defaults to `"tanh"`): What makes the attentional state of W_c [c_t ;
            h_t]: `"tanh"` (eq. 5), or `"none"` for the linear layer alone.
        output_bias (`bool`, *optional*, defaults to `False`):
            Whether the output layer W_s has a bias, one number for each target token.
        pointer_generator (`bool`, *optional*, defaults to `False`):
            Whether the next token may also be copied from the source, with the probability that the attention gives
            it (See et al. 2017, §2.2). Both sides must have one vocabulary.
        input_feeding (`bool`, *optional*, defaults to `True`):
            Whether the last attentional state is part of the decoder's input (Luong et al. 2015, §3.3).
        tie_word_embeddings (`bool`, *optional*, defaults to `False`):
            Whether target embedding and output layer are one matrix.
        share_encoder_decoder_embeddings (`bool`, *optional*, defaults to `False`):
            Whether source and target embedding are one matrix. With both, all three are one.
        initializer_range (`float`, *optional*):
            With a number, weights start uniform in [-`initializer_range`, `initializer_range`]; Luong et al. (2015)
            have 0.1. Without one, layers start as PyTorch's do, uniform within one over the root of their width, and
            embeddings from N(0, 1), or N(0, 1 / width) where the output layer is tied to them. Forget gates start with
            bias 1 either way.
        use_cache (`bool`, *optional*, defaults to `True`): Whether the decoder returns its state for the next step.
        pad_token_id, bos_token_id, eos_token_id, decoder_start_token_id (`int`, *optional*, defaults to 0, 1, 2, 1):
            Special tokens.
        vocabulary_fingerprints (`list[str]`, *optional*):
            Source and target vocabulary as [`~pretrained_rnn_attn.fingerprint`] writes them; a tokenizer with others is
            refused. Set it to `None` when new tokens take the places of old ones.

    Raises:
        ValueError: if two hyperparameters contradict each other; the message says what to change.

    Example:
    ```python
    >>> from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration

    >>> config = RnnAttnConfig(vocab_size=1000, attention_score="concat")
    >>> model = RnnAttnForConditionalGeneration(config)
    >>> model.config.memory_size
    512

    ```
    """

    model_type = "rnn_attn"
    keys_to_ignore_at_inference = [
        *CACHE_NAMES,
        "decoder_hidden_states",
        "decoder_attentions",
        "cross_attentions",
        "encoder_last_hidden_state",
        "encoder_hidden_states",
    ]
    attribute_map = {"hidden_size": "decoder_hidden_size", "num_hidden_layers": "decoder_layers"}

    vocab_size: int = 8000
    decoder_vocab_size: int | None = None
    encoder_embedding_size: int = 256
    encoder_hidden_size: int = 256
    encoder_layers: int = 1
    encoder_cell_type: CellType = "lstm"
    encoder_dropout: float | int = 0.2
    encoder_bidirectional: bool = True
    encoder_residual: bool = False
    reverse_source: bool = False
    decoder_embedding_size: int = 256
    decoder_hidden_size: int = 512
    decoder_layers: int = 1
    decoder_cell_type: CellType = "lstm"
    decoder_dropout: float | int = 0.2
    decoder_residual: bool = False
    bridge: Literal["copy", "dense", "zero"] = "dense"
    bridge_source: Literal["matched", "last", "all"] = "matched"
    bridge_activation: Literal["tanh", "relu", "none"] = "tanh"
    attention_score: Literal["dot", "general", "concat", "location", "none"] = "general"
    attention_span: Literal["global", "local-m", "local-p"] = "global"
    attention_window: int = 10
    location_size: int = 100
    attention_bias: bool = False
    attentional_size: int | None = None
    attentional_activation: Literal["tanh", "none"] = "tanh"
    output_bias: bool = False
    pointer_generator: bool = False
    input_feeding: bool = True
    tie_word_embeddings: bool = False
    share_encoder_decoder_embeddings: bool = False
    initializer_range: float | int | None = None
    use_cache: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1
    vocabulary_fingerprints: list[str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        # The entry is for machines without this package: where the package is installed, `pipeline` would demand
        # trust_remote_code because of it
        if not __name__.startswith("transformers_modules."):
            kwargs.pop("custom_pipelines", None)
        _drop_removed(kwargs)
        _refuse_misspelt(kwargs)
        super().__post_init__(**kwargs)
        if self.decoder_vocab_size is None:
            self.decoder_vocab_size = self.vocab_size
        if self.attentional_size is None:
            self.attentional_size = self.decoder_hidden_size
        self._check_ranges()
        self._check_attention()
        self._check_bridge()
        self._check_tying()

    def to_dict(self) -> dict[str, Any]:
        """Returns the hyperparameters, and where a machine without this package finds the code beside them."""
        return {**super().to_dict(), **_code_beside_the_weights()}

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Returns the configuration in which the library looks up sizes; its arguments are those of the library.

        Where neither side is asked for, `generate()` wants the vocabulary of what is generated: `vocab_size` is then
        that of the target.
        """
        config = super().get_text_config(decoder=decoder, encoder=encoder)
        if decoder == encoder and self.vocab_size != self.decoder_vocab_size:
            config = copy.copy(self)
            config.vocab_size = cast(int, self.decoder_vocab_size)
        return config

    @property
    def memory_size(self) -> int:
        """The width of the encoder states that are attended to: both directions together."""
        return self.encoder_hidden_size * (2 if self.encoder_bidirectional else 1)

    def _check_ranges(self) -> None:
        """Raises a ValueError for a number out of its range."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
            most = MOST_LAYERS if name.endswith("_layers") else MOST_UNITS
            if getattr(self, name) > most:
                raise ValueError(f"`{name}` must be at most {most}, got {getattr(self, name)}.")
        prints = self.vocabulary_fingerprints
        if prints is not None and (len(prints) != 2 or not all(map(_FINGERPRINT.fullmatch, prints))):
            raise ValueError(f"`vocabulary_fingerprints` must be two of the form 8000-0123456789abcdef, got {prints}.")
        for name in ("encoder_dropout", "decoder_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a probability and must lie in [0, 1), got {getattr(self, name)}.")
        if self.initializer_range is not None and not 0 <= self.initializer_range < math.inf:
            raise ValueError(
                f"`initializer_range` must be a number of at least 0 or None, got {self.initializer_range}."
            )
        # fields of the library, which does not look at their types
        for name, kind, what in _LIBRARY_FIELDS:
            if not isinstance(getattr(self, name, None), (kind, type(None))):
                raise ValueError(f"`{name}` must be {what}, got {getattr(self, name)!r}.")
        if not self.is_encoder_decoder:
            raise ValueError("`is_encoder_decoder` must be `True`, got `False`.")
        target_size = cast(int, self.decoder_vocab_size)
        for name, ids in self._special_tokens().items():
            size = min(self.vocab_size, target_size) if name == "pad_token_id" else target_size
            for token in ids:
                if not 0 <= token < size:
                    raise ValueError(f"`{name}` must be a token of the vocabulary, from 0 to {size - 1}, got {token}.")

    def _special_tokens(self) -> dict[str, list[int]]:
        """Returns the ids of each kind of special token: none, one or several."""
        names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
        values = {name: getattr(self, name) for name in names}
        return {
            name: value if isinstance(value, list) else [] if value is None else [value]
            for name, value in values.items()
        }

    def _check_attention(self) -> None:
        """Raises a ValueError for options that contradict the attention score."""
        if self.attention_score == "dot" and self.memory_size != self.decoder_hidden_size:
            raise ValueError(
                f"`attention_score='dot'` needs encoder and decoder states of one width, got {self.memory_size} "
                f"(encoder, all directions) and {self.decoder_hidden_size} (decoder). Set "
                f"`decoder_hidden_size={self.memory_size}` or choose `attention_score='general'`."
            )
        if self.attention_score == "none" and self.attention_span != "global":
            raise ValueError(
                f"`attention_span='{self.attention_span}'` needs attention, but `attention_score` is 'none'. Choose a "
                "score or set `attention_span='global'`."
            )
        if self.attention_score == "none" and self.bridge == "zero":
            raise ValueError(
                "`attention_score='none'` with `bridge='zero'` leaves no link from encoder to decoder. Set "
                "`bridge='dense'` or choose a score."
            )
        if self.attention_score == "none" and self.attention_bias:
            raise ValueError(
                "`attention_bias=True` needs attention, but `attention_score` is 'none'. Choose a score or set "
                "`attention_bias=False`."
            )
        if self.attention_score == "none" and self.pointer_generator:
            raise ValueError(
                "`pointer_generator=True` copies what is attended to, but `attention_score` is 'none'. Choose a score "
                "or set `pointer_generator=False`."
            )

    def _check_bridge(self) -> None:
        """Raises a ValueError for options that contradict the bridge."""
        for name, default in (("bridge_source", "matched"), ("bridge_activation", "tanh")):
            if self.bridge != "dense" and getattr(self, name) != default:
                raise ValueError(
                    f"`{name}='{getattr(self, name)}'` belongs to the dense bridge, but `bridge` is '{self.bridge}'. "
                    f"Set `bridge='dense'`, or leave `{name}` at '{default}'."
                )
        if self.bridge == "copy" and self.memory_size != self.decoder_hidden_size:
            raise ValueError(
                f"`bridge='copy'` needs encoder and decoder states of one width, got {self.memory_size} (encoder, all "
                f"directions) and {self.decoder_hidden_size} (decoder). Set `bridge='dense'`, or "
                f"`decoder_hidden_size={self.memory_size}`."
            )

    def _check_tying(self) -> None:
        """Raises a ValueError for sizes with which embeddings cannot be shared or source tokens copied."""
        if self.tie_word_embeddings and self.decoder_embedding_size != self.attentional_size:
            raise ValueError(
                f"`tie_word_embeddings=True` needs a target embedding as wide as the attentional state, got "
                f"{self.decoder_embedding_size} and {self.attentional_size}. Set "
                f"`attentional_size={self.decoder_embedding_size}`."
            )
        for name in ONE_VOCABULARY_OPTIONS:
            if getattr(self, name) and self.vocab_size != self.decoder_vocab_size:
                raise ValueError(
                    f"`{name}=True` needs one vocabulary, got {self.vocab_size} source and {self.decoder_vocab_size} "
                    "target tokens. Train a joint tokenizer or set it to `False`."
                )
        if self.share_encoder_decoder_embeddings and self.encoder_embedding_size != self.decoder_embedding_size:
            raise ValueError(
                f"`share_encoder_decoder_embeddings=True` needs embeddings of one width, got "
                f"{self.encoder_embedding_size} (encoder) and {self.decoder_embedding_size} (decoder). Make them equal."
            )


# Beyond any model of this kind: a damaged number is refused before anything is made of its size
MOST_LAYERS, MOST_UNITS = 1000, 2**24
_FINGERPRINT = re.compile(r"[0-9]{1,8}-[0-9a-f]{16}")
_COUNTS = (
    "vocab_size",
    "decoder_vocab_size",
    "encoder_embedding_size",
    "encoder_hidden_size",
    "encoder_layers",
    "decoder_embedding_size",
    "decoder_hidden_size",
    "decoder_layers",
    "attention_window",
    "location_size",
    "attentional_size",
)


_LIBRARY_FIELDS: tuple[tuple[str, type, str], ...] = (
    ("architectures", list, "a list of class names"),
    ("prefix", str, "a text"),
    ("task_specific_params", dict, "a dictionary of dictionaries"),
)


# what checkpoints of version 0.1 may say, and the value with which they compute as this version does
_REMOVED_ATTENTION = {"attention_heads": 1, "attention_scaling": False}
_REMOVED_IN_TRAINING = ("variational_dropout", "word_dropout")


def _drop_removed(options: dict[str, Any]) -> None:
    """Takes options of version 0.1 out of `options`.

    Raises:
        ValueError: if one of them changes what the model computes.
    """
    for name in _REMOVED_IN_TRAINING:
        options.pop(name, None)
    for name, default in _REMOVED_ATTENTION.items():
        value = options.pop(name, default)
        if value != default:
            raise ValueError(
                f"`{name}={value}`: expected {default}, the only value since version 0.2. Use version 0.1 for this "
                "checkpoint, or train it again."
            )


def _refuse_misspelt(options: dict[str, Any]) -> None:
    """Raises a ValueError for a name that nothing reads and that is nearly the name of a hyperparameter."""
    names = [field.name for field in dataclasses.fields(RnnAttnConfig)]
    for name in options:
        for nearest in difflib.get_close_matches(name, names, n=1, cutoff=0.9):
            raise ValueError(f"`{name}` is not a hyperparameter. Did you mean `{nearest}`?")


def _code_beside_the_weights() -> dict[str, Any]:
    """Returns the entries that name, for each Auto class and pipeline, the file and the class in it."""
    return {
        "auto_map": {
            "AutoConfig": "configuration_rnn_attn.RnnAttnConfig",
            "AutoModel": "modeling_rnn_attn.RnnAttnModel",
            "AutoModelForSeq2SeqLM": "modeling_rnn_attn.RnnAttnForConditionalGeneration",
        },
        "custom_pipelines": {
            "translation": {"impl": "pipeline_rnn_attn.TranslationPipeline", "pt": ["AutoModelForSeq2SeqLM"]}
        },
    }


# Saving a configuration or model copies its file, and those that it imports, beside the weights
RnnAttnConfig.register_for_auto_class()
# Here, because this is the first file that a checkpoint loads, before `pipeline` looks up the task
register_pipelines()

__all__ = ["RnnAttnConfig"]
