# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What the commands of `hf-rnn-attn` do; their arguments are in the module `hf_rnn_attn_cli`.

This file reads arguments and prints results; the work is done by the rest of the package. What not every command needs
is imported by the command that does.
"""

import collections
import contextlib
import io
import itertools
import json
import os
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from tqdm import tqdm
from transformers.utils import logging

from hf_rnn_attn_cli import MOST_BEAM_TOKENS, PROGRAM, build_parser, main

from . import BUNDLED, __version__
from .inference.bulk import (
    ResumableOutput,
    cut_long_lines,
    encode_lines,
    format_hypotheses,
    read_lines,
    read_progress,
    search_lines,
    translate_lines,
)
from .inference.ensemble import load_ensemble
from .inference.loading import find_model, load_model
from .inference.processes import join_processes
from .inference.quantization import quantize
from .model.configuration_rnn_attn import RnnAttnConfig
from .model.pipeline_rnn_attn import DEFAULT_NUM_BEAMS, translation_pipeline
from .text import language_of, translate_text


__all__ = ["build_parser", "main"]

PICTURES = (".png", ".svg", ".pdf")
# words of the source; the last group is open
LENGTH_EDGES = (8, 12, 16, 20)
# several outputs may go there
STREAMS = (os.devnull, "/dev/stdout", "/dev/stderr")
# words named on stderr, of those that a model cannot say
NAMED_WORDS = 20
# of a sentence whose attention is drawn, and of a dictionary
DRAWN_CHARACTERS, DICTIONARY_ENTRIES = 1_000, 1_000_000


def hide_loading() -> None:
    """Hides the library's bars of loading and saving, which take no time and stand before what is said on stderr."""
    logging.disable_progress_bar()


def continuation(arguments: Namespace) -> str:
    """Says how to go on after a command was stopped."""
    if arguments.command == "train":
        overrides = [part for override in arguments.set for part in ("--set", override)]
        again = shlex.join([PROGRAM, "train", arguments.recipe, *overrides, "--resume"])
        return f"`{again}` goes on after the last checkpoint; without one, leave --resume out"
    if arguments.command == "translate" and arguments.ray:
        return "the same command goes on with the rows that are not written"
    if arguments.command == "translate" and arguments.output is None:
        return "what was printed is complete up to its last line; with --input and --output a second start goes on"
    if arguments.command == "translate" and (progress := read_progress(arguments.output)):
        return f"the same command goes on after line {progress['lines']}"
    return f"{arguments.output} was not written" if getattr(arguments, "output", None) else "nothing was written"


def init(arguments: Namespace) -> None:
    """Writes a first recipe for a file of pairs."""
    from .training.first_recipe import write_first_recipe

    names = ("source_column", "target_column", "features_column")
    columns = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    print(write_first_recipe(arguments.pairs, arguments.output, validation=arguments.validation, columns=columns))
    print(f"train it with: {shlex.join([PROGRAM, 'train', arguments.output])}")


def train(arguments: Namespace) -> None:
    """Trains what a recipe describes."""
    from .training import run
    from .training.defaults import limit_threads
    from .training.recipe import load_recipe

    limit_threads()
    run.keep_freed_memory()
    run.keep_compiled_products()
    overrides = arguments.set + (["training.resume_from_checkpoint=true"] if arguments.resume else [])
    run.train(load_recipe(arguments.recipe, overrides), force=arguments.force)


def evaluate(arguments: Namespace) -> None:
    """Scores a checkpoint on parallel text."""
    from .data import group_references
    from .evaluation import load_metric, score_texts

    _check_output(arguments.output, arguments.data)
    state = _join_processes(arguments)
    edges = LENGTH_EDGES if arguments.by_length == [] else arguments.by_length or ()
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"--by-length: expected numbers that rise, got {' '.join(map(str, edges))}")
    metrics = {name: load_metric(name, **_metric_options(arguments, name)) for name in arguments.metrics}
    pairs = _read_pairs(arguments)
    if arguments.group_references:
        pairs = group_references(pairs)
    references = pairs["references" if arguments.group_references else "target"]
    translator = _load_bulk_translator(arguments, state=state, **_read_replacements(arguments.replace_unknown))
    lines = cut_long_lines(pairs["source"], arguments.max_characters, arguments.data[0])
    windows = _with_progress(translate_lines(lines, translator, arguments.batch_tokens, state), state)
    translations = list(itertools.chain.from_iterable(windows))
    if not state.is_main_process:
        return
    scores = score_texts(pairs["source"], translations, references, metrics, edges)
    text = json.dumps(scores, indent=2, ensure_ascii=False)
    print(text)
    if arguments.output:
        _write_file(arguments.output, f"{text}\n".encode())


