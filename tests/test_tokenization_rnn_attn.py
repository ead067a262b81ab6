# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Two sides behind one interface: which side acts where, on disk, in the library's collator, and without the package.

Ids by hand: words are numbered by falling count, then by the alphabet, from 4 on. Sources hold `▁Hund` and `▁ein` twice
(4, 5), then `▁Katze` 6, `▁eine` 7, `▁läuft` 8; targets hold `▁a` three times (4), `▁dog` twice (5), then `▁cat` 6,
`▁runs` 7.
"""

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, PreTrainedTokenizerFast

import hf_rnn_attn  # noqa: F401  registers RnnAttnTokenizer with AutoTokenizer
from hf_rnn_attn.model.pipeline_rnn_attn import sides_of
from hf_rnn_attn.model.tokenization_rnn_attn import RnnAttnTokenizer
from hf_rnn_attn.tokenization import train_tokenizer


SOURCES = ["ein Hund", "eine Katze", "ein Hund läuft"]
TARGETS = ["a dog", "a cat", "a dog runs"]
SOURCE_IDS = [[5, 4, 2], [7, 6, 2], [5, 4, 8, 2]]
TARGET_IDS = [[4, 5, 2], [4, 6, 2], [4, 5, 7, 2]]


@pytest.fixture
def tokenizer():
    return train_tokenizer(SOURCES, TARGETS, kind="word", joint=False)


def test_text_target_becomes_labels_of_the_target_vocabulary(tokenizer):
    batch = tokenizer(SOURCES, text_target=TARGETS)
    assert list(batch) == ["input_ids", "attention_mask", "labels"]
    assert batch["input_ids"] == SOURCE_IDS
    assert batch["labels"] == TARGET_IDS
    # and not by accident: the source side does not know the target's words
    assert tokenizer(TARGETS)["input_ids"] == [[3, 3, 2], [3, 3, 2], [3, 3, 3, 2]]


def test_a_tokenizer_has_two_sides_or_one(tokenizer):
    source_side, target_side = sides_of(tokenizer)
    assert source_side(SOURCES)["input_ids"] == SOURCE_IDS
    assert target_side(TARGETS)["input_ids"] == TARGET_IDS
    assert (len(source_side), len(target_side)) == (9, 8)
    joint = train_tokenizer(SOURCES, TARGETS, kind="word")
    assert sides_of(joint) == (joint, joint)


def test_single_text_and_single_side(tokenizer):
    assert dict(tokenizer("ein Hund")) == {"input_ids": [5, 4, 2], "attention_mask": [1, 1, 1]}
    assert dict(tokenizer(text_target="a cat")) == {"input_ids": [4, 6, 2], "attention_mask": [1, 1, 1]}
    assert dict(tokenizer("ein Hund", text_target="a cat")) == {
        "input_ids": [5, 4, 2],
        "attention_mask": [1, 1, 1],
        "labels": [4, 6, 2],
    }
    with pytest.raises(ValueError, match="text_target"):
        tokenizer()


def test_text_without_target_side_is_source_text(tokenizer):
    assert tokenizer.encode("ein Hund") == [5, 4, 2]
    assert tokenizer.tokenize("ein Hund") == ["▁ein", "▁Hund"]
    assert tokenizer.convert_tokens_to_ids(["▁ein", "▁Hund"]) == [5, 4]
    assert tokenizer("ein Hund").tokens() == ["▁ein", "▁Hund", "</s>"]


def test_ids_are_target_ids(tokenizer):
    assert tokenizer.decode([4, 5, 7, 2], skip_special_tokens=True) == "a dog runs"
    assert tokenizer.decode([4, 5, 7, 2]) == "a dog runs</s>"
    padded = torch.tensor([[1, 4, 5, 2], [1, 4, 6, 2], [1, 2, 0, 0]])
    assert tokenizer.batch_decode(padded, skip_special_tokens=True) == ["a dog", "a cat", ""]
    assert tokenizer.convert_ids_to_tokens([4, 7, 2]) == ["▁a", "▁runs", "</s>"]
    assert tokenizer.convert_ids_to_tokens([4, 7, 2], skip_special_tokens=True) == ["▁a", "▁runs"]
    assert tokenizer.convert_tokens_to_string(["▁a", "▁runs"]) == "a runs"


def test_source_ids_have_a_way_back(tokenizer):
    source_ids = [5, 4, 8, 2]
    assert tokenizer.source_tokenizer.convert_ids_to_tokens(source_ids) == ["▁ein", "▁Hund", "▁läuft", "</s>"]
    assert tokenizer.source_tokenizer.decode(source_ids, skip_special_tokens=True) == "ein Hund läuft"
    assert tokenizer.decode(source_ids, use_source_tokenizer=True, skip_special_tokens=True) == "ein Hund läuft"
    assert tokenizer.batch_decode([source_ids], use_source_tokenizer=True) == ["ein Hund läuft</s>"]


def test_sizes(tokenizer):
    assert (tokenizer.vocab_size, len(tokenizer), tokenizer.target_vocab_size) == (9, 9, 8)
    assert tokenizer.get_vocab()["▁Katze"] == 6
    assert tokenizer.target_tokenizer.get_vocab()["▁cat"] == 6


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_and_tensors_act_on_both_sides(tokenizer, side):
    tokenizer.padding_side = side
    batch = tokenizer(SOURCES[1:], text_target=TARGETS[1:], padding=True, return_tensors="pt")
    short_source, short_target = ([7, 6, 2, 0], [4, 6, 2, 0]) if side == "right" else ([0, 7, 6, 2], [0, 4, 6, 2])
    assert batch["input_ids"].tolist() == [short_source, [5, 4, 8, 2]]
    assert batch["attention_mask"].tolist() == [[int(index > 0) for index in short_source], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [short_target, [4, 5, 7, 2]]


def test_padding_to_a_length_and_a_multiple(tokenizer):
    batch = tokenizer(SOURCES, text_target=TARGETS, padding="max_length", max_length=6, return_tensors="pt")
    assert batch["input_ids"].shape == batch["labels"].shape == (3, 6)
    batch = tokenizer(SOURCES, text_target=TARGETS, padding=True, pad_to_multiple_of=8, return_tensors="pt")
    assert batch["input_ids"].shape == batch["labels"].shape == (3, 8)


def test_truncation_acts_on_both_sides_and_keeps_the_end_token(tokenizer):
    batch = tokenizer(SOURCES[2], text_target=TARGETS[2], truncation=True, max_length=3)
    assert (batch["input_ids"], batch["labels"]) == ([5, 4, 2], [4, 5, 2])
    batch = tokenizer(SOURCES[2], text_target=TARGETS[2], truncation=True, max_length=3, max_target_length=2)
    assert (batch["input_ids"], batch["labels"]) == ([5, 4, 2], [4, 2])


def test_settings_changed_later_reach_the_target_side(tokenizer):
    tokenizer.truncation_side, tokenizer.model_max_length = "left", 3
    batch = tokenizer(SOURCES[2], text_target=TARGETS[2], truncation=True)
    assert (batch["input_ids"], batch["labels"]) == ([4, 8, 2], [5, 7, 2])


def test_stock_collator_pads_labels_with_minus_100(tokenizer):
    features = [dict(tokenizer(source, text_target=target)) for source, target in zip(SOURCES, TARGETS, strict=True)]
    batch = DataCollatorForSeq2Seq(tokenizer)(features)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[5, 4, 2, 0], [7, 6, 2, 0], [5, 4, 8, 2]]
    assert batch["labels"].tolist() == [[4, 5, 2, -100], [4, 6, 2, -100], [4, 5, 7, 2]]


def test_added_tokens_belong_to_one_side_and_are_saved(tokenizer, tmp_path):
    assert tokenizer.add_tokens(["<2en>"]) == 1
    assert tokenizer.target_tokenizer.add_tokens(["<one>", "<two>"]) == 2
    tokenizer.save_pretrained(tmp_path)
    loaded = RnnAttnTokenizer.from_pretrained(tmp_path)
    assert (len(loaded), len(loaded.target_tokenizer)) == (10, 10)
    batch = loaded("<2en> ein Hund", text_target="<two> a dog")
    assert (batch["input_ids"], batch["labels"]) == ([9, 5, 4, 2], [9, 4, 5, 2])
    assert loaded.decode([8, 4, 5, 2]) == "<one> a dog</s>"


def test_extra_special_tokens_of_one_side_load_again(tokenizer, tmp_path):
    tokenizer.add_special_tokens({"extra_special_tokens": ["<2en>"]})
    tokenizer.save_pretrained(tmp_path)
    assert RnnAttnTokenizer.from_pretrained(tmp_path).convert_tokens_to_ids("<2en>") == 9


def assert_same(first, second):
    assert second.get_vocab() == first.get_vocab()
    assert second(SOURCES, text_target=TARGETS).data == first(SOURCES, text_target=TARGETS).data
    assert second.batch_decode(TARGET_IDS) == first.batch_decode(TARGET_IDS)
    assert second.padding_side == first.padding_side


def test_one_folder_holds_everything(tokenizer, tmp_path):
    tokenizer.padding_side = "left"
    tokenizer(SOURCES, text_target=TARGETS, padding=True, truncation=True, max_length=2)  # leaves no trace
    written = tokenizer.save_pretrained(tmp_path)
    names = {"tokenizer_config.json", "tokenizer.json", "target_tokenizer.json"}
    assert {Path(file).name for file in written} == names
    assert set(os.listdir(tmp_path)) == names | {"tokenization_rnn_attn.py"}
    assert_same(tokenizer, RnnAttnTokenizer.from_pretrained(tmp_path))


def test_auto_tokenizer_with_the_package(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is RnnAttnTokenizer
    assert_same(tokenizer, loaded)


def test_filename_prefix(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path, filename_prefix="de-en")
    assert (tmp_path / "de-en-target_tokenizer.json").exists()


def test_one_side_saved_alone_is_a_plain_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "both")
    RnnAttnTokenizer.from_pretrained(tmp_path / "both").target_tokenizer.save_pretrained(tmp_path / "target")
    assert set(os.listdir(tmp_path / "target")) == {"tokenizer_config.json", "tokenizer.json"}
    assert "auto_map" not in (tmp_path / "target" / "tokenizer_config.json").read_text()
    loaded = AutoTokenizer.from_pretrained(tmp_path / "target")
    assert type(loaded) is PreTrainedTokenizerFast
    assert loaded(TARGETS)["input_ids"] == TARGET_IDS


def test_copies(tokenizer):
    assert_same(tokenizer, pickle.loads(pickle.dumps(tokenizer)))
    copied = copy.deepcopy(tokenizer)
    copied.target_tokenizer.add_tokens(["<one>"])
    assert len(tokenizer.target_tokenizer) == 8  # the copy shares nothing


def test_missing_target_side(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="target_tokenizer.json"):
        RnnAttnTokenizer(tokenizer_object=tokenizer.backend_tokenizer)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "target_tokenizer.json").unlink()
    with pytest.raises(ValueError, match="target_tokenizer.json"):
        RnnAttnTokenizer.from_pretrained(tmp_path)


def test_special_tokens_with_different_ids(tokenizer):
    vocab = {"<pad>": 0, "<s>": 1, "<unk>": 2, "</s>": 3}
    target = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    with pytest.raises(ValueError, match="</s> has id 2 in the source vocabulary and 3 in the target"):
        RnnAttnTokenizer(tokenizer_object=tokenizer.backend_tokenizer, target_tokenizer_object=target)


WITHOUT_PACKAGE = """
import sys
sys.modules["hf_rnn_attn"] = None  # importing it now raises ImportError
from transformers import AutoTokenizer

