# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Speed of the package beside its peers, in one run on one machine: a table, the raw figures, and plots.

    python scripts/benchmark.py runs/benchmark --opennmt-python OPENNMT/bin/python --joeynmt-python JOEYNMT/bin/python
    python scripts/benchmark.py --quick

Each system runs in a process of its own that stays alive; they take turns, one repeat each, so that a change of the
machine's speed meets all of them. Models have random weights and equal sizes, batches are the same, every output has
the same length. Only real tokens count, padding never does. A system whose Python is not given is not measured. Holds
the work and the measuring; benchmark_report.py makes tables and plots of it, and benchmark_workers/ does the work.
"""

import argparse
import functools
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from benchmark_report import GROUPS, SYSTEMS, draw, write_report


HERE = Path(__file__).parent
WORKERS = HERE / "benchmark_workers"
SIZES = {"vocabulary": 7900, "embedding": 256, "encoder": 256, "decoder": 512}
GROWTH = {
    "source": [8, 32, 128, 512, 1024, 2048, 4096],
    "target": [8, 32, 128, 512, 1024, 2048, 4096],
    "batch": [1, 4, 16, 64, 256, 1024],
    "vocabulary": [1000, 4000, 16000, 64000],
    "hidden": [128, 256, 512, 1024, 2048],
}
GROWTH_SHAPE = {"source": 16, "target": 16, "batch": 8, "vocabulary": 8000, "hidden": 512}
SMALL_INPUT = "line.txt"
MEMORY_LENGTHS = [8, 64, 512, 2048]
# the least speed of ours relative to the bare loop that `--quick` accepts, on any machine
LIMITS = {"training": 1.0, "greedy": 0.8, "beam": 0.75, "single": 0.6}


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    workload = make_workload(arguments)
    if arguments.quick:
        return guard(workload, arguments.repeats or 5)
    if arguments.output is None:
        raise SystemExit("benchmark.py: error: name the folder to write, or choose --quick")
    if arguments.device != "cpu" and arguments.only != ["training"]:
        raise SystemExit("benchmark.py: error: on a GPU the training alone is compared; add --only training")
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = {"machine": describe_machine(arguments), "workload": describe(workload), "groups": {}}
    chosen = [group for group in GROUPS if group in arguments.only]
    repeats = arguments.repeats or 9
    with Workers(workload, python_of(arguments)) as workers:
        for group in chosen:
            results["groups"][group] = measure_group(workers, group, repeats)
        if "growth" in arguments.only:
            results["growth"], results["memory"] = measure_growth(workers["ours"], workload, min(repeats, 3))
        results["not measured"] = workers.absent
    if "startup" in arguments.only:
        results["startup"] = measure_startup(min(repeats, 3))
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    report = write_report(results, workload, " ".join(sys.argv))
    (arguments.output / "report.md").write_text(report, encoding="utf-8")
    draw(results, arguments.output)
    print(report)
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, nargs="?", help="folder for report.md, results.json and the plots")
    parser.add_argument("--quick", action="store_true", help="only compare ours with the bare loop; fails below limits")
    parser.add_argument("--only", nargs="+", choices=[*GROUPS, "growth", "startup"], help="groups; default: all")
    parser.add_argument("--repeats", type=int, help="of each measurement; default 9, with --quick 5")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda with --only training")
    parser.add_argument("--rows", type=int, default=64, help="sentences of a batch")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--length", type=int, default=16, help="tokens of every output")
    parser.add_argument("--data", default=os.environ.get("HF_RNN_ATTN_DATA", "../shared/data"), type=Path)
    for peer in ("opennmt", "joeynmt", "ctranslate2"):
        parser.add_argument(f"--{peer}-python", help="Python of an environment with that toolkit and our torch")
    arguments = parser.parse_args()
    arguments.only = arguments.only or [*GROUPS, "growth", "startup"]
    return arguments


def python_of(arguments) -> dict[str, str | None]:
    given = {peer: getattr(arguments, f"{peer}_python") for peer in ("opennmt", "joeynmt", "ctranslate2")}
    if arguments.device != "cpu":
        return {"bare": sys.executable, "ours": sys.executable, "opennmt": given["opennmt"]}
    return {"bare": sys.executable, "ours": sys.executable, "marian": sys.executable} | given


def make_workload(arguments) -> dict:
    """The batches that every system gets: rows of random words, of lengths like Multi30k's."""
    generator = random.Random(0)
    lengths, origin = read_lengths(arguments.data / "multi30k", generator)
    # sorted as every toolkit sorts: batches of like length
    lengths = sorted(generator.sample(lengths, 16 * arguments.rows))
    pairs = [tuple(random_words(generator, length) for length in pair) for pair in lengths]
    batches = [pairs[start : start + arguments.rows] for start in range(0, len(pairs), arguments.rows)]
    generator.shuffle(batches)
    sources = [[source for source, _ in batch] for batch in batches]
    return {
        "threads": arguments.threads,
        "device": arguments.device,
        "sizes": SIZES,
        "parameters": count_parameters(SIZES),
        "lengths from": origin,
        "training": batches,
        "decoding": sources,
        "single": [rows[0] for rows in sources[:8]],
        "beams": arguments.beams,
        "length": arguments.length,
        "growth": GROWTH,
        "growth_shape": GROWTH_SHAPE,
        "memory": MEMORY_LENGTHS,
    }


