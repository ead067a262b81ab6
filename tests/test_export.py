# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Exported graphs against the model they came from."""

import itertools
import os

import numpy as np
import pytest
import torch
from small_models import CELLS, SCORES, SOURCES, SPANS, TARGETS, make_model, mask_of, pad
from torch.utils._pytree import tree_leaves
from transformers import exporters

from hf_rnn_attn import cli
from hf_rnn_attn.export import EncoderGraph, StepGraph, export_graphs
from hf_rnn_attn.model import encoder_rnn_attn
from hf_rnn_attn.model.recurrence_rnn_attn import CELLS as CELL_TYPES
from hf_rnn_attn.tokenization import train_tokenizer


if not hasattr(exporters, "ExportedModel"):
    pytest.skip("exporting needs transformers 5.23 or newer", allow_module_level=True)

LENGTH = torch.export.Dim.DYNAMIC
BRIDGES = ["dense", "copy", "zero"]


def choice(cell, score, bridge, feeding, **options):
    cells = {"encoder_cell_type": cell, "decoder_cell_type": cell}
    return cells | {"attention_score": score, "bridge": bridge, "input_feeding": feeding} | options


CHOICES = [
    choice(cell, score, bridge, feeding)
    for cell, score, bridge, feeding in itertools.product(CELLS, SCORES, BRIDGES, [True, False])
    if (score, bridge) != ("none", "zero")
]
SPAN_CHOICES = [
    choice(cell, score, "dense", feeding, attention_span=span)
    for cell, score, span, feeding in itertools.product(CELLS, SCORES, SPANS[1:], [True, False])
    if score != "none"
]
VARIANTS = [
    {},
    {"encoder_layers": 2, "decoder_layers": 2},
    {"decoder_vocab_size": 14},
    {"attention_span": "local-m"},
    {"encoder_bidirectional": False, "encoder_hidden_size": 8},
    {"pointer_generator": True},
    {"attention_span": "local-p"},
]
# each cell with each score, and with the rest so that every pair of values occurs; each variant at least once
PAIRS = [
    choice(cell, score, bridge, (row + column) % 2 == 0, **variant)
    for row, cell in enumerate(CELLS)
    for column, score in enumerate(SCORES)
    for bridge in [BRIDGES[(row + column) % (2 if score == "none" else 3)]]
    for variant in [VARIANTS[row if score == "none" else (4 * row + column) % len(VARIANTS)]]
]
OTHER_OPTIONS = [
    {"bridge": "zero", "decoder_layers": 2},
    {"bridge": "copy", "encoder_layers": 2, "decoder_layers": 3, "encoder_residual": True, "decoder_residual": True},
    {"encoder_bidirectional": False, "reverse_source": True},
    {"encoder_cell_type": "gru", "decoder_layers": 2},
    {"attention_span": "local-p"},
    {"pointer_generator": True, "decoder_layers": 2},
]


def random_batch(batch, length):
    """Word ids and a mask with padding on both sides and inside; every row has a word, but one if there are many."""
    ids, mask = torch.randint(3, 12, (batch, length)), (torch.rand(batch, length) > 0.3).long()
    mask[torch.arange(batch), torch.randint(length, (batch,))] = 1
    if batch > 2:
        mask[-1] = 0
    return {"input_ids": ids, "attention_mask": mask}


def largest_difference(actual, expected):
    assert actual.keys() == expected.keys()
    return max(np.abs(np.asarray(actual[name], float) - np.asarray(expected[name], float)).max() for name in expected)


def check_graphs(model, run_encoder, run_step):
    """Two steps of the graphs, from batches of several sizes and lengths, against the modules they came from."""
    encoder, step = EncoderGraph(model), StepGraph(model)
    for batch, length in [(1, 1), (1, 6), (2, 3), (5, 9)]:
        source = random_batch(batch, length)
        with torch.no_grad():
            expected = encoder(**source)
            assert largest_difference(run_encoder(source), expected) <= 1e-6
            for _ in range(2):
                inputs = {"decoder_input_ids": torch.randint(3, 12, (batch, 1)), **expected}
                outputs = step(**inputs)
                assert largest_difference(run_step(inputs), outputs) <= 1e-6
                expected = expected | {name.removeprefix("next_"): outputs[name] for name in outputs if "_" in name}


