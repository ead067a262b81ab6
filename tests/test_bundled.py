# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that come with the package: they load without network and translate real text."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

import hf_rnn_attn
from hf_rnn_attn import cli
from hf_rnn_attn.tokenization import train_tokenizer


ROOT = Path(__file__).parents[1]
# everyday sentences, and words that no translation of them can do without
SENTENCES = {
    ("de", "en"): {
        "Das Wetter ist heute sehr schön.": {"weather", "today"},
        "Die Kinder spielen im Garten.": {"children", "playing", "garden"},
        "Wo ist der Bahnhof?": {"station"},
        "Ich habe keine Ahnung, wovon du redest.": {"no", "idea", "you're", "talking"},
    },
    ("en", "de"): {
        "The weather is very nice today.": {"wetter", "heute"},
        "The children are playing in the garden.": {"kinder", "spielen", "garten"},
        "Where is the station?": {"bahnhof"},
        "I have no idea what you are talking about.": {"ahnung"},
    },
}


@pytest.mark.parametrize("languages", hf_rnn_attn.BUNDLED, ids="-".join)
def test_a_bundled_model_translates(languages):
    translator = pipeline("translation", model=hf_rnn_attn.BUNDLED[languages], device="cpu")
    assert translator.model.dtype == torch.float32
    for source, needed in SENTENCES[languages].items():
        translated = translator(source)[0]["translation_text"]
        assert needed <= set(re.findall(r"[\w']+", translated.lower())), translated


def test_the_first_is_the_default():
    source = "Die Kinder spielen im Garten."
    translators = (pipeline("translation", **model) for model in ({}, {"model": hf_rnn_attn.BUNDLED["de", "en"]}))
    first, second = (translator(source) for translator in translators)
    assert first == second


def test_the_command_line_translates_without_a_model(capsys):
    assert cli.main(["translate", "Guten Morgen, wie geht es dir?"]) == 0
    assert capsys.readouterr().out.startswith("Good morning, ")


def test_languages_name_a_model(capsys):
    assert cli.main(["translate", "The children are playing.", "--model", "en-de"]) == 0
    assert "Kinder" in capsys.readouterr().out
    first, named = pipeline("translation_de_to_en"), pipeline("translation", model=hf_rnn_attn.BUNDLED["de", "en"])
    assert first("Guten Morgen!") == named("Guten Morgen!")


def test_no_network_is_asked():
    # an address where nobody answers, and no permission to be offline
    code = "import hf_rnn_attn; from transformers import pipeline; print(pipeline('translation')('Guten Morgen!'))"
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "PATH": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "morning" in run.stdout


@pytest.mark.parametrize("languages", hf_rnn_attn.BUNDLED, ids="-".join)
def test_the_tokenizer_of_a_bundled_model_reads_as_one_that_is_trained_now(languages):
    trained = train_tokenizer(["a"], ["a"]).backend_tokenizer.normalizer
    tokenizer = AutoTokenizer.from_pretrained(hf_rnn_attn.BUNDLED[languages])
    assert tokenizer.backend_tokenizer.normalizer.__getstate__() == trained.__getstate__()
    assert tokenizer("The\u00a0house\tis\u2009very  big\n") == tokenizer("The house is very big")


@pytest.mark.parametrize("blank", ["\t", "\u00a0", "\u2009", "\u200b", "\u3000", "  "], ids=ascii)
def test_white_space_between_words_does_not_change_a_translation(blank, capsys):
    text = "The house is very big."
    translator = pipeline("translation", model=hf_rnn_attn.BUNDLED["en", "de"], device="cpu")
    assert translator(text.replace(" ", blank)) == translator(text)
    assert cli.main(["translate", text.replace(" ", blank), "--model", "en-de"]) == 0
    assert capsys.readouterr().out.strip() == translator(text)[0]["translation_text"]


@pytest.mark.parametrize("languages", hf_rnn_attn.BUNDLED, ids="-".join)
def test_a_bundled_model_is_small_and_has_a_card(languages):
    folder = Path(hf_rnn_attn.BUNDLED[languages])
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    head, text = (ROOT / "model_cards" / folder.name / "README.md").read_text(encoding="utf-8")[4:].split("---\n", 1)
    metadata = yaml.safe_load(head)
    assert metadata["license"] == "cc-by-2.0" and metadata["language"] == list(languages)
    assert "tatoeba.org" in text.lower() and {"validation", "test"} <= {
        result["dataset"]["name"] for result in metadata["model-index"][0]["results"]
    }
    parameters = AutoModelForSeq2SeqLM.from_pretrained(folder).num_parameters()
    assert f"{parameters:,} parameters" in text
