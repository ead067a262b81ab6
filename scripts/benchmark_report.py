# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark writes: a table beside the two floors of the machine, and plots.

Knows the figures and the sizes they belong to; measures nothing.
"""

import statistics
from pathlib import Path


OURS = "hf_rnn_attn"
# systems: the worker, and what it calls the task
SYSTEMS = {
    OURS: ("ours", "{}"),
    f"{OURS} bf16": ("ours", "{} bf16"),
    f"{OURS} int8": ("ours", "{} int8"),
    "OpenNMT-py": ("opennmt", "{}"),
    "JoeyNMT": ("joeynmt", "{}"),
    "MarianMT": ("marian", "{}"),
    "CTranslate2": ("ctranslate2", "{}"),
    "CTranslate2 int8": ("ctranslate2", "{} int8"),
    "bare loop": ("bare", "{}"),
}
GROUPS = {
    "training": "training, {rows} sentences at a time, source + target tokens",
    "greedy": "greedy, {rows} sentences at a time",
    "beam": "beam {beams}, {rows} sentences at a time",
    "single": "greedy, one sentence at a time",
}
# for these the floors count the right work; the others have another architecture or another precision
SAME_WORK = (OURS, "OpenNMT-py", "JoeyNMT", "bare loop")
# workers of systems whose training is not compared: a Transformer's is another, and CTranslate2 has none
DECODING_ONLY = ("marian", "ctranslate2")


def decoder_weights(sizes) -> int:
    """Weights of one decoder step: the LSTM, W_a, W_c and W_s."""
    memory, hidden = 2 * sizes["encoder"], sizes["decoder"]
    cell = 4 * hidden * (sizes["embedding"] + 2 * hidden)
    return cell + memory * hidden + (memory + hidden) * hidden + hidden * sizes["vocabulary"]


def encoder_weights(sizes) -> int:
    return 2 * 4 * sizes["encoder"] * (sizes["embedding"] + sizes["encoder"])


def operations(sizes, source: int, target: int, rows: int = 1) -> int:
    """Of a forward pass over a sentence pair, `rows` times in the decoder; lengths with their ends."""
    step = decoder_weights(sizes) + 2 * source * 2 * sizes["encoder"]
    return 2 * (source * encoder_weights(sizes) + rows * target * step)


def floors(group: str, workload: dict, index: int) -> tuple[int, int]:
    """Operations and bytes of one repeat of a group: what the machine's own matrix product, and reading the weights
    from its memory, would take.

    Operations count real tokens only, and three times the forward pass for training. Bytes are the weights of the
    decoder once a step, those and the gradient's reading of them for training, whose optimizer reads four numbers and
    writes three for each parameter.
    """
    sizes, length, batches = workload["sizes"], workload["length"], workload["training"]
    weights = 4 * decoder_weights(sizes)
    if group == "training":
        batch = batches[index % len(batches)]
        work = 3 * sum(operations(sizes, len(source) + 1, len(target) + 1) for source, target in batch)
        recurrent = weights - 4 * sizes["decoder"] * sizes["vocabulary"]
        steps = max(len(target) + 1 for _, target in batch)
        return work, 2 * steps * recurrent + 4 * 7 * workload["parameters"]
    rows = workload["beams"] if group == "beam" else 1
    sentences = workload["single"] if group == "single" else workload["decoding"][index % len(batches)]
    calls = len(sentences) if group == "single" else 1
    return sum(operations(sizes, len(row) + 1, length, rows) for row in sentences), calls * length * weights


def rate(samples: list[dict]) -> float:
    return statistics.median(sample["tokens"] / sample["seconds"] for sample in samples)


def ratio(ours: list[dict], other: list[dict]) -> float:
    """How many times as fast, as the median over the rounds."""
    return statistics.median(b["seconds"] / a["seconds"] for a, b in zip(ours, other, strict=True))


def share_of_floor(samples, machine, amounts) -> float:
    """The time that `amounts` would take at the machine's rate, as a part of the time that was taken."""
    best = rate(machine)
    return statistics.median(amount / best / sample["seconds"] for sample, amount in zip(samples, amounts, strict=True))


def table_rows(group: str, samples: dict, workload: dict, absent: dict):
    work = [floors(group, workload, sample["index"]) for sample in samples["sgemm"]]
    amounts = dict(zip(("sgemm", "bandwidth"), zip(*work, strict=True), strict=True))
    for system, (worker, _) in SYSTEMS.items():
        if group == "training" and worker in DECODING_ONLY:
            continue
        if worker in absent:
            yield [system, "not measured", "", "", ""]
        elif system in samples:
            shares = ["", ""]
            if system in SAME_WORK:
                shares = [f"{share_of_floor(samples[system], samples[name], amounts[name]):.0%}" for name in amounts]
            runs = samples[system]
            yield [system, f"{rate(runs):,.0f}", f"{ratio(samples[OURS], runs):.2f}", *shares]


