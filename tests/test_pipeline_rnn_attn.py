# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The translation pipeline, on tiny random models and tokenizers made here: those of the library, and this one."""

import collections
import functools
import logging
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    T5Model,
    pipeline,
    pipelines,
    set_seed,
)
from transformers.pipelines.base import get_default_model_and_revision
from transformers.pipelines.pt_utils import KeyDataset

from hf_rnn_attn import BUNDLED
from hf_rnn_attn.model.configuration_rnn_attn import RnnAttnConfig
from hf_rnn_attn.model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from hf_rnn_attn.model.pipeline_rnn_attn import (
    ReturnType,
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TranslationPipeline,
    attention_of_sequences,
    languages_of_task,
    register_pipelines,
)
from hf_rnn_attn.model.tokenization_rnn_attn import RnnAttnTokenizer


register_pipelines()

WORDS = "ein mann eine frau ein hund fährt auf dem fahrrad a man woman dog rides on the bicycle translate"
TEXT = "ein mann fährt"
LONG_TEXT = "eine frau fährt auf dem fahrrad"
LENGTH = 6  # tokens, where the length does not matter


def word_tokenizer():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    trainer = trainers.WordLevelTrainer(special_tokens=["<pad>", "<s>", "</s>", "<unk>"])
    tokenizer.train_from_iterator([WORDS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}


def marian(vocab_size, **kwargs):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "attn_implementation": "eager"}
    settings = {"max_position_embeddings": 512, "init_std": 1.0, "forced_eos_token_id": None, **SPECIAL_TOKENS}
    return MarianMTModel(MarianConfig(vocab_size=vocab_size, **{**sizes, **heads, **settings, **kwargs})).eval()


def t5(vocab_size, **kwargs):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    settings = {"initializer_factor": 5.0, "attn_implementation": "eager", **SPECIAL_TOKENS}
    return T5ForConditionalGeneration(T5Config(vocab_size=vocab_size, **{**sizes, **settings, **kwargs})).eval()


def rnn_attn(vocab_size, **kwargs):
    sizes = {"encoder_embedding_size": 8, "encoder_hidden_size": 8, "decoder_embedding_size": 8, "decoder_layers": 2}
    settings = {"decoder_hidden_size": 8, "initializer_range": 2.0, **SPECIAL_TOKENS}
    return RnnAttnForConditionalGeneration(
        RnnAttnConfig(vocab_size=vocab_size, **{**sizes, **settings, **kwargs})
    ).eval()


@pytest.fixture
def tokenizer():
    return word_tokenizer()


@pytest.fixture
def model(tokenizer):
    set_seed(0)
    return marian(len(tokenizer))


@pytest.fixture
def translator(model, tokenizer):
    # random models repeat themselves, and these tests compare with plain generate()
    return pipeline("translation", model=model, tokenizer=tokenizer, device="cpu", avoid_loops=False)


@pytest.fixture
def short_translator(model, tokenizer):
    options = {"max_new_tokens": LENGTH, "num_beams": 2, "avoid_loops": False}
    return pipeline("translation", model=model, tokenizer=tokenizer, device="cpu", **options)


def generate_by_hand(model, tokenizer, text, **kwargs):
    """Ids of the returned sequences, (num_return_sequences, T)."""
    return model.generate(**tokenizer(text, return_tensors="pt"), **kwargs)


def translate_by_hand(model, tokenizer, text, **kwargs):
    ids = generate_by_hand(model, tokenizer, text, **kwargs)
    return [{"translation_text": tokenizer.decode(row, skip_special_tokens=True)} for row in ids]


def record_generate(model, monkeypatch):
    """Makes `model.generate` note its keyword arguments, and returns the dict that they appear in."""
    seen = {}
    generate = model.generate

    def noting_generate(**kwargs):
        seen.update(kwargs)
        return generate(**kwargs)

    monkeypatch.setattr(model, "generate", noting_generate)
    return seen


# Text in, text out