@pytest.fixture(scope="module")
def exported_folder(tmp_path_factory):
    """A checkpoint and what the command makes of it."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    model = make_model(decoder_layers=2).float()
    model.save_pretrained(folder / "checkpoint")
    train_tokenizer(["a b"], ["b a"], kind="word", vocab_size=12).save_pretrained(folder / "checkpoint")
    assert cli.main(["export", str(folder / "checkpoint"), str(folder / "onnx")]) == 0
    return model, folder / "onnx"


def run_session(session, tensors):
    names = [output.name for output in session.get_outputs()]
    feeds = {argument.name: np.asarray(tensors[argument.name]) for argument in session.get_inputs()}
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_onnx_graphs_equal_the_model(exported_folder):
    import onnxruntime

    model, folder = exported_folder
    encoder, step = (onnxruntime.InferenceSession(folder / name) for name in ("encoder.onnx", "step.onnx"))
    check_graphs(model, lambda inputs: run_session(encoder, inputs), lambda inputs: run_session(step, inputs))
    names = [argument.name for argument in step.get_inputs()]
    assert sorted(names) == sorted(
        [
            "decoder_input_ids",
            "hidden_0",
            "cell_0",
            "hidden_1",
            "cell_1",
            "attentional",
            "keys",
            "memory",
            "source_mask",
        ]
    )


def test_the_exported_folder_holds_a_tokenizer_and_its_settings(exported_folder):
    names = set(os.listdir(exported_folder[1]))
    assert {"encoder.onnx", "step.onnx", "config.json", "generation_config.json", "tokenizer_config.json"} <= names


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_scan_of_a_layer_equals_the_packed_layer(cell, bidirectional):
    layer = CELL_TYPES[cell].layer(5, 4, batch_first=True, bidirectional=bidirectional).double()
    inputs, lengths = torch.randn(3, 6, 5, dtype=torch.double), torch.tensor([6, 1, 4])
    packed, packed_state = encoder_rnn_attn.PaddedLayer()(CELL_TYPES[cell], layer, inputs, lengths)
    scanned, scanned_state = encoder_rnn_attn._scan_layer(CELL_TYPES[cell], layer, inputs, lengths)
    keep_mask = torch.arange(6) < lengths.unsqueeze(-1)
    torch.testing.assert_close(scanned * keep_mask.unsqueeze(-1), packed)
    torch.testing.assert_close(scanned_state, packed_state)
    _, unmasked_state = encoder_rnn_attn._scan_layer(CELL_TYPES[cell], layer, inputs, None)
    assert not torch.allclose(unmasked_state, packed_state)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode; call `model.eval"):
        export_graphs(make_model().train())


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'onnx' or 'torch', got 'tflite'"):
        export_graphs(make_model(), "tflite")


def test_the_pairs_hold_every_pair_of_values():
    names = ("encoder_cell_type", "attention_score", "bridge", "input_feeding")
    for first, second in itertools.combinations(names, 2):
        assert {(row[first], row[second]) for row in PAIRS} == {(row[first], row[second]) for row in CHOICES}
    assert all(any(variant.items() <= row.items() for row in PAIRS) for variant in VARIANTS)


def test_int8_is_for_onnx_graphs(exported_folder, capsys):
    folder = exported_folder[1].parent
    assert cli.main(["export", str(folder / "checkpoint"), str(folder / "no"), "--int8", "--format", "torch"]) == 2
    assert "--int8 quantises ONNX graphs, got --format torch" in capsys.readouterr().err
    assert not (folder / "no").exists()


@pytest.mark.parametrize("options", PAIRS, ids=str)
def test_graphs_of_every_pair_equal_the_model(options):
    model = make_model(**options).float()
    runners = export_graphs(model, "torch").runners
    check_graphs(model, lambda inputs: runners["encoder"](**inputs), lambda inputs: runners["step"](**inputs))


@pytest.mark.slow
@pytest.mark.parametrize("options", PAIRS + CHOICES + SPAN_CHOICES + OTHER_OPTIONS, ids=str)
def test_every_architecture_exports(options):
    """To ONNX; the programs of `torch.export` on the way are what the ONNX graphs are made from."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    model = make_model(**options).float()
    runners = export_graphs(model).runners
    check_graphs(
        model,
        lambda inputs: run_session(runners["encoder"].session, inputs),
        lambda inputs: run_session(runners["step"].session, inputs),
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", OTHER_OPTIONS + [{"attention_score": "concat", "input_feeding": False}], ids=str)
def test_torch_programs_survive_saving_and_equal_the_model(options, tmp_path):
    from transformers.exporters import ExportedModel

    model = make_model(**options).float()
    export_graphs(model, "torch").save_pretrained(tmp_path)
    # programs are pickles; these are our own
    runners = ExportedModel.from_pretrained(tmp_path, trust_remote_code=True).runners
    check_graphs(model, lambda inputs: runners["encoder"](**inputs), lambda inputs: runners["step"](**inputs))


def whole_model_inputs():
    inputs = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "decoder_input_ids": pad(TARGETS, 0)}
    return inputs, {name: {0: LENGTH, 1: LENGTH} for name in inputs}