def read_lengths(folder: Path, generator) -> tuple[list[tuple[int, int]], str]:
    """Lengths of source and target in words and signs, and where they come from."""
    paths = [folder / f"train.{language}" for language in ("de", "en")]
    if all(path.exists() for path in paths):
        sides = ([len(re.findall(r"\w+|[^\w\s]", line)) for line in path.open(encoding="utf-8")] for path in paths)
        return [pair for pair in zip(*sides, strict=True) if min(pair) > 0], "Multi30k, German to English"
    lengths = [max(4, round(generator.gauss(13, 4))) for _ in range(30000)]
    return [(n, max(3, n + generator.randint(-2, 2))) for n in lengths], "synthetic, of mean 13 and deviation 4"


def random_words(generator, count: int) -> list[int]:
    # the lowest and the highest numbers are special in one toolkit or another
    return [generator.randrange(4, SIZES["vocabulary"] - 1) for _ in range(count)]


def describe(workload) -> dict:
    padded = sum(len(batch) * max(len(side[i]) + 1 for side in batch) for batch in workload["training"] for i in (0, 1))
    real = sum(len(side) + 1 for batch in workload["training"] for pair in batch for side in pair)
    kept = ("threads", "sizes", "parameters", "lengths from", "beams", "length")
    rows = len(workload["training"][0])
    return {name: workload[name] for name in kept} | {"rows": rows, "padding of training batches": 1 - real / padded}


def count_parameters(sizes) -> int:
    sys.path.insert(0, str(WORKERS))
    from worker_ours import new_model

    return new_model(sizes).num_parameters()


class Workers:
    """The processes, by name; `absent` says why a system is not measured."""

    def __init__(self, workload: dict, pythons: dict[str, str | None]):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "workload.json")
        path.write_text(json.dumps(workload), encoding="utf-8")
        self.processes, self.tasks, self.absent = {}, {}, {}
        for name, python in pythons.items():
            self.start(name, python, path)

    def start(self, name: str, python: str | None, path: Path):
        if python is None:
            self.absent[name] = f"no --{name}-python given"
            return
        script = WORKERS / f"worker_{name}.py"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        with (Path(self.folder.name) / f"{name}.log").open("w") as log:
            process = subprocess.Popen([python, str(script), str(path)], stderr=log, **pipes)
        greeting = process.stdout.readline()
        if not greeting:
            process.communicate()
            last = (Path(self.folder.name) / f"{name}.log").read_text().strip().splitlines()[-1:]
            self.absent[name] = f"it did not start: {' '.join(last)}"
            return
        self.processes[name], self.tasks[name] = process, json.loads(greeting)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.communicate()
        self.folder.cleanup()

    def __getitem__(self, name: str) -> Callable[[str, int], dict]:
        def ask(task: str, index: int) -> dict:
            process = self.processes[name]
            process.stdin.write(json.dumps({"task": task, "index": index}) + "\n")
            reply = process.stdout.readline()
            if not reply:
                log = (Path(self.folder.name) / f"{name}.log").read_text()
                raise RuntimeError(f"the worker {name} failed at {task}:\n{log}")
            return json.loads(reply) | {"index": index}

        return ask

    def systems_of(self, group: str) -> dict[str, Callable[[int], dict]]:
        """What to call for a repeat of a group by each system, and for the two rates of the machine."""
        calls = {system: (name, pattern.format(group)) for system, (name, pattern) in SYSTEMS.items()}
        calls = {system: call for system, call in calls.items() if call[1] in self.tasks.get(call[0], ())}
        calls |= {rate: ("bare", rate) for rate in ("sgemm", "bandwidth")}
        return {system: functools.partial(self[name], task) for system, (name, task) in calls.items()}


