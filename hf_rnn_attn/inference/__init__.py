# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation: text in bulk, several models together, weights in int8."""

from importlib.util import find_spec

from .bulk import translate_lines


# as in the package's own file
if find_spec("torch") is not None:
    from .ensemble import RnnAttnEnsemble, load_ensemble
    from .quantization import load_quantized, quantize, save_quantized


__all__ = ["RnnAttnEnsemble", "load_ensemble", "load_quantized", "quantize", "save_quantized", "translate_lines"]
