# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""RNN encoder-decoder with Luong attention for Hugging Face `transformers`.

Importing the package registers the model with the library's Auto classes and gives back `pipeline("translation")`,
which without a model translates with one that the package carries.
"""

import importlib
import sys
from pathlib import Path


__version__ = "0.1.0"

_MODULES = {
    "RnnAttnConfig": ".model.configuration_rnn_attn",
    "RnnAttnForConditionalGeneration": ".model.modeling_rnn_attn",
    "RnnAttnModel": ".model.modeling_rnn_attn",
    "RnnAttnTokenizer": ".model.tokenization_rnn_attn",
    "TranslationPipeline": ".model.pipeline_rnn_attn",
    "train_tokenizer": ".tokenization",
}

# checkpoints that come with the package, by the codes of source and target language; the first is the default
BUNDLED = {
    languages: str(Path(__file__).parent / "checkpoints" / "tatoeba-{}-{}".format(*languages))
    for languages in (("de", "en"), ("en", "de"))
}

__all__ = ["BUNDLED", *sorted(_MODULES)]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)


def register():
    """Registers configuration, models and tokenizer, and what `pipeline` loads where no model is named; the translation
    task comes with the configuration's file. A second call changes nothing."""
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.pipelines import PIPELINE_REGISTRY

    from .model.configuration_rnn_attn import RnnAttnConfig
    from .model.modeling_rnn_attn import RnnAttnForConditionalGeneration, RnnAttnModel
    from .model.tokenization_rnn_attn import RnnAttnTokenizer

    AutoConfig.register(RnnAttnConfig.model_type, RnnAttnConfig, exist_ok=True)
    AutoModel.register(RnnAttnConfig, RnnAttnModel, exist_ok=True)
    AutoModelForSeq2SeqLM.register(RnnAttnConfig, RnnAttnForConditionalGeneration, exist_ok=True)
    AutoTokenizer.register(RnnAttnConfig, RnnAttnTokenizer, exist_ok=True)
    defaults = PIPELINE_REGISTRY.supported_tasks["translation"]["default"]
    for languages, folder in BUNDLED.items():
        # what the library would load, for English to German, stays what it was
        defaults.setdefault(languages, {"model": (folder, None)})
    defaults.setdefault("model", (next(iter(BUNDLED.values())), None))


# `hf-rnn-attn --help` answers without waiting for torch; the commands that need the models call `register` themselves
if Path(sys.argv[0]).name != "hf-rnn-attn":
    register()
