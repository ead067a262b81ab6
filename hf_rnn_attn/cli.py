# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What the commands of `hf-rnn-attn` do; their arguments are in the module `hf_rnn_attn_cli`.

This file reads arguments and prints results; the work is done by the rest of the package. What not every command needs
is imported by the command that does.
"""

import contextlib
import itertools
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_rnn_attn_cli import build_parser, main

from . import BUNDLED, __version__
from .inference.bulk import resumable_output, translate_lines
from .inference.ensemble import load_ensemble
from .inference.quantization import quantize
from .model.pipeline_rnn_attn import translation_pipeline


__all__ = ["build_parser", "main"]

PICTURES = (".png", ".svg", ".pdf")
# words of the source; the last group is open
LENGTH_EDGES = (8, 12, 16, 20)


def train(arguments: Namespace) -> None:
    """Trains what a recipe describes."""
    from .training import run
    from .training.recipe import load_recipe

    run.keep_freed_memory()
    run.keep_compiled_products()
    overrides = arguments.set + (["training.resume_from_checkpoint=true"] if arguments.resume else [])
    run.train(load_recipe(arguments.recipe, overrides))


def evaluate(arguments: Namespace) -> None:
    """Scores a checkpoint on parallel text."""
    from .evaluation import load_metric, score_texts

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


def _metric_options(arguments: Namespace, name: str) -> dict:
    tokenize = {"tokenize": arguments.tokenize} if arguments.tokenize and name == "sacrebleu" else {}
    return {"lowercase": arguments.lowercase, **tokenize}


def _read_evaluation_pairs(arguments: Namespace) -> Any:
    from .data import group_references, read_pairs

    if len(arguments.data) > 2:
        raise ValueError(
            f"expected one file of pairs, or a source file and a target file; got {len(arguments.data)} files"
        )
    aligned = len(arguments.data) == 2
    data = {"source": arguments.data[0], "target": arguments.data[1]} if aligned else arguments.data[0]
    pairs: Any = read_pairs(data, source_column=arguments.source_column, target_column=arguments.target_column)
    return group_references(pairs) if arguments.group_references else pairs


def translate(arguments: Namespace) -> None:
    """Translates lines of text."""
    if arguments.text and arguments.input:
        raise ValueError("expected sentences or --input, got both")
    translate_all = _load_bulk_translator(arguments, **_read_replacements(arguments.replace_unknown))
    with contextlib.ExitStack() as stack:
        source = iter(arguments.text or _open_text(arguments.input, "r", sys.stdin, stack))
        if arguments.output is None or (os.path.exists(arguments.output) and not os.path.isfile(arguments.output)):
            target, done = _open_text(arguments.output, "w", sys.stdout, stack), 0
        else:
            target, done = stack.enter_context(resumable_output(arguments.output, _translation_settings(arguments)))
        if done:
            print(f"going on after line {done} of {arguments.output}.partial", file=sys.stderr)
        lines = (line.rstrip("\r\n") for line in itertools.islice(source, done, None))
        for translations in _with_progress(translate_all(lines)):
            target.writelines(translation + "\n" for translation in translations)
            target.flush()


def _translation_settings(arguments: Namespace) -> dict[str, Any] | None:
    """Returns what the translations of a call depend on, or `None` if its source cannot be read a second time."""
    if arguments.input is None or not os.path.isfile(arguments.input):
        return None
    names = ("models", "beams", "int8", "batch_tokens", "replace_unknown", "input")
    file = Path(arguments.input).stat()
    settings = {name: getattr(arguments, name) for name in names}
    return settings | {"version": __version__, "size": file.st_size, "changed": file.st_mtime_ns}


def _read_replacements(dictionary: bool | str | None) -> dict:
    """Returns the pipeline's argument for `--replace-unknown`."""
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


