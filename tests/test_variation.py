# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Copies of pairs in capitals, in small letters and joined, placeholders in pairs, and a run with all of them."""

import random

import pytest
import yaml
from datasets import Dataset

from hf_rnn_attn.model.pipeline_rnn_attn import translation_pipeline
from hf_rnn_attn.model.placeholders_rnn_attn import KINDS, PLACEHOLDERS, Placeholders
from hf_rnn_attn.training import train
from hf_rnn_attn.training.recipe import load_recipe
from hf_rnn_attn.variation import known_words, mask_pairs, vary_pairs


ONE, TWO = PLACEHOLDERS[:2]


def dataset(*pairs):
    return Dataset.from_list([{"source": s, "target": t, "place": f"row {i}"} for i, (s, t) in enumerate(pairs)])


def texts(pairs):
    return [(pair["source"], pair["target"]) for pair in pairs]


PAIRS = [("Ein Haus.", "A house."), ("Rot?", "Red?"), ("blau", "blue")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({}, []),
        ({"uppercase": 1.0}, [("EIN HAUS.", "A HOUSE."), ("ROT?", "RED?"), ("BLAU", "BLUE")]),
        ({"lowercase": 1.0}, [("ein haus.", "A house."), ("rot?", "Red?")]),
    ],
)
def test_copies_are_added(options, added, stream):
    pairs = dataset(*PAIRS)
    varied = vary_pairs(pairs.to_iterable_dataset() if stream else pairs, **options)
    assert sorted(texts(varied)) == sorted([*PAIRS, *added])


def test_short_pairs_are_joined_with_those_before_them():
    long = ("a " * 9, "b")
    joined = set(texts(vary_pairs(dataset(*PAIRS[:2], long, PAIRS[2]), joined=1.0))) - {*PAIRS, long}
    assert ("Ein Haus. Rot?", "A house. Red?") in joined
    assert joined & {("Rot? blau", "Red? blue"), ("Ein Haus. Rot? blau", "A house. Red? blue")}
    assert len(joined) == 2


def test_shares_are_kept_and_do_not_change_each_other():
    pairs = dataset(*[(f"Haus {i}", f"House {i}") for i in range(2000)])
    upper = {text for text in texts(vary_pairs(pairs, uppercase=0.1, seed=3)) if text[0].isupper()}
    assert 150 < len(upper) < 250
    assert upper <= set(texts(vary_pairs(pairs, uppercase=0.1, lowercase=0.5, joined=0.5, seed=3)))
    assert upper != {text for text in texts(vary_pairs(pairs, uppercase=0.1, seed=4)) if text[0].isupper()}


def test_a_word_is_known_unless_it_is_rarely_seen_and_always_copied():
    pairs = dataset(("Tom mag Öztürk", "Tom likes Öztürk"), ("Toms Haus", "Tom's house"), *[("Bonn", "Bonn")] * 20)
    assert known_words([*pairs, {"source": "Tom", "target": "He"}]) == {"tom", "mag", "toms", "haus", "bonn"}


def test_pairs_are_masked_and_some_have_known_names_masked():
    pairs = dataset(*[("Am 3. sah er Tom", "On the 3rd he saw Tom")] * 500)
    masked = texts(mask_pairs(pairs, Placeholders(list(KINDS), ["tom", "am"])))
    assert {source for source, _ in masked} == {f"Am {ONE}. sah er Tom", f"Am {ONE}. sah er {TWO}"}
    assert {target for _, target in masked} == {f"On the {ONE}rd he saw Tom", f"On the {ONE}rd he saw {TWO}"}
    assert 60 < sum(TWO in source for source, _ in masked) < 140


RECIPE = """
data:
  train: train.tsv
  validation: dev.tsv
  placeholders: true
  variation: {uppercase: 0.01}
tokenizer: {kind: word, vocab_size: 200}
model: {encoder_embedding_size: 32, encoder_hidden_size: 32, encoder_layers: 1, decoder_embedding_size: 32,
        decoder_hidden_size: 64, decoder_layers: 1, attentional_size: 32, attention_score: general}
training: {num_train_epochs: 10, tokens_per_batch: 300, learning_rate: 2e-2, lr_scheduler_type: cosine,
           use_cpu: true, report_to: none,
           save_strategy: "no", seed: 1, disable_tqdm: true}
generation: {num_beams: 1, max_length: 40}
"""
TEMPLATES = [
    ("Das kostet {} Euro.", "That costs {} euros."),
    ("Der Zug kommt um {} Uhr.", "The train comes at {} o'clock."),
    ("Das Zimmer {} ist frei.", "Room {} is free."),
    ("Wir kommen am {}. Mai.", "We come on May {}."),
]


def run(folder, **changes):
    chosen = random.Random(1)
    for name, count in (("train", 800), ("dev", 20)):
        numbers = [str(chosen.randint(1, 9999)) for _ in range(count)]
        lines = ["\t".join(side.format(n) for side in chosen.choice(TEMPLATES)) for n in numbers]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    recipe = yaml.safe_load(RECIPE)
    recipe["data"] |= changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    return train(load_recipe(folder / "recipe.yaml", [f"training.output_dir={folder / 'run'}"]))


def test_what_is_trained_with_placeholders_translates_around_numbers_never_seen(tmp_path):
    results = run(tmp_path)
    assert results["scores"]["validation"]["sacrebleu"]["score"] > 60
    translator = translation_pipeline(model=tmp_path / "run", device="cpu")
    assert translator("Das kostet 77.123,45 Euro.") == [{"translation_text": "That costs 77.123,45 euros."}]
    assert translator("Der Zug kommt um 23:59 Uhr.") == [{"translation_text": "The train comes at 23:59 o'clock."}]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("placeholders", ["nubmer"], "did you mean 'number'"),
        ("placeholders", [], "data.placeholders: expected true or false .* or at least one"),
        ("placeholders", "number", "data.placeholders: expected true or false"),
        ("variation", {"uppercase": 2}, "data.variation.uppercase: expected a number of at most 1"),
        ("variation", {"upper": 0.1}, "unknown key 'data.variation.upper'; did you mean 'uppercase'"),
        ("variation", {"uppercase": "x"}, "data.variation.uppercase: expected a number"),
        ("features_column", 3, "data.variation is for sentences, data.features_column for words"),
    ],
)
def test_a_recipe_that_asks_for_something_else_is_refused(tmp_path, key, value, message):
    recipe = yaml.safe_load(RECIPE)
    recipe["data"][key] = value
    recipe["training"]["output_dir"] = "run"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_checkpoint_brings_its_placeholders(tmp_path):
    recipe = yaml.safe_load(RECIPE) | {"model": "x/y", "tokenizer": None}
    recipe["training"]["output_dir"] = "run"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    with pytest.raises(ValueError, match="data.placeholders: the checkpoint 'x/y' brings its own, if any"):
        load_recipe(tmp_path / "recipe.yaml")
