# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Turn RNN checkpoints of other toolkits into models and tokenizers of this package.

Needs none of those toolkits installed. Does not know how a model computes: what has no place in [`RnnAttnConfig`] is
refused, with the name of the option that was found. A checkpoint's code is never run.
"""

from .joeynmt import load_joeynmt
from .opennmt import load_opennmt


__all__ = ["load_joeynmt", "load_opennmt"]
