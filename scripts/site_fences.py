# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Fences of the site that are more than code: Mermaid diagrams become pictures when the site is built."""

import base64
from typing import Any

import mmdr


def diagram(source: str, language: str, css_class: str, *_: Any, **__: Any) -> str:
    """Draws a Mermaid diagram as an SVG inside the page; the arguments are those of `pymdownx.superfences`."""
    picture = base64.b64encode(mmdr.render(source).svg().encode()).decode()
    return f'<img class="{css_class}" alt="{language} diagram" src="data:image/svg+xml;base64,{picture}">'
