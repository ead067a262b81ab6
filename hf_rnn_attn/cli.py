# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line, `hf-rnn-attn`, one subcommand for each verb: train, evaluate, translate and so on.

This file reads arguments and prints results; the work is done by the rest of the package. Everything slow to import is
imported by the command that needs it, so that `--help` answers at once.
"""

import argparse
import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path


PROGRAM = "hf-rnn-attn"
# words of the source; the last group is open
LENGTH_EDGES = (8, 12, 16, 20)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv (`Sequence[str]`, *optional*):
            The arguments, without the name of the program. Defaults to those of the process.

    Returns:
        `int`: the exit status; 2 for a mistake of the user, after one line on stderr that explains it.
    """
    arguments = build_parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `command` of its result is the function to call with that result."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="RNN encoder-decoders with attention for transformers.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for add_command in (
        _add_train,
        _add_evaluate,
        _add_translate,
        _add_attention,
        _add_align,
        _add_average,
        _add_publish,
        _add_export,
        _add_import,
        _add_demo,
    ):
        add_command(commands)
    return parser


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
    parser.set_defaults(command=_train)


def _train(arguments):
    import hf_rnn_attn

    from .recipe import load_recipe
    from .training import keep_compiled_products, keep_freed_memory, train

    hf_rnn_attn.register()
    keep_freed_memory()
    keep_compiled_products()
    overrides = arguments.set + (["training.resume_from_checkpoint=true"] if arguments.resume else [])
    train(load_recipe(arguments.recipe, overrides))


def _add_evaluate(commands):
    parser = commands.add_parser("evaluate", help="score a checkpoint on parallel text")
    _add_model_options(parser)
    _add_bulk_options(parser)
    parser.add_argument(
        "data", nargs="+", help="one file of pairs (TSV, CSV, JSONL, Parquet), or source file and target file"
    )
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
        type=int,
        metavar="WORDS",
        help="also compute the first metric by source length; each number ends a group (default: 8 12 16 20)",
    )
    _add_replace_unknown(parser)
    parser.add_argument("--source-column", help="name of the source column of a file of pairs")
    parser.add_argument("--target-column", help="name of the target column of a file of pairs")
    parser.add_argument("-o", "--output", help="also write the scores to this JSON file")
    parser.set_defaults(command=_evaluate)


def _evaluate(arguments):
    from .evaluation import load_metric
    from .training import score_texts

    metrics = {name: load_metric(name, **_metric_options(arguments, name)) for name in arguments.metrics}
    pairs = _read_evaluation_pairs(arguments)
    references = pairs["references" if arguments.group_references else "target"]
    windows = _load_bulk_translator(arguments, **_read_replacements(arguments.replace_unknown))(pairs["source"])
    translations = list(itertools.chain.from_iterable(_with_progress(windows)))
    edges = LENGTH_EDGES if arguments.by_length == [] else arguments.by_length or ()
    scores = score_texts(pairs["source"], translations, references, metrics, edges)
    text = json.dumps(scores, indent=2, ensure_ascii=False)
    print(text)
    if arguments.output:
        Path(arguments.output).write_text(text + "\n", encoding="utf-8")


def _metric_options(arguments, name: str) -> dict:
    tokenize = {"tokenize": arguments.tokenize} if arguments.tokenize and name == "sacrebleu" else {}
    return {"lowercase": arguments.lowercase, **tokenize}


def _read_evaluation_pairs(arguments):
    from .data import group_references, read_pairs

    if len(arguments.data) > 2:
        raise ValueError(
            f"expected one file of pairs, or a source file and a target file; got {len(arguments.data)} files"
        )
    aligned = len(arguments.data) == 2
    data = dict(zip(("source", "target"), arguments.data, strict=True)) if aligned else arguments.data[0]
    pairs = read_pairs(data, source_column=arguments.source_column, target_column=arguments.target_column)
    return group_references(pairs) if arguments.group_references else pairs


def _add_translate(commands):
    parser = commands.add_parser("translate", help="translate lines of text")
    _add_model_options(parser)
    _add_bulk_options(parser)
    parser.add_argument("text", nargs="*", help="sentences; default: the lines of the input")
    parser.add_argument("-i", "--input", help="text file, one sentence a line; default: standard input")
    parser.add_argument("-o", "--output", help="file to write, one translation a line; default: standard output")
    _add_replace_unknown(parser)
    parser.set_defaults(command=_translate)


def _translate(arguments):
    if arguments.text and arguments.input:
        raise ValueError("expected sentences or --input, got both")
    translate = _load_bulk_translator(arguments, **_read_replacements(arguments.replace_unknown))
    with contextlib.ExitStack() as stack:
        source = arguments.text or _open_text(arguments.input, "r", sys.stdin, stack)
        target = _open_text(arguments.output, "w", sys.stdout, stack)
        for translations in _with_progress(translate(line.rstrip("\r\n") for line in source)):
            target.writelines(translation + "\n" for translation in translations)
            target.flush()