def _metric_options(arguments: Namespace, name: str) -> dict:
    tokenize = {"tokenize": arguments.tokenize} if arguments.tokenize and name == "sacrebleu" else {}
    return {"lowercase": arguments.lowercase, **tokenize}


def _read_pairs(arguments: Namespace) -> Any:
    from .data import read_pairs

    if len(arguments.data) > 2:
        raise ValueError(
            f"expected one file of pairs, or a source file and a target file; got {len(arguments.data)} files"
        )
    aligned = len(arguments.data) == 2
    data = {"source": arguments.data[0], "target": arguments.data[1]} if aligned else arguments.data[0]
    return read_pairs(
        data,
        source_column=arguments.source_column,
        target_column=arguments.target_column,
        features_column=arguments.features_column,
        features_separator=arguments.features_separator,
        file_format=arguments.file_format,
        on_bad_rows=arguments.on_bad_rows,
    )


def translate(arguments: Namespace) -> None:
    """Translates lines of text."""
    if arguments.text and arguments.input:
        raise ValueError("expected sentences or --input, got both")
    if arguments.ray:
        _translate_on_cluster(arguments)
        return
    for number, sentence in enumerate(arguments.text, 1):
        _check_text(sentence, f"sentence {number}")
    if arguments.split and not _may_be_split(arguments):
        raise ValueError("--split is for texts as arguments, with --format text and without --n-best; leave it out")
    _check_output(arguments.output)
    state = _join_processes(arguments)
    name = arguments.input or ("sentence" if arguments.text else "standard input")
    if state.num_processes > 1 and not (arguments.text or os.path.isfile(arguments.input or "")):
        raise ValueError(f"{name}: every process reads all lines; expected a file (--input), or start one process")
    with contextlib.ExitStack() as stack:
        file = sys.stdin.buffer if arguments.input is None else stack.enter_context(open(arguments.input, "rb"))
        options = _read_replacements(arguments.replace_unknown)
        translator = _load_bulk_translator(arguments, arguments.n_best, state, **options)
        language = _split_language(arguments, translator)

        def open_lines() -> Iterator[str]:
            if arguments.text:
                return iter(arguments.text)
            if file.seekable() and arguments.input:
                file.seek(0)
            return read_lines(file, name)

        def windows(lines: Iterable[str], start: int = 1) -> Iterator[list[str]]:
            lines = cut_long_lines(lines, arguments.max_characters, name, start)
            if language is not None:
                for text in lines:
                    yield translate_text(translator, text, language, arguments.batch_tokens).split("\n")
                return
            scores = {} if arguments.format == "text" else {"return_scores": True}
            count = arguments.n_best
            found = search_lines(lines, translator, arguments.batch_tokens, count, name, start, state, **scores)
            for window in _with_progress(found, state):
                numbered = enumerate(window, start)
                yield [line for part in numbered for line in format_hypotheses(arguments.format, *part)]
                start += len(window)

        output = None
        if state.is_main_process and not _is_streamed(arguments.output):
            output = ResumableOutput(arguments.output, _translation_settings(arguments), open_lines)
        (done,) = broadcast_object_list([output.lines.count if output else 0])
        if output:
            if done:
                print(f"going on after line {done} of {output.partial}", file=sys.stderr)
            output.write(windows(output.lines, done + 1))
        elif state.is_main_process:
            _stream(arguments.output, windows(open_lines()))
        else:
            # the others search, and the first has what they find
            collections.deque(windows(itertools.islice(open_lines(), done, None), done + 1), maxlen=0)


def _split_language(arguments: Namespace, translator: Any) -> str | None:
    """Returns the language whose sentences arguments are split into, or `None` for texts that are left whole."""
    if arguments.no_split or not _may_be_split(arguments):
        return None
    return arguments.split or language_of(translator)


