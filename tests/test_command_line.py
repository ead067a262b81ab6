# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What a user can do wrong, and what can befall a command: a line, an exit status, and nothing lost."""

import errno
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

import hf_rnn_attn_cli
from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, cli
from hf_rnn_attn.inference import bulk, loading
from hf_rnn_attn.tokenization import train_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    cli.hide_loading()
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = train_tokenizer(["ein hund und zwei katzen"], ["a dog and two cats"], kind="word")
    torch.manual_seed(0)
    config = RnnAttnConfig(
        vocab_size=len(tokenizer), encoder_hidden_size=4, decoder_hidden_size=8, initializer_range=1.0
    )
    model = RnnAttnForConditionalGeneration(config)
    model.generation_config.update(max_length=5, num_beams=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def place(checkpoint, tmp_path, monkeypatch):
    """A current folder with a model and texts."""
    shutil.copytree(checkpoint, tmp_path / "model")
    for name, text in {
        "in.txt": "ein hund\n\nzwei katzen\n",
        "out.txt": "a dog\n\ntwo cats\n",
        "pairs.tsv": "ein hund\ta dog\n",
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Runs a command that has to be refused; returns its one line."""

    def run(*arguments, status=2):
        assert cli.main(list(arguments)) == status
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("hf-rnn-attn: error: ") and printed.err.count("\n") == 1, printed.err
        assert len(printed.err) < 1200
        return printed.err

    return run


LOADING = {
    "translate": ["translate", "ein hund", "--model", "{}"],
    "translate_int8": ["translate", "ein hund", "--int8", "--model", "{}"],
    "translate_together": ["translate", "ein hund", "--model", "model", "{}"],
    "evaluate": ["evaluate", "pairs.tsv", "--model", "{}"],
    "attention": ["attention", "ein hund", "-o", "picture.html", "--model", "{}"],
    "align": ["align", "{}", "in.txt", "out.txt"],
    "align_reverse": ["align", "model", "in.txt", "out.txt", "--reverse", "{}"],
    "export": ["export", "{}", "exported"],
}


@pytest.mark.parametrize("command", LOADING)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "missing: no such folder; the Hub cannot be reached, and no copy of such a model is in the cache"),
        ("user/missing", "user/missing: no such folder; the Hub cannot be reached"),
        ("./missing", "./missing: no such folder, and no name of a model on the Hub (USER/NAME)"),
        ("/no/such/folder", "/no/such/folder: no such folder, and no name of a model on the Hub"),
        ("runs/de en", "runs/de en: no such folder, and no name of a model on the Hub"),
        ("größe", "größe: no such folder, and no name of a model on the Hub"),
        ("in.txt", "in.txt: expected a checkpoint folder or the name of a model on the Hub, got a file"),
        ("empty", "empty: no checkpoint; expected a folder that holds config.json"),
    ],
)
def test_a_model_that_is_not_there(command, name, message, place, refused):
    (place / "empty").mkdir()
    assert message in refused(*(argument.format(name) for argument in LOADING[command]))


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def change(name, **settings):
    def rewrite(folder):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **settings}), "utf-8")

    return rewrite


def halve(name):
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


DAMAGE = {
    "config empty": write("config.json", b""),
    "config text": write("config.json", b"text"),
    "config list": write("config.json", b"[]"),
    "config number": write("config.json", b"3"),
    "config binary": write("config.json", b"\xff\xfe\x00"),
    "config deep": write("config.json", b"[" * 10**5),
    "config without type": write("config.json", b"{}"),
    "config of another type": write("config.json", b'{"model_type": "nothing"}'),
    "config of a decoder": write("config.json", b'{"model_type": "gpt2"}'),
    "config with a word for a number": change("config.json", vocab_size="many"),
    "config with a list for a number": change("config.json", decoder_layers=[1]),
    "config with an unknown score": change("config.json", attention_score="best"),
    "config of code": change("config.json", model_type="own", auto_map={"AutoConfig": "own.Config"}),
    "weights missing": remove("model.safetensors"),
    "weights empty": write("model.safetensors", b""),
    "weights text": write("model.safetensors", b"text"),
    "weights cut off": halve("model.safetensors"),
    "weights with a huge header": write("model.safetensors", b"\xff" * 8),
    "tokenizer missing": remove("tokenizer.json", "tokenizer_config.json"),
    "tokenizer empty": write("tokenizer.json", b""),
    "tokenizer of nothing": write("tokenizer.json", b"{}"),
    "tokenizer cut off": halve("tokenizer.json"),
    "tokenizer settings a list": write("tokenizer_config.json", b"[]"),
}


@pytest.mark.parametrize("command", ["translate", "align", "export"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_named(command, damage, place, refused):
    DAMAGE[damage](place / "model")
    line = refused(*(argument.format("model") for argument in LOADING[command]))
    assert "error: model" in line and "trust_remote_code" not in line and "Traceback" not in line
    assert not (place / "exported").exists()


def test_a_checkpoint_that_asks_for_too_many_beams(place, refused):
    change("generation_config.json", num_beams=10**6)(place / "model")
    assert "model/generation_config.json: the generation settings cannot be read: `num_beams`" in refused(
        "translate", "ein hund", "--model", "model"
    )


@pytest.mark.parametrize("command", ["attention", "translate"])
def test_a_model_without_attention_has_none_to_show(command, place, refused):
    config = RnnAttnConfig(vocab_size=11, encoder_hidden_size=4, decoder_hidden_size=8, attention_score="none")
    tokenizer = train_tokenizer(["ein hund und zwei katzen"], ["a dog and two cats"], kind="word")
    config.vocab_size = config.decoder_vocab_size = len(tokenizer)
    RnnAttnForConditionalGeneration(config).save_pretrained(place / "model")
    options = {"attention": ["-o", "a.html"], "translate": ["--replace-unknown"]}[command]
    assert "model: expected a model with attention, this one has none; choose another --model" in refused(
        command, "hund", *options, "--model", "model"
    )


def hub_error(kind, status=None):
    response = type("Response", (), {"status_code": status, "headers": {}, "request": None})()
    return kind("first line\n\nsecond line: pass `token=...`", response=response) if status else kind("no")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            hub_error(RepositoryNotFoundError, 404),
            "no such folder, and no such model on the Hub; for a private one, log in",
        ),
        (
            hub_error(GatedRepoError, 403),
            "gated on the Hub; ask for access on its page and log in with `hf auth login`",
        ),
        (hub_error(HfHubHTTPError, 503), "the Hub answers 503; try again later"),
        (hub_error(LocalEntryNotFoundError), "the Hub cannot be reached"),
    ],
)
def test_what_the_hub_answers_is_one_line(error, message, refused, monkeypatch):
    def download(*_):
        raise error

    monkeypatch.setattr(loading, "hf_hub_download", download)
    line = refused("translate", "a", "--model", "user/name")
    assert f"user/name: {message}" in line or f"user/name: no such folder; {message}" in line
    assert "token=" not in line


def test_a_sentence_behind_the_models_is_named(place, refused):
    assert "ein hund: no such folder, and no name of a model on the Hub" in refused(
        "translate", "--model", "model", "ein hund"
    )


@pytest.fixture
def no_model(monkeypatch):
    """The model must not be loaded before what is known without it is checked."""

    def load(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(cli, "load_model", load)
    monkeypatch.setattr(cli, "load_ensemble", load)


READING = {
    "translate": (["translate", "-i", "{}", "-o", "new.txt"], "in.txt"),
    "dictionary": (["translate", "hund", "--replace-unknown", "{}"], "words.tsv"),
    "evaluate": (["evaluate", "{}"], "pairs.tsv"),
    "evaluate_source": (["evaluate", "{}", "out.txt"], "in.txt"),
    "evaluate_target": (["evaluate", "in.txt", "{}"], "out.txt"),
    "align_source": (["align", "model", "{}", "out.txt"], "in.txt"),
    "align_target": (["align", "model", "in.txt", "{}"], "out.txt"),
    "align_gold": (["align", "model", "in.txt", "out.txt", "--gold", "{}"], "gold.txt"),
}


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_text_that_is_not_there(command, kind, place, refused, no_model):
    arguments, name = READING[command]
    (place / name).unlink(missing_ok=True)
    if kind == "folder":
        (place / name).mkdir()
    line = refused(*(argument.format(name) for argument in arguments))
    assert f"{name}: " in line and any(words in line for words in ("o such file", "s a directory", "is a folder"))


@pytest.mark.parametrize("command", [name for name in READING if name not in ("translate", "evaluate")])
@pytest.mark.parametrize(("kind", "content"), [("binary", b"a\tb\n\x89PNG\xff\n"), ("utf-16", "a\tb".encode("utf-16"))])
def test_a_text_of_other_bytes(command, kind, content, place, refused, no_model):
    arguments, name = READING[command]
    (place / name).write_bytes(content)
    for other in ("in.txt", "out.txt"):
        lines = max(content.count(b"\n"), 1)
        (place / other).write_text("a\n" * lines, "utf-8") if other != name else None
    line = refused(*(argument.format(name) for argument in arguments))
    assert name in line and "UTF-8" in line


@pytest.mark.parametrize("command", [name for name in READING if name.startswith(("evaluate", "align"))])
def test_an_empty_text_or_one_of_another_length(command, place, refused, no_model):
    arguments, name = READING[command]
    arguments = [argument.format(name) for argument in arguments]
    for content in ("", "0-0\n" if name == "gold.txt" else "ein hund\n"):
        if name == "pairs.tsv" and content:
            continue
        (place / name).write_text(content, "utf-8")
        line = refused(*arguments)
        assert name in line and ("lines" in line or "has 0" in line or "no usable pair" in line)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hund dog\n", "words.tsv:1: expected word, tab, translation; got 'hund dog'"),
        ("hund\tdog\n\n", "words.tsv:2: expected word, tab, translation; got ''"),
        ("hund\t\n", "words.tsv:1: expected word, tab, translation"),
        ("\tdog\n", "words.tsv:1: expected word, tab, translation"),
        ("hund\tdog\na\tb\nhund\thound\n", "words.tsv:3: expected one translation of 'hund', got 'hound' after 'dog'"),
        ("a\tb\nb\tc\nc\td\nd\te\n", "words.tsv: expected at most 3 words, got more"),
        ("x" * 10**6 + "\n", "words.tsv:1: expected word, tab, translation; got 'xxx"),
    ],
)
def test_a_dictionary_is_checked_line_by_line(content, message, place, refused, no_model, monkeypatch):
    monkeypatch.setattr(cli, "DICTIONARY_ENTRIES", 3)
    (place / "words.tsv").write_text(content, "utf-8")
    assert message in refused("translate", "hund", "--replace-unknown", "words.tsv")


@pytest.mark.parametrize(
    "content", ["\ufeffhund\tdog\r\nkatze\tcat\r\n", "hund\tdog\nkatze\tcat", "hund\tdog\nkatze\tcat\nhund\tdog"]
)
def test_a_dictionary_may_have_a_mark_other_ends_of_lines_and_equal_entries(content, place):
    (place / "words.tsv").write_bytes(content.encode())
    assert cli._read_replacements("words.tsv") == {"replace_unknown": {"hund": "dog", "katze": "cat"}}


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ("0-0\n\nx\n", "gold.txt:3: expected links such as 0-1 or 0p1, got 'x'"),
        ("0-0\n1:1\n\n", "gold.txt:2: expected links such as 0-1 or 0p1, got '1:1'"),
        ("0-0\n\n-1-0\n", "gold.txt:3: expected links"),
    ],
)
def test_links_made_by_hand_are_checked_before_the_model_is_loaded(gold, message, place, refused, no_model):
    (place / "gold.txt").write_text(gold, "utf-8")
    assert message in refused("align", "model", "in.txt", "out.txt", "--gold", "gold.txt")


WRITING = {
    "translate": ["translate", "hund", "-o", "{}"],
    "evaluate": ["evaluate", "pairs.tsv", "-o", "{}"],
    "attention": ["attention", "hund", "-o", "{}"],
    "align": ["align", "model", "in.txt", "out.txt", "-o", "{}"],
    "align_dictionary": ["align", "model", "in.txt", "out.txt", "--dictionary", "{}"],
}


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model", "model: expected a file to write, got a folder"),
        ("", ": expected a file to write, got a folder"),
        ("none/new.txt", "none/new.txt: no such folder to write to"),
        ("in.txt/new.txt", "in.txt/new.txt: no such folder to write to"),
        ("locked.txt", "locked.txt: no permission to write there"),
    ],
)
def test_a_file_that_cannot_be_written_is_known_before_the_model_is_loaded(
    command, name, message, place, refused, no_model, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path))
    (place / "locked.txt").touch()
    assert message in refused(*(argument.format(name) for argument in WRITING[command]))


@pytest.mark.parametrize(
    "command",
    [
        ["export", "model"],
        ["import", "opennmt", "in.txt"],
        ["import", "joeynmt", "in.txt"],
        ["average", "model", "-o"],
        ["demo", "-o"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["in.txt", "in.txt/new"])
def test_a_folder_that_cannot_be_written(command, name, place, refused, no_model):
    assert f"{name}: expected a folder to write" in refused(*command, name)
    assert (place / "in.txt").read_text("utf-8").startswith("ein hund")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (["translate", "a", "--beams", value], "argument --beams: expected a number from 1 to 100, got")
            for value in ("0", "-1", "100000", "five", "1e3", "2.5", "9" * 5000, "", "nan")
        ),
        *(
            (["evaluate", "p.tsv", "--batch-tokens", value], "expected a number from 1 to 16384, got")
            for value in ("0", "1000000000000", "-5", "x")
        ),
        (["align", "m", "a", "b", "--batch-size", "0"], "expected a number from 1 to 256, got '0'"),
        (["align", "m", "a", "b", "--batch-size", "100000"], "expected a number from 1 to 256"),
        (["average", "run", "-o", "out", "--count", "0"], "expected a number of at least 1, got '0'"),
        (["evaluate", "p.tsv", "--by-length", "0"], "expected a number of at least 1, got '0'"),
        (["translate", "a", "--max-characters", "0"], "expected a number of at least 1, got '0'"),
    ],
)
def test_a_number_out_of_its_range(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["translate", "a", "--beams", "100", "--batch-tokens", "16384"],
            "expected at most 131,072 tokens times beams",
        ),
        (["translate", "a\udcff"], "sentence 1: expected UTF-8, got 'a\\udcff'"),
        (["attention", "a\udcff", "-o", "a.html"], "the sentence: expected UTF-8"),
        (["attention", " ", "-o", "a.html"], "expected a sentence of 1 to 1,000 characters, got 1"),
        (["attention", "x" * 1001, "-o", "a.html"], "expected a sentence of 1 to 1,000 characters, got 1,001"),
        (["evaluate", "pairs.tsv", "--by-length", "5", "5"], "--by-length: expected numbers that rise, got 5 5"),
        (["evaluate", "pairs.tsv", "--by-length", "9", "3"], "--by-length: expected numbers that rise, got 9 3"),
        (["evaluate", "pairs.tsv", "--tokenize", "words"], "tokenize must be one of"),
        (
            ["align", "model", "in.txt", "out.txt", "--max-characters", "5"],
            "in.txt:1: expected at most 5 characters, got 8",
        ),
    ],
)
def test_what_a_command_cannot_do_is_known_before_the_model_is_loaded(arguments, message, place, refused, no_model):
    assert message in refused(*arguments)


class Echo:
    """Stands for a pipeline: "translates" into capitals; its tokens are letters."""

    task = "translation"
    model = SimpleNamespace(name_or_path="")

    def __call__(self, batches, **options):
        return [[{"translation_text": line.upper()} for line in batch] for batch in batches]

    def tokenizer(self, lines):
        return {"input_ids": [list(line) for line in lines]}


@pytest.fixture
def echo(monkeypatch):
    monkeypatch.setattr(cli, "_load_translator", lambda *_, **__: Echo())


@pytest.mark.parametrize("to_file", [True, False])
def test_a_long_line_is_cut_and_named(to_file, place, echo, capsys, caplog):
    (place / "long.txt").write_text("a\n" + "b" * 10**7 + "\nc\n" + "d " * 50_000 + "\n", "utf-8")
    started = time.monotonic()
    assert cli.main(["translate", "-i", "long.txt", *(["-o", "new.txt"] if to_file else [])]) == 0
    assert time.monotonic() - started < 5
    text = (place / "new.txt").read_text("utf-8") if to_file else capsys.readouterr().out
    assert [len(line) for line in text.split("\n")] == [1, 10_000, 1, 9_999, 0]
    assert [record.message for record in caplog.records] == [
        "long.txt:2: only the first 10000 of 10000000 characters are translated",
        "long.txt:4: only the first 10000 of 100000 characters are translated",
    ]


def test_the_limit_of_a_line_is_the_users(place, echo, capsys, caplog):
    assert cli.main(["translate", "ein hund läuft", "--max-characters", "9"]) == 0
    assert capsys.readouterr().out == "EIN HUND\n"
    assert cli.main(["translate", "x" * 20_000, "--max-characters", "30000"]) == 0
    assert len(capsys.readouterr().out) == 20_001 and len(caplog.records) == 1


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(
    ("text", "translation"),
    [
        (b"", b""),
        (b"\xef\xbb\xbf", b""),
        (b"\xef\xbb\xbfa\nb\n", b"A\nB\n"),
        (b"a\r\n\r\nb", b"A\n\nB\n"),
        (b"a\rb\nc\0d\n", b"A\rB\nC\0D\n"),
        ("a\u2028b\x85c\n\x0c\n".encode(), "A\u2028B\x85C\n\n".encode()),
    ],
)
def test_as_many_lines_come_out_as_went_in(from_file, text, translation, place, echo, monkeypatch, capsysbinary):
    (place / "odd.txt").write_bytes(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert cli.main(["translate", *(["-i", "odd.txt"] if from_file else [])]) == 0
    assert capsysbinary.readouterr().out == translation


def test_lines_before_an_unreadable_one_are_translated(place, echo, capsys, monkeypatch):
    text = b"a\n" * 5000 + b"\xff\n" + b"b\n" * 10
    (place / "bad.txt").write_bytes(text)
    command = ["translate", "-i", "bad.txt", "-o", "new.txt", "--model", "model"]
    assert cli.main(command) == 2
    assert capsys.readouterr().err.startswith("hf-rnn-attn: error: bad.txt:5001: expected UTF-8, got the byte 0xff")
    assert (place / "new.txt.partial").read_text("utf-8") == "A\n" * 5000
    assert not (place / "new.txt").exists()
    (place / "bad.txt").write_bytes(text.replace(b"\xff", b"x"))
    assert cli.main(command) == 0
    assert "going on after line 4096" in capsys.readouterr().err
    assert (place / "new.txt").read_text("utf-8") == "A\n" * 5000 + "X\n" + "B\n" * 10
    # the standard input has no second start, and keeps what was printed
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert cli.main(["translate"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "A\n" * 5000 and "standard input:5001: expected UTF-8" in printed.err


@pytest.mark.parametrize("changed", ["model", "words.tsv", "--beams", "--max-characters", "--batch-tokens"])
def test_a_translation_that_depends_on_something_else_begins_anew(changed, place, echo, capsys, caplog, monkeypatch):
    (place / "words.tsv").write_text("a\tb\n", "utf-8")
    (place / "bad.txt").write_bytes(b"a\n" * 4096 + b"\xff\n")
    command = ["translate", "-i", "bad.txt", "-o", "new.txt", "--replace-unknown", "words.tsv", "--model", "model"]
    assert cli.main(command) == 2
    if changed == "model":
        os.utime(place / "model" / "model.safetensors", (1, 1))
    elif changed == "words.tsv":
        (place / "words.tsv").write_text("a\tc\n\n"[:-1], "utf-8")
        os.utime(place / "words.tsv", (1, 1))
    else:
        command += [changed, "7"]
    (place / "bad.txt").write_bytes(b"a\n" * 4096 + b"b\n")
    assert cli.main(command) == 0
    assert "new.txt.partial is of another text, model or option; starting anew" in caplog.text
    assert "going on" not in capsys.readouterr().err
    assert (place / "new.txt").read_text("utf-8") == "A\n" * 4096 + "B\n"


def test_a_link_to_a_file_stays_a_link(place, echo):
    (place / "link.txt").symlink_to("out.txt")
    assert cli.main(["translate", "ein hund", "-o", "link.txt"]) == 0
    assert (place / "link.txt").is_symlink() and (place / "out.txt").read_text("utf-8") == "EIN HUND\n"


# what becomes of errors


@pytest.fixture
def failing(monkeypatch):
    """Makes the command `demo` do something."""

    def set_action(action):
        def demo(arguments):
            if isinstance(action, BaseException):
                raise action
            action()

        monkeypatch.setattr(cli, "demo", demo)

    return set_action


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\n\n  second\tthird"), "error: first second third"),
        (ValueError("a\x1b[31mb\u202ec\x85d"), "error: a\\x1b[31mb\\u202ec d"),
        (ValueError("x" * 10**6), "error: " + "x" * 1000 + " ..."),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "in.txt"),
            "error: in.txt: No such file or directory",
        ),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"), "error: a: b: Invalid cross-device link"),
        (OSError("the Hub answers"), "error: the Hub answers"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "error: No space left on device; runs/demo was not written",
        ),
        (ImportError("needs matplotlib"), "error: needs matplotlib"),
        (MemoryError(), "error: the memory, or a process, was not enough: out of memory"),
        (
            RuntimeError("CUDA out of memory. Tried"),
            "error: the memory, or a process, was not enough: CUDA out of memory.",
        ),
        (
            RuntimeError("DataLoader worker (pid 3) is killed"),
            "error: the memory, or a process, was not enough: DataLoader",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("debug", [(), ("before",), ("after",)], ids=str)
def test_what_a_user_can_cause_is_one_line(error, line, debug, failing, capsys):
    failing(error)
    arguments = [*(["--debug"] if "before" in debug else []), "demo", *(["--debug"] if "after" in debug else [])]
    assert cli.main(arguments) == 2
    *traceback, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"hf-rnn-attn: {line}")
    assert bool(traceback) == bool(debug) and (not debug or traceback[0].startswith("Traceback"))


@pytest.mark.parametrize(
    "error",
    [KeyError("key"), TypeError("type"), AttributeError("name"), RuntimeError("size"), AssertionError(), IndexError(3)],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_the_program_keeps_its_traceback(error, failing, capsys):
    failing(error)
    assert cli.main(["demo"]) == 1
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("Traceback")
    assert (
        last == "hf-rnn-attn: this is a fault of the program, not of its input; please report it with the lines above"
    )


STOPPING = {
    "train": (
        ["train", "a b.yaml", "--set", "training.seed=2"],
        "`hf-rnn-attn train 'a b.yaml' --set training.seed=2 --resume` goes on",
    ),
    "evaluate": (["evaluate", "pairs.tsv"], "nothing was written"),
    "translate": (["translate", "-i", "in.txt"], "what was printed is complete up to its last line"),
    "translate_file": (["translate", "-i", "in.txt", "-o", "new.txt"], "new.txt was not written"),
    "export": (["export", "model", "exported"], "exported was not written"),
    "average": (["average", "a", "-o", "mean"], "mean was not written"),
    "publish": (["publish", "run", "a/b", "--license", "mit", "--data", "x"], "nothing was written"),
}


@pytest.mark.parametrize("command", STOPPING)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_a_command_which_says_how_to_go_on(command, name, monkeypatch, capsys):
    arguments, advice = STOPPING[command]
    number = getattr(signal, name)

    def stopped(_):
        os.kill(os.getpid(), number)
        time.sleep(5)

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(cli, arguments[0], stopped)
    assert cli.main(arguments) == 128 + number
    printed = capsys.readouterr().err
    assert printed.startswith(f"hf-rnn-attn: stopped by {name}; {advice}") and printed.count("\n") == 1
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_that_was_ignored_stays_ignored(failing, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        failing(lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert cli.main(["demo"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_sets_no_signals(failing):
    statuses = []
    failing(lambda: statuses.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=lambda: statuses.append(cli.main(["demo"])))
    thread.start()
    thread.join()
    assert statuses == [signal.SIG_DFL, 0]


def test_a_reader_that_wants_no_more_ends_the_command_quietly(failing, capsys):
    failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert cli.main(["demo"]) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_is_an_empty_one(name, echo, monkeypatch):
    monkeypatch.setattr(sys, name, None)
    try:
        assert cli.main(["translate", *([] if name == "stdin" else ["ein hund"])]) == 0
    finally:
        getattr(sys, name).close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no device that is full")
@pytest.mark.parametrize("command", ["translate", "evaluate", "align", "align_dictionary"])
def test_a_full_disk_is_one_line(command, place, capsys, echo):
    assert cli.main([argument.format("/dev/full") for argument in WRITING[command]]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "No space left on device" in lines[0]


@pytest.mark.parametrize("command", ["export", "average"])
def test_a_folder_is_written_whole_or_not(command, place, monkeypatch, refused):
    (place / "old").mkdir()
    (place / "old" / "config.json").write_text("of before", "utf-8")

    def stopped(folder, *_, **__):
        (Path(folder) / "config.json").write_text("half", "utf-8")
        raise OSError("stopped in the middle")

    if command == "export":
        exported = type("Exported", (), {"save_pretrained": lambda self, folder: stopped(folder)})
        monkeypatch.setattr("hf_rnn_attn.export.export_graphs", lambda *_: exported())
        arguments = ["export", "model", "old"]
    else:
        monkeypatch.setattr("hf_rnn_attn.training.average_checkpoints", lambda paths, folder: stopped(folder))
        arguments = ["average", "model", "-o", "old"]
    assert "stopped in the middle" in refused(*arguments)
    assert (place / "old" / "config.json").read_text("utf-8") == "of before"
    assert not (place / "old.new").exists()


# as a user's shell does it: processes, signals that nobody can catch

TRANSLATE = """
import sys
from hf_rnn_attn.inference import bulk, loading
bulk.WINDOW_LINES = 16
from hf_rnn_attn_cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_translation_goes_on_to_the_same_bytes(place, monkeypatch, capsys):
    (place / "long.txt").write_text("".join(f"ein hund und {'zwei ' * (n % 7)}katzen\n" for n in range(320)), "utf-8")
    command = ["translate", "-i", "long.txt", "--model", "model", "--batch-tokens", "64", "-o"]
    monkeypatch.setattr(bulk, "WINDOW_LINES", 16)
    assert cli.main([*command, "whole.txt"]) == 0
    running = subprocess.Popen([sys.executable, "-c", TRANSLATE, *command, "killed.txt"], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not (place / "killed.txt.partial.json").exists() and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    with open(place / "killed.txt.partial", "ab") as file:
        file.write(b"half of a li")
    capsys.readouterr()
    assert cli.main([*command, "killed.txt"]) == 0
    assert "going on after line" in capsys.readouterr().err
    assert (place / "killed.txt").read_bytes() == (place / "whole.txt").read_bytes()
    assert not list(place.glob("killed.txt.*"))


def test_average_and_alignment_still_write(place, capsys):
    for step in (1, 2):
        shutil.copytree(place / "model", place / f"checkpoint-{step}")
    assert cli.main(["average", "checkpoint-1", "checkpoint-2", "-o", "mean"]) == 0
    assert (
        load_file(place / "mean" / "model.safetensors").keys()
        == load_file(place / "model" / "model.safetensors").keys()
    )
    assert cli.main(["align", "model", "in.txt", "out.txt", "-o", "links.txt"]) == 0
    assert len((place / "links.txt").read_text("utf-8").splitlines()) == 3


def make_run(place):
    for step in (1, 2):
        shutil.copytree(place / "model", folder := place / "run" / f"checkpoint-{step}")
        (folder / "trainer_state.json").write_text('{"log_history": []}', "utf-8")


@pytest.mark.parametrize(
    ("damage", "arguments", "message"),
    [
        (None, ["missing", "-o", "mean"], "missing is no checkpoint"),
        (None, ["in.txt", "-o", "mean"], "in.txt is no checkpoint"),
        (None, ["missing", "--count", "1", "-o", "mean"], "missing keeps 0"),
        (None, ["run", "--count", "3", "-o", "mean"], "3 checkpoints are wanted and run keeps 2"),
        (None, ["run", "--count", "1", "--metric", "loss", "-o", "mean"], "run keeps 0 scored by loss"),
        (None, ["run/checkpoint-1", "run/checkpoint-2", "--metric", "loss", "-o", "mean"], "add --count"),
    ],
)
def test_an_average_of_what_is_none(damage, arguments, message, place, refused):
    make_run(place)
    assert message in refused("average", *arguments)
    assert not (place / "mean").exists()


def link_away(file):
    file.rename(file.parent.parent / file.name)
    file.symlink_to(file.parent.parent / file.name)


def shard(folder, name):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}), "utf-8")