@pytest.mark.parametrize("make_model", [marian, t5, rnn_attn])
def test_the_text_is_that_of_generate_and_decode(make_model, tokenizer, tmp_path):
    set_seed(0)
    model = make_model(len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for task in ("translation", "translation_de_to_en"):
        translator = pipeline(task, model=str(tmp_path), device="cpu", avoid_loops=False)
        expected = translate_by_hand(model, tokenizer, TEXT, num_beams=4, max_new_tokens=LENGTH)
        assert translator(TEXT, max_new_tokens=LENGTH) == expected
        assert translator(LONG_TEXT, max_new_tokens=LENGTH) != expected
        assert isinstance(translator, TranslationPipeline)


def test_a_list_gives_a_flat_list(translator):
    separate = [translator(text, max_new_tokens=LENGTH) for text in (TEXT, LONG_TEXT)]
    assert translator([TEXT, LONG_TEXT], max_new_tokens=LENGTH) == [records[0] for records in separate]
    assert translator([TEXT], max_new_tokens=LENGTH) == separate[0]
    assert translator([]) == []


def test_several_sequences_for_each_text_give_a_list_of_lists(translator, model, tokenizer):
    settings = {"num_return_sequences": 3, "num_beams": 3, "max_new_tokens": LENGTH}
    expected = [translate_by_hand(model, tokenizer, text, **settings) for text in (TEXT, LONG_TEXT)]
    assert translator([TEXT, LONG_TEXT], avoid_loops=False, **settings) == expected
    assert len({record["translation_text"] for record in expected[0]}) == 3


def test_a_list_inside_the_list_is_one_padded_batch(translator):
    separate = translator([TEXT, LONG_TEXT], max_new_tokens=LENGTH)
    assert translator([[TEXT, LONG_TEXT], [TEXT]], max_new_tokens=LENGTH) == [separate, separate[:1]]


def test_a_generator_gives_a_list_of_records_for_each_text(translator):
    results = translator((text for text in (TEXT, LONG_TEXT)), max_new_tokens=LENGTH)
    assert [records[0] for records in results] == translator([TEXT, LONG_TEXT], max_new_tokens=LENGTH)


@pytest.mark.parametrize("count", [1, 2])
def test_batches_give_the_same_as_single_texts(translator, count):
    texts = [TEXT, LONG_TEXT, "hund"]
    settings = {"max_new_tokens": LENGTH, "num_return_sequences": count}
    assert translator(texts, batch_size=2, **settings) == translator(texts, **settings)


def test_token_ids_instead_of_text(translator, model, tokenizer):
    expected = generate_by_hand(model, tokenizer, TEXT, num_beams=4, max_new_tokens=LENGTH)[0]
    for settings in ({"return_tensors": True}, {"return_type": ReturnType.TENSORS}):
        (record,) = translator(TEXT, max_new_tokens=LENGTH, avoid_loops=False, **settings)
        assert list(record) == ["translation_token_ids"]
        assert torch.equal(record["translation_token_ids"], expected)
    (record,) = translator(TEXT, max_new_tokens=LENGTH, return_tensors=False, return_text=True)
    assert list(record) == ["translation_text"]


def test_arguments_of_the_pipeline_hold_for_every_call(model, tokenizer):
    settings = {"max_new_tokens": 3, "num_beams": 1, "return_tensors": True}
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu", **settings)
    assert len(translator(TEXT)[0]["translation_token_ids"]) == 4
    assert len(translator(TEXT, max_new_tokens=5)[0]["translation_token_ids"]) == 6


def test_truncation_cuts_the_source_only_on_request(translator, tokenizer):
    tokenizer.model_max_length = 4
    cut, whole = (translator(LONG_TEXT, max_new_tokens=LENGTH, truncation=truncation) for truncation in (True, False))
    assert cut == translator("eine frau fährt", max_new_tokens=LENGTH)
    assert whole != cut


def test_clean_up_reaches_the_tokenizer(translator, tokenizer, monkeypatch):
    seen = []
    monkeypatch.setattr(tokenizer, "decode", lambda ids, **kwargs: seen.append(kwargs) or "")
    translator(TEXT, max_new_tokens=2)
    translator(TEXT, max_new_tokens=2, clean_up_tokenization_spaces=True)
    assert [kwargs["clean_up_tokenization_spaces"] for kwargs in seen] == [False, True]
    assert all(kwargs["skip_special_tokens"] for kwargs in seen)


def test_token_type_ids_stay_away_from_the_model(translator, tokenizer):
    expected = translator(TEXT, max_new_tokens=LENGTH)
    tokenizer.model_input_names = ["input_ids", "attention_mask", "token_type_ids"]
    assert "token_type_ids" in tokenizer(TEXT)
    assert translator(TEXT, max_new_tokens=LENGTH) == expected


# Generation parameters


def test_defaults_are_256_tokens_and_4_beams(translator, model, monkeypatch):
    model.final_logits_bias[:, model.config.eos_token_id] = -1e9
    seen = record_generate(model, monkeypatch)
    (record,) = translator(TEXT, return_tensors=True)
    assert (seen["max_new_tokens"], seen["num_beams"]) == (256, 4)
    assert len(record["translation_token_ids"]) == 257


@pytest.mark.parametrize("limit", [{"max_length": 5}, {"max_new_tokens": 4}])
def test_what_the_checkpoint_sets_is_kept(translator, model, monkeypatch, limit):
    model.final_logits_bias[:, model.config.eos_token_id] = -1e9
    model.generation_config.update(num_beams=2, **limit)
    seen = record_generate(model, monkeypatch)
    (record,) = translator(TEXT, return_tensors=True)
    assert not {"num_beams", "max_new_tokens", "max_length"} & seen.keys()
    assert len(record["translation_token_ids"]) == 5


def test_max_length_of_the_call_takes_the_place_of_the_default_limit(translator, model):
    model.final_logits_bias[:, model.config.eos_token_id] = -1e9
    assert len(translator(TEXT, max_length=5, return_tensors=True)[0]["translation_token_ids"]) == 5


def test_a_generation_config_takes_the_place_of_every_default(translator, model, monkeypatch):
    config = GenerationConfig(num_beams=2, max_length=5, **SPECIAL_TOKENS)
    seen = record_generate(model, monkeypatch)
    translator(TEXT, generation_config=config)
    assert not {"num_beams", "max_new_tokens"} & seen.keys()
    assert seen["generation_config"] is config


def test_the_padding_token_comes_from_the_tokenizer_where_the_checkpoint_has_none(translator, model, monkeypatch):
    seen = record_generate(model, monkeypatch)
    translator(TEXT, max_new_tokens=2)
    assert "pad_token_id" not in seen
    model.generation_config.pad_token_id = None
    translator(TEXT, max_new_tokens=2)
    assert seen["pad_token_id"] == 0


def test_generate_arguments_reach_generate(translator, model, tokenizer):
    settings = {"do_sample": True, "num_beams": 1, "temperature": 2.0, "max_new_tokens": 20}
    set_seed(1)
    expected = translate_by_hand(model, tokenizer, TEXT, **settings)
    set_seed(1)
    assert translator(TEXT, **settings) == expected
    set_seed(2)
    assert translator(TEXT, **settings) != expected


def test_the_first_token_of_a_stop_sequence_ends_the_translation(translator, model, tokenizer):
    ids = translator(TEXT, num_beams=1, max_new_tokens=20, return_tensors=True)[0]["translation_token_ids"]
    stop = ids[3].item()
    end = ids.tolist()[1:].index(stop) + 2
    with pytest.warns(UserWarning, match="2 tokens; generation stops at the first"):
        (record,) = translator(
            TEXT,
            num_beams=1,
            max_new_tokens=20,
            return_tensors=True,
            stop_sequence=f"{tokenizer.convert_ids_to_tokens(stop)} hund",
        )
    assert torch.equal(record["translation_token_ids"], ids[:end])
    with pytest.raises(ValueError, match="at least one token"):
        translator(TEXT, stop_sequence="")


@pytest.mark.parametrize(("limit", "warns"), [({"max_length": 10}, False), ({"max_length": 4}, True)])
def test_a_source_near_the_length_limit_is_warned_of(translator, caplog, limit, warns):
    with caplog.at_level(logging.WARNING):
        translator(TEXT, **limit)
    assert ("The input has 4 tokens, more than 0.9 * 4" in caplog.text) == warns


def test_a_source_of_240_tokens_is_near_the_default_limit(translator, caplog, model):
    model.final_logits_bias[:, model.config.eos_token_id] = 1e9
    with caplog.at_level(logging.WARNING):
        translator(" ".join(["ein"] * 220))
        assert "more than 0.9" not in caplog.text
        translator(" ".join(["ein"] * 240))
    assert "The input has 241 tokens, more than 0.9 * 256" in caplog.text


# Prefixes and task_specific_params


def test_the_prefix_of_the_configuration_comes_before_every_text(model, tokenizer):
    plain = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    expected = plain(["translate " + text for text in (TEXT, LONG_TEXT)], max_new_tokens=LENGTH)
    unprefixed = plain([TEXT, LONG_TEXT], max_new_tokens=LENGTH)
    model.config.prefix = "translate "
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    assert translator([TEXT, LONG_TEXT], max_new_tokens=LENGTH) == expected != unprefixed
    assert translator([[TEXT, LONG_TEXT]], max_new_tokens=LENGTH) == [expected]


def test_task_specific_parameters_serve_their_task(model, tokenizer, monkeypatch):
    parameters = {"prefix": "translate ", "num_beams": 2, "max_length": 7, "unheard_of": 1}
    model.config.task_specific_params = {"summarization": {}, "translation_de_to_en": parameters}
    seen = record_generate(model, monkeypatch)
    translator = pipeline("translation_de_to_en", model=model, tokenizer=tokenizer, device="cpu")
    translator(TEXT)
    assert (seen["num_beams"], seen["max_length"]) == (2, 7)
    assert tokenizer.decode(seen["input_ids"][0]) == f"translate {TEXT} </s>"
    assert not {"max_new_tokens", "unheard_of"} & seen.keys()
    seen.clear()
    translator(TEXT, num_beams=3, max_new_tokens=4)
    assert (seen["num_beams"], seen["max_new_tokens"], "max_length" in seen) == (3, 4, False)
    assert model.config.task_specific_params["translation_de_to_en"]["prefix"] == "translate "


def test_parameters_of_another_task_do_not_count(model, tokenizer, monkeypatch):
    model.config.task_specific_params = {"translation_en_to_de": {"num_beams": 2, "prefix": "translate "}}
    seen = record_generate(model, monkeypatch)
    pipeline("translation_de_to_en", model=model, tokenizer=tokenizer, device="cpu")(TEXT)
    assert seen["num_beams"] == 4
    assert tokenizer.decode(seen["input_ids"][0]) == f"{TEXT} </s>"


def test_plain_translation_takes_the_first_pair_with_parameters_and_says_so(model, tokenizer):
    model.config.task_specific_params = {"translation_en_to_de": {"prefix": "a "}, "translation_en_to_fr": {}}
    with pytest.warns(UserWarning, match='using "translation_en_to_de"'):
        translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    assert translator.prefix == "a "


# Languages


@pytest.fixture
def mbart():
    set_seed(0)
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = MBartTokenizer(vocab=special + [(f"▁{word}", -1.0) for word in WORDS.split()])
    config = MBartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        init_std=1.0,
    )
    return MBartForConditionalGeneration(config).eval(), tokenizer


