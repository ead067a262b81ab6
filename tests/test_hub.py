# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A run reaches the Hub and comes back, against a Hub on loopback: each side in a process of its own, with an empty
cache, as on two machines. The card is read from what was uploaded.
"""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import TOKEN, serve
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError
from markdown_it import MarkdownIt
from safetensors.torch import load_file
from transformers import GenerationConfig, pipeline

from hf_rnn_attn import RnnAttnConfig, cli, hub
from hf_rnn_attn.evaluation import METRICS
from hf_rnn_attn.published import (
    author_markdown,
    checked_results,
    escape,
    one_line,
    published_model,
    published_recipe,
)
from hf_rnn_attn.training import train
from hf_rnn_attn.training.recipe import load_recipe


PAIRS = [("ein mann fährt", "a man rides"), ("eine frau | fährt", "a woman | rides"), ("der hund", "the dog")]
CODE = {path.name for path in (Path(hub.__file__).parent / "model").glob("*_rnn_attn.py")}
CARD = {"license": "cc-by-4.0", "data": "Three *sentences*, in the public domain.", "languages": ["de", "en"]}
RECIPE = {
    "data": {
        "train": {"source": "train.de", "target": "train.en"},
        "validation": {"source": "train.de", "target": "train.en"},
        "test": {"unseen": "more/test.tsv"},
    },
    "tokenizer": {"kind": "word", "joint": False},
    "model": {
        "encoder_embedding_size": 8,
        "encoder_hidden_size": 8,
        "decoder_embedding_size": 8,
        "decoder_hidden_size": 12,
        "initializer_range": 1.0,
    },
    "training": {
        "max_steps": 2,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "learning_rate": 1e-9,
        "report_to": "none",
        "dataloader_pin_memory": False,
        "use_cpu": True,
        "disable_tqdm": True,
    },
    "generation": {"num_beams": 2, "max_new_tokens": 8},
    "evaluation": {"metrics": {"sacrebleu": {"lowercase": True}, "chrf": {}}, "by_length": [2]},
}

# a machine with the package: publishes, then reads from a cold cache
WITH_PACKAGE = """
import json, sys
import hf_rnn_attn, torch
from hf_rnn_attn import hub
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

run, card, source = map(json.loads, sys.argv[1:])
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(run), AutoTokenizer.from_pretrained(run)
oids = {"first": model.push_to_hub("someone/pushed").oid}
tokenizer.push_to_hub("someone/pushed")
with torch.no_grad():
    model.lm_head.weight.neg_()
oids["negated"] = model.push_to_hub("someone/pushed").oid
tokenizer.push_to_hub("someone/kept-back", private=True)
oids["published"] = hub.publish(run, "someone/published", hub.About(**card)).oid
hub.upload(hub.Path(run) / "hub", "someone/published", revision="v1")
try:
    hub.upload(hub.Path(run) / "hub", "someone/published", private=True)
except ValueError as error:
    oids["refused"] = str(error)

results = {}
for name in ("someone/pushed", "someone/published"):
    results[name] = [
        pipeline(device="cpu", **arguments)(source)
        for arguments in ({"task": "translation", "model": name}, {"model": name})
    ]
first = pipeline(model="someone/pushed", device="cpu", revision=oids["first"], tokenizer=tokenizer)
results["first"] = [first(source)]
print(json.dumps([oids, results]))
"""

WITHOUT_PACKAGE = """
import json, sys
sys.modules["hf_rnn_attn"] = None  # importing it now raises ImportError
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

oids, source = map(json.loads, sys.argv[1:])
trust = {"trust_remote_code": True}
results = {}
for name in ("someone/pushed", "someone/published"):
    AutoConfig.from_pretrained(name, **trust)
    parts = {
        "model": AutoModelForSeq2SeqLM.from_pretrained(name, **trust),
        "tokenizer": AutoTokenizer.from_pretrained(name, **trust),
    }
    ways = [{"task": "translation", **parts}] + [
        {"model": name, **task, **trust}
        for task in ({"task": "translation"}, {"task": "translation_de_to_en"}, {})
    ]
    results[name] = [pipeline(device="cpu", **way)(source) for way in ways]
