# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation without torch: the tokens of `generate()`, the texts of the pipeline, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import make_model
from transformers import GenerationConfig, exporters
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria
from transformers.modeling_outputs import ModelOutput

import hf_rnn_attn
from hf_rnn_attn import cli
from hf_rnn_attn.export import quantize_graphs
from hf_rnn_attn.inference.loading import load_model
from hf_rnn_attn.model.pipeline_rnn_attn import translation_pipeline
from hf_rnn_attn.model.search_rnn_attn import BeamSearch
from hf_rnn_attn.tokenization import train_tokenizer


onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
if not hasattr(exporters, "ExportedModel"):
    pytest.skip("exporting needs transformers 5.23 or newer", allow_module_level=True)

from hf_rnn_attn_onnx import OnnxModel, OnnxTranslator, _longest_repetition  # noqa: E402


ROOT = Path(__file__).parents[1]
WORDS = [
    "der",
    "die",
    "das",
    "ein",
    "eine",
    "hund",
    "katze",
    "haus",
    "alt",
    "neu",
    "groß",
    "klein",
    "läuft",
    "und",
    "sie",
]
SEARCHES = [
    {"num_beams": 1},
    {"num_beams": 1, "no_repeat_ngram_size": 2},
    {"num_beams": 2},
    {"num_beams": 5, "num_return_sequences": 3},
    {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 3, "length_penalty": -1.0, "early_stopping": "never"},
    {"num_beams": 4, "num_return_sequences": 2, "no_repeat_ngram_size": 3},
    {"num_beams": 4, "no_repeat_ngram_size": 1},
    {"num_beams": 2, "max_length": None, "max_new_tokens": 5},
    {"num_beams": 3, "max_length": 2},
]
SENTENCES = {
    "de": [
        "Das Wetter ist heute sehr schön.",
        "Wo ist der Bahnhof?",
        "Ich habe keine Ahnung, wovon du redest.",
        "Hör auf!",
        "Der Mann, den ich gestern im Park gesehen habe, war dein Bruder.",
        "Œuvre ☃ 漢字 <s></s>",
    ]
}


def export_folder(folder, joint=True, **configuration):
    """A checkpoint with random weights and what the command makes of it."""
    tokenizer = train_tokenizer([" ".join(WORDS)], [" ".join(reversed(WORDS))], kind="word", joint=joint)
    torch.manual_seed(0)
    model = make_model(vocab_size=len(tokenizer), **configuration).float()
    # the beams are the pipeline's own; random weights repeat themselves without end
    model.generation_config.max_length = 40
    model.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    assert cli.main(["export", str(folder / "checkpoint"), str(folder / "onnx")]) == 0
    return model, folder / "onnx"


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    # wider than the inputs that share a scale in int8
    sizes = {"decoder_hidden_size": 160, "encoder_hidden_size": 80, "initializer_range": 0.2}
    return export_folder(tmp_path_factory.mktemp("lstm"), **sizes)


OTHERS = [
    {"encoder_cell_type": "gru", "decoder_cell_type": "gru", "pointer_generator": True},
    {"encoder_cell_type": "rnn_tanh", "decoder_cell_type": "rnn_tanh", "attention_score": "none"},
    {"decoder_layers": 2, "attention_span": "local-m", "input_feeding": False, "joint": False},
]


@pytest.fixture(scope="module", params=OTHERS, ids=str)
def other(request, tmp_path_factory):
    # large weights, for scores that differ by more than the rounding
    return export_folder(tmp_path_factory.mktemp("other"), initializer_range=1.5, **request.param)


@pytest.fixture(scope="module")
def int8(lstm, tmp_path_factory):
    folder = shutil.copytree(lstm[1], tmp_path_factory.mktemp("int8") / "onnx")
    quantize_graphs(folder)
    return lstm[0], folder


def random_batch(batch, length):
    lengths = torch.randint(1, length + 1, (batch, 1))
    mask = (torch.arange(length) < lengths).long()
    return {"input_ids": torch.randint(3, 16, (batch, length)) * mask, "attention_mask": mask}


def check_tokens(model, folder, settings, sizes=((1, 4), (9, 6))):
    graphs = OnnxModel(folder, threads=1)
    for batch, length in sizes:
        source = random_batch(batch, length)
        settings = {"max_length": 14} | settings
        expected = model.generate(**source, **settings)
        actual = graphs.generate(*(source[name].numpy() for name in source), **settings)
        assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
def test_the_tokens_are_those_of_generate(lstm, settings):
    check_tokens(*lstm, settings, [(1, 1), (1, 5), (16, 7)])


@pytest.mark.parametrize("settings", [{"num_beams": 1}, {"num_beams": 5, "num_return_sequences": 5}], ids=str)
def test_the_tokens_are_those_of_generate_with_other_models(other, settings):
    check_tokens(*other, settings)


