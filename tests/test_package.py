# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: which file may import which, what is registered, what the wheel carries."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, pipelines

import hf_rnn_attn


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_rnn_attn"
# each file may import those before it, and none after it
ORDER = [
    "model.checkpoint_rnn_attn",
    "model.placeholders_rnn_attn",
    "model.pipeline_rnn_attn",
    "model.tokenization_rnn_attn",
    "model.cache_rnn_attn",
    "model.configuration_rnn_attn",
    "model.generation_arguments_rnn_attn",
    "model.step_weight_rnn_attn",
    "model.cells_rnn_attn",
    "model.attention_rnn_attn",
    "model.pointer_rnn_attn",
    "model.loss_rnn_attn",
    "model.recurrence_rnn_attn",
    "model.pretrained_rnn_attn",
    "model.encoder_rnn_attn",
    "model.decoder_rnn_attn",
    "model.search_rnn_attn",
    "model.generation_rnn_attn",
    "model.modeling_rnn_attn",
    "demo.dates",
    "tokenization",
    "inference.processes",
    "inference.bulk",
    "inference.loading",
    "inference.ensemble",
    "inference.quantization",
    "inference.cluster",
    "importers.checkpoints",
    "importers.opennmt",
    "importers.joeynmt",
    "packed",
    "data",
    "variation",
    "evaluation",
    "words",
    "alignment",
    "scoring",
    "lexicon",
    "markup",
    "text",
    "inspection",
    "visualization",
    "training.callbacks",
    "training.recipe",
    "training.defaults",
    "training.checkpoints",
    "training.growth",
    "training.record",
    "training.trainer",
    "training.run",
    "training.first_recipe",
    "export",
    "published",
    "hub",
    "demo.demo",
    "batching",
    "server",
    "cli",
]
SHIPPED_MAY_IMPORT = {"torch", "transformers", "huggingface_hub", "safetensors", "tokenizers"}
SHIPPED_MAY_IMPORT |= set(sys.stdlib_module_names)


def imports_of(module):
    """The files of the package that a file imports, and the other top-level packages."""
    path = PACKAGE / (module.replace(".", "/") + ".py")
    own, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = module.split(".")[: -node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            own |= {".".join([*folder, name]) for name in names}
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
    # names that the packages themselves hold, and `from .package import file`
    own = {name if name in ORDER else next((m for m in ORDER if m.startswith(f"{name}.")), name) for name in own}
    return own - {"BUNDLED", "__version__"}, others - {"hf_rnn_attn_cli", "hf_rnn_attn_onnx"}


def test_every_file_has_its_place():
    files = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    assert {name for name in files if not name.endswith("__init__")} == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_one_way(module):
    own, others = imports_of(module)
    assert own <= set(ORDER[: ORDER.index(module)])
    assert "hf_rnn_attn" not in others, "imports inside of the package are relative"
    if module.startswith("model."):
        assert others <= SHIPPED_MAY_IMPORT


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    declared = {requirement.split(">")[0].split("[")[0].replace("-", "_") for requirement in requirements}
    imported = set().union(*(imports_of(module)[1] for module in ORDER)) - set(sys.stdlib_module_names)
    assert {{"yaml": "pyyaml"}.get(name, name) for name in imported} <= declared


def test_public_names_resolve():
    models = ["RnnAttnConfig", "RnnAttnForConditionalGeneration", "RnnAttnModel", "RnnAttnTokenizer"]
    names = [*models, "TranslationPipeline", "train_tokenizer"]
    assert hf_rnn_attn.__all__ == ["BUNDLED", *names]
    for name in names:
        assert getattr(hf_rnn_attn, name).__name__ == name
    assert not hasattr(hf_rnn_attn, "Transformer")


def test_registration_can_be_repeated():
    hf_rnn_attn.register()
    assert AutoConfig.for_model("rnn_attn").__class__ is hf_rnn_attn.RnnAttnConfig
    assert AutoModelForSeq2SeqLM._model_mapping[hf_rnn_attn.RnnAttnConfig] is (
        hf_rnn_attn.RnnAttnForConditionalGeneration
    )
    assert hasattr(AutoTokenizer, "register")
    assert pipelines.check_task("translation_de_to_en")[0] == "translation"


def test_the_wheel_carries_templates_and_type_marker(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    }
    assert sources <= names and not any(name.startswith("tests/") for name in names)


def test_no_test_file_imports_another():
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("test_")), path


def test_nearly_all_arguments_are_annotated():
    annotated = total = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
                named = [argument for argument in arguments if argument.arg not in ("self", "cls")]
                total += len(named)
                annotated += sum(argument.annotation is not None for argument in named)
    assert annotated / total >= 0.95, f"{annotated} of {total}"