def _read_replacements(dictionary: bool | str | None) -> dict:
    """The pipeline's argument for `--replace-unknown`."""
    if dictionary is None or dictionary is True:
        return {} if dictionary is None else {"replace_unknown": True}
    entries = {}
    with open(dictionary, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            word, tab, translation = line.rstrip("\r\n").partition("\t")
            if not (word and tab and translation):
                raise ValueError(f"{dictionary}:{number}: expected word, tab, translation; got {line!r}")
            entries[word] = translation
    return {"replace_unknown": entries}


def _add_attention(commands):
    parser = commands.add_parser("attention", help="draw what the model looks at while it translates a sentence")
    _add_model_options(parser)
    parser.add_argument("text", help="the sentence")
    parser.add_argument(
        "-o", "--output", required=True, help="file to write: .html for a page, else a picture (.png, .svg, .pdf)"
    )
    parser.set_defaults(command=_attention)


def _attention(arguments):
    from .visualization import attention_html, plot_attention

    translator = _load_translator(arguments.models, arguments.beams)
    record = translator(arguments.text, output_attentions=True)[0]
    title = f"{arguments.text} → {record['translation_text']}"
    picture = (record["attention"], record["source_tokens"], record["target_tokens"])
    if Path(arguments.output).suffix == ".html":
        Path(arguments.output).write_text(attention_html(*picture, title=title), encoding="utf-8")
    else:
        plot_attention(*picture, title=title).savefig(arguments.output)
    print(record["translation_text"])
    print(arguments.output)


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
    parser.add_argument("--batch-size", type=int, default=32, help="pairs at a time (default: %(default)s)")
    parser.add_argument("-o", "--output", help="file to write, links i-j of a pair a line; default: standard output")
    parser.set_defaults(command=_align)


def _align(arguments):
    from .alignment import AlignmentErrorRate, align, format_links, intersect, learn_dictionary

    sources, targets = _read_lines(arguments.source), _read_lines(arguments.target)
    alignments = align(*_load_model(arguments.model), sources, targets, arguments.batch_size)
    if arguments.reverse:
        other = align(*_load_model(arguments.reverse), targets, sources, arguments.batch_size)
        alignments = intersect(alignments, other)
    alignments = list(alignments)
    lines = [format_links(links) for links in alignments]
    with contextlib.ExitStack() as stack:
        output = _open_text(arguments.output, "w", sys.stdout, stack)
        output.writelines(line + "\n" for line in lines)
    if arguments.dictionary:
        entries = learn_dictionary(sources, targets, alignments).items()
        text = "".join(f"{word}\t{linked}\n" for word, linked in entries)
        Path(arguments.dictionary).write_text(text, encoding="utf-8")
    if arguments.gold:
        scores = AlignmentErrorRate().compute(predictions=lines, references=_read_lines(arguments.gold))
        print(json.dumps(scores), file=sys.stderr)


def _add_average(commands):
    parser = commands.add_parser("average", help="write the mean of several checkpoints")
    parser.add_argument(
        "checkpoints", nargs="+", help="checkpoint folders; with --count, the output folder of one training run"
    )
    parser.add_argument("-o", "--output", required=True, help="folder to write")
    parser.add_argument(
        "--count", type=int, help="take this many checkpoints of the run: the last, or the best by --metric"
    )
    parser.add_argument("--metric", help="metric of the run's evaluations, such as loss")
    parser.add_argument(
        "--lower-is-better", action="store_true", help="for an error rate; losses are known to be lower"
    )
    parser.set_defaults(command=_average)


def _average(arguments):
    from .training import average_checkpoints, select_checkpoints

    paths = arguments.checkpoints
    if arguments.count is None and (arguments.metric or arguments.lower_is_better):
        raise ValueError("--metric and --lower-is-better choose among the checkpoints of a run; add --count")
    if arguments.count is not None:
        if len(paths) != 1:
            raise ValueError(f"--count chooses among the checkpoints of one run; expected one folder, got {len(paths)}")
        paths = select_checkpoints(
            paths[0],
            arguments.count,
            metric=arguments.metric,
            greater_is_better=False if arguments.lower_is_better else None,
        )
    average_checkpoints(paths, arguments.output)
    for path in paths:
        print(path)
    print(f"mean written to {arguments.output}")


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
    parser.set_defaults(command=_publish)


def _publish(arguments):
    import hf_rnn_attn

    from .hub import prepare, publish

    hf_rnn_attn.register()
    card = {"license": arguments.license, "data": arguments.data, "languages": arguments.languages}
    if arguments.dry_run:
        print(f"ready to upload: {prepare(arguments.run, arguments.repository, **card)}")
        return
    commit = publish(
        arguments.run, arguments.repository, **card, revision=arguments.revision, private=arguments.private
    )
    print(commit.commit_url)


def _add_export(commands):
    parser = commands.add_parser("export", help="write a model as graphs that run without this package")
    parser.add_argument("model", help="checkpoint folder or Hub id")
    parser.add_argument("output", help="folder to write")
    parser.add_argument(
        "--format", choices=["onnx", "torch"], default="onnx", help="kind of graph (default: %(default)s)"
    )
    parser.set_defaults(command=_export)


def _export(arguments):
    from .export import export_graphs

    model, tokenizer = _load_model(arguments.model)
    export_graphs(model, arguments.format).save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(f"encoder and decoder step written to {arguments.output}")


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
        toolkit.set_defaults(command=_import, toolkit=name)


def _import(arguments):
    from .importers.joeynmt import load_joeynmt
    from .importers.opennmt import load_opennmt

    load = {"opennmt": load_opennmt, "joeynmt": load_joeynmt}[arguments.toolkit]
    model, tokenizer = load(arguments.checkpoint, detokenize=arguments.detokenize)
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(f"model and tokenizer written to {arguments.output}")


def _add_demo(commands):
    parser = commands.add_parser("demo", help="train, evaluate and use a small model on dates; a few minutes on a CPU")
    parser.add_argument("-o", "--output", default="runs/demo", help="folder to write (default: %(default)s)")
    parser.set_defaults(command=_demo)


def _demo(arguments):
    from .demo import run_demo

    run_demo(arguments.output)


def _add_model_options(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--model",
        nargs="+",
        dest="models",
        metavar="MODEL",
        help="checkpoint folder, Hub id, or de-en or en-de, which come with the package; several translate together by "
        "the mean of their probabilities (default: de-en)",
    )
    parser.add_argument("--beams", type=int, help="beam size; default: what the checkpoint says")


def _add_bulk_options(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--int8", action="store_true", help="translate with weights of 8 bits on a CPU: faster, and nearly as well"
    )
    parser.add_argument(
        "--batch-tokens",
        type=_positive,
        default=1024,
        help="most source tokens at a time, padding included (default: %(default)s)",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {number}")
    return number


def _add_replace_unknown(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--replace-unknown",
        nargs="?",
        const=True,
        metavar="DICTIONARY",
        help="put the source word that was looked at in the place of an unknown one, or its entry in the dictionary, a "
        "file of word, tab, translation; for vocabularies of words",
    )


def _load_model(name: str):
    """Model and tokenizer of a checkpoint folder or Hub id."""
    from transformers import AutoModelForSeq2SeqLM

    tokenizer = _load_tokenizer(name)
    return AutoModelForSeq2SeqLM.from_pretrained(name), tokenizer


def _load_tokenizer(name: str):
    from transformers import AutoTokenizer

    import hf_rnn_attn

    hf_rnn_attn.register()
    return AutoTokenizer.from_pretrained(name)


def _load_translator(models: Sequence[str] | None, beams: int | None, int8: bool = False, **options):
    """A translation pipeline of one checkpoint, of several together, or of the one that comes with the package."""
    from transformers import pipeline

    import hf_rnn_attn

    from .ensemble import load_ensemble
    from .quantization import quantize

    hf_rnn_attn.register()
    models = _model_names(models)
    if int8 and len(models) > 1:
        raise ValueError(f"--int8 takes one model, got {len(models)}; translate without it")
    if int8:
        options |= {"device": "cpu", "dtype": "float32"}
    if len(models) == 1:
        parts = {"model": models[0]}
    else:
        ensemble, tokenizer = load_ensemble(models)
        parts = {"model": ensemble, "tokenizer": tokenizer}
    generation = {} if beams is None else {"num_beams": beams}
    translator = pipeline("translation", **parts, **generation, **options)
    if int8:
        quantize(translator.model)
    return translator


def _model_names(models: Sequence[str] | None) -> list[str]:
    import hf_rnn_attn

    bundled = {"-".join(languages): folder for languages, folder in hf_rnn_attn.BUNDLED.items()}
    return [bundled.get(name, name) for name in models or [next(iter(bundled))]]


def _load_bulk_translator(arguments, **options) -> Callable[[Iterable[str]], Iterator[list[str]]]:
    """`bulk.translate_lines` with the options of the command line; what it returns takes the lines."""
    from .bulk import translate_lines

    options |= {"int8": True} if arguments.int8 else {}
    translator = _load_translator(arguments.models, arguments.beams, **options)
    return lambda lines: translate_lines(lines, translator, arguments.batch_tokens)


def _with_progress(windows: Iterable[list[str]]) -> Iterator[list[str]]:
    from tqdm import tqdm

    with tqdm(unit="line", desc="translating", disable=None) as progress:
        for translations in windows:
            yield translations
            progress.update(len(translations))


def _read_lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\r\n") for line in file]


def _open_text(path: str | None, mode: str, standard, stack: contextlib.ExitStack):
    """The file, or the standard stream; either in UTF-8 and with newlines as the only ends of lines."""
    if path is not None:
        return stack.enter_context(open(path, mode, encoding="utf-8", newline="\n"))
    standard.reconfigure(encoding="utf-8", newline="\n")
    return standard


if __name__ == "__main__":
    sys.exit(main())
