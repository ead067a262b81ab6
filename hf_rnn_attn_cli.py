# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The console script `hf-rnn-attn`: its arguments, and the one place that turns what a user can cause into one line.

Stands beside the package, because importing the package imports torch and transformers: `--help` answers without them.
The commands themselves are in `hf_rnn_attn.cli`.
"""

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any


PROGRAM = "hf-rnn-attn"
# most of each, and of beams times tokens, so that an answer stays within some gigabytes of memory
MOST_BEAMS, MOST_BATCH_TOKENS, MOST_BEAM_TOKENS, MOST_PAIRS = 100, 2**14, 2**17, 256
# of an output, as the library's limit here
MOST_NEW_TOKENS = 10_000
# of a line to translate, and of each side of a pair to align
LINE_CHARACTERS, ALIGNED_CHARACTERS = 10_000, 2_000
# of an error that quotes what it was given
MESSAGE_CHARACTERS = 1_000
# what torch says, with a RuntimeError, where memory or a process is missing
SHORTAGES = ("out of memory", "can't allocate memory", "DataLoader worker")


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop.

    Args:
        number (`int`): the signal's.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv (`Sequence[str]`, *optional*):
            The arguments, without the name of the program. Defaults to those of the process.

    Returns:
        `int`: the exit status: 2 for what the user can change, 1 for a fault of the program, 128 and the number of the
        signal for a command that was stopped. A line on stderr explains it.
    """
    _replace_closed_streams()
    arguments = build_parser().parse_args(argv)
    continuation: Callable[[Any], str] = _start_again
    try:
        with _signals_stop():
            if arguments.command == "serve":
                # not with the others: exported graphs are served without torch
                from hf_rnn_attn import server

                server.serve(arguments)
                return 0
            from hf_rnn_attn import cli

            continuation = cli.continuation
            cli.hide_loading()
            _write_utf8(sys.stdout)
            getattr(cli, arguments.command)(arguments)
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        _say(f"stopped by {signal.Signals(number).name}; {continuation(arguments)}")
        return 128 + number
    except BrokenPipeError:
        # who read the output wants no more of it, as `head` does
        _discard_output()
        return 128 + 13
    except Exception as error:
        reason = _reason(error)
        if reason is None or arguments.debug:
            traceback.print_exc()
        if reason is None:
            _say("this is a fault of the program, not of its input; please report it with the lines above")
            return 1
        _discard_output()
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        _say(f"error: {reason}" + (f"; {continuation(arguments)}" if full else ""))
        return 2
    return 0


def _reason(error: Exception) -> str | None:
    """Returns what a user can change about an error, in one line, or `None` for a fault of the program."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        text = ": ".join([*names, error.strerror])
    elif isinstance(error, ValueError | OSError | ImportError):
        text = str(error)
    elif isinstance(error, MemoryError) or any(words in str(error) for words in SHORTAGES):
        text = f"the memory, or a process, was not enough: {str(error) or 'out of memory'}"
    else:
        return None
    text = " ".join(text.split())
    text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]} ..."


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"{PROGRAM}: {line}", file=sys.stderr)


def _start_again(_) -> str:
    return "nothing was written"


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """Has signals that would end the program raise [`Stopped`], so that it can clean up and say how to go on.

    What was ignored, as `nohup` does, stays ignored. Threads other than the main one get no signals, and set none.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _) -> None:
    raise Stopped(number)


def _replace_closed_streams() -> None:
    """Lets a standard stream that was closed (`<&-`) be empty, before a file takes its place and its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _write_utf8(stream: Any) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def _discard_output() -> None:
    """Drops what standard output still holds, if it cannot be written, so that the interpreter's end does not fail."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands; the `command` that it parses is a function's name in `hf_rnn_attn.cli`."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="RNN encoder-decoders with attention for transformers.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    _add_debug(parser, default=False)
    commands = parser.add_subparsers(required=True, metavar="command", parser_class=_Command)
    for add_command in (
        _add_init,
        _add_train,
        _add_evaluate,
        _add_translate,
        _add_score,
        _add_lexicon,
        _add_attention,
        _add_align,
        _add_average,
        _add_publish,
        _add_export,
        _add_import,
        _add_demo,
        _add_serve,
    ):
        add_command(commands)
    return parser