class SteppingGraphs:
    """The graphs as a model that the package's own searches can run."""

    def __init__(self, folder):
        self.encoder, self.graph = (
            onnxruntime.InferenceSession(folder / name) for name in ("encoder.onnx", "step.onnx")
        )

    def run(self, session, tensors):
        names = [output.name for output in session.get_outputs()]
        feeds = {argument.name: tensors[argument.name] for argument in session.get_inputs()}
        return dict(zip(names, session.run(names, feeds), strict=True))

    def start(self, encoder_outputs, attention_mask):
        source = {"input_ids": encoder_outputs["ids"].numpy(), "attention_mask": attention_mask.numpy()}
        return self.run(self.encoder, source)

    def step(self, tokens, tensors):
        outputs = self.run(self.graph, tensors | {"decoder_input_ids": tokens.numpy()})
        state = {name.removeprefix("next_"): outputs[name] for name in outputs if name.startswith("next_")}
        return torch.from_numpy(outputs["logits"]).unsqueeze(1), None, tensors | state

    def select(self, tensors, rows):
        return {name: tensor[rows.flatten().numpy()] for name, tensor in tensors.items()}


@pytest.mark.parametrize("beams", [2, 5])
def test_int8_graphs_are_searched_as_the_package_searches(int8, beams):
    source = random_batch(9, 6)
    settings = GenerationConfig(
        num_beams=beams, max_length=14, length_penalty=1.0, early_stopping=False, num_return_sequences=1
    )
    settings._pad_token_tensor, settings._eos_token_tensor = torch.tensor(0), torch.tensor([2])
    ids, mask = (source[name].repeat_interleave(beams, 0) for name in source)
    arguments = {"encoder_outputs": ModelOutput(ids=ids), "attention_mask": mask}
    criteria = [MaxLengthCriteria(14), EosTokenCriteria(2)]
    prompt = torch.ones(len(ids), 1, dtype=torch.long)
    expected = BeamSearch(SteppingGraphs(int8[1]), prompt, criteria, settings, arguments).run()
    actual = OnnxModel(int8[1]).generate(*(source[name].numpy() for name in source), num_beams=beams, max_length=14)
    assert actual.tolist() == expected.tolist()


def test_int8_products_are_close_to_those_of_the_model_and_small(int8):
    model, folder = int8
    source = random_batch(9, 6)
    graphs = SteppingGraphs(folder)
    tensors = graphs.start({"ids": source["input_ids"]}, source["attention_mask"])
    tokens = torch.full((9, 1), 1)
    logits, _, _ = graphs.step(tokens, tensors)
    with torch.no_grad():
        expected = model(**source, decoder_input_ids=tokens).logits
    error = (logits - expected).abs().max() / expected.abs().max()
    assert 1e-4 < error < 0.05  # 0.012 when it was written
    products = [node.op_type for node in __import__("onnx").load(folder / "step.onnx").graph.node]
    assert products.count("MatMulNBits") == 4 and "Gemm" not in products
    assert not list(folder.glob("*.data"))


def test_a_call_gives_what_the_pipeline_gives(other):
    folder = other[1]
    expected, actual = translation_pipeline(model=folder.parent / "checkpoint"), OnnxTranslator(folder)
    sentences = [" ".join(WORDS[start : start + count]) for start, count in [(0, 5), (3, 9), (8, 1), (1, 2), (5, 5)]]
    sentences += ["", " \u200b\n", "<s> der </s>", "ein\ud800 hund", "\ufeffDER  hund "]
    for settings in (
        {},
        {"num_beams": 1},
        {"num_beams": 5, "max_length": 30},
        {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 40, "length_penalty": 2.0},
        {"num_beams": 3, "max_length": 40, "avoid_loops": False},
    ):
        assert actual(sentences, **settings) == expected(sentences, **settings)
        assert actual(sentences[1], **settings) == expected(sentences[1], **settings)
    assert actual([]) == expected([]) == []
    assert actual([["der hund", ""]], num_return_sequences=1) == expected([["der hund", ""]], num_return_sequences=1)


def test_an_output_that_repeats_itself_is_decoded_again_as_by_the_pipeline(lstm):
    expected, actual = translation_pipeline(model=lstm[1].parent / "checkpoint"), OnnxTranslator(lstm[1])
    texts = [" ".join(WORDS[:count]) for count in range(1, 9)]
    first, again = (actual(texts, num_beams=1, avoid_loops=value) for value in (False, True))
    assert first != again
    assert [first, again] == [expected(texts, num_beams=1, avoid_loops=value) for value in (False, True)]


@pytest.mark.slow
@pytest.mark.parametrize("languages", hf_rnn_attn.BUNDLED, ids="-".join)
def test_a_bundled_model_translates_as_its_pipeline(languages, tmp_path):
    assert cli.main(["export", "-".join(languages), str(tmp_path / "onnx")]) == 0
    expected, actual = translation_pipeline(model=hf_rnn_attn.BUNDLED[languages]), OnnxTranslator(tmp_path / "onnx")
    for beams in (1, 5):
        assert actual(SENTENCES["de"], num_beams=beams) == expected(SENTENCES["de"], num_beams=beams)