def mbart_by_hand(model, tokenizer, text, source, target):
    tokenizer.src_lang = source
    ids = generate_by_hand(
        model,
        tokenizer,
        text,
        forced_bos_token_id=tokenizer.convert_tokens_to_ids(target),
        max_new_tokens=LENGTH,
        num_beams=4,
    )
    return [{"translation_token_ids": row.tolist()} for row in ids]


def as_lists(records):
    return [{name: ids.tolist() for name, ids in record.items()} for record in records]


def test_languages_come_from_the_call_the_pipeline_or_the_task(mbart):
    model, tokenizer = mbart
    settings = {"model": model, "tokenizer": tokenizer, "device": "cpu"}
    call = {"max_new_tokens": LENGTH, "return_tensors": True}
    languages = {"src_lang": "de_DE", "tgt_lang": "en_XX"}
    expected = mbart_by_hand(model, tokenizer, TEXT, "de_DE", "en_XX")
    assert expected[0]["translation_token_ids"][1] == tokenizer.convert_tokens_to_ids("en_XX")
    assert as_lists(pipeline("translation", **settings)(TEXT, **call, **languages)) == expected
    assert as_lists(pipeline("translation", **settings, **languages)(TEXT, **call)) == expected
    by_task = pipeline("translation_de_DE_to_en_XX", **settings)
    assert as_lists(by_task(TEXT, **call)) == expected
    assert as_lists(by_task(TEXT, **call, tgt_lang="fr_XX")) == mbart_by_hand(model, tokenizer, TEXT, "de_DE", "fr_XX")


def test_languages_in_batches(mbart):
    model, tokenizer = mbart
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    call = {"max_new_tokens": LENGTH, "src_lang": "de_DE", "tgt_lang": "en_XX"}
    texts = [TEXT, LONG_TEXT, "hund"]
    separate = translator(texts, **call)
    assert translator(texts, batch_size=2, **call) == separate
    assert translator([texts], **call) == [separate]


def test_a_tokenizer_of_many_languages_asks_for_them(mbart):
    model, tokenizer = mbart
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match="src_lang"):
        translator(TEXT)


def test_other_tokenizers_ignore_languages(translator):
    expected = translator(TEXT, max_new_tokens=LENGTH)
    assert translator(TEXT, max_new_tokens=LENGTH, src_lang="de", tgt_lang="en") == expected


def test_languages_of_task():
    assert languages_of_task("translation") is None
    assert languages_of_task("summarization") is None
    assert languages_of_task("translation_de_to_en") == ("de", "en")
    assert languages_of_task("translation_eng_Latn_to_deu_Latn") == ("eng_Latn", "deu_Latn")
    for wrong in ("translation_", "translation_foo", "translation_de_to_"):
        with pytest.raises(KeyError, match="translation_XX_to_YY"):
            languages_of_task(wrong)


# The three tasks, with models of the library


TASKS = {
    "text2text-generation": (Text2TextGenerationPipeline, "generated"),
    "summarization": (SummarizationPipeline, "summary"),
    "translation": (TranslationPipeline, "translation"),
    "translation_de_to_en": (TranslationPipeline, "translation"),
}
BART_SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 64,
    "init_std": 1.0,
}


def bart(vocab_size):
    return BartForConditionalGeneration(BartConfig(vocab_size=vocab_size, **BART_SIZES, **SPECIAL_TOKENS)).eval()


def pegasus(vocab_size):
    return PegasusForConditionalGeneration(PegasusConfig(vocab_size=vocab_size, **BART_SIZES, **SPECIAL_TOKENS)).eval()


MODELS = [marian, t5, bart, pegasus, rnn_attn]


def tiny_pipeline(task, make_model, tokenizer, **options):
    set_seed(0)
    options = {"max_new_tokens": LENGTH} | options
    return pipeline(task, model=make_model(len(tokenizer)), tokenizer=tokenizer, device="cpu", **options)


@pytest.mark.parametrize("make_model", MODELS)
@pytest.mark.parametrize("task", TASKS)
def test_records_are_those_of_4_57(task, make_model, tokenizer):
    # https://huggingface.co/docs/transformers/v4.57.6/en/main_classes/pipelines
    made, name = tiny_pipeline(task, make_model, tokenizer, avoid_loops=False), TASKS[task][1]
    assert type(made) is TASKS[task][0]
    settings = {"num_beams": 3, "max_new_tokens": LENGTH}
    ids = generate_by_hand(made.model, tokenizer, TEXT, num_return_sequences=2, **settings)
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    assert made(TEXT, **settings) == [{f"{name}_text": texts[0]}]
    assert made([TEXT], **settings) == [{f"{name}_text": texts[0]}]
    assert made([TEXT], num_return_sequences=2, **settings) == [[{f"{name}_text": text} for text in texts]]
    (record,) = made(TEXT, return_tensors=True, **settings)
    assert list(record) == [f"{name}_token_ids"]
    kept = record[f"{name}_token_ids"]
    assert kept.tolist() == ids[0, : len(kept)].tolist()
    batches = made([TEXT, LONG_TEXT, "hund"], batch_size=2, **settings)
    assert batches == [made(text, **settings)[0] for text in (TEXT, LONG_TEXT, "hund")]
    assert list(made((text for text in [TEXT]), **settings)) == [made(TEXT, **settings)]


@pytest.fixture
def nllb():
    words = {f"▁{word}": place for place, word in enumerate(sorted(set(WORDS.split())), 4)}
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **words}
    tokenizer = NllbTokenizer(vocab=vocab, merges=[])
    set_seed(0)
    sizes = {"vocab_size": len(tokenizer), "decoder_start_token_id": 2, **BART_SIZES}
    return M2M100ForConditionalGeneration(M2M100Config(**sizes)).eval(), tokenizer


