# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What all workers of the benchmark share: one repeat at a time on request, padded batches, the clock.

A worker is a script `worker_NAME.py WORKLOAD.json` with a function `build(workload)` that returns its tasks: functions
of the number of a repeat that do the work and return how many tokens were real. It runs under the Python of the toolkit
that it measures and therefore needs nothing but torch. Knows no toolkit.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


def serve(build: Callable[[dict], dict[str, Callable[[int], int]]]):
    """Answers requests `{"task": NAME, "index": NUMBER}`, one a line on stdin, with seconds and tokens on stdout."""
    # what a toolkit prints goes to stderr
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    workload = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(workload["threads"])
    torch.manual_seed(0)
    tasks = build(workload)
    print(json.dumps(sorted(tasks)), file=replies)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(timed(tasks[request["task"]], request["index"])), file=replies)


def timed(task: Callable[[int], int], index: int) -> dict:
    finish()
    start = time.perf_counter()
    tokens = task(index)
    finish()
    return {"seconds": time.perf_counter() - start, "tokens": tokens}


def finish():
    """Waits until a GPU has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def pad(rows: list[list[int]], value: int) -> torch.LongTensor:
    """Rows of ids as one tensor of shape (rows, longest)."""
    rows = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def decoding_tasks(workload: dict, decode: Callable[[list[list[int]], int], int]) -> dict[str, Callable[[int], int]]:
    """The three decoding tasks of a system.

    Args:
        workload (`dict`): what the benchmark wrote.
        decode (`Callable`): takes rows of words and a beam size, and returns how many tokens it generated for them.
    """
    batches, beams = workload["decoding"], workload["beams"]
    return {
        "greedy": lambda index: decode(batches[index % len(batches)], 1),
        "beam": lambda index: decode(batches[index % len(batches)], beams),
        "single": lambda index: sum(decode([row], 1) for row in workload["single"]),
    }