def _may_be_split(arguments: Namespace) -> bool:
    return bool(arguments.text) and arguments.format == "text" and arguments.n_best == 1


def _is_streamed(path: str | None) -> bool:
    return path is None or (os.path.exists(path) and not os.path.isfile(path))


def _stream(path: str | None, windows: Iterable[list[str]]) -> None:
    """Writes lines as they come to standard output, or to what is no file."""
    with contextlib.nullcontext(sys.stdout.buffer) if path is None else open(path, "wb") as target:
        for lines in windows:
            target.write(encode_lines(lines))
            target.flush()


def score(arguments: Namespace) -> None:
    """Scores given translations."""
    from .scoring import format_score, score_pairs

    _check_output(arguments.output)
    data = _read_pairs(arguments)
    pairs = list(zip(data["source"], data["target"], strict=True))
    translator = _load_translator(arguments.models, None)
    scores = score_pairs(pairs, translator, arguments.batch_tokens)
    lines = (
        format_score(arguments.format, number, source, target, scored)
        for number, ((source, target), scored) in enumerate(zip(pairs, scores, strict=True), 1)
    )
    if _is_streamed(arguments.output):
        _stream(arguments.output, ([line] for line in lines))
    else:
        _write_file(arguments.output, encode_lines(lines))


def lexicon(arguments: Namespace) -> None:
    """Writes a pronunciation dictionary."""
    from .lexicon import distinct_words, format_entry, pronounce, read_dictionary

    _check_output(arguments.output)
    dictionary = {}
    if arguments.dictionary:
        dictionary = read_dictionary(_read_lines(arguments.dictionary), arguments.dictionary)
    with sys.stdin.buffer if arguments.words == "-" else open(arguments.words, "rb") as file:
        words = distinct_words(read_lines(file, arguments.words), arguments.words)
        translator = _load_bulk_translator(arguments, arguments.n_best)
        entries = pronounce(words, translator, dictionary, arguments.batch_tokens, arguments.n_best)
        silent: list[str] = []

        def windows() -> Iterator[list[str]]:
            for entry in entries:
                silent.extend([] if entry.pronunciations else [entry.word])
                yield format_entry(arguments.format, entry)

        if _is_streamed(arguments.output):
            _stream(arguments.output, windows())
        else:
            ResumableOutput(arguments.output, None, lambda: iter(())).write(windows())
    if silent:
        named = ", ".join(silent[:NAMED_WORDS]) + (" ..." if len(silent) > NAMED_WORDS else "")
        print(f"{len(silent)} words left out, which the model cannot say: {named}", file=sys.stderr)


def _translate_on_cluster(arguments: Namespace) -> None:
    """Translates files by the machines of a Ray cluster."""
    if not (arguments.input and arguments.output):
        raise ValueError("--ray translates files into a folder; expected --input and --output")
    models = _model_names(arguments.models)
    if len(models) > 1:
        raise ValueError(f"--ray takes one model, got {len(models)}")
    given = {
        "replace-unknown": arguments.replace_unknown,
        "n-best": arguments.n_best > 1,
        "format": arguments.format != "text",
        "split": arguments.split,
        "keep-loops": arguments.keep_loops,
        "max-new-tokens": arguments.max_new_tokens,
    }
    if refused := [f"--{name}" for name, is_given in given.items() if is_given]:
        raise ValueError(f"--ray does not take {' and '.join(refused)}; translate without it")
    try:
        import ray

        from .inference.cluster import translate_files
    except ModuleNotFoundError as error:
        raise ImportError(f"--ray needs the extra ray: pip install 'hf-rnn-attn[ray]' ({error})") from error
    settings = {
        "model": os.path.abspath(find_model(models[0])),
        "beams": arguments.beams,
        "int8": arguments.int8,
        "tokens_per_batch": arguments.batch_tokens,
        "max_characters": arguments.max_characters,
    }
    with ray.init(arguments.ray, log_to_driver=False):
        translate_files(arguments.input, arguments.output, settings=settings, column=arguments.text_column)