def test_nllb_begins_with_the_target_language(nllb):
    model, tokenizer = nllb
    languages = {"src_lang": "deu_Latn", "tgt_lang": "eng_Latn"}
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu", avoid_loops=False)
    (record,) = translator(TEXT, max_new_tokens=LENGTH, return_tensors=True, **languages)
    tokenizer.src_lang = "deu_Latn"
    forced = tokenizer.convert_tokens_to_ids("eng_Latn")
    ids = generate_by_hand(model, tokenizer, TEXT, num_beams=4, max_new_tokens=LENGTH, forced_bos_token_id=forced)
    assert record["translation_token_ids"].tolist() == ids[0].tolist()
    assert ids[0, 1] == forced


@pytest.mark.parametrize("task", ["text2text-generation", "summarization"])
def test_languages_are_arguments_of_translation_alone(task, tokenizer):
    made = tiny_pipeline(task, t5, tokenizer)
    with pytest.raises(ValueError, match=f"tgt_lang: the pipeline of '{task}' has no such argument"):
        made(TEXT, tgt_lang="en")


@pytest.mark.parametrize("task", ["text2text-generation", "summarization"])
def test_parameters_of_the_task_are_taken_from_the_configuration(task, model, tokenizer, monkeypatch):
    model.config.task_specific_params = {task: {"prefix": "translate ", "num_beams": 2, "max_length": 7}}
    seen = record_generate(model, monkeypatch)
    pipeline(task, model=model, tokenizer=tokenizer, device="cpu")(TEXT)
    assert (seen["num_beams"], seen["max_length"]) == (2, 7)
    assert tokenizer.decode(seen["input_ids"][0]) == f"translate {TEXT} </s>"


@pytest.mark.filterwarnings("ignore:Unfeasible length constraints")
@pytest.mark.parametrize(
    ("limits", "warning"),
    [
        ({"max_length": 20}, "its summary may have 20. A summary is shorter .* max_length=2"),
        ({"max_length": 3, "min_length": 5}, "min_length=5 is more than max_length=3"),
        ({"max_length": 3}, None),
        ({"num_beams": 1}, None),
    ],
)
def test_lengths_of_a_summary_are_checked(limits, warning, tokenizer, caplog):
    summarizer = pipeline("summarization", model=t5(len(tokenizer)), tokenizer=tokenizer, device="cpu")
    with caplog.at_level(logging.WARNING):
        summarizer(TEXT, **limits)
    said = [message for message in caplog.messages if "summary" in message or "min_length=5" in message]
    assert [bool(re.search(warning, message)) for message in said] == [True] if warning else said == []


def test_a_summary_may_be_asked_to_stop_early(tokenizer):
    summarizer = tiny_pipeline("summarization", t5, tokenizer, return_tensors=True, num_beams=1, max_new_tokens=20)
    ids = summarizer(TEXT)[0]["summary_token_ids"].tolist()
    stop = tokenizer.convert_ids_to_tokens(ids[2])
    assert summarizer(TEXT, stop_sequence=stop)[0]["summary_token_ids"].tolist() == ids[: ids[1:].index(ids[2]) + 2]


@pytest.mark.parametrize(
    ("task", "model", "options"),
    [
        ("summarization", ("sshleifer/distilbart-cnn-12-6", "a4f8f3e"), None),
        ("text2text-generation", ("google-t5/t5-base", "a9723ea"), None),
        ("translation_en_to_ro", ("google-t5/t5-base", "a9723ea"), ("en", "ro")),
    ],
)
def test_default_models_are_those_of_4_57(task, model, options):
    _, implementation, languages = pipelines.check_task(task)
    assert languages == options
    assert get_default_model_and_revision(implementation, languages) == model


def test_languages_without_a_default_model_are_named():
    with pytest.raises(ValueError, match=r"default models for options \('ja', 'fi'\)"):
        pipeline("translation_ja_to_fi", device="cpu")


# Scores


def two_vocabularies(tokenizer):
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{number}" for number in range(9))]
    target = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    return RnnAttnTokenizer(tokenizer_object=tokenizer.backend_tokenizer, target_tokenizer_object=target)


SCORED = {
    "greedy": {"num_beams": 1},
    "beam": {"num_beams": 4},
    "n-best": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 2.0},
    "sampling": {"do_sample": True, "num_beams": 1, "num_return_sequences": 3, "temperature": 0.7},
}


def rnn_attn_of_two_vocabularies(vocab_size):
    return rnn_attn(vocab_size, decoder_vocab_size=13)


@pytest.mark.parametrize("decoding", SCORED)
@pytest.mark.parametrize("make_model", [*MODELS, rnn_attn_of_two_vocabularies])
def test_a_score_is_the_sum_of_transition_scores(decoding, make_model, tokenizer, monkeypatch):
    set_seed(0)
    if make_model is rnn_attn_of_two_vocabularies:
        tokenizer = two_vocabularies(tokenizer)
    model = make_model(len(tokenizer)).double()
    generate = model.generate

    def seeded_generate(**kwargs):
        set_seed(1)
        return generate(**kwargs)

    monkeypatch.setattr(model, "generate", seeded_generate)
    # random models would say the padding
    settings = {**SCORED[decoding], "max_new_tokens": 8, "suppress_tokens": [0]}
    made = pipeline("text2text-generation", model=model, tokenizer=tokenizer, device="cpu", return_scores=True)
    (records,) = made([[TEXT, LONG_TEXT]], return_tensors=True, **settings)
    inputs = tokenizer([TEXT, LONG_TEXT], padding=True, return_tensors="pt")
    outputs = model.generate(**inputs, output_logits=True, return_dict_in_generate=True, **settings)
    steps = model.compute_transition_scores(
        outputs.sequences, outputs.logits, getattr(outputs, "beam_indices", None), normalize_logits=True
    )
    for record, sequence, step in zip(records, outputs.sequences, steps, strict=True):
        ids = record["generated_token_ids"].tolist()
        assert sequence.tolist() == ids
        length = ids[1:].index(2) + 1 if 2 in ids[1:] else len(ids) - 1
        assert record["score"] == pytest.approx(step[:length].sum().item(), abs=1e-5)


def test_scores_are_finite_sums_of_logarithms_whatever_the_batch(tokenizer):
    made = tiny_pipeline("translation", rnn_attn, tokenizer, return_scores=True, num_return_sequences=2)
    texts = [TEXT, LONG_TEXT, "hund"]
    single = [record["score"] for text in texts for record in made(text)]
    batches = [record["score"] for records in made(texts, batch_size=2) for record in records]
    assert batches == pytest.approx(single, abs=1e-4)
    assert max(single) < 0
    assert set(made(TEXT)[0]) == {"translation_text", "score"}
    assert set(made(TEXT, return_scores=False)[0]) == {"translation_text"}


def test_the_search_stays_the_fast_one_where_scores_are_asked_for(tokenizer, monkeypatch):
    made = tiny_pipeline("translation", rnn_attn, tokenizer)
    seen = record_generate(made.model, monkeypatch)
    made(TEXT, return_scores=True, avoid_loops=False)
    assert not {"return_dict_in_generate", "output_scores", "output_logits"} & seen.keys()