def spoil_weights(folder, value):
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).fill_(value)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_log(folder, text):
    (folder / "trainer_state.json").write_text(text, "utf-8")


NO_LOG = "trainer_state.json: the log of the trainer cannot be read"
DAMAGED_AVERAGES = {
    "a link to weights": (lambda f: link_away(f / "model.safetensors"), "model.safetensors: expected a file, got a l"),
    "a link to settings": (lambda f: link_away(f / "config.json"), "config.json: expected a file, got a link"),
    "a link to a tokenizer": (lambda f: link_away(f / "tokenizer.json"), "tokenizer.json: expected a file, got a link"),
    "an index that leads up": (lambda f: shard(f, "../model.safetensors"), "expected names of safetensors files bes"),
    "an index that leads away": (lambda f: shard(f, "/etc/passwd"), "expected names of safetensors files beside it"),
    "an index of a pickle": (lambda f: shard(f, "model.bin"), "expected names of safetensors files beside it"),
    "an index of a missing file": (lambda f: shard(f, "model-2.safetensors"), "model-2.safetensors, which"),
    "a pickle": (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04K\x05."), "expected a safetensors file"),
    "a pickle alone": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "no weights; expected the"),
    "NaN": (lambda f: spoil_weights(f, math.nan), "is not finite everywhere; leave the checkpoint out"),
    "infinite": (lambda f: spoil_weights(f, math.inf), "is not finite everywhere; leave the checkpoint out"),
    "half a checkpoint": (lambda f: (f / "SHA256SUMS").write_text("0  config.json\n"), "is not in SHA256SUMS; leave"),
    "half a log": (lambda f: write_log(f, "{"), NO_LOG),
    "a log of nothing": (lambda f: write_log(f, "{}"), NO_LOG),
    "a log of a list": (lambda f: write_log(f, "[]"), NO_LOG),
    "a log without steps": (lambda f: write_log(f, '{"log_history": [{"eval_loss": 1}]}'), NO_LOG),
    "a log of text": (lambda f: write_log(f, '{"log_history": [{"eval_loss": "a", "step": 1}]}'), NO_LOG),
}