def write_report(results: dict, workload: dict, command: str) -> str:
    settings, machine, absent = results["workload"], results["machine"], results["not measured"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, Python {machine['python']}, torch {machine['torch']}.",
        f"{settings['parameters'] / 1e6:.1f} million parameters, outputs of {settings['length']} tokens, lengths: "
        f"{settings['lengths from']}; {settings['padding of training batches']:.1%} of a training batch is padding.",
        "",
        f"```sh\n{command}\n```",
        "",
        "Medians; × is how many times as fast as that system ours is, in the median round. The last two columns are",
        "the time of the arithmetic at the machine's sgemm rate, and of reading the weights at its memory's rate, as",
        "parts of the time taken; weights that stay in a cache can pass 100 %.",
    ]
    for group, samples in results["groups"].items():
        rates = f"sgemm {rate(samples['sgemm']) / 1e9:.0f} GFLOP/s, memory {rate(samples['bandwidth']) / 1e9:.1f} GB/s"
        lines += ["", f"## {GROUPS[group].format(**settings)}", "", f"{rates}.", ""]
        rows = [["system", "tokens/s", "×", "arithmetic", "bytes"], ["---"] * 5]
        rows += table_rows(group, samples, workload, absent)
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += [f"\n{name}: not measured, {reason}." for name, reason in absent.items()]
    return "\n".join(lines + growth_lines(results) + startup_lines(results)) + "\n"


def growth_lines(results: dict) -> list[str]:
    if "growth" not in results:
        return []
    lines = ["", "## As the work grows", "", "Milliseconds (median) of a training step / of a greedy translation.", ""]
    for axis, kinds in results["growth"].items():
        cells = [
            f"{value}: {statistics.median(kinds['training'][value]) * 1e3:.0f} / "
            f"{statistics.median(kinds['greedy'][value]) * 1e3:.0f}"
            for value in kinds["training"]
        ]
        lines.append(f"* {axis}: {', '.join(cells)}")
    memory = ", ".join(f"{length} tokens: {size:.1f}" for length, size in results["memory"].items())
    return [*lines, f"* MiB that the process grows by while it decodes 16 sentences: {memory}"]


def startup_lines(results: dict) -> list[str]:
    times = results.get("startup", {})
    lines = ["", "## Start-up", ""] if times else []
    return lines + [f"* {name}: {statistics.median(seconds):.1f} s" for name, seconds in times.items()]


def draw(results: dict, folder: Path):
    if results["groups"]:
        draw_speeds(results["groups"], results["workload"], folder / "speed.png")
    if "growth" in results:
        draw_growth(results["growth"], results["memory"], folder / "growth.png")


def draw_speeds(groups: dict, settings: dict, path: Path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.6 + 2.2 * len(groups)), layout="constrained")
    for axes, (group, samples) in zip(figure.subplots(len(groups), squeeze=False)[:, 0], groups.items(), strict=True):
        systems = [system for system in SYSTEMS if system in samples]
        speeds = [rate(samples[system]) for system in systems]
        colours = ["tab:orange" if system.startswith(OURS) else "tab:blue" for system in systems]
        axes.bar_label(axes.barh(systems, speeds, color=colours), fmt="{:,.0f}", padding=2)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(GROUPS[group].format(**settings), fontsize="medium")
        axes.set_xlabel("tokens/s")
    figure.savefig(path, dpi=120)


def draw_growth(growth: dict, memory: dict, path: Path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    places = list(figure.subplots(2, 3).flat)
    for axes, (axis, kinds) in zip(places, growth.items(), strict=False):
        for kind, seconds in kinds.items():
            values = list(seconds)
            axes.plot(values, [statistics.median(seconds[value]) for value in values], "o-", label=kind)
        top, power = statistics.median(kinds["training"][values[-1]]), 2 if axis == "hidden" else 1
        line = [top * (value / values[-1]) ** power for value in values]
        axes.plot(values, line, ":", color="grey", label="quadratic" if power == 2 else "linear")
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds")
        label_values(axes, values)
        axes.legend(fontsize="small")
    places[-1].plot(list(memory), list(memory.values()), "o-")
    places[-1].set(xscale="log", xlabel="target", ylabel="growth of the process, MiB")
    places[-1].set_ylim(0, 1.2 * max(1, *memory.values()))
    label_values(places[-1], list(memory))
    figure.savefig(path, dpi=120)


def label_values(axes, values: list[int]):
    axes.set_xticks(values, labels=map(str, values), fontsize="small", rotation=45 if len(values) > 6 else 0)
    axes.set_xticks([], minor=True)