# Wrong arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"replace_unknown": "abc"}, "replace_unknown='abc': expected True, False, or a dict"),
        ({"replace_unknown": 1}, "replace_unknown=1: expected True"),
        ({"replace_unknown": ["a"]}, "expected True, False, or a dict"),
        ({"replace_unknown": {"hund": 5}}, "a dict from words of the source to words of the output"),
        ({"replace_unknown": {5: "dog"}}, "both of them str"),
        ({"output_attentions": "yes"}, "output_attentions='yes': expected True or False"),
        ({"return_scores": 1}, "return_scores=1: expected True or False"),
        ({"return_tensors": "pt"}, "return_tensors='pt': expected True or False"),
        ({"avoid_loops": "no"}, "avoid_loops='no': expected True or False"),
        ({"do_sample": "yes"}, "do_sample='yes': expected True or False"),
        ({"return_type": "text"}, "return_type='text': expected ReturnType"),
        ({"truncation": "yes"}, "truncation='yes': expected True, False,"),
        ({"stop_sequence": 5}, "stop_sequence=5: expected a str"),
        ({"src_lang": 5}, "src_lang=5: expected a str"),
        ({"num_return_sequences": 0}, "num_return_sequences=0: expected a whole number of at least 1"),
        ({"num_return_sequences": 1.5}, "num_return_sequences=1.5: expected a whole number"),
        ({"num_beams": 0}, "num_beams=0: expected a whole number of at least 1"),
        ({"num_beams": True}, "num_beams=True: expected a whole number"),
        ({"batch_size": 0}, "batch_size=0: expected a whole number of at least 1"),
        ({"batch_size": "2"}, "batch_size='2': expected a whole number"),
        ({"num_workers": -1}, "num_workers=-1: expected a whole number of at least 0"),
        ({"max_length": "a"}, "max_length='a': expected a whole number of at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: expected a whole number of at least 1"),
        ({"min_length": -1}, "min_length=-1: expected a whole number of at least 0"),
        ({"length_penalty": "a"}, "length_penalty='a': expected a number"),
        ({"temperature": "hot"}, "temperature='hot': expected a number"),
        ({"num_beam": 3}, "num_beam: .* Did you mean num_beams"),
        ({"output_attention": True}, "output_attention: .* Did you mean output_attentions"),
        ({"return_score": True}, "return_score: .* Did you mean return_scores"),
        ({"target_lang": "de"}, "target_lang: .* Did you mean tgt_lang"),
        ({"xyzzy": 1}, "xyzzy: .* those of its class and of generate"),
    ],
)
@pytest.mark.parametrize("when", ["call", "pipeline"])
def test_an_argument_that_means_nothing_is_refused(arguments, message, when, tokenizer):
    calls = {
        "call": functools.partial(tiny_pipeline("translation", rnn_attn, tokenizer), TEXT),
        "pipeline": functools.partial(tiny_pipeline, "translation", rnn_attn, tokenizer),
    }
    with pytest.raises(ValueError, match=message) as refusal:
        calls[when](**arguments)
    assert "\n" not in str(refusal.value)


def test_numbers_of_numpy_and_none_are_numbers_and_defaults(translator):
    expected = translator(TEXT, max_new_tokens=4, num_beams=2)
    assert translator(TEXT, max_new_tokens=np.int64(4), num_beams=np.int32(2), return_scores=None) == expected


# Texts without words, sequences that are no lists, and what is no text


BLANKS = ["", " ", "\t \n", "\u00a0\u2003", "\u200b\u00ad", "\x00", "\ufeff"]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_text_without_words_has_an_empty_translation(short_translator, blank, batch_size):
    (expected,) = short_translator(TEXT)
    assert expected["translation_text"]
    assert short_translator(blank) == [{"translation_text": ""}]
    records = short_translator([TEXT, blank], batch_size=batch_size, num_return_sequences=2, num_beams=2)
    assert [record["translation_text"] != "" for record in records[0]] == [True, True]
    assert [record["translation_text"] for record in records[1]] == ["", ""]
    (record,) = short_translator(blank, output_attentions=True)
    assert record["translation_text"] == "" and record["target_tokens"] == [] == record["attention"]


@pytest.mark.parametrize("make_model", MODELS)
@pytest.mark.parametrize("task", TASKS)
def test_in_every_task_nothing_comes_of_nothing(task, make_model, tokenizer, caplog):
    made, name = tiny_pipeline(task, make_model, tokenizer, return_scores=True, max_new_tokens=4), TASKS[task][1]
    assert made("  ") == [{f"{name}_text": "", "score": 0.0}]
    assert "cut off" not in caplog.text


@pytest.mark.parametrize(
    "sequence",
    [
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        pd.Series,
        lambda texts: pd.Series(texts, dtype="category"),
        collections.deque,
        lambda texts: Dataset.from_dict({"text": texts})["text"],
        lambda texts: pa.array(texts, pa.string()),
        lambda texts: pa.chunked_array([texts], pa.string()),
        lambda texts: collections.UserList(texts),
    ],
)
def test_a_sequence_of_texts_works_like_a_list(short_translator, sequence):
    texts = [TEXT, "ein Haus", "Luftschiff"]
    assert short_translator(sequence(texts)) == short_translator(texts)
    assert short_translator(sequence([])) == []


@pytest.mark.parametrize(
    "iterable",
    [
        iter,
        lambda texts: map(str, texts),
        lambda texts: (text for text in texts),
        lambda texts: Dataset.from_dict({"text": texts}).to_iterable_dataset()["text"],
        lambda texts: KeyDataset(Dataset.from_dict({"text": texts}), "text"),
    ],
)
def test_an_iterator_of_texts_works_like_a_generator(short_translator, iterable):
    texts = [TEXT, "ein Haus"]
    assert [record for (record,) in short_translator(iterable(texts))] == short_translator(texts)


def test_a_text_in_an_array_of_no_dimension_is_a_text(short_translator):
    assert short_translator(np.array(TEXT)) == short_translator(np.str_(TEXT)) == short_translator(TEXT)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        (None, "NoneType None"),
        (5, "int 5"),
        (1.5, "float 1.5"),
        (b"ein Haus", "bytes b'ein Haus'"),
        (bytearray(b"ein Haus"), "bytearray "),
        (Path("haus.txt"), "PosixPath"),
        ([1, 2], "int 1 at position 0"),
        (range(3), "int 0 at position 0"),
        (("ein Haus", 5), "int 5 at position 1"),
        ([TEXT, None], "NoneType None at position 1"),
        ([TEXT, float("nan")], "float nan at position 1"),
        ([TEXT, b"Haus"], "bytes b'Haus' at position 1"),
        ([TEXT, []], r"list \[\] at position 1"),
        ([[TEXT, None]], r"list \[.* at position 0"),
        ([[[TEXT]]], r"list \[.* at position 0"),
        ([(TEXT, TEXT)], r"tuple .* at position 0"),
        ({"text": "ein Haus"}, "dict {"),
        ({"text": ["ein Haus"]}, "dict {"),
        ({"ein Haus"}, "set {"),
        ([{"role": "user", "content": "ein Haus"}], "dict .* at position 0"),
        (np.array([TEXT, np.nan], dtype=object), "float nan at position 1"),
        (pd.Series([TEXT, None], dtype=object), "NoneType None at position 1"),
        (pd.Series([TEXT, None], dtype="str"), "float nan at position 1"),
        (pd.Series([TEXT, pd.NA], dtype="string"), "NAType <NA> at position 1"),
        (pd.DataFrame({"text": [TEXT]}), "DataFrame "),
        (pa.array([TEXT, None]), "NoneType None at position 1"),
        (pa.table({"text": [TEXT]}), "dict .* at position 0"),
        (Dataset.from_dict({"text": [TEXT]}), "dict .* at position 0"),
        (torch.tensor([[1, 2], [3, 4]]), "list .* at position 0"),
        (torch.tensor(5), "int 5"),
        (np.arange(3), "int 0 at position 0"),
        (object(), "object <object"),
    ],
)
def test_what_is_no_text_is_refused(short_translator, inputs, got):
    with pytest.raises(TypeError, match=rf"takes a str or a list of str, but got {got}.* one column") as refusal:
        short_translator(inputs)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300


