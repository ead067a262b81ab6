# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo: dates as people write them into ISO 8601."""

from .dates import date_pairs, date_splits
from .demo import run_demo


__all__ = ["date_pairs", "date_splits", "run_demo"]
