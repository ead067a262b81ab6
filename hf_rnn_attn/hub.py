# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The way out: a finished run becomes a folder that stands alone, with its model card, and goes to the Hub.

This file holds the check of such a folder, the numbers of the card and the upload. It knows what
[`hf_rnn_attn.training.run.train`] leaves in the folder of a run, and does not know how it came about.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from datasets import Dataset, IterableDataset
from huggingface_hub import CommitInfo, EvalResult, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from . import __version__
from .data import read_pairs
from .inference.loading import find_model
from .model.checkpoint_rnn_attn import explain, load_config, load_tokenizer
from .model.configuration_rnn_attn import RnnAttnConfig
from .model.pipeline_rnn_attn import translation_pipeline
from .published import (
    LANGUAGE,
    LICENSE,
    LOCAL_CHECKPOINT,
    author_markdown,
    check_files,
    checked_log,
    checked_results,
    escape,
    keep_own_settings,
    keep_tokenizer_settings,
    one_line,
    published_recipe,
)
from .training.run import RESULTS_FILE
from .visualization import plot_attention, plot_training


PUBLISHED_FOLDER = "hub"
CONFIG_FILE = "config.json"
STATE_FILE = "trainer_state.json"
RECIPE_FILE = "recipe.yaml"
TRAINING_PICTURE, ATTENTION_PICTURE = "training.png", "attention.png"
# translations shown on a card: the first of the test set
EXAMPLES = 3
METRIC_LABELS = {
    "sacrebleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
    "exact_match": "exact match (%)",
    "cer": "character error rate (%)",
    "token_error_rate": "token error rate (%)",
}
CELL_LABELS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "tanh RNN"}
TRANSLATE_ALONE = """
import json, sys
sys.modules["hf_rnn_attn"] = None  # importing the package now raises ImportError
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

folder, sentence = sys.argv[1:]
AutoConfig.from_pretrained(folder, trust_remote_code=True)
parts = {
    "model": AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True),
    "tokenizer": AutoTokenizer.from_pretrained(folder, trust_remote_code=True),
}
translators = [
    pipeline("translation", device="cpu", **parts),
    pipeline(model=folder, device="cpu", trust_remote_code=True),
]
print(json.dumps([translator(sentence)[0]["translation_text"] for translator in translators]))
"""