def attention(arguments: Namespace) -> None:
    """Shows the attention behind translations."""
    from .inspection import inspect_translations
    from .visualization import AttentionPage, plot_attention

    suffix = Path(arguments.output).suffix.lower()
    if suffix not in (".html", *PICTURES):
        raise ValueError(f"{arguments.output}: expected a name that ends in .html, {', '.join(PICTURES)}")
    if suffix != ".html" and len(arguments.text) > 1:
        raise ValueError(f"{arguments.output}: a picture shows one sentence, got {len(arguments.text)}; write .html")
    if suffix == ".html" and arguments.words:
        raise ValueError(f"{arguments.output}: --words is for pictures; a page shows pieces and words")
    translator = _load_translator(arguments.models, arguments.beams)
    inspections = inspect_translations(translator, arguments.text, arguments.translation)
    first, best = inspections[0], [inspection.hypotheses[0] for inspection in inspections]
    title = arguments.title or (f"{first.source} → {best[0].text}" if len(best) == 1 else AttentionPage.title)
    if suffix == ".html":
        AttentionPage(inspections, title).save(arguments.output)
    elif arguments.words:
        words = (best[0].word_attention, first.source_words, best[0].words)
        plot_attention(*words, title=title).savefig(arguments.output)
    else:
        pieces = (best[0].attention, first.source_tokens, best[0].tokens)
        plot_attention(*pieces, title=title).savefig(arguments.output)
    print(*(hypothesis.text for hypothesis in best), arguments.output, sep="\n")


def align(arguments: Namespace) -> None:
    """Writes word alignments."""
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


def average(arguments: Namespace) -> None:
    """Writes the mean of checkpoints."""
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


def publish(arguments: Namespace) -> None:
    """Uploads a run with its model card."""
    from . import hub

    about = hub.About(arguments.license, arguments.data, arguments.languages)
    if arguments.dry_run:
        print(f"ready to upload: {hub.prepare(arguments.run, arguments.repository, about)}")
        return
    commit = hub.publish(
        arguments.run, arguments.repository, about, revision=arguments.revision, private=arguments.private
    )
    print(commit.commit_url)


def export(arguments: Namespace) -> None:
    """Writes a model as graphs."""
    from .export import export_graphs

    model, tokenizer = _load_model(arguments.model)
    export_graphs(model, arguments.format).save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(f"encoder and decoder step written to {arguments.output}")


def import_checkpoint(arguments: Namespace) -> None:
    """Turns a checkpoint of another toolkit into one of ours."""
    from .importers.joeynmt import load_joeynmt
    from .importers.opennmt import load_opennmt

    load = {"opennmt": load_opennmt, "joeynmt": load_joeynmt}[arguments.toolkit]
    model, tokenizer = load(arguments.checkpoint, detokenize=arguments.detokenize)
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(f"model and tokenizer written to {arguments.output}")


def demo(arguments: Namespace) -> None:
    """Trains, evaluates and uses a small model on dates."""
    from .demo.demo import run_demo

    run_demo(arguments.output)


def _load_model(name: str):
    """Returns model and tokenizer of a checkpoint folder or Hub id."""
    tokenizer = _load_tokenizer(name)
    return AutoModelForSeq2SeqLM.from_pretrained(name, trust_remote_code=False), tokenizer


def _load_tokenizer(name: str):
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def _load_translator(models: Sequence[str] | None, beams: int | None, int8: bool = False, **options):
    """Returns a translation pipeline of one checkpoint, of several together, or of the one in the package."""
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
    translator = translation_pipeline(**parts, **generation, **options, trust_remote_code=False)
    if int8:
        quantize(translator.model)
    return translator


def _model_names(models: Sequence[str] | None) -> list[str]:
    bundled = {"-".join(languages): folder for languages, folder in BUNDLED.items()}
    return [bundled.get(name, name) for name in models or [next(iter(bundled))]]


def _load_bulk_translator(arguments: Namespace, **options) -> Callable[[Iterable[str]], Iterator[list[str]]]:
    """Returns [`translate_lines`] with the options of the command line; it takes the lines."""
    options |= {"int8": True} if arguments.int8 else {}
    translator = _load_translator(arguments.models, arguments.beams, **options)
    return lambda lines: translate_lines(lines, translator, arguments.batch_tokens)


def _with_progress(windows: Iterable[list[str]]) -> Iterator[list[str]]:
    with tqdm(unit="line", desc="translating", disable=None) as progress:
        for translations in windows:
            yield translations
            progress.update(len(translations))


def _read_lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\r\n") for line in file]


def _open_text(path: str | None, mode: str, standard, stack: contextlib.ExitStack):
    """Returns the file, or the standard stream; either in UTF-8 and with newlines as the only ends of lines."""
    if path is not None:
        return stack.enter_context(open(path, mode, encoding="utf-8", newline="\n"))
    standard.reconfigure(encoding="utf-8", newline="\n")
    return standard


if __name__ == "__main__":
    sys.exit(main())