def test_neither_torch_nor_transformers_is_imported(lstm):
    code = f"""
import sys
from hf_rnn_attn_onnx import OnnxTranslator
assert len(OnnxTranslator({str(lstm[1])!r})("der hund")) == 1
print({{name.partition(".")[0] for name in sys.modules}} & {{"torch", "transformers", "hf_rnn_attn"}})
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize("name", ["encoder.onnx", "step.onnx", "generation_config.json", "tokenizer.json"])
def test_a_missing_or_damaged_file_is_named(lstm, name, tmp_path):
    folder = shutil.copytree(lstm[1], tmp_path / "onnx")
    (folder / name).write_bytes(b"{")
    with pytest.raises(ValueError, match=f"{name}: cannot be read"):
        OnnxTranslator(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file; expected a folder that `hf-rnn-attn export"):
        OnnxTranslator(folder)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_beams": 0}, "num_beams=0: expected a whole number of at least 1"),
        ({"num_beams": True}, "num_beams=True"),
        ({"num_beams": 2.0}, "num_beams=2.0"),
        ({"num_beams": "5"}, "num_beams='5'"),
        ({"max_length": 1}, "max_length=1: expected a whole number of at least 2"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size=-1"),
        ({"length_penalty": "1"}, "length_penalty='1': expected a number"),
        ({"length_penalty": float("nan")}, "length_penalty=nan: expected a number"),
        ({"early_stopping": "soon"}, "early_stopping='soon': expected True, False or 'never'"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences=3: expected at most num_beams=2"),
        ({"temperature": 0.5}, "temperature: no such argument; expected num_beams"),
        ({"num_beams": 30}, "num_beams=30: expected a vocabulary of 60 tokens, got 19"),
    ],
    ids=str,
)
def test_a_setting_without_meaning_is_refused(lstm, settings, words):
    with pytest.raises(ValueError, match=words):
        OnnxTranslator(lstm[1])("der hund", **settings)


@pytest.mark.parametrize("inputs", [None, 5, b"der", ["der", None], [["der", 1]], {"text": 1}.values()], ids=str)
def test_what_is_no_text_is_refused(lstm, inputs):
    with pytest.raises(TypeError, match="expected a str or a list of str, got"):
        OnnxTranslator(lstm[1])(inputs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"do_sample": True}, "got do_sample=True"),
        ({"repetition_penalty": 1.5}, "got repetition_penalty=1.5"),
        ({"num_beams": "many"}, "num_beams='many'"),
        ({"decoder_start_token_id": None}, "decoder_start_token_id"),
    ],
    ids=str,
)
def test_a_checkpoint_that_asks_for_another_search_is_refused(lstm, settings, words, tmp_path):
    folder = shutil.copytree(lstm[1], tmp_path / "onnx")
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
    with pytest.raises(ValueError, match=f"generation_config.json: cannot be read: .*{words}"):
        OnnxTranslator(folder)


def test_what_is_cut_is_warned_of(lstm, caplog):
    translator = OnnxTranslator(lstm[1])
    translator("der hund", num_beams=1, max_length=3)
    assert "'der hund' was cut off at the length limit" in caplog.text
    caplog.clear()
    translator("hund " * 12_000, num_beams=1, max_length=3)
    assert "only the first 10000 tokens were read" in caplog.text


def test_repetitions_are_counted_as_in_the_pipeline():
    from hf_rnn_attn.model.pipeline_rnn_attn import longest_repetition

    for _ in range(200):
        tokens = np.random.default_rng(_).integers(0, 3, 24).tolist()
        assert _longest_repetition(tokens, 6) == longest_repetition(tokens, 6)


def test_the_attention_to_a_given_translation_is_that_of_the_model(other):
    from hf_rnn_attn.alignment import attend_words
    from hf_rnn_attn.batching import _attend_words

    texts = ["der hund läuft und", "katze"], ["das haus", "eine neu alt"]
    model, tokenizer = load_model(other[1].parent / "checkpoint")
    if model.config.attention_score == "none":
        with pytest.raises(ValueError, match="expected a model with attention"):
            _attend_words(OnnxTranslator(other[1]), *texts)
        return
    expected = list(attend_words(model, tokenizer, *texts))
    for weights, own in zip(expected, _attend_words(OnnxTranslator(other[1]), *texts), strict=True):
        np.testing.assert_allclose(own, weights, atol=1e-5)


def test_exported_graphs_are_served(lstm):
    from fastapi.testclient import TestClient

    from hf_rnn_attn.server import Server, create_app, load_translator

    body = {"q": "<p>der hund. <b>die</b> katze</p>", "source": "de", "target": "en", "alternatives": 2}
    with TestClient(
        create_app(Server({("de", "en"): str(lstm[1])}, lambda name: load_translator(name, "onnx")))
    ) as client:
        answer = client.post("/translate", json=body | {"format": "html"})
        assert answer.status_code == 200 and answer.json()["translatedText"].count("<b>") == 1
        expected = OnnxTranslator(lstm[1])(["der hund.", "die katze"])
        answer = client.post("/translate", json=body | {"q": "der hund. Die katze"}).json()
        assert len(answer["alternatives"]) == 2
        assert answer["translatedText"].startswith(expected[0]["translation_text"])
