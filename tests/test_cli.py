# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the commands: what they read, print and write, how fast they answer, and how they report a mistake."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_rnn_attn import BUNDLED, RnnAttnConfig, RnnAttnForConditionalGeneration, cli
from hf_rnn_attn.inference.loading import load_model
from hf_rnn_attn.inference.quantization import Int8Linear
from hf_rnn_attn.tokenization import train_tokenizer


class Shouter:
    """Stands for a translation pipeline: "translates" into capitals; its tokens are letters."""

    task = "translation"
    model = SimpleNamespace(name_or_path="")

    def __call__(self, lines, **options):
        (self.seen,) = lines
        return [[{"translation_text": line.upper()} for line in self.seen]]

    def tokenizer(self, lines):
        return {"input_ids": [list(line) for line in lines]}


@pytest.fixture
def translator(monkeypatch):
    shouter = Shouter()

    def load(models, beams, **options):
        shouter.options = options
        return shouter

    monkeypatch.setattr(cli, "_load_translator", load)
    monkeypatch.setattr(cli, "find_model", lambda name: Path(__file__).parent / "checkpoints")
    return shouter


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["translate", "--help"]])
def test_help_answers_without_loading_the_libraries(arguments):
    # on an idle machine this takes a tenth of a second; torch alone would take seconds
    code = (
        "import sys; sys.argv = ['hf-rnn-attn', *%r]\n"
        "from hf_rnn_attn_cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'yaml', 'tqdm'} & set(sys.modules)), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code % arguments], capture_output=True, text=True)
    assert "usage: hf-rnn-attn" in finished.stdout
    assert finished.stderr == "[]\n"


def test_every_command_is_listed_and_none_is_an_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    commands = [
        "train",
        "evaluate",
        "translate",
        "score",
        "lexicon",
        "attention",
        "align",
        "average",
        "publish",
        "export",
        "import",
        "demo",
    ]
    assert all(f"    {name}" in text for name in [*commands, "demo"])
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "missing.yaml"], "missing.yaml: no such recipe"),
        (["average", "missing", "-o", "out"], "missing is no checkpoint"),
        (["average", "a", "b", "-o", "out", "--count", "2"], "expected one folder, got 2"),
        (["average", "a", "-o", "out", "--metric", "loss"], "add --count"),
        (["evaluate", "a", "b", "c"], "got 3 files"),
        (["evaluate", "missing.tsv"], "missing.tsv: no such file"),
        (["evaluate", "a.tsv", "--metrics", "blue"], "unknown metric 'blue'"),
        (["translate", "--model", "model", "-i", "missing.txt"], "missing.txt: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(arguments, message, translator, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("hf-rnn-attn: error: ") and message in printed and printed.count("\n") == 1


def test_a_file_can_be_translated_into_itself(translator, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ein hund\n\nb\n", "utf-8")
    assert cli.main(["translate", "-i", str(path), "-o", str(path)]) == 0
    assert path.read_text("utf-8") == "EIN HUND\n\nB\n"


def test_an_output_that_is_no_file_is_written_and_not_replaced(translator, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert cli.main(["translate", "ein hund", "-o", str(pipe)]) == 0
    assert os.read(reader, 100) == b"EIN HUND\n"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_second_start_goes_on_where_the_first_was_stopped(translator, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hf_rnn_attn.inference.bulk.WINDOW_LINES", 2)
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("a\nb\nc\nd\ne\n", "utf-8")
    command = ["translate", "-i", str(source), "-o", str(target)]
    whole, calls = type(translator).__call__, []

    def stopped(self, lines, **options):
        calls.append(lines)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, lines, **options)

    monkeypatch.setattr(type(translator), "__call__", stopped)
    assert cli.main(command) == 130
    assert capsys.readouterr().err == "hf-rnn-attn: stopped by SIGINT; the same command goes on after line 2\n"
    assert not target.exists()
    assert cli.main(command) == 0
    assert "going on after line 2" in capsys.readouterr().err
    assert target.read_text("utf-8") == "A\nB\nC\nD\nE\n"


def test_the_code_of_a_folder_is_never_run(tmp_path, monkeypatch, capsys):
    mark = tmp_path / "was run"
    code = {"AutoConfig": "evil.Config", "AutoModelForSeq2SeqLM": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": code}), "utf-8")
    (tmp_path / "evil.py").write_text(
        f"open({str(mark)!r}, 'w')\nfrom transformers import PreTrainedConfig as Config\n"
    )
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = str(tmp_path)
    for command in (["translate", "a", "--model", folder], ["export", folder, str(tmp_path / "out")]):
        assert cli.main(command) == 2
        assert not mark.exists() and capsys.readouterr().err.count("\n") == 1


def test_a_model_that_is_missing_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["translate", "--model", "missing", "ein hund"]) == 2
    printed = capsys.readouterr().err
    assert "missing: no such folder; the Hub cannot be reached" in printed and printed.count("\n") == 1


def test_a_recipe_mistake_on_the_command_line(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: t.tsv}\ntraining: {output_dir: o}\n")
    assert cli.main(["train", str(recipe), "--set", "training.num_epochs=3"]) == 2
    assert "unknown key 'training.num_epochs'; did you mean" in capsys.readouterr().err


def test_resume_and_set_reach_the_recipe(tmp_path, monkeypatch):
    recipe, calls = tmp_path / "recipe.yaml", []
    recipe.write_text("data: {train: t.tsv}\ntraining: {output_dir: o}\n")
    monkeypatch.setattr("hf_rnn_attn.training.run.train", lambda recipe, force: calls.append((recipe, force)))
    assert cli.main(["train", str(recipe), "--set", "training.seed=7", "--resume"]) == 0
    assert cli.main(["train", str(recipe), "--force"]) == 0
    (resumed, no_force), (_, force) = calls
    assert resumed.training.arguments == {"output_dir": "o", "seed": 7, "resume_from_checkpoint": True}
    assert (no_force, force) == (False, True)


def test_translate_keeps_one_line_for_each_line(translator, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_rnn_attn.inference.bulk.WINDOW_LINES", 2)
    source, target = tmp_path / "source.txt", tmp_path / "target.txt"
    # a line separator and a carriage return inside of a line are text; the last line has no end
    source.write_bytes("ein hund\r\n\nzwei\u2028drei\nrot\rblau\nende".encode())
    assert cli.main(["translate", "--model", "model", "-i", str(source), "-o", str(target), "--batch-tokens", "9"]) == 0
    assert target.read_bytes().decode() == "EIN HUND\n\nZWEI\u2028DREI\nROT\rBLAU\nENDE\n"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--replace-unknown"], {"replace_unknown": True}),
        (["--replace-unknown", "{}/words.tsv"], {"replace_unknown": {"Hund": "dog", "Haus am See": "lake house"}}),
    ],
)
def test_translate_replaces_unknown_words(translator, tmp_path, arguments, options):
    (tmp_path / "in.txt").write_text("ein Hund\n", encoding="utf-8")
    (tmp_path / "words.tsv").write_text("Hund\tdog\nHaus am See\tlake house\n", encoding="utf-8")
    files = ["-i", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.txt")]
    assert (
        cli.main(["translate", "--model", "model", *files, *(argument.format(tmp_path) for argument in arguments)]) == 0
    )
    assert translator.options == options


def test_a_broken_dictionary_is_reported_with_its_line(translator, tmp_path, capsys):
    (tmp_path / "words.tsv").write_text("Hund\tdog\nKatze cat\n", encoding="utf-8")
    assert cli.main(["translate", "--model", "model", "--replace-unknown", str(tmp_path / "words.tsv")]) != 0
    assert "words.tsv:2: expected word, tab, translation; got 'Katze cat'" in capsys.readouterr().err


def test_translate_reads_standard_input_and_writes_standard_output(translator, monkeypatch):
    source = io.TextIOWrapper(io.BytesIO("größe\n\nb\n".encode()), encoding="latin-1")
    target = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdin", source)
    monkeypatch.setattr("sys.stdout", target)
    assert cli.main(["translate", "--model", "model"]) == 0
    assert target.buffer.getvalue().decode() == "GRÖSSE\n\nB\n"


def test_translate_with_weights_of_8_bits(translator, tmp_path, capsys):
    assert cli.main(["translate", "--int8", "ein hund"]) == 0
    assert translator.options == {"int8": True}
    assert cli.main(["translate", "ein hund"]) == 0
    assert translator.options == {}


def test_a_model_in_half_precision_gets_weights_of_8_bits(tmp_path):
    tokenizer = train_tokenizer(["ein hund"], ["a dog"], kind="word")
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=len(tokenizer), decoder_hidden_size=16))
    model.half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    translator = cli._load_translator([str(tmp_path)], 2, int8=True)
    assert isinstance(translator.model.lm_head, Int8Linear)
    assert len(translator("ein hund", max_new_tokens=3)) == 1
    with pytest.raises(ValueError, match="--int8 takes one model, got 2"):
        cli._load_translator([str(tmp_path)] * 2, None, int8=True)


def test_translate_takes_sentences_too(translator, capsys):
    assert cli.main(["translate", "ein hund", "b"]) == 0
    assert capsys.readouterr().out == "EIN HUND\nB\n"
    assert cli.main(["translate", "ein hund", "-i", "in.txt"]) == 2
    assert "got both" in capsys.readouterr().err


def test_a_count_is_at_least_one(capsys):
    with pytest.raises(SystemExit):
        cli.main(["translate", "--model", "model", "--batch-tokens", "0"])
    assert "expected a number from 1 to 16384, got '0'" in capsys.readouterr().err


def test_evaluate_scores_files_overall_and_by_length(translator, tmp_path, capsys):
    (tmp_path / "source.txt").write_text("a b c\nd\ne f\n")
    (tmp_path / "target.txt").write_text("A B C\nd\nE G\n")
    files = [str(tmp_path / "source.txt"), str(tmp_path / "target.txt")]
    metrics = ["--metrics", "exact_match", "sacrebleu", "--by-length", "1", "2", "-o", str(tmp_path / "scores.json")]
    assert cli.main(["evaluate", *files, *metrics]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["exact_match"]["score"] == pytest.approx(100 / 3)
    assert "tok:13a" in scores["sacrebleu"]["signature"] and "case:mixed" in scores["sacrebleu"]["signature"]
    assert [(row["length"], row["score"]) for row in scores["by_length"]] == [("1", 0.0), ("2", 0.0), ("3+", 100.0)]
    assert json.loads((tmp_path / "scores.json").read_text()) == scores


def test_evaluate_reads_a_file_of_pairs_and_can_ignore_case(translator, tmp_path, capsys):
    (tmp_path / "pairs.csv").write_text("de,en\na b,a b\nd,D\n")
    columns = ["--source-column", "de", "--target-column", "en", "--metrics", "exact_match"]
    assert cli.main(["evaluate", str(tmp_path / "pairs.csv"), *columns]) == 0
    assert json.loads(capsys.readouterr().out) == {"exact_match": {"score": 50.0}}
    assert cli.main(["evaluate", str(tmp_path / "pairs.csv"), *columns, "--lowercase"]) == 0
    assert json.loads(capsys.readouterr().out) == {"exact_match": {"score": 100.0}}


def test_evaluate_groups_references_and_passes_the_tokenizer_on(translator, tmp_path, capsys):
    (tmp_path / "pairs.tsv").write_text("a b c d\tA B\na b c d\tA B C D\nx, y z w\tX, Y Z W\n")
    arguments = ["evaluate", str(tmp_path / "pairs.tsv"), "--metrics", "exact_match", "sacrebleu"]
    assert cli.main([*arguments, "--group-references", "--tokenize", "none", "--replace-unknown"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["exact_match"]["score"] == 100 and scores["sacrebleu"]["score"] == pytest.approx(100)
    assert "nrefs:var" in scores["sacrebleu"]["signature"] and "tok:none" in scores["sacrebleu"]["signature"]
    assert (sorted(translator.seen), translator.options) == (["a b c d", "x, y z w"], {"replace_unknown": True})
    assert cli.main(arguments) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["exact_match"]["score"] == pytest.approx(200 / 3) and "tok:13a" in scores["sacrebleu"]["signature"]


def test_average_of_folders_and_of_the_best_of_a_run(tmp_path, capsys):
    for step, value in {1: 1.0, 2: 2.0, 3: 6.0}.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"weight": torch.tensor([value])}, folder / "model.safetensors")
        history = [{"step": 1, "eval_cer": 9.0}, {"step": 2, "eval_cer": 5.0}, {"step": 3, "eval_cer": 7.0}]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": history[:step]}))

    def average(*arguments):
        assert cli.main(["average", *arguments, "-o", str(tmp_path / "mean")]) == 0
        return load_file(tmp_path / "mean" / "model.safetensors")["weight"].item()

    assert average(str(tmp_path / "checkpoint-1"), str(tmp_path / "checkpoint-2")) == 1.5
    assert average(str(tmp_path), "--count", "1") == 6.0
    assert average(str(tmp_path), "--count", "2", "--metric", "cer", "--lower-is-better") == 4.0
    assert "checkpoint-3\n" in capsys.readouterr().out


def test_a_saved_model_translates(tmp_path):
    tokenizer = train_tokenizer(["ein hund"], ["a dog"], kind="word")
    torch.manual_seed(0)
    config = RnnAttnConfig(vocab_size=len(tokenizer), encoder_hidden_size=4, decoder_hidden_size=8)
    model = RnnAttnForConditionalGeneration(config)
    model.generation_config.update(max_length=5)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "source.txt").write_text("ein hund\n\nhund\n")
    files = ["-i", str(tmp_path / "source.txt"), "-o", str(tmp_path / "target.txt")]
    assert cli.main(["translate", "--model", str(tmp_path / "model"), *files, "--beams", "2"]) == 0
    lines = (tmp_path / "target.txt").read_text().split("\n")
    ids = model.eval().generate(**tokenizer("hund", return_tensors="pt"), num_beams=2)
    assert (len(lines), lines[1], lines[2]) == (4, "", tokenizer.decode(ids[0], skip_special_tokens=True))
    assert cli._load_translator([str(tmp_path / "model")], 2)._forward_params == {"num_beams": 2}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    tokenizer = train_tokenizer(["ein hund"], ["a dog"], kind="char")
    torch.manual_seed(0)
    config = RnnAttnConfig(vocab_size=len(tokenizer), encoder_hidden_size=4, decoder_hidden_size=8)
    model = RnnAttnForConditionalGeneration(config)
    model.generation_config.update(max_length=6)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def page_data(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


def test_attention_writes_a_page_of_several_sentences(saved_model, tmp_path, capsys):
    page = tmp_path / "a.html"
    arguments = ["attention", "ein hund", "<b> & hund", "--model", saved_model, "--beams", "2", "-o", str(page)]
    assert cli.main(arguments) == 0
    data = page_data(page)
    assert [one["source"] for one in data] == ["ein hund", "<b> & hund"]
    assert [len(one["hypotheses"]) for one in data] == [2, 2] and data[0]["beam"]
    assert capsys.readouterr().out == "".join(f"{one['hypotheses'][0]['text']}\n" for one in data) + f"{page}\n"
    assert "<title>Looking inside</title>" in page.read_text(encoding="utf-8")


def test_attention_reads_given_translations(saved_model, tmp_path, capsys):
    page = tmp_path / "a.html"
    given = ["--translation", "a dog", "--translation", "dog"]
    assert cli.main(["attention", "ein hund", "hund", *given, "--model", saved_model, "-o", str(page)]) == 0
    assert [one["hypotheses"][0]["text"] for one in page_data(page)] == ["a dog", "dog"]
    assert capsys.readouterr().out == f"a dog\ndog\n{page}\n"


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_attention_draws_a_picture_of_pieces_or_words(saved_model, tmp_path, monkeypatch, name, start):
    from hf_rnn_attn import visualization

    drawn = []
    plot = visualization.plot_attention
    monkeypatch.setattr(
        visualization,
        "plot_attention",
        lambda *args, **kwargs: drawn.append((args[1:], kwargs)) or plot(*args, **kwargs),
    )
    arguments = ["attention", "ein hund", "--translation", "a dog", "--model", saved_model, "-o", str(tmp_path / name)]
    assert cli.main(arguments) == cli.main([*arguments, "--words", "--title", "Dogs"]) == 0
    assert (tmp_path / name).read_bytes().startswith(start)
    assert drawn == [
        (
            (["e", "i", "n", "▁", "h", "u", "n", "d", "</s>"], ["a", "▁", "d", "o", "g", "</s>"]),
            {"title": "ein hund → a dog"},
        ),
        ((["ein", "hund"], ["a", "dog"]), {"title": "Dogs"}),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "-o", "x.png"], "x.png: a picture shows one sentence, got 2; write .html"),
        (["a", "-o", "x.txt"], "x.txt: expected a name that ends in .html, .png, .svg, .pdf"),
        (["a", "-o", "x"], "x: expected a name that ends in .html, .png, .svg, .pdf"),
        (["a", "--words", "-o", "x.html"], "x.html: --words is for pictures; a page shows pieces and words"),
        (["a", " ", "-o", "x.html"], "expected a sentence of 1 to 1,000 characters, got 1"),
        (
            ["a", "--translation", "", "-o", "x.html"],
            "expected a sentence of 1 to 1,000 characters, got 0",
        ),
        (["a", "b", "--translation", "c", "-o", "x.html"], "expected one translation for each text, got 1 for 2 texts"),
    ],
)
def test_attention_refuses(saved_model, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["attention", *arguments, "--model", saved_model]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_saved_model_aligns_words(tmp_path, capsys):
    tokenizer = train_tokenizer(["ein hund"], ["a dog"], kind="word")
    config = RnnAttnConfig(vocab_size=len(tokenizer), encoder_hidden_size=4, decoder_hidden_size=8)
    RnnAttnForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    files = [str(tmp_path / name) for name in ("source.txt", "target.txt")]
    for path, text in zip(files, ("hund\nhund\n", "a dog\ndog\n"), strict=True):
        Path(path).write_text(text)
    (tmp_path / "gold.txt").write_text("0-0 0p1\n0-0\n")
    arguments = ["align", str(tmp_path), *files, "--gold", str(tmp_path / "gold.txt")]
    outputs = ["-o", str(tmp_path / "links.txt"), "--dictionary", str(tmp_path / "words.tsv")]
    assert cli.main([*arguments, *outputs]) == 0
    assert (tmp_path / "words.tsv").read_text() == "hund\tdog\n"
    assert (tmp_path / "links.txt").read_text() == "0-0 0-1\n0-0\n"
    assert json.loads(capsys.readouterr().err.splitlines()[-1]) == {"score": 0.0, "precision": 100.0, "recall": 100.0}
    # seen from the other side, the one source word looks at one of the two
    assert cli.main([*arguments[:4], "--reverse", str(tmp_path)]) == 0
    assert capsys.readouterr().out in ("0-0\n0-0\n", "0-1\n0-0\n")


# the best translations, and their scores


class Guesser:
    """Stands for a pipeline with several translations of each line; its tokens are letters."""

    task = "translation"
    model = SimpleNamespace(name_or_path="", generation_config=SimpleNamespace(num_beams=None))

    def __call__(self, batches, num_return_sequences, return_scores=False, names=None):
        scores = [{"score": 0.0 - place} if return_scores else {} for place in range(num_return_sequences)]
        return [
            [{"translation_text": f"{line}{n}\t", **score} for line in batch for n, score in enumerate(scores)]
            for batch in batches
        ]

    def tokenizer(self, lines):
        return {"input_ids": [list(line) for line in lines]}


LINES_OF = {
    "text": ["a0\t", "a1\t", "", "", "bb0\t", "bb1\t", "c0\t", "c1\t"],
    "tsv": [
        "1\t0.000000\ta0 ",
        "1\t-1.000000\ta1 ",
        "2\t0.000000\t",
        "2\t0.000000\t",
        "3\t0.000000\tbb0 ",
        "3\t-1.000000\tbb1 ",
        "4\t0.000000\tc0 ",
        "4\t-1.000000\tc1 ",
    ],
}


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("kind", ["text", "tsv", "jsonl"])
def test_several_translations_of_a_line(kind, stop, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_load_translator", lambda *_, **__: Guesser())
    monkeypatch.setattr("hf_rnn_attn.inference.bulk.WINDOW_LINES", 2)
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("a\n\nbb\nc\n", "utf-8")
    command = ["translate", "-i", str(source), "-o", str(target), "--n-best", "2", "--format", kind]
    whole = Guesser.__call__
    if stop:

        def stopped(self, batches, num_return_sequences, **options):
            if "bb" in batches[0]:
                raise KeyboardInterrupt
            return whole(self, batches, num_return_sequences, **options)

        monkeypatch.setattr(Guesser, "__call__", stopped)
        assert cli.main(command) == 130
        monkeypatch.setattr(Guesser, "__call__", whole)
    assert cli.main(command) == 0
    assert ("going on after line 2" in capsys.readouterr().err) == stop
    lines = target.read_text("utf-8").splitlines()
    if kind == "jsonl":
        records = [json.loads(line) for line in lines]
        assert [(record["line"], record["source"]) for record in records] == [(1, "a"), (2, ""), (3, "bb"), (4, "c")]
        assert records[2]["hypotheses"] == [{"text": "bb0\t", "score": 0.0}, {"text": "bb1\t", "score": -1.0}]
        assert records[1]["hypotheses"] == [{"text": "", "score": 0.0}] * 2
    else:
        assert lines == LINES_OF[kind]


@pytest.mark.parametrize(
    "option", [["--n-best", "3"], ["--format", "tsv"], ["--keep-loops"], ["--max-new-tokens", "9"]]
)
def test_another_kind_of_output_begins_anew(option, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "find_model", lambda name: Path(__file__).parent / "checkpoints")
    command = ["translate", "-i", __file__]
    settings = [cli._translation_settings(cli.build_parser().parse_args(command + more)) for more in ([], option)]
    assert settings[0] != settings[1]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--keep-loops"], {"avoid_loops": False}),
        (["--max-new-tokens", "9"], {"max_new_tokens": 9}),
    ],
)
def test_options_of_the_pipeline(arguments, options, translator, capsys):
    assert cli.main(["translate", "a", *arguments]) == 0
    assert translator.options == options


