# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the reader of tokenizers with two sides: a damaged file is a tokenizer, or refused with its name.

python tests/fuzz/fuzz_tokenizer.py -max_total_time=1800 -rss_limit_mb=4096 -timeout=20
"""

import sys
import tempfile
from pathlib import Path

import atheris


with atheris.instrument_imports(include=["hf_rnn_attn.model.tokenization_rnn_attn"]):
    from hf_rnn_attn.model.tokenization_rnn_attn import RnnAttnTokenizer
from hf_rnn_attn.tokenization import train_tokenizer


FOLDER = Path(tempfile.mkdtemp())
FILES = ["tokenizer.json", "target_tokenizer.json"]
train_tokenizer(["ein Hund"], ["a dog"], kind="char", joint=False).save_pretrained(FOLDER)
CONTENT = {name: (FOLDER / name).read_bytes() for name in FILES}


def one_input(data: bytes):
    provider = atheris.FuzzedDataProvider(data)
    name = provider.PickValueInList(FILES)
    content = CONTENT[name]
    if provider.ConsumeBool():
        start = provider.ConsumeIntInRange(0, len(content))
        end = provider.ConsumeIntInRange(start, min(start + 40, len(content)))
        content = content[:start] + provider.ConsumeBytes(40) + content[end:]
    else:
        content = provider.ConsumeBytes(provider.remaining_bytes())
    files = {}
    for other in FILES:
        files[other] = str(FOLDER / f"damaged-{other}")
        Path(files[other]).write_bytes(content if other == name else CONTENT[other])
    try:
        tokenizer = RnnAttnTokenizer(
            tokenizer_file=files["tokenizer.json"], target_tokenizer_file=files["target_tokenizer.json"]
        )
    except ValueError as error:
        if str(FOLDER) not in str(error) and "special token" not in str(error):
            raise RuntimeError(f"a refusal without its file: {error!r}") from error
        return
    tokenizer("ein Hund", text_target="a dog")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
