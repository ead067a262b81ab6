# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation: text in bulk, several models together, weights in int8."""

from .bulk import translate_lines
from .ensemble import RnnAttnEnsemble, load_ensemble
from .quantization import load_quantized, quantize, save_quantized


__all__ = ["RnnAttnEnsemble", "load_ensemble", "load_quantized", "quantize", "save_quantized", "translate_lines"]
