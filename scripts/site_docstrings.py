# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Docstrings in the library's style, as the reference of the site shows them."""

import re
from typing import Any

import griffe


class PlainTypes(griffe.Extension):
    """Takes the Markdown out of types, which the site sets as code, and the brackets of names that are no links."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = re.sub(r"\[(`[^`]+`)\](?!\()", r"\1", obj.docstring.value)
            # "name (`int`, *optional*):" under Args, "`float`: ..." under Returns
            text = re.sub(r"^ +[\w*, ]+ \(`.*\):", lambda item: re.sub(r"[`*]", "", item[0]), text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^( +)`([^`\n]+)`(?=:| of| or)", r"\1\2", text, flags=re.MULTILINE)
