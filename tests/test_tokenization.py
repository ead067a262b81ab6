# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""What a text becomes on its way to ids and back, for every kind of tokenizer."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, PreTrainedTokenizerFast

from hf_rnn_attn.model.tokenization_rnn_attn import RnnAttnTokenizer
from hf_rnn_attn.tokenization import squeeze, train_tokenizer


DATA = Path(os.environ.get("HF_RNN_ATTN_DATA", Path(__file__).parents[2] / "shared" / "data"))
GERMAN = ["Ein Mann fährt auf einem Fahrrad.", "Zwei Hunde (klein, braun) laufen!", "Am 12.3. läuft ein Hund."]
KOREAN = ["한국어 문장입니다.", "안녕하세요", "개가 달린다."]
DECOMPOSED_HANGUL = "\u1112\u1161\u11ab\u1100\u116e\u11a8"  # six jamo, 한국
TEXTS = [
    "Ein Mann, ein Hund.",
    "한국어 개",
    DECOMPOSED_HANGUL,
    "e\u0301 q\u0323\u0301 \u0301",  # a composed character, marks that stay, a mark on a space
    "नमस्ते 日本語 ไทย",
    "👩\u200d👩\u200d👧 😀\ufe0f!",
    " a  b ",
    "   ",
    "",
    "\ta\n b\r\n\u00a0c",
    "a , b . don 't",
    "<s>a</s> <pad> <unk> <0x41>",
]
EXACT_KINDS = ["bpe", "unigram", "char"]
KINDS = [*EXACT_KINDS, "word"]


def nfc(text):
    return unicodedata.normalize("NFC", text)


def normalised(text):
    return squeeze(nfc(text))


