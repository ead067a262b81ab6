# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What must not change unseen: checkpoints of former versions, and the methods of the library that are overridden."""

import inspect
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedModel

from hf_rnn_attn import RnnAttnForConditionalGeneration
from hf_rnn_attn.inference.ensemble import RnnAttnEnsemble
from hf_rnn_attn.inference.quantization import load_quantized, quantize
from hf_rnn_attn.model.generation_rnn_attn import OVERRIDDEN


FORMER = Path(__file__).parent / "checkpoints" / "version_0_1"
# the parameters of the library's methods, of transformers 5.20 to 5.24
SIGNATURES = {
    "_beam_search": ["input_ids", "logits_processor", "stopping_criteria", "generation_config", "synced_gpus"],
    "_init_weights": ["module"],
    "_prepare_cache_for_generation": [
        "generation_config",
        "model_kwargs",
        "generation_mode",
        "batch_size",
        "max_cache_length",
    ],
    "_prepare_generation_config": ["generation_config"],
    "_resize_token_embeddings": ["new_num_tokens", "pad_to_multiple_of", "mean_resizing"],
    "_sample": ["input_ids", "logits_processor", "stopping_criteria", "generation_config", "synced_gpus", "streamer"],
    "_supports_default_dynamic_cache": [],
}


def inputs():
    expected = json.loads((FORMER / "expected.json").read_text("utf-8"))
    rows = [torch.tensor(row) for row in expected["input_ids"]]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return expected, {"inputs": input_ids, "attention_mask": (input_ids != 0).long()}


@pytest.mark.parametrize(("search", "options"), [("beam", {}), ("greedy", {"num_beams": 1})])
def test_a_checkpoint_of_version_0_1_gives_the_same_tokens(search, options):
    expected, source = inputs()
    model = AutoModelForSeq2SeqLM.from_pretrained(FORMER)
    assert model.generate(**source, **options).tolist() == expected[search]
    assert len({tuple(row) for row in expected[search]}) == len(expected["input_ids"])


def test_an_int8_checkpoint_of_version_0_1_has_the_weights_of_today():
    # the arithmetic of activations has changed since then, and with it some tokens of this untrained model
    _, source = inputs()
    former, today = load_quantized(FORMER / "int8"), quantize(AutoModelForSeq2SeqLM.from_pretrained(FORMER))
    assert former.state_dict().keys() == today.state_dict().keys()
    for name, tensor in today.state_dict().items():
        assert torch.equal(former.state_dict()[name], tensor), name
    assert torch.equal(former.generate(**source), today.generate(**source))


def parameters_of(name):
    library = getattr(GenerationMixin, name, None) or getattr(PreTrainedModel, name)
    named = inspect.signature(library).parameters.values()
    return [p.name for p in named if p.kind is not p.VAR_KEYWORD and p.name not in ("self", "cls")]


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_an_overridden_method_of_the_library_is_as_it_was(name):
    assert parameters_of(name) == SIGNATURES[name]


def test_every_private_method_that_is_overridden_is_listed():
    library = {name for base in (PreTrainedModel, GenerationMixin) for name, _ in inspect.getmembers(base, callable)}
    own = {
        name
        for model in (RnnAttnForConditionalGeneration, RnnAttnEnsemble)
        for base in model.__mro__
        if base.__module__.startswith("hf_rnn_attn.")
        for name, member in vars(base).items()
        if callable(member) or isinstance(member, classmethod)
    }
    private = {name for name in own & library if name.startswith("_") and not name.startswith("__")}
    assert private == set(OVERRIDDEN)
