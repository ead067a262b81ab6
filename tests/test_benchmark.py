# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The benchmark script: that its counts are honest, by hand, and that what it did not measure it says so."""

import sys
from pathlib import Path

import pytest
import torch


SCRIPTS = Path(__file__).parents[1] / "scripts"
SIZES = {"vocabulary": 20, "embedding": 3, "encoder": 2, "decoder": 5}
# the decoder: an LSTM of 3 + 5 inputs and 5 states, W_a of 4 x 5, W_c of 5 x 9, W_s of 20 x 5
STEP_WEIGHTS = 4 * 5 * (8 + 5) + 20 + 45 + 100
# the encoder, both directions
READ_WEIGHTS = 2 * 4 * 2 * (3 + 2)
WORKLOAD = {
    "threads": 1,
    "device": "cpu",
    "sizes": SIZES,
    "parameters": 1000,
    # two pairs; a pair of 3 and 1 words, and one of 1 and 2
    "training": [[([4, 5, 6], [7]), ([8], [9, 10])]],
    "decoding": [[[4, 5, 6], [8]]],
    "single": [[4, 5, 6], [8], [9]],
    "beams": 3,
    "length": 6,
    "growth": {},
    "memory": [],
}
# the bare loop hands its state over as it is
RUNNABLE = WORKLOAD | {"sizes": SIZES | {"decoder": 4}}


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.syspath_prepend(str(SCRIPTS / "benchmark_workers"))


def test_operations_are_those_of_the_equations():
    from benchmark_report import decoder_weights, encoder_weights, operations

    assert (decoder_weights(SIZES), encoder_weights(SIZES)) == (STEP_WEIGHTS, READ_WEIGHTS)
    # a word read: every weight; a word written: every weight, and scores and context over 4 positions of width 4
    assert operations(SIZES, source=4, target=1) == 2 * (4 * READ_WEIGHTS + STEP_WEIGHTS + 2 * 4 * 4)
    assert operations(SIZES, 4, 2, rows=3) == 2 * (4 * READ_WEIGHTS + 6 * (STEP_WEIGHTS + 2 * 4 * 4))


def test_floors_count_real_tokens_and_their_ends():
    from benchmark_report import floors, operations

    work, read = floors("training", WORKLOAD, 0)
    assert work == 3 * (operations(SIZES, 4, 2) + operations(SIZES, 2, 3))
    # the longest target has 3 steps, back and forth; W_s is read outside of them
    assert read == 2 * 3 * 4 * (STEP_WEIGHTS - 100) + 4 * 7 * 1000
    work, read = floors("beam", WORKLOAD, 0)
    assert work == operations(SIZES, 4, 6, rows=3) + operations(SIZES, 2, 6, rows=3)
    assert read == 6 * 4 * STEP_WEIGHTS
    assert floors("single", WORKLOAD, 0)[1] == 3 * 6 * 4 * STEP_WEIGHTS


def test_ours_and_the_bare_loop_do_the_same_work():
    import worker_bare
    import worker_ours

    torch.manual_seed(0)
    for worker in (worker_bare, worker_ours):
        tasks = worker.build(RUNNABLE)
        # 3 + 1 and 1 + 2 words, and four ends
        assert tasks["training"](0) == 11
        assert (tasks["greedy"](0), tasks["beam"](0), tasks["single"](0)) == (12, 12, 18)
    # with other numbers, the same work: the tasks are those of ours, which came last
    assert [tasks[f"{name} bf16"](0) for name in ("training", "greedy", "beam", "single")] == [11, 12, 12, 18]
    assert [tasks[f"{name} int8"](0) for name in ("greedy", "beam", "single")] == [12, 12, 18]


def test_systems_that_did_other_work_are_refused():
    from benchmark import check_equal_work

    same = [{"tokens": 12, "seconds": 1.0}]
    check_equal_work({"a": same, "b": same})
    with pytest.raises(RuntimeError, match="'b': \\[11\\]"):
        check_equal_work({"a": same, "b": [{"tokens": 11, "seconds": 1.0}]})


def test_a_worker_that_is_not_there_is_not_measured():
    from benchmark import Workers, measure_group
    from benchmark_report import OURS, table_rows

    pythons = {"bare": sys.executable, "opennmt": None, "joeynmt": sys.executable}
    with Workers(RUNNABLE, pythons) as workers:
        assert workers.absent["opennmt"] == "no --opennmt-python given"
        assert "joeynmt" in workers.absent["joeynmt"]
        samples = measure_group(workers, "greedy", 2)
    assert {name: len(runs) for name, runs in samples.items()} == {"bare loop": 2, "sgemm": 2, "bandwidth": 2}
    # twice as slow as ours
    samples[OURS] = [run | {"seconds": run["seconds"] / 2} for run in samples["bare loop"]]
    rows = {row[0]: row[1:] for row in table_rows("greedy", samples, RUNNABLE, workers.absent)}
    assert rows["OpenNMT-py"] == rows["JoeyNMT"] == ["not measured", "", "", ""]
    assert (rows[OURS][1], rows["bare loop"][1]) == ("1.00", "2.00")