def _translation_settings(arguments: Namespace) -> dict[str, Any] | None:
    """Returns what the translations of a call depend on, or `None` if its source cannot be read a second time."""
    if arguments.input is None or not os.path.isfile(arguments.input):
        return None
    names = ("beams", "int8", "batch_tokens", "max_characters", "replace_unknown")
    names += ("n_best", "format", "keep_loops", "max_new_tokens")
    files = [file for name in _model_names(arguments.models) for file in sorted(find_model(name).iterdir())]
    if isinstance(arguments.replace_unknown, str):
        files.append(Path(arguments.replace_unknown))
    return {
        **{name: getattr(arguments, name) for name in names},
        "version": __version__,
        "files": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()],
    }


def _read_replacements(dictionary: bool | str | None) -> dict:
    """Returns the pipeline's argument for `--replace-unknown`."""
    if dictionary is None or isinstance(dictionary, bool):
        return {"replace_unknown": True} if dictionary else {}
    entries: dict[str, str] = {}
    with open(dictionary, "rb") as file:
        for number, line in enumerate(read_lines(file, dictionary), 1):
            word, tab, translation = line.partition("\t")
            if not (word and tab and translation):
                raise ValueError(f"{dictionary}:{number}: expected word, tab, translation; got {line!r}")
            if entries.setdefault(word, translation) != translation:
                raise ValueError(
                    f"{dictionary}:{number}: expected one translation of {word!r}, got {translation!r} after "
                    f"{entries[word]!r}; keep one of the lines"
                )
            if len(entries) > DICTIONARY_ENTRIES:
                raise ValueError(f"{dictionary}: expected at most {DICTIONARY_ENTRIES:,} words, got more")
    return {"replace_unknown": entries}


def attention(arguments: Namespace) -> None:
    """Shows the attention behind translations."""
    from .inspection import inspect_translations
    from .visualization import AttentionPage, plot_attention

    _check_output(arguments.output)
    suffix = Path(arguments.output).suffix.lower()
    if suffix not in (".html", *PICTURES):
        raise ValueError(f"{arguments.output}: expected a name that ends in .html, {', '.join(PICTURES)}")
    if suffix != ".html" and len(arguments.text) > 1:
        raise ValueError(f"{arguments.output}: a picture shows one sentence, got {len(arguments.text)}; write .html")
    if suffix == ".html" and arguments.words:
        raise ValueError(f"{arguments.output}: --words is for pictures; a page shows pieces and words")
    for text in [*arguments.text, *(arguments.translation or [])]:
        _check_text(text, "the sentence")
        if not text.strip() or len(text) > DRAWN_CHARACTERS:
            raise ValueError(f"expected a sentence of 1 to {DRAWN_CHARACTERS:,} characters, got {len(text):,}")
    translator = _load_translator(arguments.models, arguments.beams, output_attentions=True)
    inspections = inspect_translations(translator, arguments.text, arguments.translation)
    first, best = inspections[0], [inspection.hypotheses[0] for inspection in inspections]
    title = arguments.title or (f"{first.source} → {best[0].text}" if len(best) == 1 else AttentionPage.title)
    if suffix == ".html":
        content = AttentionPage(inspections, title).html.encode()
    else:
        words = (best[0].word_attention, first.source_words, best[0].words)
        pieces = (best[0].attention, first.source_tokens, best[0].tokens)
        drawn = io.BytesIO()
        plot_attention(*(words if arguments.words else pieces), title=title).savefig(drawn, format=suffix[1:])
        content = drawn.getvalue()
    _write_file(arguments.output, content)
    print(*(hypothesis.text for hypothesis in best), arguments.output, sep="\n")


def align(arguments: Namespace) -> None:
    """Writes word alignments."""
    from .alignment import AlignmentErrorRate, align, format_links, intersect, learn_dictionary

    texts = [name for name in (arguments.source, arguments.target, arguments.gold) if name]
    _check_output(arguments.output, texts)
    _check_output(arguments.dictionary, [*texts, *([arguments.output] if arguments.output else [])])
    sources, targets, gold = _read_aligned(arguments)
    alignments = align(*load_model(arguments.model), sources, targets, arguments.batch_size)
    if arguments.reverse:
        other = align(*load_model(arguments.reverse), targets, sources, arguments.batch_size)
        alignments = intersect(alignments, other)
    alignments = list(alignments)
    lines = [format_links(links) for links in alignments]
    if arguments.output is None:
        sys.stdout.buffer.write(encode_lines(lines))
    else:
        _write_file(arguments.output, encode_lines(lines))
    if arguments.dictionary:
        entries = learn_dictionary(sources, targets, alignments).items()
        _write_file(arguments.dictionary, encode_lines(f"{word}\t{linked}" for word, linked in entries))
    if gold:
        scores = AlignmentErrorRate().compute(predictions=lines, references=gold)
        print(json.dumps(scores), file=sys.stderr)