@pytest.mark.parametrize("wrong", [None, 5, [TEXT, 5], b"Haus"])
def test_what_is_no_text_in_a_generator_is_refused_where_it_comes(short_translator, wrong):
    results = iter(short_translator(item for item in (TEXT, wrong)))
    assert next(results) == short_translator(TEXT)
    with pytest.raises(TypeError, match="takes a str or a list of str"):
        next(results)


# Odd and long texts


@pytest.mark.parametrize("make_model", MODELS)
@pytest.mark.parametrize(
    ("text", "read"),
    [("ein \ud83d mann", "ein \ufffd mann"), ("\udc80", "\ufffd"), ("\ud83d\ude00", "😀"), ("\x00", "\x00")],
)
def test_half_a_surrogate_pair_is_read_as_the_replacement_character(make_model, text, read, tokenizer, monkeypatch):
    made = tiny_pipeline("text2text-generation", make_model, tokenizer)
    expected = made([read, [read, TEXT]], max_new_tokens=4)
    asked, encode = [], made._encode
    monkeypatch.setattr(made, "_encode", lambda texts, **settings: asked.extend(texts) or encode(texts, **settings))
    assert made([text, [text, TEXT]], max_new_tokens=4) == expected
    assert asked == [read, read, TEXT]


def test_a_text_of_too_many_tokens_is_cut_and_named(tokenizer, caplog):
    made = tiny_pipeline("text2text-generation", rnn_attn, tokenizer, max_new_tokens=4)
    made.max_source_tokens = 5
    expected = made("ein mann eine frau")
    assert "were read of" not in caplog.text
    caplog.clear()
    assert made("ein mann eine frau hund auf dem fahrrad") == expected
    assert "Only the first 5 tokens, of at most 50 characters, were read of 'ein mann ein" in caplog.text
    caplog.clear()
    assert made([[TEXT, "ein mann eine frau hund auf dem fahrrad"]])[0][1:] == expected
    assert caplog.text.count("were read of") == 1
    caplog.clear()
    made("ein " + " " * 60 + "hund")
    assert "were read of" in caplog.text


@pytest.mark.parametrize("truncation", [True, "longest_first", "only_first"])
def test_truncation_on_request_names_the_text_too(truncation, tokenizer, caplog):
    tokenizer.model_max_length = 4
    made = tiny_pipeline("text2text-generation", t5, tokenizer, max_new_tokens=4)
    assert made([TEXT, LONG_TEXT], truncation=truncation)[1:] == made("eine frau fährt")
    assert caplog.text.count("were read of 'eine frau fährt auf dem") == 0 < caplog.text.count("were read of")


@pytest.mark.parametrize("characters", [100_000, 10_000_000])
def test_a_huge_text_is_answered_in_bounded_time_and_memory(characters, caplog):
    translator = pipeline("translation", model=BUNDLED["de", "en"], device="cpu", num_beams=1, max_new_tokens=5)
    before, start = psutil.Process().memory_info().rss, time.process_time()
    (record,) = translator(("ein Haus am Meer. " * characters)[:characters])
    assert record["translation_text"] and "Only the first 5000 tokens" in caplog.text
    assert f"({characters} characters)" in caplog.text
    assert time.process_time() - start < 5  # of the processor: the machine may be busy
    assert psutil.Process().memory_info().rss - before < 2**30


@pytest.mark.parametrize("make_model", MODELS)
@pytest.mark.parametrize("limit", [{"max_new_tokens": 3}, {"max_length": 4}])
def test_an_output_that_a_limit_cut_off_is_named(make_model, limit, tokenizer, caplog):
    options = {"num_beams": 1, "return_tensors": True, "suppress_tokens": [0], "max_new_tokens": None}
    made = tiny_pipeline("translation", make_model, tokenizer, **options)
    for text in (TEXT, LONG_TEXT, "hund"):
        caplog.clear()
        ids = made(text, **limit)[0]["translation_token_ids"].tolist()
        is_cut = len(ids) == 4 and (2 not in ids[1:] or "forced_eos_token_id" in made.model.generation_config.to_dict())
        assert (f"output for {text!r} ({len(text)} characters) was cut off" in caplog.text) == is_cut or len(text) > 20


# Loops


class Stutterer(RnnAttnForConditionalGeneration):
    """Repeats itself unless it may not."""

    def generate(self, input_ids, no_repeat_ngram_size=0, **kwargs):
        self.calls.append(input_ids.tolist())
        line = [5, 6, 7, 2] if no_repeat_ngram_size else self.line
        return torch.tensor([[1, *line]]).repeat(len(input_ids), 1)


def stutterer(tokenizer, line, task="translation", **options):
    model = Stutterer(rnn_attn(len(tokenizer)).config)
    model.line, model.calls = line, []
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", return_tensors=True, **options)


@pytest.mark.parametrize(
    ("line", "is_loop"),
    [
        ([5, 5, 5, 5, 2], True),
        ([5, 5, 5, 2], False),
        ([6, 5, 7, 5, 7, 5, 7, 5, 7, 6, 2], True),
        ([5, 7, 5, 7, 5, 7, 2], False),
        ([5, 7, 8, 9, 5, 7, 8, 9, 5, 7, 8, 9, 5, 7, 8, 9, 2], True),
        ([5, 2, 0, 0, 0, 0, 0, 0], False),
        ([5, 6, 7, 8, 9, 2], False),
    ],
)
def test_an_output_that_repeats_itself_four_times_is_decoded_again(line, is_loop, tokenizer):
    translator = stutterer(tokenizer, line)
    ids = translator(TEXT)[0]["translation_token_ids"].tolist()
    assert [token for token in ids[1:] if token] == ([5, 6, 7, 2] if is_loop else [token for token in line if token])
    assert len(translator.model.calls) == (2 if is_loop else 1)
    assert len(translator(TEXT, avoid_loops=False)[0]["translation_token_ids"]) == 1 + len(line)


def test_only_the_texts_whose_outputs_loop_are_decoded_again(tokenizer):
    translator = stutterer(tokenizer, [5, 5, 5, 5, 5, 2])
    (records,) = translator([[TEXT, "hund hund hund hund hund", "frau"]])
    assert [[token for token in record["translation_token_ids"].tolist() if token] for record in records] == [
        [1, 5, 6, 7, 2],
        [1, 5, 5, 5, 5, 5, 2],
        [1, 5, 6, 7, 2],
    ]
    assert [len(rows) for rows in translator.model.calls] == [3, 2]