for name, repository, revision in (
    ("first", "someone/pushed", oids["first"]),
    ("negated", "someone/pushed", oids["negated"]),
    ("v1", "someone/published", "v1"),
):
    model = AutoModelForSeq2SeqLM.from_pretrained(repository, revision=revision, **trust)
    results[name] = [pipeline("translation", model=model, tokenizer=parts["tokenizer"], device="cpu")(source)]
print(json.dumps(results))
"""

# what a reader of the page does; the check, which other tests make, would take a process for each command
FOLLOW_THE_PAGE = """
import json, os, re, shlex, sys
from pathlib import Path
from hf_rnn_attn import cli, hub

page, folder = map(json.loads, sys.argv[1:])
os.chdir(folder)
hub._translate_alone = lambda folder, sentence: []
blocks = re.findall(r"^```(python|sh)\\n(.*?)^```$", Path(page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
for language, block in blocks:
    if language == "python":
        exec(block, {})
    else:
        program, *arguments = shlex.split(block.replace("\\\\\\n", " "))
        assert program == "hf-rnn-attn" and cli.main(arguments) == 0, block
print(json.dumps([language for language, _ in blocks]))
"""


def run_process(code, arguments, home, **environment):
    """A Python process with the folder `home` for a cache, connected as `environment` says; returns what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    finished = subprocess.run(
        [sys.executable, "-c", code, *map(json.dumps, arguments)],
        env=clean | {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def write_run(folder):
    """Trains the recipe in `folder/corpus` and returns the folder of the run."""
    corpus = folder / "corpus"
    (corpus / "more").mkdir(parents=True)
    for side, language in enumerate(("de", "en")):
        text = "".join(f"{pair[side]}\n" for pair in PAIRS)
        (corpus / f"train.{language}").write_text(text, encoding="utf-8")
    (corpus / "more" / "test.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in reversed(PAIRS)), encoding="utf-8")
    training = {**RECIPE["training"], "output_dir": str(folder / "toy-run")}
    (corpus / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "training": training}, sort_keys=False), "utf-8")
    torch.manual_seed(0)
    train(load_recipe(corpus / "recipe.yaml"))
    return folder / "toy-run"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What two machines did with one Hub: the Hub, the run, the commits, the translations of each machine."""
    root = tmp_path_factory.mktemp("hub")
    run, source = write_run(root), [source for source, _ in PAIRS]
    with serve() as server:
        connection = {"HF_ENDPOINT": server.url}
        oids, results = run_process(WITH_PACKAGE, [str(run), CARD, source], root / "a", **connection, HF_TOKEN=TOKEN)
        others = run_process(WITHOUT_PACKAGE, [oids, source], root / "b", **connection)
        yield {"server": server, "run": run, "oids": oids, "with": results, "without": others}


@pytest.fixture
def uploaded(world):
    return world["server"].repositories["someone/published"].commits[world["oids"]["published"]]


def translate(folder):
    return pipeline("translation", model=str(folder), device="cpu")([source for source, _ in PAIRS])


def test_what_was_published_translates_like_the_run(world):
    expected = translate(world["run"])
    assert len({record["translation_text"] for record in expected}) > 1
    assert world["with"]["someone/published"] == [expected] * 2
    assert world["without"]["someone/published"] == [expected] * 4
    assert world["without"]["v1"] == [expected]


def test_a_revision_is_the_commit_that_it_names(world):
    first, negated = translate(world["run"]), world["without"]["negated"][0]
    assert first != negated
    assert world["with"]["first"] == world["without"]["first"] == [first]
    assert world["with"]["someone/pushed"] == [negated] * 2
    assert world["without"]["someone/pushed"] == [negated] * 4


def test_one_commit_holds_the_model_and_nothing_of_the_trainer(world, uploaded):
    tokenizer = {"tokenizer.json", "target_tokenizer.json", "tokenizer_config.json"}
    model = {"config.json", "generation_config.json", "model.safetensors"}
    card = {"README.md", "recipe.yaml", "training.png", "attention.png"}
    assert uploaded.keys() - {".gitattributes"} == tokenizer | model | card | CODE
    assert uploaded["model.safetensors"].sha256 and uploaded["training.png"].sha256
    assert {file.name for file in (world["run"] / "hub").iterdir()} == uploaded.keys() - {".gitattributes"}
    assert {"optimizer.pt", "trainer_state.json"} <= {file.name for file in world["run"].glob("checkpoint-2/*")}
    repository = world["server"].repositories["someone/published"]
    assert repository.branches.keys() == {"main", "v1"}


def test_private_means_private(world):
    server = world["server"]
    assert server.repositories["someone/kept-back"].private and not server.repositories["someone/pushed"].private
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{server.url}/api/models/someone/kept-back")
    assert "already there and public; nothing was uploaded" in world["oids"]["refused"]


def test_every_request_was_one_that_the_hub_knows(world):
    # a typo in the server would look like a missing file
    requests = {f"{method} {re.sub('someone/[a-z-]+', 'R', path)}" for method, path in world["server"].requests}
    assert {"POST /api/repos/create", "POST /api/validate-yaml", "POST /api/models/R/commit/main"} <= requests
    assert {"POST /api/models/R/commit/v1", "POST /R.git/info/lfs/objects/batch"} <= requests


def card_of(uploaded):
    return ModelCard(uploaded["README.md"].content.decode())


def test_the_head_of_the_card_is_what_the_hub_reads(world, uploaded):
    data = card_of(uploaded).data
    assert (data.license, data.language, data.library_name) == ("cc-by-4.0", ["de", "en"], "transformers")
    assert data.pipeline_tag == "translation"
    scores = json.loads((world["run"] / "results.json").read_text())["scores"]
    assert [
        (result.dataset_name, result.metric_type, result.metric_value, result.metric_config)
        for result in data.eval_results
    ] == [
        (split, metric, round(scores[split][metric]["score"], 2), scores[split][metric]["signature"])
        for split in ("validation", "unseen")
        for metric in ("sacrebleu", "chrf")
    ]


def test_the_card_says_what_the_run_did(world, uploaded):
    text = card_of(uploaded).text
    results = json.loads((world["run"] / "results.json").read_text())
    bleu, chrf = (results["scores"]["unseen"][name]["score"] for name in ("sacrebleu", "chrf"))
    assert f"| unseen | 3 | {bleu:.1f} | {chrf:.1f} |" in text
    assert "`num_beams=2`, `max_new_tokens=8`" in text
    assert "case:lc" in text and "| | 1-2 | 3+ |" in text
    assert f"{results['parameters']:,} parameters" in text
    assert "Three *sentences*, in the public domain." in text and "`cc-by-4.0`" in text
    assert 'pipeline("translation", model="someone/published", trust_remote_code=True)' in text
    assert "\n2 steps;" in text and "hf-rnn-attn train recipe.yaml" in text
    for picture in ("training.png", "attention.png"):
        assert f"]({picture})" in text
        assert uploaded[picture].content.startswith(b"\x89PNG") and len(uploaded[picture].content) > 5000
    assert "\n\n\n" not in text


def test_the_card_shows_translations_as_they_are(world, uploaded):
    text = card_of(uploaded).text
    hund, frau, mann = (record["translation_text"] for record in reversed(translate(world["run"])))
    assert f"| der hund | {escape(hund)} | the dog |" in text
    # a bar would end the cell
    assert "| eine frau \\| fährt | " in text and " | a woman \\| rides |" in text
    assert f'print(translator("der hund"))\n# {[{"translation_text": hund}]}\n' in text


def test_the_recipe_can_be_run_where_the_data_lies_beside_it(world, uploaded, tmp_path):
    shutil.copytree(world["run"].parent / "corpus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "recipe.yaml").write_bytes(uploaded["recipe.yaml"].content)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    original = load_recipe(world["run"].parent / "corpus" / "recipe.yaml")
    assert recipe.training.arguments == {**original.training.arguments, "output_dir": "published"}
    for section in ("tokenizer", "model", "generation", "evaluation"):
        assert getattr(recipe, section) == getattr(original, section)
    assert recipe.data.test == {"unseen": str(tmp_path / "test.tsv")}
    assert Path(recipe.data.train["source"]).is_file()


def test_nothing_published_names_a_folder_of_this_machine(world, uploaded):
    for path, file in uploaded.items():
        assert str(world["run"].parent).encode() not in file.content, path


def test_a_folder_without_its_code_is_refused(world, tmp_path):
    shutil.copytree(world["run"] / "hub", tmp_path / "copy")
    (tmp_path / "copy" / "recurrence_rnn_attn.py").unlink()
    with pytest.raises(ValueError, match="not installed: .*recurrence_rnn_attn.py.* save_pretrained"):
        hub.check_folder(tmp_path / "copy", "der hund")


def test_a_folder_with_other_code_is_refused(world, tmp_path):
    shutil.copytree(world["run"] / "hub", tmp_path / "copy")
    code = tmp_path / "copy" / "search_rnn_attn.py"
    original = code.read_text("utf-8")
    changed = original.replace("logits[:, -1].float()", "-logits[:, -1].float()")
    assert changed != original
    code.write_text(changed, "utf-8")
    with pytest.raises(ValueError, match="without hf_rnn_attn 'der hund' becomes"):
        hub.check_folder(tmp_path / "copy", "der hund")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint; expected a folder that holds config.json"):
        hub.check_folder(tmp_path, "der hund")


@pytest.mark.parametrize(
    ("remove", "repository", "message"),
    [
        (["results.json"], "a/b", "not a finished run of `hf-rnn-attn train`; expected results.json"),
        (["trainer_state.json", "checkpoint-2"], "a/b", "no log of the training"),
        ([], "lonely", "expected a repository as user/name, got 'lonely'"),
        ([], "a/b/c", "a/b/c"),
    ],
)
def test_a_mistake_is_answered_in_one_line(world, tmp_path, capsys, remove, repository, message):
    run = tmp_path / "run"
    shutil.copytree(world["run"], run)
    for name in remove:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    arguments = ["publish", str(run), repository, "--license", "mit", "--data", "mine", "--dry-run"]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_log_of_a_checkpoint_serves_where_the_run_kept_none(world, tmp_path):
    shutil.copytree(world["run"], tmp_path / "run")
    (tmp_path / "run" / "trainer_state.json").unlink()
    (results, log), (expected_results, expected_log) = map(hub._read_run, (tmp_path / "run", world["run"]))
    assert results == expected_results
    # the run's own log ends with a line about the whole of it
    assert log == expected_log[:-1] and "loss" in log[0] and "eval_loss" in log[-1]


def test_lost_data_is_named(world):
    data = json.loads((world["run"] / "results.json").read_text())["recipe"]["data"]
    with pytest.raises(FileNotFoundError, match="gone.tsv: no such file. .* with its data in place"):
        hub._read_pairs({**data, "test": {"unseen": "gone.tsv"}})


def test_a_dry_run_uploads_nothing(world, monkeypatch, capsys):
    monkeypatch.setattr(hub, "check_folder", lambda folder, sentence: None)
    commits = dict(world["server"].repositories["someone/published"].branches)
    arguments = ["publish", str(world["run"]), "someone/published", "--license", "mit", "--data", "mine", "--dry-run"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"ready to upload: {world['run'] / 'hub'}\n"
    card = ModelCard.load(world["run"] / "hub" / "README.md")
    assert card.data.license == "mit" and card.data.language is None
    assert world["server"].repositories["someone/published"].branches == commits


def test_the_page_of_the_documentation_runs(world, tmp_path):
    server, page = world["server"], Path(__file__).parents[1] / "docs" / "hub.md"
    shutil.copytree(world["run"], tmp_path / "runs" / "de_en")
    environment = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
    languages = run_process(FOLLOW_THE_PAGE, [str(page), str(tmp_path)], tmp_path / "home", **environment)
    assert (languages.count("sh"), languages.count("python")) == (2, 5)
    # made empty; by the command; from Python with other words for the data
    assert len(server.repositories["user/de-en"].commits) == 3
    *_, pushed = server.repositories["user/other-de-en"].commits.values()
    assert {"model.safetensors", "tokenizer.json"} <= pushed.keys()


def test_a_model_without_attention_and_a_run_without_scores_have_a_card(world, tmp_path):
    results = json.loads((world["run"] / "results.json").read_text())
    RnnAttnConfig(attention_score="none").save_pretrained(tmp_path)
    GenerationConfig(num_beams=3).save_pretrained(tmp_path)
    example = {"source": "der hund", "translation": "the dog", "reference": "the dog"}
    card = hub.render_card(
        tmp_path,
        {**results, "scores": {}, "averaged": ["checkpoint-1", "checkpoint-2"], "train_seconds": 150.0},
        {"train": None},
        [example],
        hub.About("mit", "Mine."),
        hub.Usage("usage_hub.md", {"repo_id": "a/b"}, name="a/b"),
    )
    assert "Sutskever et al. 2014" in card.text and "| attention | `none` |" in card.text
    assert not any(word in card.text for word in ("## Scores", "attention.png", " pairs", "translates from"))
    assert "2 steps; 2 minutes; the weights are the mean of 2 checkpoints." in card.text
    assert "\n\n\n" not in card.text


def test_a_bundled_checkpoint_is_half_as_large_and_translates_alike(world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world["run"], run)
    for _ in range(2):  # the second takes the place of the first
        hub.bundle(run, tmp_path / "checkpoint", tmp_path / "card", hub.About(**CARD))
    assert not [path.name for path in (tmp_path / "checkpoint").glob("*.py")]
    stored = load_file(tmp_path / "checkpoint" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    bundled, translator = (pipeline("translation", model=str(path)) for path in (tmp_path / "checkpoint", run))
    assert bundled.model.dtype == torch.float32
    assert [bundled(source) for source, _ in PAIRS] == [translator(source) for source, _ in PAIRS]
    names = {path.name for path in (tmp_path / "card").iterdir()}
    assert names == {"README.md", "recipe.yaml", "training.png", "attention.png"}
    card = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "\n# toy-run\n" in card and 'BUNDLED["de", "en"])' in card and "trust_remote_code" not in card


def test_the_card_of_weights_that_are_nowhere_says_how_they_are_made(world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world["run"], run)
    command = "hf-rnn-attn train toy.yaml --set training.seed=3"
    hub.write_card(run, tmp_path / "card", hub.About(**CARD), command=command, sentences=["hund der", "der"])
    names = {path.name for path in (tmp_path / "card").iterdir()}
    assert names == {"README.md", "recipe.yaml", "training.png", "attention.png"}
    card = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "\nhf-rnn-attn train toy.yaml --set training.seed=3\n" in card and "The licence of the data" in card
    assert 'pipeline("translation", model="' in card and not any(
        words in card for words in ("carries it", "trust_remote_code", "weights are published")
    )
    assert "\n| source | translation |\n" in card and "\n| hund der |" in card and "not chosen" not in card
    assert 'translator("der")' in card
    size = (run / "model.safetensors").stat().st_size / 1e6
    assert f"parameters, {size:.1f} MB" in card and "\n\n\n" not in card


def test_every_metric_has_a_name_on_the_card():
    assert hub.METRIC_LABELS.keys() == METRICS.keys()


def secret(*place):
    return f"SECRET-{'-'.join(map(str, place))}"


def plant(value, *place):
    """Returns a JSON value with a secret beside every key, and in the place of every text that is no setting."""
    if isinstance(value, dict):
        planted = {key: plant(item, *place, key) for key, item in value.items()}
        return {**planted, "hub_token": secret(*place, "token"), "url": f"https://me:{secret(*place)}@example.org/a"}
    return [plant(item, *place) for item in value] if isinstance(value, list) else value


def test_no_secret_of_a_run_is_published(world, tmp_path, monkeypatch):
    run = tmp_path / secret("folder") / secret("run")
    shutil.copytree(world["run"], run)
    results = plant(json.loads((run / "results.json").read_text("utf-8")), "results")
    recipe, arguments = results["recipe"], results["recipe"]["training"]["arguments"]
    # where a key is the name of a split, a metric or an option
    named = [results["scores"], recipe["data"]["test"], recipe["data"]["train"], recipe["evaluation"]["metrics"]]
    for section in (*named, recipe["data"]["validation"], recipe["data"]["reading"], recipe["data"]["encoding"]):
        del section["hub_token"], section["url"]
    for scores in results["scores"].values():
        del scores["hub_token"], scores["url"]
    for name in ("run_name", "hub_model_id", "logging_dir", "project", "deepspeed", "optim", "report_to", "optim_args"):
        arguments[name] = secret("arguments", name)
    arguments |= {"output_dir": str(run), "push_to_hub_token": secret("push"), "resume_from_checkpoint": str(run / "c")}
    arguments["lr_scheduler_kwargs"] = {secret("kwargs"): 1}
    recipe["file"] = str(run / secret("recipe.yaml"))
    recipe["training"]["freeze"] = ["model.encoder.*", f"https://me:{secret('freeze')}@a"]
    recipe["generation"] |= {"stop_strings": [secret("stop")], "cache_implementation": secret("cache")}
    recipe["model"]["encoder_cell_type"] = secret("cell")
    results["averaged"] = [secret("averaged")]
    for scores in results["scores"].values():
        for score in scores.values():
            if isinstance(score, dict):
                score["signature"] = f"nrefs:1 {secret('signature')}"
    (run / "results.json").write_text(json.dumps(results), "utf-8")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "trainer_state.json"):
        settings = plant(json.loads((run / name).read_text("utf-8")), name)
        if name != "config.json":
            settings["task_specific_params"] = {"translation": {"prefix": secret("prefix")}}
        (run / name).write_text(json.dumps(settings), "utf-8")
    (run / "chat_template.jinja").write_text(secret("template"), "utf-8")
    (run / ".env").write_text(secret("env"), "utf-8")
    monkeypatch.setenv("HF_TOKEN", secret("environment"))
    monkeypatch.setattr(hub, "check_folder", lambda folder, sentence: None)
    folder = hub.prepare(run, "someone/published", hub.About(**CARD))
    assert {file.name for file in folder.iterdir()} == {file.name for file in (world["run"] / "hub").iterdir()}
    for file in folder.iterdir():
        content = file.read_bytes()
        assert b"SECRET" not in content and b"hub_token" not in content, (file.name, content[:2000])
        assert str(tmp_path).encode() not in content and b"example.org" not in content, file.name
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    assert recipe["training"]["output_dir"] == "published" and recipe["training"]["freeze"] == ["model.encoder.*"]
    assert "optim" not in recipe["training"] and recipe["training"]["learning_rate"] == 1e-9


@pytest.mark.parametrize(
    ("data", "published"),
    [
        ({"train": "/home/me/secret/train.tsv"}, {"train": "train.tsv"}),
        (
            {"train": "/home/me/a/x.tsv", "validation": "/data/b/x.tsv", "test": {"t": "/home/me/a/x.tsv"}},
            {"train": "x.tsv", "validation": "1/x.tsv", "test": {"t": "x.tsv"}},
        ),
        ({"train": "https://me:hf_token@host/secret/x.tsv?key=hf_token#a"}, {"train": "x.tsv"}),
        ({"train": {"source": "C:\\me\\x.de", "target": "/me/x.en.gz"}},
         {"train": {"source": "x.de", "target": "x.en.gz"}}),
        ({"train": ["/a/x.tsv", {"path": "user/data", "split": "train", "token": "hf_token"}]},
         {"train": ["x.tsv", {"path": "user/data", "split": "train"}]}),
        ({"train": {"path": "/home/me/data", "data_files": "https://me:hf_token@host/x", "name": "de-en"}},
         {"train": {"path": "data", "name": "de-en"}}),
        ({"train": "user/data"}, {"train": "user/data"}),
        ({"train": "/home/me/folder/"}, {"train": "folder"}),
        ({"train": {"path": "csv", "storage_options": {"key": "hf_token"}}}, {"train": {"path": "csv"}}),
        ({"train": "x.tsv", "reading": {"source_column": "de text", "target_column": "hf_token\n", "streaming": True}},
         {"train": "x.tsv", "source_column": "de text", "streaming": True}),
        ({"train": "x.tsv", "encoding": {"max_source_length": 9, "on_long": "skip", "token": 3}},
         {"train": "x.tsv", "max_source_length": 9, "on_long": "skip"}),
    ],
)  # fmt: skip
def test_data_are_published_by_name(data, published):
    data = {"validation": None, "test": {}, "reading": {}, "encoding": {}} | data
    recipe = {"data": data, "tokenizer": {}, "model": {}, "training": {"arguments": {}}, "generation": {}}
    assert published_recipe({**recipe, "evaluation": {"metrics": {}}}, "name")["data"] == published


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("user/base", "user/base"),
        ("/home/me/runs/base", "checkpoint"),
        ("../base", "checkpoint"),
        (".", "checkpoint"),
        ("https://me:token@hub/base", "checkpoint"),
        (
            {"attention_score": "dot", "encoder_layers": 2, "name": "mine", "bridge": "own"},
            {"attention_score": "dot", "encoder_layers": 2},
        ),
    ],
)
def test_a_base_model_is_published_by_its_name_on_the_hub(model, published):
    assert published_model(model) == published


MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![picture](https://example.org/a.png)",
    "a | b | c",
    "`code` ``` ~~~",
    "# heading",
    "**bold** __bold__ ~~gone~~",
    "---\nlicense: mit\n---",
    "a\n\n| b |\n| --- |",
    "\\[escaped](javascript:alert(1))",
    "<javascript:alert(1)>",
    "&lt;script&gt; &#60;b&#62;",
    "$$\\frac{1}{2}$$",
    "see https://example.org and www.example.org",
    "\"}]}'--- {{ 7*7 }} {% raw %}",
    "a\u202eb\x1b[31m\x00",
]


def rendered(markdown):
    return MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(markdown)


@pytest.mark.parametrize("text", MARKUP)
def test_a_text_is_shown_as_it_is(text):
    page = rendered(f"| a | b |\n| --- | --- |\n| {escape(text)} | end |\n")
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert len(cells) == 2 and cells[1] == "end" and not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)\b)", page)
    assert html.unescape(cells[0]) == one_line(text)
    assert "https://" not in escape(text) and "www." not in escape(text)


@pytest.mark.parametrize("text", MARKUP)
def test_what_an_author_writes_of_the_data_holds_no_page(text):
    page = rendered(f"before\n\n{author_markdown(text)}\n\nafter [link](recipe.yaml)\n")
    assert not re.search(r"(?i)<(script|img|hr|h2)|(href|src)=.?(javascript|data)", page)
    assert '<a href="recipe.yaml">link</a>' in page


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://example.org) and *b*",
        "[a](JaVaScRiPt:x)",
        "[a]( javascript:x)",
        "[a](\njavascript:x)",
        "[a](<javascript:x>)",
        "[a](java&#115;cript:x)",
        "[a](data:text/html,x)",
        "[a]\n\n[a]: javascript:x",
        "  [a]: javascript:x\n\n[a][a]",
        "[![b](javascript:y)](javascript:x)",
        "[a](/etc/passwd)",
    ],
)
def test_links_of_an_author_lead_to_the_web(text):
    links = re.findall(r'href="([^"]*)"', rendered(author_markdown(text)))
    assert links == (["https://example.org"] if "example.org" in text else [])


def test_a_card_of_hostile_texts_is_one_page(world, tmp_path):
    results = json.loads((world["run"] / "results.json").read_text("utf-8"))
    split = "---\nlicense: mit\n--- <b>| `x` [a](javascript:x)"
    scores = results["scores"]["unseen"]
    results = checked_results({**results, "scores": {split: scores}}, tmp_path / "results.json")
    examples = [{"source": text, "translation": text, "reference": text} for text in MARKUP]
    card = hub.render_card(
        world["run"],
        results,
        {one_line(split): 3},
        examples,
        hub.About("mit", "\n".join(set(MARKUP) - {"# heading"}), ["de", "en"]),
        hub.Usage("usage_hub.md", {"repo_id": "a/b"}, name="a/b"),
    )
    data = ModelCard(card.content).data
    assert data.license == "mit" and data.eval_results[0].dataset_name == one_line(split)
    page = rendered(card.text)
    assert not re.search(r"(?i)<(script|img(?! src=.(training|attention)\.png)|b>)|=.?javascript", page)
    assert page.count("<h1>") == 1 and page.count("<h2>") == 6


@pytest.mark.parametrize("license", ["", "mit\nlanguage: x", "mit`", "<b>", "a b", "mit---", "x" * 65, "[a](b)"])
def test_a_licence_is_an_abbreviation(license):
    if license == "mit---":
        assert hub.About(license, "").license == license
        return
    with pytest.raises(ValueError, match="expected a licence as the Hub abbreviates it"):
        hub.About(license, "")


@pytest.mark.parametrize("language", ["", "d", "de\n---", "<b>", "`de`", "deutsch oder", "de-", "{{ 7 }}"])
def test_a_language_is_a_code(language):
    with pytest.raises(ValueError, match="expected codes of languages"):
        hub.About("mit", "", [language, "en"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("results.json", b"", "results.json: expected JSON"),
        ("results.json", b"[]", "results.json: expected a JSON object, got a list"),
        ("results.json", b"[" * 10**5, "results.json: expected JSON"),
        ("results.json", b"\xff", "results.json: expected JSON"),
        ("results.json", b"{}", "results.json: expected what `hf-rnn-attn train` writes"),
        ("results.json", b'{"recipe": 3}', "results.json: expected what `hf-rnn-attn train` writes"),
        ("results.json", b'{"recipe": {"data": {}}}', "results.json: expected what `hf-rnn-attn train` writes"),
        ("trainer_state.json", b"{", "trainer_state.json: expected JSON"),
        ("trainer_state.json", b"{}", "trainer_state.json: expected the state of a trainer"),
        ("trainer_state.json", b'{"log_history": [1]}', "trainer_state.json: expected the state of a trainer"),
        ("model.safetensors", b"", "run"),
        ("config.json", b"[]", "run"),
        ("tokenizer.json", b"{}", "run"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json: expected a JSON object, got a list"),
        ("tokenizer_config.json", b"", "tokenizer_config.json: expected a JSON object"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "../../secret.safetensors"}}',
            "expected names of safetensors",
        ),
    ],
)
def test_a_damaged_run_is_one_line(world, tmp_path, capsys, file, content, message):
    run = tmp_path / "run"
    shutil.copytree(world["run"], run)
    (run / file).write_bytes(content)
    if file.endswith("index.json"):
        (run / "model.safetensors").unlink()
    assert cli.main(["publish", str(run), "a/b", "--license", "mit", "--data", "mine", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalTokenNotFoundError("no token"), "someone/name: nothing was uploaded; log in with `hf auth login`"),
        (OSError("no route\nto the host"), "someone/name: nothing was uploaded; the Hub cannot be reached (no route"),
    ],
)
def test_an_upload_that_fails_is_one_line(error, message, monkeypatch, tmp_path):
    def create_repo(*_, **__):
        raise error

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    with pytest.raises(OSError, match=re.escape(message)):
        hub.upload(tmp_path, "someone/name")


def test_a_token_that_may_not_write_is_one_line(world, monkeypatch):
    monkeypatch.setattr(hub, "HfApi", lambda: HfApi(endpoint=world["server"].url, token="wrong"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(OSError, match="a/b: nothing was uploaded; the Hub answers 401 .* log in with `hf auth login`"):
        hub.upload(world["run"] / "hub", "a/b")
