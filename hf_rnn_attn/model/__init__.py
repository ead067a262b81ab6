# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything in this folder travels to the Hub beside the weights.

Its files are siblings joined by relative imports of single names, and need nothing but torch, transformers and
huggingface_hub, so that a model folder loads where this package is not installed.
"""