@pytest.mark.parametrize(
    "settings",
    [
        {"no_repeat_ngram_size": 2},
        {"do_sample": True},
        {"repetition_penalty": 1.2},
        {"decoder_input_ids": torch.ones(1, 1)},
    ],
)
def test_what_was_sampled_or_is_guarded_already_is_left_as_it_is(settings, tokenizer):
    translator = stutterer(tokenizer, [5, 5, 5, 5, 5, 2])
    translator(TEXT, **settings)
    assert len(translator.model.calls) == 1


@pytest.mark.parametrize("task", ["text2text-generation", "summarization"])
def test_the_other_tasks_avoid_loops_on_request(task, tokenizer):
    made = stutterer(tokenizer, [5, 5, 5, 5, 5, 2], task)
    made(TEXT)
    assert len(made.model.calls) == 1
    made(TEXT, avoid_loops=True)
    assert len(made.model.calls) == 3


@pytest.mark.parametrize("count", [1, 3])
def test_what_belongs_to_an_output_comes_from_its_second_decoding(count, tokenizer):
    asked = {"return_scores": True, "output_attentions": True, "num_return_sequences": count, "num_beams": 3}
    settings = {"max_new_tokens": 12, "suppress_tokens": [0], **asked}
    texts = [" ".join([word] * 2) for word in sorted(set(WORDS.split()))]
    translator = tiny_pipeline("translation", rnn_attn, tokenizer)
    guarded, free = translator([texts], **settings)[0], translator([texts], avoid_loops=False, **settings)[0]
    again = translator([texts], no_repeat_ngram_size=3, **settings)[0]
    is_new = [record["target_tokens"] != old["target_tokens"] for record, old in zip(guarded, free, strict=True)]
    assert any(is_new) and not all(is_new)
    for record, chosen in zip(
        guarded, (pair[is_new[i]] for i, pair in enumerate(zip(free, again, strict=True))), strict=True
    ):
        assert record["target_tokens"] == chosen["target_tokens"]
        assert record["score"] == pytest.approx(chosen["score"], abs=1e-4)
        torch.testing.assert_close(record["attention"], chosen["attention"], atol=1e-4, rtol=0)


# Unknown words


class Parrot(RnnAttnForConditionalGeneration):
    """Says one sentence, and looks at the words of the source from left to right."""

    words = [3, 5, 3, 2]

    def generate(self, input_ids, **kwargs):
        batch_size, length = input_ids.shape
        steps = len(self.words)
        sequences = torch.tensor([[0, *self.words]]).expand(batch_size, -1)
        places = torch.arange(steps).clamp(max=length - 1)
        attention = torch.nn.functional.one_hot(places, length).float()  # (T, S)
        steps = tuple((row.repeat(batch_size, 1, 1, 1),) for row in attention)
        return SimpleNamespace(sequences=sequences, cross_attentions=steps)


def parrot(tokenizer, **options):
    config = rnn_attn(len(tokenizer)).config
    return pipeline("translation", model=Parrot(config), tokenizer=tokenizer, device="cpu", **options)


@pytest.mark.parametrize(
    ("replace_unknown", "expected"),
    [(True, "Zeppelin a Ballon"), ({"Ballon": "balloon"}, "Zeppelin a balloon"), ({}, "Zeppelin a Ballon")],
)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_unknown_words_are_replaced_by_what_was_looked_at(tokenizer, replace_unknown, expected, batch_size):
    assert tokenizer.decode([5]) == "a"
    translator = parrot(tokenizer)
    texts = ["Zeppelin fährt Ballon", "Luftschiff"]
    assert [record["translation_text"] for record in translator(texts)] == ["a", "a"]
    records = translator(texts, replace_unknown=replace_unknown, batch_size=batch_size)
    # where only the end of the sentence is left to look at, the word of the highest weight is taken
    assert [record["translation_text"] for record in records] == [expected, "Luftschiff a Luftschiff"]
    assert set(records[0]) == {"translation_text"}
    nested = translator([texts], replace_unknown=replace_unknown)[0]
    assert [record["translation_text"] for record in nested] == [expected, "Luftschiff a Luftschiff"]


class TwoSentences(Parrot):
    """Returns two hypotheses; the second looks at the second word of the source alone."""

    def generate(self, input_ids, **kwargs):
        outputs = super().generate(input_ids.repeat_interleave(2, dim=0), **kwargs)
        for (attention,) in outputs.cross_attentions:
            attention[1::2] = torch.eye(input_ids.shape[1])[1]
        return outputs


def test_each_hypothesis_of_a_padded_batch_takes_words_of_its_own_sentence(tokenizer):
    model = TwoSentences(rnn_attn(len(tokenizer)).config)
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu", replace_unknown=True)
    records = translator([["Zeppelin fährt Ballon", "Luftschiff ahoi"]])[0]
    assert [record["translation_text"] for record in records] == [
        "Zeppelin a Ballon",
        "fährt a fährt",
        "Luftschiff a Luftschiff",
        "ahoi a ahoi",
    ]


def test_replacing_unknown_words_and_showing_attention_go_together(tokenizer):
    translator = parrot(tokenizer, output_attentions=True)
    record = translator("Zeppelin fährt Ballon", replace_unknown=True)[0]
    assert record["translation_text"] == "Zeppelin a Ballon"
    assert record["target_tokens"] == ["<unk>", "a", "<unk>", "</s>"] and len(record["attention"]) == 4
    assert translator("Zeppelin fährt Ballon", replace_unknown=False)[0]["translation_text"] == "a"


# Attention


def teacher_forced_attention(model, tokenizer, text, ids):
    """Mean over the heads of the last layer's cross attention while `ids` (T + 1,) are read, (T, S)."""
    inputs = tokenizer(text, return_tensors="pt")
    outputs = model(**inputs, decoder_input_ids=ids[None, :-1], output_attentions=True)
    return outputs.cross_attentions[-1][0].mean(0)


DECODINGS = {
    "greedy": {"num_beams": 1},
    "beam": {"num_beams": 4, "length_penalty": 2.0},
    "n-best": {"num_beams": 4, "num_return_sequences": 3},
    "sampling": {"do_sample": True, "num_beams": 1, "num_return_sequences": 3},
    "config": {"generation_config": GenerationConfig(num_beams=3, max_length=10, **SPECIAL_TOKENS)},
}


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("make_model", [marian, t5, rnn_attn])
def test_attention_belongs_to_the_returned_sequence(make_model, tokenizer, decoding, batch_size):
    set_seed(0)
    model = make_model(len(tokenizer))
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    settings = DECODINGS[decoding]
    limit = {} if "generation_config" in settings else {"max_new_tokens": 10}
    texts = [TEXT, LONG_TEXT]
    results = translator(texts, batch_size=batch_size, return_tensors=True, output_attentions=True, **settings, **limit)
    for text, records in zip(texts, results, strict=True):
        for record in [records] if isinstance(records, dict) else records:
            ids = record["translation_token_ids"]
            kept = ids[1:] != tokenizer.pad_token_id
            expected = teacher_forced_attention(model, tokenizer, text, ids)[kept]
            torch.testing.assert_close(torch.tensor(record["attention"]), expected, atol=5e-5, rtol=0)
            assert record["source_tokens"] == [*text.split(), "</s>"]
            assert record["target_tokens"] == tokenizer.convert_ids_to_tokens(ids[1:][kept].tolist())