class _Command(argparse.ArgumentParser):
    """The parser of one command; `--debug` may stand before the command or after it."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        _add_debug(self, default=argparse.SUPPRESS)


def _add_debug(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument("--debug", action="store_true", default=default, help="print the traceback of an error too")


def _add_init(commands):
    parser = commands.add_parser("init", help="write a first recipe for a file of pairs")
    parser.add_argument("pairs", help="file of pairs; of tab-separated columns, the right ones are found")
    parser.add_argument("-o", "--output", default="recipe.yaml", help="the recipe to write (default: %(default)s)")
    parser.add_argument("--validation", help="pairs to score on; without it, one pair in ten is held out")
    _add_columns(parser)
    parser.set_defaults(command="init")


def _add_columns(parser):
    for side in ("source", "target", "features"):
        parser.add_argument(
            f"--{side}-column",
            type=lambda text: int(text) if text.isdecimal() else text,
            metavar="COLUMN",
            help=f"name of the {side} column of a file of pairs; its number, from 1, where the file has no header",
        )


def _add_train(commands):
    parser = commands.add_parser("train", help="train or fine-tune a model as a recipe says")
    parser.add_argument("recipe", help="YAML file; scripts/ holds examples")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one key of the recipe; repeatable",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint in training.output_dir"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="remove the earlier run in training.output_dir, or with --resume, go on though settings or pairs differ",
    )
    parser.set_defaults(command="train")


def _add_evaluate(commands):
    parser = commands.add_parser("evaluate", help="score a checkpoint on parallel text")
    _add_model_options(parser)
    _add_bulk_options(parser)
    _add_max_characters(parser)
    _add_pairs(parser)
    parser.add_argument(
        "--metrics", nargs="+", default=["sacrebleu", "chrf"], metavar="NAME", help="default: sacrebleu chrf"
    )
    parser.add_argument("--lowercase", action="store_true", help="lowercase translations and references")
    parser.add_argument("--tokenize", metavar="NAME", help="tokenizer of sacrebleu: 13a (default), none, char ...")
    parser.add_argument(
        "--group-references",
        action="store_true",
        help="score a source that stands in several rows once, against all their targets",
    )
    parser.add_argument(
        "--by-length",
        nargs="*",
        type=_number(),
        metavar="WORDS",
        help="also compute the first metric by source length; each number ends a group (default: 8 12 16 20)",
    )
    _add_replace_unknown(parser)
    parser.add_argument("-o", "--output", help="also write the scores to this JSON file")
    parser.set_defaults(command="evaluate")


def _add_pairs(parser: argparse.ArgumentParser):
    parser.add_argument(
        "data", nargs="+", help="one file of pairs (TSV, CSV, JSONL, Parquet, TMX, ZIP), or source file and target file"
    )
    _add_columns(parser)
    parser.add_argument(
        "--features-separator", default=";", help="what stands between two features (default: %(default)s)"
    )
    parser.add_argument(
        "--file-format",
        choices=["tsv", "csv", "jsonl", "parquet", "tmx"],
        help="of a file of pairs; default: its suffix",
    )
    parser.add_argument(
        "--on-bad-rows", choices=["error", "skip"], default="error", help="what to do with them (default: %(default)s)"
    )


def _add_translate(commands):
    parser = commands.add_parser("translate", help="translate lines of text")
    _add_model_options(parser)
    _add_bulk_options(parser)
    _add_max_characters(parser)
    parser.add_argument("text", nargs="*", help="sentences; default: the lines of the input")
    parser.add_argument("-i", "--input", help="text file, one sentence a line; default: standard input")
    parser.add_argument("-o", "--output", help="file to write, one translation a line; default: standard output")
    _add_replace_unknown(parser)
    _add_n_best(parser)
    parser.add_argument(
        "--format",
        choices=["text", "tsv", "jsonl"],
        default="text",
        help="of the output: translations alone; line number, score, translation; objects of line, source, hypotheses "
        "(default: %(default)s)",
    )
    splitting = parser.add_mutually_exclusive_group()
    splitting.add_argument("--no-split", action="store_true", help="translate each text argument as one sentence")
    splitting.add_argument(
        "--split",
        type=_language,
        metavar="LANGUAGE",
        help="split text arguments into sentences of this language (code, such as de); default: that of the model, if "
        "it says one",
    )
    parser.set_defaults(command="translate")


def _language(text: str) -> str:
    if not (text.isalpha() and text.islower() and 2 <= len(text) <= 3):
        raise argparse.ArgumentTypeError(f"expected the code of a language, such as de, got {text[:20]!r}")
    return text


def _add_score(commands):
    parser = commands.add_parser("score", help="print the log-probabilities that a model gives to given translations")
    _add_models(parser)
    _add_batch_tokens(parser)
    _add_pairs(parser)
    parser.add_argument(
        "--format",
        choices=["tsv", "jsonl"],
        default="tsv",
        help="of the output: total, mean for each token, tokens; or objects, with the texts (default: %(default)s)",
    )
    parser.add_argument("-o", "--output", help="file to write; default: standard output")
    parser.set_defaults(command="score")


def _add_lexicon(commands):
    parser = commands.add_parser("lexicon", help="write a pronunciation dictionary of words")
    _add_model_options(parser, required=True)
    _add_bulk_options(parser)
    parser.add_argument("words", metavar="WORDS", help="text file, one word a line; - is standard input")
    parser.add_argument("-o", "--output", help="file to write; default: standard output")
    parser.add_argument(
        "--format",
        choices=["cmudict", "kaldi", "lexiconp"],
        default="cmudict",
        help="of CMUdict, of lexicon.txt of Kaldi and sherpa, of Kaldi's lexiconp.txt with probabilities (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--dictionary", metavar="FILE", help="pronunciations of yours, in any of these forms without probabilities"
    )
    _add_n_best(parser)
    parser.set_defaults(command="lexicon")


def _add_n_best(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--n-best",
        type=_number(MOST_BEAMS),
        default=1,
        metavar="N",
        help="write the N best outputs of the search, which needs as many beams (default: %(default)s)",
    )


def _add_attention(commands):
    parser = commands.add_parser("attention", help="show what the model looks at while it translates")
    _add_model_options(parser)
    parser.add_argument("text", nargs="+", help="sentences; a picture shows one")
    parser.add_argument(
        "--translation",
        action="append",
        metavar="TEXT",
        help="look at this translation instead of the model's own; repeat it for each sentence",
    )
    parser.add_argument("--words", action="store_true", help="draw words instead of sub-words in a picture")
    parser.add_argument("--title", help="default: the sentence and its translation")
    parser.add_argument(
        "-o", "--output", required=True, help="file to write: .html for a page, else a picture (.png, .svg, .pdf)"
    )
    parser.set_defaults(command="attention")


def _add_align(commands):
    parser = commands.add_parser("align", help="align the words of sentences and their translations")
    parser.add_argument("model", help="checkpoint folder or Hub id")
    parser.add_argument("source", help="text file, one sentence a line")
    parser.add_argument("target", help="text file with their translations")
    parser.add_argument("--reverse", help="model of the other direction: keep the links that it finds too")
    parser.add_argument(
        "--dictionary", help="file to write, word, tab, the word it is linked to most often: for --replace-unknown"
    )
    parser.add_argument("--gold", help="file of links made by hand, i-j sure and ipj possible: print the error rate")
    parser.add_argument(
        "--batch-size", type=_number(MOST_PAIRS), default=32, help="pairs at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--max-characters",
        type=_number(),
        default=ALIGNED_CHARACTERS,
        metavar="N",
        help="refuse a pair with a side that is longer (default: %(default)s)",
    )
    parser.add_argument("-o", "--output", help="file to write, links i-j of a pair a line; default: standard output")
    parser.set_defaults(command="align")


def _add_average(commands):
    parser = commands.add_parser("average", help="write the mean of several checkpoints")
    parser.add_argument(
        "checkpoints", nargs="+", help="checkpoint folders; with --count, the output folder of one training run"
    )
    parser.add_argument("-o", "--output", required=True, help="folder to write")
    parser.add_argument(
        "--count", type=_number(), help="take this many checkpoints of the run: the last, or the best by --metric"
    )
    parser.add_argument("--metric", help="metric of the run's evaluations, such as loss")
    parser.add_argument(
        "--lower-is-better", action="store_true", help="for an error rate; losses are known to be lower"
    )
    parser.set_defaults(command="average")


def _add_publish(commands):
    parser = commands.add_parser("publish", help="upload a run of `train` to the Hub, with its model card")
    parser.add_argument("run", help="training.output_dir of the recipe")
    parser.add_argument("repository", metavar="USER/NAME", help="the model repository; it is made where it is missing")
    parser.add_argument("--license", required=True, help="licence of the weights, as on the Hub: cc-by-2.0")
    parser.add_argument(
        "--data", required=True, metavar="TEXT", help="what the pairs are, whose, and under which licence (Markdown)"
    )
    parser.add_argument(
        "--languages", nargs=2, metavar=("SOURCE", "TARGET"), help="codes of the languages, such as de en"
    )
    parser.add_argument("--revision", metavar="BRANCH", help="the branch to commit to; default: main")
    parser.add_argument("--private", action="store_true", help="only you can see the repository")
    parser.add_argument("--dry-run", action="store_true", help="write and check the folder, upload nothing")
    parser.set_defaults(command="publish")


def _add_export(commands):
    parser = commands.add_parser("export", help="write a model as graphs that run without this package")
    parser.add_argument("model", help="checkpoint folder, Hub id, or de-en or en-de, which come with the package")
    parser.add_argument("output", help="folder to write")
    parser.add_argument(
        "--format", choices=["onnx", "torch"], default="onnx", help="kind of graph (default: %(default)s)"
    )
    parser.add_argument("--int8", action="store_true", help="quantise ONNX graphs: weights of 8 bits, for CPUs")
    parser.set_defaults(command="export")


def _add_import(commands):
    parser = commands.add_parser("import", help="turn an RNN checkpoint of another toolkit into a checkpoint of ours")
    toolkits = parser.add_subparsers(required=True, metavar="toolkit")
    for name, what in (
        ("opennmt", "checkpoint of OpenNMT-py 3 (.pt)"),
        ("joeynmt", "model folder of JoeyNMT 2, or one checkpoint in it (.ckpt)"),
    ):
        toolkit = toolkits.add_parser(name, help=what)
        toolkit.add_argument("checkpoint", help=what)
        toolkit.add_argument("output", help="folder to write")
        toolkit.add_argument(
            "--detokenize",
            metavar="KIND",
            help="join subwords in translations: subword-nmt (wa@@ ter), sentencepiece (▁wa ter) or joiner (wa ￭ter)",
        )
        toolkit.set_defaults(command="import_checkpoint", toolkit=name)


def _add_demo(commands):
    parser = commands.add_parser("demo", help="train, evaluate and use a small model on dates; a few minutes on a CPU")
    parser.add_argument("-o", "--output", default="runs/demo", help="folder to write (default: %(default)s)")
    parser.set_defaults(command="demo")


def _add_serve(commands):
    parser = commands.add_parser("serve", help="translate for programs that speak the API of LibreTranslate")
    parser.add_argument(
        "--model",
        action="append",
        dest="models",
        metavar="MODEL",
        help="checkpoint folder, Hub id, or de-en or en-de, which come with the package; XX-YY=MODEL says its "
        "languages; repeatable (default: de-en and en-de)",
    )
    parser.add_argument(
        "--runtime", choices=["torch", "onnx"], default="torch", help="onnx: folders of `export`, without torch"
    )
    parser.add_argument("--int8", action="store_true", help="with torch: weights of 8 bits on a CPU")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_number(65535), default=5000, help="(default: %(default)s)")
    parser.add_argument(
        "--api-keys", metavar="FILE", help="API keys, one a line; also HF_RNN_ATTN_API_KEYS, separated by commas"
    )
    for name, default, most, what in (
        ("characters", 10_000, None, "characters of a request"),
        ("texts", 100, 1_000, "texts of a request"),
        ("bytes", 1_000_000, None, "bytes of a request"),
        ("beams", 10, MOST_BEAMS, "beams, and alternatives with the best"),
        ("seconds", 60, 3_600, "seconds for an answer"),
        ("requests", 64, 1_000, "requests at a time"),
        ("rate", 0, 1_000_000, "requests of a client a minute; 0: any number"),
        ("batch", 32, 1_000, "sentences translated at a time"),
        ("wait", 5, 1_000, "milliseconds that a sentence waits for others"),
    ):
        read = _number(most) if default else _number_or_0(most)
        parser.add_argument(
            f"--max-{name}",
            dest=name,
            type=read,
            default=default,
            metavar="N",
            help=f"most {what} (default: {default})",
        )
    parser.add_argument("--verbose", action="store_true", help="log each request on stderr")
    parser.set_defaults(command="serve")


def _add_model_options(parser: argparse.ArgumentParser, required: bool = False):
    _add_models(parser, required)
    parser.add_argument("--beams", type=_number(MOST_BEAMS), help="beam size; default: what the checkpoint says")


def _add_models(parser: argparse.ArgumentParser, required: bool = False):
    parser.add_argument(
        "--model",
        nargs="+",
        required=required,
        dest="models",
        metavar="MODEL",
        help="checkpoint folder, Hub id, or de-en or en-de, which come with the package; several translate together by "
        "the mean of their probabilities" + ("" if required else " (default: de-en)"),
    )


def _add_bulk_options(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--int8", action="store_true", help="translate with weights of 8 bits on a CPU: faster, and nearly as well"
    )
    _add_batch_tokens(parser)
    parser.add_argument(
        "--max-new-tokens",
        type=_number(MOST_NEW_TOKENS),
        metavar="N",
        help="most tokens of an output; what is cut off there is warned of (default: what the checkpoint says)",
    )
    parser.add_argument(
        "--keep-loops",
        action="store_true",
        help="leave an output as it is that has some tokens four times in a row; without it, it is decoded again",
    )


def _add_max_characters(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--max-characters",
        type=_number(),
        default=LINE_CHARACTERS,
        metavar="N",
        help="of a longer line, translate the first N characters, with a warning (default: %(default)s)",
    )


def _add_batch_tokens(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--batch-tokens",
        type=_number(MOST_BATCH_TOKENS),
        default=1024,
        help="most source tokens at a time, padding included (default: %(default)s)",
    )


def _number(most: int | None = None) -> Callable[[str], int]:
    """Returns what reads a number of at least 1, and at most `most`."""
    expected = "a number of at least 1" if most is None else f"a number from 1 to {most}"

    def read(text: str) -> int:
        number = int(text) if text.isdecimal() and len(text) < 20 else 0
        if number < 1 or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text[:20]!r}")
        return number

    return read


def _number_or_0(most: int | None) -> Callable[[str], int]:
    return lambda text: 0 if text == "0" else _number(most)(text)


def _add_replace_unknown(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--replace-unknown",
        nargs="?",
        const=True,
        metavar="DICTIONARY",
        help="put the source word that was looked at in the place of an unknown one, or its entry in the dictionary, a "
        "file of word, tab, translation; for vocabularies of words",
    )


if __name__ == "__main__":
    sys.exit(main())