def there_and_back(tokenizer, text):
    return tokenizer.decode(tokenizer(text_target=text)["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens(kind, joint):
    tokenizer = train_tokenizer(GERMAN, KOREAN, kind=kind, vocab_size=400, joint=joint)
    assert type(tokenizer) is (PreTrainedTokenizerFast if joint else RnnAttnTokenizer)
    names = ["<pad>", "<s>", "</s>", "<unk>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == names
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == tuple(names)
    for batch in (tokenizer(GERMAN + [""]), tokenizer(text_target=KOREAN + [""])):
        assert set(batch) == {"input_ids", "attention_mask"}
        assert all(ids[-1] == 2 and not {0, 1, 2, 3} & set(ids[:-1]) for ids in batch["input_ids"])
        assert batch["input_ids"][-1] == [2]


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", EXACT_KINDS)
def test_decoding_gives_the_normalised_text_back(kind, text, joint):
    # only char needs to have seen the characters; the subwords spell what is new to them in bytes
    target = KOREAN + TEXTS if kind == "char" else KOREAN
    tokenizer = train_tokenizer(GERMAN, target, kind=kind, vocab_size=420, joint=joint)
    ids = tokenizer(text_target=text)["input_ids"]
    assert 3 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == normalised(text)
    assert tokenizer.batch_decode([ids, ids], skip_special_tokens=True) == [normalised(text)] * 2


# the property White_Space of Unicode 16
UNICODE_WHITE_SPACE = [chr(code) for code in (*range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))]
UNICODE_WHITE_SPACE += [chr(code) for code in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)]


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("kind", [*KINDS, "symbol"])
def test_white_space_is_one_space_on_both_sides_and_after_saving(kind, joint, tmp_path):
    trained = train_tokenizer(
        ["the house is big"] * 3, ["das Haus ist groß"] * 3, kind=kind, vocab_size=300, joint=joint
    )
    trained.save_pretrained(tmp_path)
    for tokenizer in (trained, type(trained).from_pretrained(tmp_path)):
        expected = tokenizer("the house is big", text_target="das Haus ist groß")
        for blank in [*UNICODE_WHITE_SPACE, "\u200b", "\x1c", " \u00a0\t ", "\ufeff "]:
            texts = [blank + text.replace(" ", blank) + blank for text in ("the house is big", "das Haus ist groß")]
            assert tokenizer(texts[0], text_target=texts[1]) == expected, repr(blank)
        assert tokenizer("\ufeffthe hou\ufeffse is big")["input_ids"] == expected["input_ids"]
        assert tokenizer(" \u3000 ")["input_ids"] == [2]


@given(
    st.text(
        st.one_of(st.sampled_from([*UNICODE_WHITE_SPACE, "\u200b", "\ufeff", "\x1c"]), st.characters(codec="utf-8"))
    )
)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_data_and_tokenizers_know_the_same_white_space(text):
    composed = nfc(text).replace("▁", " ")
    # of words alone, which has no pieces
    tokenized = train_tokenizer(["a"], ["a"], kind="word").backend_tokenizer.normalizer.normalize_str(text)
    assert tokenized == "".join(f"▁{word}" for word in squeeze(composed).split(" ") if word)


@pytest.mark.parametrize("kind", KINDS)
def test_composed_and_decomposed_hangul_are_one_text(kind):
    tokenizer = train_tokenizer([DECOMPOSED_HANGUL], [nfc(DECOMPOSED_HANGUL)], kind=kind, vocab_size=300)
    assert DECOMPOSED_HANGUL != nfc(DECOMPOSED_HANGUL) == "한국"
    assert tokenizer(DECOMPOSED_HANGUL)["input_ids"] == tokenizer("한국")["input_ids"]
    assert there_and_back(tokenizer, DECOMPOSED_HANGUL) == "한국"


@pytest.mark.parametrize("kind", EXACT_KINDS)
def test_the_space_sign_itself_is_read_as_a_space(kind):
    tokenizer = train_tokenizer(["a b"], ["a▁b"], kind=kind, vocab_size=300)
    assert there_and_back(tokenizer, "a▁b") == "a b"


@pytest.mark.parametrize("kind", EXACT_KINDS)
def test_names_of_special_tokens_are_text(kind):
    texts = ["<s>alt</s> <unk>"] * 5
    tokenizer = train_tokenizer(texts, texts, kind=kind, vocab_size=300)
    assert not {0, 1, 2, 3} & set(tokenizer("<s>alt</s>", add_special_tokens=False)["input_ids"])
    # what the setting keeps away
    assert {1, 2} <= set(tokenizer("<s>alt</s>", add_special_tokens=False, split_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase(kind):
    tokenizer = train_tokenizer(["EIN Übel"], ["ein übel"], kind=kind, vocab_size=300, lowercase=True)
    assert tokenizer("Ein ÜBEL")["input_ids"] == tokenizer("ein u\u0308bel")["input_ids"]
    assert there_and_back(tokenizer, "EIN Übel") == "ein übel"
    tokenizer = train_tokenizer(["EIN Übel"], ["ein übel"], kind=kind, vocab_size=300)
    assert there_and_back(tokenizer, "EIN Übel") == "EIN Übel"


def test_bpe_by_hand():
    # three times "▁ab" and once "▁abc": "ab" is merged or "▁a", then the two, then nothing that is seen twice
    tokenizer = train_tokenizer(["ab ab ab"], ["abc"], kind="bpe", min_frequency=2)
    assert tokenizer.tokenize("ab abc") == ["▁ab", "▁ab", "c"]
    assert len(tokenizer) == 4 + 256 + 4 + 2  # special tokens, bytes, ▁ a b c, two merges
    assert tokenizer.tokenize("ab é") == ["▁ab", "▁", "<0xC3>", "<0xA9>"]
    # the fourth merge needs a pair that is seen once
    assert train_tokenizer(["ab ab ab"], ["abc"], kind="bpe").tokenize("abc") == ["▁abc"]


def test_subwords_do_not_cross_words_digits_and_signs():
    texts = ["am 12.3. (ja)"] * 9
    tokenizer = train_tokenizer(texts, texts, kind="bpe")
    assert tokenizer.tokenize(texts[0]) == ["▁am", "▁1", "2", ".", "3", ".", "▁(", "ja", ")"]


def test_rare_characters_give_way_to_bytes_in_a_small_bpe_vocabulary():
    tokenizer = train_tokenizer(["aaa bbb c"], ["aaa bbb"], kind="bpe", vocab_size=263)
    assert len(tokenizer) == 263
    assert tokenizer.tokenize("abc") == ["▁", "a", "b", "<0x63>"]
    assert there_and_back(tokenizer, "abc") == "abc"


def test_unigram_finds_the_repeated_part():
    words = ["unrein", "rein", "unklar", "klar", "unschön", "schön"]
    tokenizer = train_tokenizer(words * 5, words, kind="unigram", vocab_size=290)
    assert len(tokenizer) <= 290
    assert there_and_back(tokenizer, "unklar 한") == "unklar 한"
    assert len(tokenizer.tokenize("unklar")) < len("▁unklar")


def test_characters_by_hand():
    # counts: ▁ 2, b 3, a 3, c 1; equal counts go by the alphabet
    tokenizer = train_tokenizer(["ab ab"], ["ab c"], kind="char")
    assert tokenizer.get_vocab() == {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "▁": 6, "c": 7}
    assert tokenizer("ab  c")["input_ids"] == [4, 5, 6, 7, 2]
    assert tokenizer.tokenize("axé") == ["a", "<unk>", "<unk>"]
    assert there_and_back(tokenizer, "axc") == "ac"  # an unknown character is lost, as documented
    assert len(train_tokenizer(["ab ab"], ["ab c"], kind="char", min_frequency=2)) == 7
    assert len(train_tokenizer(["ab ab"], ["ab c"], kind="char", vocab_size=6)) == 6


def test_words_by_hand():
    tokenizer = train_tokenizer(["ein Hund, ein Mann"], ["ein Hund."], kind="word")
    names = ["<pad>", "<s>", "</s>", "<unk>", "▁ein", "▁Hund", ",", ".", "▁Mann"]
    assert tokenizer.convert_ids_to_tokens(range(9)) == names
    ids = tokenizer("ein  Mann,\tein Haus.\n")["input_ids"]
    assert ids == [4, 8, 6, 4, 3, 7, 2]
    assert tokenizer.decode(ids) == "ein Mann, ein <unk>.</s>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ein Mann, ein."
    assert len(train_tokenizer(["ein Hund, ein Mann"], ["ein Hund."], kind="word", min_frequency=2)) == 6
    assert len(train_tokenizer(["ein Hund, ein Mann"], ["ein Hund."], kind="word", vocab_size=7)) == 7


def test_words_keep_digits_and_marks_together():
    tokenizer = train_tokenizer(["HH AH0 L OW1"], ["q\u0323\u0301a"], kind="word")
    assert tokenizer.tokenize("HH AH0 L OW1") == ["▁HH", "▁AH0", "▁L", "▁OW1"]
    assert tokenizer.tokenize("q\u0323\u0301a") == ["▁q\u0323\u0301a"]
    assert there_and_back(tokenizer, "AH0  HH ") == "AH0 HH"


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_words_and_punctuation_come_back_readable(kind):
    text = "Zwei Hunde (klein, braun) laufen! Ja."
    tokenizer = train_tokenizer([text], ["E-Mail: »ja«"], kind=kind)
    assert there_and_back(tokenizer, text) == text
    assert there_and_back(tokenizer, "E-Mail: »ja«") == "E-Mail: »ja«"


def test_sides_may_differ_in_kind_and_size():
    tokenizer = train_tokenizer(
        ["hello"], ["HH AH0 L OW1"], kind="char", target_kind="word", vocab_size=50, target_vocab_size=6, joint=False
    )
    batch = tokenizer("hell", text_target="HH L")
    assert tokenizer.source_tokenizer.convert_ids_to_tokens(batch["input_ids"]) == ["h", "e", "l", "l", "</s>"]
    assert (tokenizer.vocab_size, tokenizer.target_vocab_size) == (8, 6)


@pytest.mark.parametrize("kind", ["bpe", "word", "char"])
def test_training_again_gives_the_same_tokenizer(kind):
    first, second = (
        train_tokenizer(iter(GERMAN), (text for text in KOREAN), kind=kind, vocab_size=330) for _ in range(2)
    )
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


@pytest.mark.parametrize("joint", [True, False])
def test_stock_collator(joint):
    tokenizer = train_tokenizer(["a bc"], ["d"], kind="char", joint=joint)
    tokenizer.padding_side = "left"
    features = [dict(tokenizer("a", text_target="dd")), dict(tokenizer("a b", text_target="d"))]
    batch = DataCollatorForSeq2Seq(tokenizer)(features)
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert (batch["input_ids"][0] == 0).tolist() == [True, True, False, False]
    assert (batch["labels"] == -100).tolist() == [[False, False, False], [True, False, False]]


WITHOUT_PACKAGE = """
import json
import sys
sys.modules["hf_rnn_attn"] = None  # importing it now raises ImportError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

for line in sys.stdin:
    folder, text, ids = json.loads(line)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer) is PreTrainedTokenizerFast, type(tokenizer)
    assert tokenizer(text, text_target=text, padding=True).data == {
        "input_ids": [ids], "attention_mask": [[1] * len(ids)], "labels": [ids]
    }
    assert tokenizer.batch_decode([ids], skip_special_tokens=True) == text
print("done")
"""


def test_joint_tokenizers_load_without_the_package(tmp_path):
    lines = []
    for kind in KINDS:
        tokenizer = train_tokenizer(GERMAN, KOREAN + ["<s>"], kind=kind, vocab_size=400)
        text = "Ein Hund <s>" if kind == "word" else "안녕 Hund <s>"
        tokenizer.save_pretrained(tmp_path / kind)
        (tmp_path / kind / "config.json").write_text('{"model_type": "rnn_attn"}')
        lines.append(json.dumps([str(tmp_path / kind), [text], tokenizer(text)["input_ids"]]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE],
        input="\n".join(lines),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "done", run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "syllable"}, "one of bpe, unigram, word, symbol, char, got 'syllable'"),
        ({"vocab_size": 260}, "above 260 .* got 260"),
        ({"kind": "word", "vocab_size": 4}, "above 4 .* got 4"),
        ({"kind": "unigram", "vocab_size": 261}, "needs .* entries, more than vocab_size=261"),
        ({"kind": "unigram", "min_frequency": 2}, "min_frequency=2 has no meaning"),
        ({"kind": "char", "min_frequency": 99}, "gave no vocabulary"),
        ({"target_vocab_size": 300}, "got one of them with joint=True"),
        ({"target_kind": "char"}, "got one of them with joint=True"),
        ({"min_frequency": 0}, "at least 1, got 0"),
        ({"joint": False, "target_vocab_size": 260}, "above 260 .* got 260"),
        ({"joint": False, "target_kind": "syllable"}, "one of bpe, unigram, word, symbol, char, got 'syllable'"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(["ein Hund"], ["a dog"], **arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_text(kind):
    used_up = iter(())
    with pytest.raises(ValueError, match="used up"):
        train_tokenizer(used_up, [], kind=kind)


def test_one_string_is_no_iterable_of_texts():
    with pytest.raises(ValueError, match="got one string"):
        train_tokenizer(["ein Hund"], "a dog", joint=False)
    with pytest.raises(ValueError, match="got one string"):
        train_tokenizer("ein Hund", ["a dog"])


@pytest.mark.skipif(not DATA.exists(), reason="the data folder is not here; set HF_RNN_ATTN_DATA to point at it")
@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_real_text_comes_back(kind):
    lines = (DATA / "ko-loanwords" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines]
    tokenizer = train_tokenizer([pair[0] for pair in pairs], [pair[1] for pair in pairs], kind=kind, joint=False)
    targets = [pair[1] for pair in pairs]
    decomposed = [unicodedata.normalize("NFD", text) for text in targets]
    ids = tokenizer(text_target=decomposed)["input_ids"]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == [nfc(text) for text in targets]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_features_are_tokens_of_their_own(kind, joint, tmp_path):
    sources, features = ["[V][PST]gān", "[N]hus"], {"[V]", "[PST]", "[N]"}
    vocab_size = 300 if kind == "bpe" else 100
    tokenizer = train_tokenizer(sources, ["ēode"], kind=kind, joint=joint, vocab_size=vocab_size, features=features)
    tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    source_side = getattr(tokenizer, "source_tokenizer", tokenizer)
    tokens = source_side.convert_ids_to_tokens(tokenizer(" [V] [PST] gān")["input_ids"])
    assert tokens[:2] == ["[V]", "[PST]"]
    assert tokenizer("[V][PST]gān")["input_ids"] == tokenizer(" [V] [PST] gān")["input_ids"]
    assert "[" not in source_side.get_vocab()
    assert len(source_side) == len(source_side.get_vocab())


def test_letters_of_hangul_come_back_as_syllables(tmp_path):
    tokenizer = train_tokenizer(["한국"], ["한국", "국"], kind="char", normalization="nfd", joint=False)
    tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(text_target="각간")["input_ids"]
    assert tokenizer.target_tokenizer.convert_ids_to_tokens(ids)[:-1] == list(unicodedata.normalize("NFD", "각간"))
    assert tokenizer.decode(ids, skip_special_tokens=True) == "각간"
    assert tokenizer.batch_decode([ids, ids], skip_special_tokens=True) == ["각간", "각간"]


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [("nfc", "ﬁé"), ("nfd", "ﬁe\u0301"), ("nfkc", "fié"), ("nfkd", "fie\u0301"), ("none", "ﬁe\u0301é")],
)
def test_unicode_forms(normalization, expected):
    text = "ﬁe\u0301é" if normalization == "none" else "ﬁé"
    tokenizer = train_tokenizer([text], [text], kind="char", normalization=normalization, joint=False)
    ids = tokenizer(text)["input_ids"][:-1]
    assert "".join(tokenizer.source_tokenizer.convert_ids_to_tokens(ids)) == expected
    decoded = tokenizer.decode(tokenizer(text_target=text)["input_ids"], skip_special_tokens=True)
    assert decoded == (text if normalization == "none" else nfc(expected))


def test_sides_may_differ_in_unicode_form():
    options = {"kind": "char", "normalization": "nfd", "target_normalization": "nfc", "joint": False}
    tokenizer = train_tokenizer(["é"], ["é"], **options)
    assert len(tokenizer("é")["input_ids"]) == 3
    assert len(tokenizer(text_target="é")["input_ids"]) == 2


def test_symbols_stand_between_spaces():
    tokenizer = train_tokenizer(["a˥˩ t͡ɕ͈ <x>.y"], ["b"], kind="symbol")
    ids = tokenizer(" a˥˩  <x>.y t͡ɕ͈")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁a˥˩", "▁<x>.y", "▁t͡ɕ͈", "</s>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a˥˩ <x>.y t͡ɕ͈"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "nfx"}, "one of nfc, nfd, nfkc, nfkd, none, got 'nfx'"),
        ({"target_normalization": "nfd"}, "belong to separate vocabularies"),
        ({"normalization": "nfd"}, "Pass joint=False"),
    ],
)
def test_unicode_forms_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(["a"], ["b"], kind="char", **options)