def test_attention_leaves_the_text_as_it_is(translator):
    records = translator([TEXT, LONG_TEXT], batch_size=2, output_attentions=True, max_new_tokens=LENGTH)
    plain = translator([TEXT, LONG_TEXT], max_new_tokens=LENGTH)
    assert [{"translation_text": record["translation_text"]} for record in records] == plain
    assert all(len(record["attention"]) == len(record["target_tokens"]) for record in records)
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for record in records for row in record["attention"])


def test_attention_with_a_generation_config_is_asked_for_in_a_copy(translator, model, monkeypatch):
    config = GenerationConfig(num_beams=2, max_length=5, **SPECIAL_TOKENS)
    before = config.to_dict()
    seen = record_generate(model, monkeypatch)
    translator(TEXT, generation_config=config, output_attentions=True)
    # generate() deprecates a generation_config together with parameters beside it
    assert seen["generation_config"].output_attentions and "output_attentions" not in seen
    assert config.to_dict() == before


@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_attention_of_a_list_inside_the_list(translator, tokenizer, padding_side):
    settings = {"output_attentions": True, "max_new_tokens": LENGTH, "num_return_sequences": 2}
    if padding_side == "left":
        # not Marian: its position embeddings count the padding
        model = rnn_attn(len(tokenizer))
        translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
        tokenizer.padding_side = "left"
    (records,) = translator([[TEXT, LONG_TEXT]], **settings)
    separate = [record for text in (TEXT, LONG_TEXT) for record in translator(text, **settings)]
    for record, expected in zip(records, separate, strict=True):
        assert record["source_tokens"] == expected["source_tokens"]
        torch.testing.assert_close(record["attention"], expected["attention"], atol=1e-5, rtol=0)


def test_attention_after_a_prompt_starts_behind_it(translator, model, tokenizer):
    prompt = torch.tensor([[0, 5, 6]])
    (record,) = translator(
        TEXT, decoder_input_ids=prompt, output_attentions=True, return_tensors=True, num_beams=3, max_new_tokens=4
    )
    ids = record["translation_token_ids"]
    assert ids[:3].tolist() == prompt[0].tolist()
    expected = teacher_forced_attention(model, tokenizer, TEXT, ids)[2:][ids[3:] != 0]
    torch.testing.assert_close(torch.tensor(record["attention"]), expected, atol=5e-5, rtol=0)


def test_attention_follows_the_beam():
    # two beams that change places: the returned sequence was row 1, then row 0; weights name step and row
    steps = tuple((torch.full((2, 1, 1, 1), step) + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1),) for step in range(2))

    class Outputs:
        cross_attentions = steps
        beam_indices = torch.tensor([[1, 0, -1]])[:, :2]

    assert attention_of_sequences(Outputs()).flatten().tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("make_model", "without"), [(marian, {"attn_implementation": "sdpa"}), (rnn_attn, {"attention_score": "none"})]
)
def test_a_model_without_attention_to_show_is_refused(tokenizer, make_model, without):
    model = make_model(len(tokenizer), **without)
    translator = pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match="returns cross attentions, and this one returned none"):
        translator(TEXT, output_attentions=True)


def test_two_vocabularies(model, tokenizer, monkeypatch):
    target_words = ["<pad>", "<s>", "</s>", "<unk>", *(f"target {word}" for word in sorted(set(WORDS.split())))]
    target = Tokenizer(models.WordLevel({word: i for i, word in enumerate(target_words)}, unk_token="<unk>"))
    two = RnnAttnTokenizer(tokenizer_object=tokenizer.backend_tokenizer, target_tokenizer_object=target)
    translator = pipeline("translation", model=model, tokenizer=two, device="cpu")
    seen = record_generate(model, monkeypatch)
    (record,) = translator("ein hund", output_attentions=True, max_new_tokens=LENGTH, stop_sequence="target hund")
    assert record["source_tokens"] == ["ein", "hund", "</s>"]
    assert all(token.startswith(("target ", "<")) for token in record["target_tokens"])
    assert seen["eos_token_id"] == target_words.index("target hund")


def test_source_tokens_where_the_tokenizer_has_a_source_vocabulary(model, tokenizer):
    class MarianLike(PreTrainedTokenizerFast):
        def get_src_vocab(self):
            return {f"source {token}": token_id for token, token_id in self.get_vocab().items()}

    two = MarianLike(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", eos_token="</s>")
    translator = pipeline("translation", model=model, tokenizer=two, device="cpu")
    (record,) = translator("ein hund", output_attentions=True, max_new_tokens=LENGTH)
    assert record["source_tokens"] == ["source ein", "source hund", "source </s>"]


# Which models, which tasks


def test_models_that_cannot_translate_are_refused(tokenizer):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2}
    decoder_only = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes))
    headless = T5Model(T5Config(vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    for model in (decoder_only, headless):
        with pytest.raises(ValueError, match=f"needs an encoder-decoder model .* got {type(model).__name__}"):
            pipeline("translation", model=model, tokenizer=tokenizer, device="cpu")


def test_the_other_removed_tasks_stay_removed(model, tokenizer):
    for task in ("question-answering", "translation_foo"):
        with pytest.raises(KeyError, match=task):
            pipeline(task, model=model, tokenizer=tokenizer)
    if hasattr(pipelines, "REMOVED_TASKS"):  # from 5.19 on, with advice of the library for each of them
        with pytest.raises(KeyError, match="removed from transformers"):
            pipeline("question-answering", model=model, tokenizer=tokenizer)


def test_registration_changes_nothing_the_second_time():
    before = dict(pipelines.PIPELINE_REGISTRY.supported_tasks), pipelines.PIPELINE_REGISTRY.check_task
    register_pipelines()
    assert (dict(pipelines.PIPELINE_REGISTRY.supported_tasks), pipelines.PIPELINE_REGISTRY.check_task) == before
    assert "translation" in pipelines.get_supported_tasks()


def test_tasks_with_languages_resolve_to_translation():
    name, implementation, languages = pipelines.check_task("translation_de_to_en")
    assert (name, languages) == ("translation", ("de", "en"))
    assert implementation["impl"].__name__ == "TranslationPipeline"
    assert pipelines.check_task("sentiment-analysis")[0] == "text-classification"


def test_tasks_without_a_model_have_the_default_of_4_57():
    _, implementation, languages = pipelines.check_task("translation_en_to_de")
    assert get_default_model_and_revision(implementation, languages) == ("google-t5/t5-base", "a9723ea")


def test_a_saved_pipeline_is_a_plain_checkpoint(translator, tmp_path):
    translator.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    loaded = pipeline("translation", model=str(tmp_path), device="cpu", avoid_loops=False)
    assert loaded(TEXT, max_new_tokens=LENGTH) == translator(TEXT, max_new_tokens=LENGTH)
