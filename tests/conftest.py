# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings of every test: no network, one thread for models too small to share out, a fixed seed."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

import hf_rnn_attn  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)