folder, again = sys.argv[1:]
try:
    AutoTokenizer.from_pretrained(folder)
    raise SystemExit("loaded a class that is not there")
except ValueError as error:
    assert "trust_remote_code" in str(error), error
for name in (folder, "someone/some-model"):
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True)
    assert type(tokenizer).__module__.startswith("transformers_modules."), type(tokenizer)
    batch = tokenizer(["eine Katze"], text_target=["a cat"], return_tensors="pt")
    assert batch["input_ids"].tolist() == [[7, 6, 2]], batch
    assert batch["labels"].tolist() == [[4, 6, 2]], batch
    assert tokenizer.batch_decode(batch["labels"], skip_special_tokens=True) == ["a cat"]
tokenizer.save_pretrained(again)
tokenizer = AutoTokenizer.from_pretrained(again, trust_remote_code=True)
assert tokenizer.decode([4, 6, 2], skip_special_tokens=True) == "a cat"
print("\\ndone")
"""


def put_into_hub_cache(folder: Path, cache: Path):
    commit = "0" * 40
    repository = cache / "models--someone--some-model"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "snapshots" / commit / "config.json").write_text('{"model_type": "rnn_attn"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def test_folder_and_hub_repository_load_without_the_package(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "model")
    put_into_hub_cache(tmp_path / "model", tmp_path / "home" / "hub")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, str(tmp_path / "model"), str(tmp_path / "again")],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines()[-1:] == ["done"], run.stderr
    assert (tmp_path / "again" / "tokenization_rnn_attn.py").exists()


@pytest.mark.parametrize("name", ["tokenizer_file", "target_tokenizer_file"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[", b'{"version": "1.0"}', b"null"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content):
    train_tokenizer(["ein Hund"], ["a dog"], kind="char", joint=False).save_pretrained(tmp_path)
    files = {
        "tokenizer_file": tmp_path / "tokenizer.json",
        "target_tokenizer_file": tmp_path / "target_tokenizer.json",
    }
    files[name].write_bytes(content)
    with pytest.raises(ValueError, match="expected a serialised tokenizer, got another or a damaged file") as error:
        RnnAttnTokenizer(**{side: str(file) for side, file in files.items()})
    assert str(error.value).startswith(str(files[name]))