def _read_aligned(arguments: Namespace) -> tuple[list[str], list[str], list[str]]:
    """Returns sources, targets and, where there are any, the links made by hand, all as many."""
    from .alignment import parse_links

    paths = [arguments.source, arguments.target, *([arguments.gold] if arguments.gold else [])]
    texts = [_read_lines(path) for path in paths]
    if len(set(map(len, texts))) > 1 or not texts[0]:
        counts = ", ".join(f"{path} has {len(text)}" for path, text in zip(paths, texts, strict=True))
        raise ValueError(f"expected files of as many lines, and at least one; {counts}")
    for path, text in zip(paths[:2], texts, strict=False):
        for number, line in enumerate(text, 1):
            if len(line) > arguments.max_characters:
                raise ValueError(
                    f"{path}:{number}: expected at most {arguments.max_characters} characters, got {len(line)}; "
                    "shorten the pair, or raise --max-characters"
                )
    for number, line in enumerate(texts[2] if arguments.gold else [], 1):
        try:
            parse_links(line)
        except ValueError as error:
            raise ValueError(f"{arguments.gold}:{number}: {error}") from error
    return texts[0], texts[1], texts[2] if arguments.gold else []


def average(arguments: Namespace) -> None:
    """Writes the mean of checkpoints."""
    from .training import average_checkpoints, select_checkpoints

    _check_output_folder(arguments.output)
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
    with _folder_of(arguments.output) as folder:
        average_checkpoints(paths, folder)
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
    from .export import export_graphs, quantize_graphs

    _check_output_folder(arguments.output)
    if arguments.int8 and arguments.format != "onnx":
        raise ValueError(f"--int8 quantises ONNX graphs, got --format {arguments.format}; leave one of them out")
    model, tokenizer = load_model(*_model_names([arguments.model]))
    if model.config.model_type != RnnAttnConfig.model_type:
        raise ValueError(f"{arguments.model}: expected a model of the type rnn_attn, got {model.config.model_type}")
    with _folder_of(arguments.output) as folder:
        export_graphs(model, arguments.format).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if arguments.int8:
            quantize_graphs(folder)
    print(f"encoder and decoder step written to {arguments.output}")