def check_folder(folder: str | Path, sentence: str) -> str:
    """Checks that a checkpoint folder works where the package is not installed.

    1. A process of its own, which cannot import the package and has no network, loads configuration, tokenizer, model
       and pipeline from the folder with `trust_remote_code=True`, and translates.
    2. The package loads the folder and translates the same sentence.
    3. The translations are compared.

    Args:
        folder (`str` or `Path`): What `save_pretrained` of model and tokenizer, or a trainer, wrote.
        sentence (`str`): In the source language.

    Returns:
        `str`: the translation.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        ValueError: it does not load without the package, or translates otherwise than with it.
    """
    if not (Path(folder) / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{folder}: no checkpoint; expected a folder that holds config.json")
    alone = _translate_alone(folder, sentence)
    expected = translation_pipeline(model=str(folder), device="cpu")(sentence)[0]["translation_text"]
    for translation in alone:
        if translation != expected:
            raise ValueError(
                f"{folder}: without hf_rnn_attn {sentence!r} becomes {translation!r}, with it {expected!r}. The code "
                "in the folder is not that of this package; load model and tokenizer and save them again."
            )
    return expected


def _translate_alone(folder: str | Path, sentence: str) -> list[str]:
    with tempfile.TemporaryDirectory() as modules:
        run = subprocess.run(
            [sys.executable, "-c", TRANSLATE_ALONE, str(folder), sentence],
            # an empty cache of code, so that nothing but the folder's own is run
            env=os.environ | {"HF_MODULES_CACHE": modules, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise ValueError(
            f"{folder} does not work where hf_rnn_attn is not installed: {reason} "
            "Save model and tokenizer into it again with save_pretrained()."
        )
    return json.loads(run.stdout.splitlines()[-1])


@dataclass(frozen=True)
class About:
    """What the author of a card says of a model.

    Args:
        license (`str`): licence of the weights, as the Hub abbreviates it: `"cc-by-2.0"`.
        data (`str`): what the pairs are, whose, and under which licence; Markdown.
        languages (`Sequence[str]`, *optional*): codes of source and target language: `("de", "en")`.

    Raises:
        ValueError: a licence or a language that is no abbreviation.
    """

    license: str
    data: str
    languages: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for kind, pattern, texts in (
            ("a licence as the Hub abbreviates it, such as cc-by-2.0", LICENSE, [self.license]),
            ("codes of languages, such as de en", LANGUAGE, self.languages or []),
        ):
            wrong = [text for text in texts if not pattern.fullmatch(text)]
            if wrong:
                raise ValueError(f"expected {kind}, got {wrong[0]!r}")


@dataclass(frozen=True)
class Usage:
    """How the reader of a card gets the model.

    Args:
        template (`str`): the file in `templates/` that says it.
        values (`dict`): what that file asks for, beside what the card does.
        name (`str`, *optional*): the model's name; by default that of the run's folder.
        bits (`int`): width of the stored weights.
    """

    template: str
    values: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    bits: int = 32


def prepare(run_dir: str | Path, repo_id: str, about: About) -> Path:
    """Makes the folder that goes to the Hub of a finished run, and checks it.

    1. Model and tokenizer are saved with their code to `hub/` in the folder of the run; an earlier `hub/` is replaced.
    2. The first sentences of the test set (else of the validation or training set) are translated; the shortest one
       is translated again where the package cannot be imported, see [`check_folder`].
    3. The curve of the training, the attention of that sentence, the recipe and the card (`README.md`) are written.

    Args:
        run_dir (`str` or `Path`): the `training.output_dir` of a recipe.
        repo_id (`str`): `user/name`, which the card tells its reader to load.
        about ([`About`]): what the card says of licence, data and languages.

    Returns:
        `Path`: the folder.

    Raises:
        FileNotFoundError: the folder is not that of a finished run, or the run's data is not where it was.
        ImportError: matplotlib is absent.
        ValueError: `repo_id` is no `user/name`, or the check failed.
    """
    _check_repo_id(repo_id)
    return _prepare(Path(run_dir), about, Usage("usage_hub.md", {"repo_id": repo_id}, name=repo_id))


def _prepare(run_dir: Path, about: About, usage: Usage, sentences: Sequence[str] = ()) -> Path:
    """Does what [`prepare`] says; the card shows translations of `sentences` where there are any."""
    results, log = _read_run(run_dir)
    pairs = _read_pairs(results["recipe"]["data"])
    folder = _save_again(run_dir, run_dir / PUBLISHED_FOLDER)
    translator = translation_pipeline(model=str(folder), device="cpu")
    shown = [{"source": text, "target": None} for text in sentences] or islice(list(pairs.values())[-1], EXAMPLES)
    examples = [
        {
            "source": pair["source"],
            "translation": translator(pair["source"])[0]["translation_text"],
            "reference": pair["target"],
        }
        for pair in shown
    ]
    check_folder(folder, _shortest(examples)["source"])
    _draw(folder, log, translator, _shortest(examples))
    name = (usage.name or Path(results["recipe"]["training"]["arguments"]["output_dir"]).name).rpartition("/")[2]
    recipe = yaml.safe_dump(published_recipe(results["recipe"], name), sort_keys=False, allow_unicode=True)
    (folder / RECIPE_FILE).write_text(recipe, encoding="utf-8")
    counts = {one_line(name): getattr(split, "num_rows", None) for name, split in pairs.items()}
    render_card(folder, results, counts, examples, about, usage).save(folder / "README.md")
    return folder


def bundle(run_dir: str | Path, checkpoint: str | Path, card: str | Path, about: About) -> None:
    """Makes the checkpoint that a package carries, and the folder of its model card, of a finished run.

    The weights are stored in 16 bits, in half of the space, and load in 32. The code of the model is left out.

    Args:
        run_dir (`str` or `Path`): the `training.output_dir` of a recipe.
        checkpoint, card (`str` or `Path`): the two folders; what they hold already is replaced.
        about ([`About`]): with languages, by which the package finds the model.
    """
    prepared = _prepare(Path(run_dir), about, Usage("usage_package.md", bits=16))
    _copy_card(prepared, Path(card))
    checkpoint = Path(checkpoint)
    shutil.rmtree(checkpoint, ignore_errors=True)
    AutoTokenizer.from_pretrained(prepared).save_pretrained(checkpoint)
    AutoModelForSeq2SeqLM.from_pretrained(prepared, dtype=torch.float16).save_pretrained(checkpoint)
    for file in checkpoint.glob("*.py"):
        file.unlink()
    config = json.loads((checkpoint / CONFIG_FILE).read_text("utf-8"))
    config["dtype"] = "float32"
    for key in ("auto_map", "custom_pipelines"):
        config.pop(key, None)
    (checkpoint / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_card(
    run_dir: str | Path, card: str | Path, about: About, *, command: str, sentences: Sequence[str] = ()
) -> None:
    """Makes the folder of the model card alone of a finished run; the card says how the weights are made.

    Args:
        run_dir (`str` or `Path`): the `training.output_dir` of a recipe.
        card (`str` or `Path`): the folder; what it holds already is replaced.
        about ([`About`]): as for [`prepare`].
        command (`str`): what makes the weights: `"hf-rnn-attn train scripts/recipes/cmudict.yaml"`.
        sentences (`Sequence[str]`, *optional*): what the card shows translations of, instead of the first pairs of the
            test set; for data that may not be shown.
    """
    usage = Usage("usage_command.md", {"command": command})
    _copy_card(_prepare(Path(run_dir), about, usage, sentences), Path(card))


def _copy_card(prepared: Path, card: Path):
    shutil.rmtree(card, ignore_errors=True)
    card.mkdir(parents=True)
    for name in ("README.md", RECIPE_FILE, TRAINING_PICTURE, ATTENTION_PICTURE):
        if (prepared / name).is_file():
            shutil.copy(prepared / name, card / name)


def publish(
    run_dir: str | Path, repo_id: str, about: About, *, revision: str | None = None, private: bool = False
) -> CommitInfo:
    """Prepares the folder of a run, see [`prepare`], and uploads it in one commit.

    Args:
        run_dir, repo_id, about: as for [`prepare`].
        revision (`str`, *optional*): the branch to commit to, made where it is missing. Defaults to the main branch.
        private (`bool`, *optional*, defaults to `False`): whether the repository must be private. It is made where it
            is missing.

    Returns:
        `CommitInfo`: with `commit_url` and `oid`, the revision that `from_pretrained` takes.

    Raises:
        ValueError: also if `private` and the repository is there and public.
        OSError: the Hub refused, or no token was found (`hf auth login`).
    """
    return upload(prepare(run_dir, repo_id, about), repo_id, revision=revision, private=private)


def upload(folder: str | Path, repo_id: str, *, revision: str | None = None, private: bool = False) -> CommitInfo:
    """Uploads a folder as it is, in one commit; arguments and errors are those of [`publish`]."""
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if private and not api.repo_info(repo_id).private:
            raise ValueError(
                f"{repo_id} is already there and public; nothing was uploaded. Make it private on the Hub."
            )
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        return api.upload_folder(
            repo_id=repo_id, folder_path=folder, revision=revision, commit_message="Upload the model with its card"
        )
    except LocalTokenNotFoundError as error:
        raise OSError(f"{repo_id}: nothing was uploaded; log in with `hf auth login`") from error
    except HfHubHTTPError as error:
        status, reason = error.response.status_code, error.server_message or error.response.reason_phrase
        advice = "; log in with `hf auth login`, with a token that may write there" if status in (401, 403) else ""
        raise OSError(f"{repo_id}: nothing was uploaded; the Hub answers {status} {reason}{advice}") from error
    except OSError as error:
        raise OSError(f"{repo_id}: nothing was uploaded; the Hub cannot be reached ({error})") from error


def _check_repo_id(repo_id: str):
    validate_repo_id(repo_id)
    if "/" not in repo_id:
        raise ValueError(f"expected a repository as user/name, got {repo_id!r}")


def _read_run(run_dir: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """What a finished run says of itself: its results, and the log of its training."""
    results = run_dir / RESULTS_FILE
    if not results.is_file():
        raise FileNotFoundError(f"{run_dir}: not a finished run of `hf-rnn-attn train`; expected {RESULTS_FILE} in it")
    checkpoints = [path for path in run_dir.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    checkpoints.sort(key=lambda path: int(path.name.rpartition("-")[2]))
    states = [file for folder in (*checkpoints, run_dir) if (file := folder / STATE_FILE).is_file()]
    if not states:
        raise FileNotFoundError(f"{run_dir}: no log of the training; expected {STATE_FILE} in it or in a checkpoint")
    log = checked_log(_read_json(states[-1]).get("log_history"), states[-1])
    return checked_results(_read_json(results), results), log


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON, got something else ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, got a {type(content).__name__}")
    return content


def _read_pairs(data: dict[str, Any]) -> dict[str, Dataset | IterableDataset]:
    """The pairs of the run by the name of their split: training, validation, tests."""
    scored = {"validation": data["validation"], **data["test"]}
    try:
        splits = {"train": read_pairs(data["train"], **data["reading"])}
        for name, split in scored.items():
            if split is not None:
                splits[name] = read_pairs(split, **{**data["reading"], "streaming": False})
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}. The card counts the pairs and shows translations; call this where the run was started, with its "
            "data in place."
        ) from error
    return splits


def _save_again(run_dir: Path, folder: Path) -> Path:
    """Saves what belongs to the model, its code included, and leaves everything else of a run behind."""
    find_model(run_dir)
    config = load_config(run_dir)
    if config.model_type != RnnAttnConfig.model_type:
        raise ValueError(
            f"{run_dir}: the card describes models of the type {RnnAttnConfig.model_type}, got one of the type "
            f"{config.model_type}; publish it with its own push_to_hub()"
        )
    with explain(run_dir, "model"):
        model = AutoModelForSeq2SeqLM.from_pretrained(run_dir, config=config, trust_remote_code=False)
        tokenizer = _known_tokenizer(run_dir)
        model.check_tokenizer(tokenizer)
    if folder.exists():
        shutil.rmtree(folder)
    keep_own_settings(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    keep_tokenizer_settings(folder)
    check_files(folder)
    return folder


def _known_tokenizer(run_dir: Path) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a run from its known settings: of any key that ends in `_token`, the library makes a
    token.
    """
    with tempfile.TemporaryDirectory() as known:
        for name in ("tokenizer.json", "target_tokenizer.json", "tokenizer_config.json", CONFIG_FILE):
            if (run_dir / name).is_file():
                shutil.copy(run_dir / name, known)
        try:
            keep_tokenizer_settings(Path(known))
            return load_tokenizer(known)
        except (OSError, ValueError) as error:
            raise ValueError(str(error).replace(known, str(run_dir))) from error


def _shortest(examples: list[dict[str, str]]) -> dict[str, str]:
    return min(examples, key=lambda example: len(example["source"]))


def _draw(folder: Path, log: list[dict[str, Any]], translator, example: dict[str, str]):
    """Draws the pictures of the card: the training, and the attention of one sentence where the model has any."""
    plot_training(log).savefig(folder / TRAINING_PICTURE, dpi=120)
    if translator.model.config.attention_score == "none":
        return
    record = translator(example["source"], output_attentions=True)[0]
    title = f"{example['source']} → {record['translation_text']}"
    figure = plot_attention(record["attention"], record["source_tokens"], record["target_tokens"], title=title)
    figure.savefig(folder / ATTENTION_PICTURE, dpi=120)


def render_card(
    folder: Path,
    results: dict[str, Any],
    counts: Mapping[str, int | None],
    examples: list[dict[str, str]],
    about: About,
    usage: Usage,
) -> ModelCard:
    """Writes the model card from the numbers of a run.

    Args:
        folder (`Path`): with the model, and the pictures where there are any.
        results (`dict`): what `results.json` holds.
        counts (`Mapping` from `str` to `int`, *optional*): pairs by the name of the split; `None` for a stream.
        examples (`list` of `dict` with "source", "translation", "reference"):
            What the card shows, from the last split of `counts`; sentences from elsewhere have `None` for references.
        about ([`About`]), usage ([`Usage`]): what the author says, and how the reader gets the model.
    """
    example = _shortest(examples)
    config = RnnAttnConfig.from_pretrained(folder)
    training = results["recipe"]["training"]["arguments"]
    name = usage.name or one_line(Path(training["output_dir"]).name)
    recipe = published_recipe(results["recipe"], name.rpartition("/")[2])
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) * usage.bits / 32
    text = _template().render(
        usage.values,
        usage=usage.template,
        metadata=_metadata(results["scores"], recipe.get("model"), name, about).to_yaml(),
        name=name.rpartition("/")[2],
        output_dir=json.dumps(name if Path(training["output_dir"]).is_absolute() else training["output_dir"]),
        license=about.license,
        data=author_markdown(about.data),
        languages=about.languages,
        results=results,
        tokenizer=recipe.get("tokenizer", {}),
        smoothing=recipe["training"].get("label_smoothing_factor"),
        resumed=bool(training.get("resume_from_checkpoint")),
        metrics=_metrics(results["scores"]),
        counts=counts,
        examples=examples,
        sentence=json.dumps(example["source"], ensure_ascii=False),
        output=[{"translation_text": example["translation"]}],
        config=config,
        tied=_tied(config),
        duration=_duration(results["train_seconds"]),
        megabytes=size / 1e6,
        decoding=_decoding(folder, recipe.get("generation", {})),
        pictures=[name for name in (TRAINING_PICTURE, ATTENTION_PICTURE) if (folder / name).exists()],
        version=__version__,
    )
    return ModelCard(text)


def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = escape
    environment.globals.update(metric_labels=METRIC_LABELS, cell_labels=CELL_LABELS)
    return environment.get_template("model_card.md")


def _metrics(scores: dict[str, dict[str, Any]]) -> list[str]:
    """The names of the metrics, which are the same for every split."""
    return [name for name in next(iter(scores.values()), {}) if name != "by_length"]


def _metadata(scores: dict[str, dict[str, Any]], model: Any, name: str, about: About) -> ModelCardData:
    """The head of the card, which the Hub reads."""
    return ModelCardData(
        language=list(about.languages) if about.languages else None,
        license=about.license,
        library_name="transformers",
        pipeline_tag="translation",
        tags=["rnn_attn", "rnn", "attention", "seq2seq"],
        base_model=model if isinstance(model, str) and model != LOCAL_CHECKPOINT else None,
        metrics=_metrics(scores),
        model_name=name.rpartition("/")[2],
        eval_results=_eval_results(scores),
    )


def _eval_results(scores: dict[str, dict[str, Any]]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="translation",
            dataset_type=split,
            dataset_name=split,
            metric_type=metric,
            metric_name=METRIC_LABELS[metric],
            metric_value=round(scores[split][metric]["score"], 2),
            metric_config=scores[split][metric].get("signature"),
        )
        for split in scores
        for metric in _metrics(scores)
    ]


def _tied(config: RnnAttnConfig) -> str:
    """Which of the three embedding matrices are one."""
    shared = ["source"] if config.share_encoder_decoder_embeddings else []
    tied = ["output layer"] if config.tie_word_embeddings else []
    return ", ".join([*shared, "target", *tied]) if shared or tied else "none"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _decoding(folder: Path, generation: dict[str, Any]) -> dict[str, Any]:
    """How the scored translations were searched for: the beam, and what else the recipe sets."""
    settings = GenerationConfig.from_pretrained(folder)
    return {name: getattr(settings, name) for name in {"num_beams": None, **generation}}