@pytest.mark.parametrize("damage", DAMAGED_AVERAGES)
def test_damaged_checkpoints_are_not_averaged(damage, place, refused):
    make_run(place)
    change, message = DAMAGED_AVERAGES[damage]
    change(place / "run" / "checkpoint-2")
    folders = ["run/checkpoint-1", "run/checkpoint-2"]
    chosen = ["run", "--count", "2", "--metric", "loss"] if "log" in damage else folders
    assert message in refused("average", *chosen, "-o", "mean")
    assert not (place / "mean").exists()


def test_a_mean_has_no_weights_beside_it(place):
    make_run(place)
    (place / "run" / "checkpoint-2" / "int8.safetensors").write_bytes(b"")
    (place / "run" / "checkpoint-2" / "pytorch_model.bin").write_bytes(b"")
    (place / "run" / "checkpoint-2" / "optimizer.pt").write_bytes(b"")
    assert cli.main(["average", "run/checkpoint-1", "run/checkpoint-2", "-o", "mean"]) == 0
    names = {file.name for file in (place / "mean").iterdir()}
    assert {file.name for file in (place / "model").iterdir()} == names


def test_options_in_messages_are_options_of_the_commands():
    """A message must not advise what the command lacks."""
    help_of = {}
    parser = hf_rnn_attn_cli.build_parser()
    commands = next(action for action in parser._actions if isinstance(action.choices, dict)).choices
    for name, command in commands.items():
        help_of[name] = command.format_help()
    for option, names in {
        "--max-characters": ("translate", "evaluate", "align"),
        "--on-bad-rows": ("evaluate",),
        "--file-format": ("evaluate",),
        "--source-column": ("evaluate",),
        "--target-column": ("evaluate",),
        "--batch-tokens": ("translate", "evaluate"),
        "--beams": ("translate", "evaluate", "attention"),
        "--model": ("translate", "evaluate", "attention"),
        "--resume": ("train",),
        "--count": ("average",),
        "--debug": tuple(commands),
    }.items():
        assert all(option in help_of[name] for name in names), option


def test_evaluate_may_leave_bad_rows_out(place, echo, capsys):
    (place / "odd.txt").write_text("ein hund\tEIN HUND\nkatze\n", "utf-8")
    assert cli.main(["evaluate", "odd.txt", "--file-format", "tsv"]) == 2
    assert "odd.txt, line 2: missing target" in capsys.readouterr().err
    arguments = ["evaluate", "odd.txt", "--file-format", "tsv", "--on-bad-rows", "skip", "--metrics", "exact_match"]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"exact_match": {"score": 100.0}}


def test_weights_of_another_type_are_not_exported(place, refused):
    config = {"model_type": "marian", "vocab_size": 20, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1}
    sizes = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    from transformers import MarianConfig, MarianMTModel

    del config["model_type"]
    MarianMTModel(MarianConfig(**config, **sizes, pad_token_id=0)).save_pretrained(place / "model")
    assert "model: expected a model of the type rnn_attn, got marian" in refused("export", "model", "exported")
