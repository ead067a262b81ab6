# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""RNN encoder-decoder with Luong attention for Hugging Face `transformers`.

Importing the package registers the model with the library's Auto classes and gives back `pipeline("translation")`,
which without a model translates with one that the package carries, `pipeline("summarization")` and
`pipeline("text2text-generation")`.
"""

from importlib.util import find_spec
from pathlib import Path


# a server of exported graphs runs without torch, and has no model to register
HAS_TORCH = find_spec("torch") is not None
if HAS_TORCH:
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.pipelines import PIPELINE_REGISTRY

    from .model.configuration_rnn_attn import RnnAttnConfig
    from .model.modeling_rnn_attn import RnnAttnForConditionalGeneration, RnnAttnModel
    from .model.pipeline_rnn_attn import TranslationPipeline
    from .model.tokenization_rnn_attn import RnnAttnTokenizer
    from .tokenization import train_tokenizer


__version__ = "0.2.0"

# checkpoints that come with the package, by the codes of source and target language; the first is the default
BUNDLED = {
    (source, target): str(Path(__file__).parent / "checkpoints" / f"tatoeba-{source}-{target}")
    for source, target in (("de", "en"), ("en", "de"))
}

__all__ = [
    "BUNDLED",
    "RnnAttnConfig",
    "RnnAttnForConditionalGeneration",
    "RnnAttnModel",
    "RnnAttnTokenizer",
    "TranslationPipeline",
    "train_tokenizer",
]


def register() -> None:
    """Registers configuration, models and tokenizer with the Auto classes, and the default models of the translation
    task, which comes with the configuration's file. A second call changes nothing.
    """
    AutoConfig.register(RnnAttnConfig.model_type, RnnAttnConfig, exist_ok=True)
    AutoModel.register(RnnAttnConfig, RnnAttnModel, exist_ok=True)
    AutoModelForSeq2SeqLM.register(RnnAttnConfig, RnnAttnForConditionalGeneration, exist_ok=True)
    AutoTokenizer.register(RnnAttnConfig, RnnAttnTokenizer, exist_ok=True)
    defaults = PIPELINE_REGISTRY.supported_tasks["translation"]["default"]
    for languages, folder in BUNDLED.items():
        # what the library would load, for English to German, stays what it was
        defaults.setdefault(languages, {"model": (folder, None)})
    defaults.setdefault("model", (next(iter(BUNDLED.values())), None))


if HAS_TORCH:
    register()