def measure_group(workers: Workers, group: str, repeats: int) -> dict[str, list[dict]]:
    """All repeats of all systems, in turns; the first of each is thrown away."""
    systems = workers.systems_of(group)
    samples = {system: [] for system in systems}
    for index in range(-1, repeats):
        for system, run in systems.items():
            sample = run(max(index, 0))
            if index >= 0:
                samples[system].append(sample)
        print(f"{group}: {index + 1} of {repeats}", file=sys.stderr, flush=True)
    check_equal_work({system: samples[system] for system in SYSTEMS if system in samples})
    return samples


def check_equal_work(samples: dict[str, list[dict]]):
    counts = {system: [sample["tokens"] for sample in runs] for system, runs in samples.items()}
    if len(set(map(tuple, counts.values()))) > 1:
        raise RuntimeError(f"the systems did not do the same work; tokens: {counts}")


def measure_growth(ask, workload: dict, repeats: int):
    growth = {}
    for axis, values in workload["growth"].items():
        growth[axis] = {kind: {value: [] for value in values} for kind in ("training", "greedy")}
        for value in values:
            for index in range(-1, repeats):
                for kind, seconds in growth[axis].items():
                    taken = ask(f"growth {axis} {value} {kind}", index)["seconds"]
                    # the first builds the model
                    seconds[value] += [taken] if index >= 0 else []
        print(f"growth: {axis}", file=sys.stderr, flush=True)
    ask(f"memory {workload['memory'][0]}", 0)
    return growth, {length: ask(f"memory {length}", 0)["tokens"] / 1024 for length in workload["memory"]}


def measure_startup(repeats: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        save_small_model(folder)
        # what the installed command runs; the package looks at its name
        command = "import sys; sys.argv = ['hf-rnn-attn', *{}]; from hf_rnn_attn.cli import main; main()"
        commands = {
            "import of the model and the pipeline": "from hf_rnn_attn import RnnAttnModel, TranslationPipeline",
            "hf-rnn-attn --help": command.format(["--help"]),
            "first translation by hf-rnn-attn translate": command.format(
                ["translate", "--model", folder, "-i", SMALL_INPUT]
            ),
        }
        times = {name: [] for name in commands}
        for _ in range(repeats):
            for name, code in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder)
                times[name].append(time.perf_counter() - start)
    return times


def save_small_model(folder: str):
    from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, train_tokenizer

    tokenizer = train_tokenizer(["ein hund"], ["a dog"], kind="word")
    config = RnnAttnConfig(vocab_size=len(tokenizer))
    RnnAttnForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Path(folder, SMALL_INPUT).write_text("ein hund\n", encoding="utf-8")


def guard(workload: dict, repeats: int) -> int:
    """Ours against the bare loop in this process; 1 if a ratio is below its limit."""
    import worker_bare
    import worker_ours
    from serving import timed

    ours, bare = (worker.build(workload | {"growth": {}, "memory": []}) for worker in (worker_ours, worker_bare))
    failed = 0
    for group, limit in LIMITS.items():
        ratios = []
        for index in range(-1, repeats):
            seconds = [timed(tasks[group], max(index, 0))["seconds"] for tasks in (ours, bare)]
            ratios += [seconds[1] / seconds[0]] if index >= 0 else []
        ratio = statistics.median(ratios)
        failed |= ratio < limit
        print(f"{group}: {ratio:.2f} of the bare loop's speed, at least {limit}: {'low' if ratio < limit else 'ok'}")
    return failed


def describe_machine(arguments) -> dict:
    return {
        "processor": processor_name() if arguments.device == "cpu" else torch.cuda.get_device_name(),
        "threads": arguments.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor_name() -> str:
    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", path.read_text()) if path.exists() else []
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