def scores_of(printed):
    return [hypothesis["score"] for line in printed.splitlines() for hypothesis in json.loads(line)["hypotheses"]]


@pytest.mark.parametrize("models", [["de-en"], ["de-en", "de-en"]])
def test_scores_are_those_of_the_transitions(models, capsys):
    text = "Ich habe heute keinen Hunger."
    options = ["--n-best", "6", "--format", "jsonl", "--model", *models]
    assert cli.main(["translate", text, *options]) == 0
    model, tokenizer = load_model(BUNDLED["de", "en"])
    outputs = model.generate(
        **tokenizer(text, return_tensors="pt"),
        num_beams=6,
        num_return_sequences=6,
        output_logits=True,
        return_dict_in_generate=True,
    )
    steps = model.compute_transition_scores(
        outputs.sequences, outputs.logits, outputs.beam_indices, normalize_logits=True
    )
    ends = (outputs.sequences == model.config.eos_token_id).int().argmax(-1)
    expected = [step[:end].sum().item() for step, end in zip(steps, ends, strict=True)]
    assert scores_of(capsys.readouterr().out) == pytest.approx(expected, abs=1e-5)


def test_int8_has_scores_too(capsys):
    assert cli.main(["translate", "Guten Morgen.", "--n-best", "3", "--format", "jsonl", "--int8"]) == 0
    scores = scores_of(capsys.readouterr().out)
    assert len(scores) == 3 and -9 < scores[2] < scores[0] < 0


@pytest.mark.parametrize("arguments", [["-i", "in.txt"], ["Hallo.", "Ich möchte heute gern ins Kino gehen."]])
def test_an_output_that_was_cut_off_is_named_with_its_line(arguments, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("Hallo.\nIch möchte heute gern ins Kino gehen.\n", "utf-8")
    assert cli.main(["translate", *arguments, "--max-new-tokens", "6", "--no-split"]) == 0
    cut = [record.message for record in caplog.records if "was cut off" in record.message]
    name = "in.txt:2" if "-i" in arguments else "sentence:2"
    assert cut == [f"The output for {name} was cut off at the length limit. Raise it: max_new_tokens=400."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-best", "3", "--beams", "2"], "--n-best 3: expected at least as many --beams, got 2; raise --beams"),
        (["--n-best", "100", "--batch-tokens", "2000"], "--batch-tokens 2000 with 100 beams: expected at most"),
    ],
)
def test_several_translations_that_cannot_be_had(arguments, message, capsys):
    assert cli.main(["translate", "a", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
