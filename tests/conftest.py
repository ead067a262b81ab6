# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings of every test: no network, one thread for models too small to share out, a fixed seed."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"
# for processes that tests start: several tests run at once, and threads that fight for the cores are slow
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import hf_rnn_attn  # noqa: F401


def pytest_configure(config):
    for name in ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test"):
        config.addinivalue_line("markers", f"{name}: a mark of the library's own model tests")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """The library's tests skip themselves; where that was not foreseen, it is a failure."""
    report = yield
    may_skip = getattr(item.cls, "may_skip", None)
    if report.skipped and may_skip is not None and not item.name.startswith(may_skip):
        report.outcome, report.longrepr = "failed", f"unforeseen skip: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def one_precision():
    """Recipes that leave the precision open are trained in float32 on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_rnn_attn.training.defaults.multiplies_in_bf16", lambda: False)
        yield


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)