def check_whole_model(options, with_grad):
    """The teacher-forced model as a program of `torch.export` and of ONNX, for any batch size and both lengths.

    With weights of about the usual size: larger ones enlarge what float32 rounds to more than 1e-6 in nine steps.
    """
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    model = make_model(initializer_range=0.3, **options).float()
    inputs, shapes = whole_model_inputs()
    model.config.use_cache, model.config.output_attentions = False, True
    with torch.set_grad_enabled(with_grad):
        program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
        onnx_program = torch.onnx.export(program, kwargs=inputs, verbose=False)
    run = program.module()
    with torch.no_grad():
        for batch, length, target_length in [(1, 1, 1), (2, 5, 3), (4, 3, 9)]:
            inputs = random_batch(batch, length) | {"decoder_input_ids": torch.randint(3, 12, (batch, target_length))}
            expected = tree_leaves(model(**inputs))
            torch.testing.assert_close(tree_leaves(run(**inputs)), expected, atol=1e-6, rtol=0)
            torch.testing.assert_close(list(onnx_program(**inputs)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("index", range(len(PAIRS)))
def test_whole_models_of_every_pair_equal_the_model(index):
    check_whole_model(PAIRS[index], with_grad=index % 4 < 2)


@pytest.mark.slow
@pytest.mark.parametrize("with_grad", [True, False])
@pytest.mark.parametrize("options", CHOICES + SPAN_CHOICES + OTHER_OPTIONS, ids=str)
def test_every_whole_model_exports(options, with_grad):
    check_whole_model(options, with_grad)


@pytest.mark.parametrize("with_grad", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_librarys_onnx_exporter_takes_the_whole_model(with_grad):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    model = make_model(bridge="zero", attention_score="dot").float()
    inputs, shapes = whole_model_inputs()
    config = exporters.OnnxConfig(dynamic=True, dynamic_shapes=shapes)
    with torch.set_grad_enabled(with_grad):
        session = exporters.OnnxExporter().export(model, dict(inputs), config).runners["model"].session
    for batch, length, target_length in [(1, 1, 1), (4, 3, 9)]:
        inputs = random_batch(batch, length) | {"decoder_input_ids": torch.randint(3, 12, (batch, target_length))}
        actual, expected = run_session(session, inputs)["logits"], model(**inputs).logits.detach()
        torch.testing.assert_close(torch.tensor(actual), expected, atol=1e-6, rtol=0)