def import_checkpoint(arguments: Namespace) -> None:
    """Turns a checkpoint of another toolkit into one of ours."""
    from .importers.joeynmt import load_joeynmt
    from .importers.opennmt import load_opennmt

    _check_output_folder(arguments.output)
    load = {"opennmt": load_opennmt, "joeynmt": load_joeynmt}[arguments.toolkit]
    model, tokenizer = load(arguments.checkpoint, detokenize=arguments.detokenize)
    with _folder_of(arguments.output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    print(f"model and tokenizer written to {arguments.output}")


def demo(arguments: Namespace) -> None:
    """Trains, evaluates and uses a small model on dates."""
    from .demo.demo import run_demo

    _check_output_folder(arguments.output)
    run_demo(arguments.output)


def _load_translator(models: Sequence[str] | None, beams: int | None, int8: bool = False, **options):
    """Returns a translation pipeline of one checkpoint, of several together, or of the one in the package."""
    models = _model_names(models)
    if int8 and len(models) > 1:
        raise ValueError(f"--int8 takes one model, got {len(models)}; translate without it")
    if len(models) == 1:
        model, tokenizer = load_model(models[0], **({"dtype": "float32"} if int8 else {}))
    else:
        for name in models:
            try:
                find_model(name)
            except (OSError, ValueError) as error:
                hint = "what follows --model is the name of a model: put sentences and files before it"
                raise ValueError(f"{error}; {hint}") from error
        model, tokenizer = load_ensemble(models)
    if options.keys() & {"replace_unknown", "output_attentions"} and _lacks_attention(model):
        raise ValueError(f"{models[0]}: expected a model with attention, this one has none; choose another --model")
    options |= {} if beams is None else {"num_beams": beams}
    options |= {"device": "cpu"} if int8 else {}
    translator = translation_pipeline(model=model, tokenizer=tokenizer, **options)
    if int8:
        quantize(translator.model)
    return translator


def _lacks_attention(model: Any) -> bool:
    return getattr(model.config, "attention_score", None) == "none"


def _model_names(models: Sequence[str] | None) -> list[str]:
    bundled = {"-".join(languages): folder for languages, folder in BUNDLED.items()}
    return [bundled.get(name, name) for name in models or [next(iter(bundled))]]


def _join_processes(arguments: Namespace) -> PartialState:
    """Returns the processes that `accelerate launch` or `torchrun` has started."""
    state = join_processes(cpu=arguments.int8)
    if not state.is_main_process:
        # all of them read, and one says what it has read
        getLogger(f"{__package__}.inference.bulk").setLevel(ERROR)
    return state


def _load_bulk_translator(arguments: Namespace, n_best: int = 1, state: PartialState | None = None, **options):
    """Returns a translation pipeline with the options of the command line, and beams for `n_best` outputs."""
    if n_best > (arguments.beams or n_best):
        raise ValueError(f"--n-best {n_best}: expected at least as many --beams, got {arguments.beams}; raise --beams")
    options |= {"int8": True} if arguments.int8 else {}
    options |= {"device": state.device} if state is not None and state.num_processes > 1 else {}
    options |= {"avoid_loops": False} if arguments.keep_loops else {}
    options |= {"max_new_tokens": arguments.max_new_tokens} if arguments.max_new_tokens else {}
    beams = arguments.beams or n_best
    if arguments.batch_tokens * beams > MOST_BEAM_TOKENS:
        raise ValueError(
            f"--batch-tokens {arguments.batch_tokens} with {beams} beams: expected at most "
            f"{MOST_BEAM_TOKENS:,} tokens times beams; lower one of them"
        )
    translator = _load_translator(arguments.models, arguments.beams, **options)
    if n_best > 1 and arguments.beams is None:
        config = translator.model.generation_config
        config.num_beams = max(n_best, config.num_beams or DEFAULT_NUM_BEAMS)
    return translator


def _with_progress(windows: Iterable[list[Any]], state: PartialState) -> Iterator[list[Any]]:
    with tqdm(unit="line", desc="translating", disable=None if state.is_main_process else True) as progress:
        for translations in windows:
            yield translations
            progress.update(len(translations))


def _read_lines(path: str) -> list[str]:
    with open(path, "rb") as file:
        return list(read_lines(file, path))


def _check_text(text: str, name: str) -> None:
    """Raises for an argument whose bytes were no UTF-8, which Python keeps as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: expected UTF-8, got {text!r}") from error


def _check_output(path: str | None, others: Sequence[str] = ()) -> None:
    """Raises for a file that cannot be written, or that is one of `others`, before hours are spent on its content."""
    if path is None:
        return
    for other in others:
        if os.path.realpath(path) == os.path.realpath(other) and path not in STREAMS:
            raise ValueError(f"{path}: expected another file to write than {other}, which it would replace")
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path or "."):
        raise ValueError(f"{path}: expected a file to write, got a folder")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: no such folder to write to: {folder}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise PermissionError(f"{path}: no permission to write there")


def _check_output_folder(path: str) -> None:
    """Raises for a folder that cannot be made or written to."""
    parent = Path(os.path.realpath(path))
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{path}: expected a folder to write, and {parent} is a file")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{path}: no permission to write there")


def _write_file(path: str, content: bytes) -> None:
    """Writes a file that takes its place when it is complete; what is no file, such as a pipe, as it is."""
    if os.path.exists(path) and not os.path.isfile(path):
        Path(path).write_bytes(content)
        return
    path = os.path.realpath(path)
    new = Path(f"{path}.new")
    try:
        new.write_bytes(content)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder_of(path: str) -> Iterator[Path]:
    """Gives a folder whose files take their place in `path` when all are written, and not at all after an error."""
    path = os.path.realpath(path)
    new = Path(f"{path}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        Path(path).mkdir(exist_ok=True)
        for file in new.iterdir():
            os.replace(file, Path(path) / file.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
