# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Trains a tiny model with JoeyNMT and writes down what that model says; runs under the toolkit's own Python.

`python joeynmt_oracle.py FOLDER '{"model": {...}, "data": {...}}'`: FOLDER holds train and test, each as .src and
.tgt; it gets model/ and answers.pt: for each line of test.src the source ids, those of the greedy translation and the
log-probabilities along it, and the translations that the toolkit's own command writes. Knows nothing of the package
that is tested.
"""

import json
import sys
from pathlib import Path

import torch


def settings(folder: Path, options: dict) -> dict:
    model, data = options.get("model", {}), options.get("data", {})
    encoder = {"type": "recurrent", "rnn_type": "lstm", "embeddings": {"embedding_dim": 12}, "hidden_size": 8}
    decoder = {"type": "recurrent", "rnn_type": "lstm", "embeddings": {"embedding_dim": 12}, "hidden_size": 16}
    side = {"level": "word", "voc_min_freq": 2}
    return {
        "name": "oracle",
        "model_dir": f"{folder}/model",
        "use_cuda": False,
        "data": {
            "train": f"{folder}/train",
            "dev": f"{folder}/test",
            "test": f"{folder}/test",
            "dataset_type": "plain",
            "src": {"lang": "src"} | side | data,
            "trg": {"lang": "tgt"} | side | data,
        },
        "model": {"initializer": "uniform", "init_weight": 0.5, "embed_initializer": "normal", "embed_init_weight": 1.0}
        | model
        | {"encoder": encoder | model.get("encoder", {}), "decoder": decoder | model.get("decoder", {})},
        "training": {
            "optimizer": "adam",
            "learning_rate": 0.01,
            "scheduling": "exponential",
            "batch_size": 16,
            "epochs": 2,
            "logging_freq": 10,
            "validation_freq": 20,
            "early_stopping_metric": "loss",
        },
        "testing": {"beam_size": 1, "batch_size": 16, "max_output_length": 12} | options.get("testing", {}),
    }


def run(*arguments: str):
    from joeynmt.__main__ import main

    sys.argv = ["joeynmt", *arguments]
    main()


@torch.no_grad()
def answer(folder: Path, configuration: str) -> list[dict]:
    from joeynmt.config import load_config, parse_global_args
    from joeynmt.prediction import prepare

    arguments = parse_global_args(load_config(Path(configuration)), rank=0, mode="test")
    model, *_, test_data = prepare(arguments, rank=0, mode="test")
    model.eval()
    tokenize = test_data.tokenizer["src"]
    lines = (folder / "test.src").read_text().splitlines()
    return [greedy(model, tokenize(tokenize.pre_process(line))) for line in lines]


def greedy(model, words: list[str], limit: int = 12) -> dict:
    ids, lengths, _ = model.src_vocab.sentences_to_ids([words], bos=False, eos=True)
    source, target = torch.tensor(ids), [model.bos_index]
    arguments = {"src": source, "src_length": torch.tensor(lengths), "src_mask": torch.ones(1, 1, len(ids[0])).bool()}
    forbidden = [model.bos_index, model.pad_index]
    while len(target) <= limit and target[-1] != model.eos_index:
        logits, _, _, _ = model._encode_decode(**arguments, trg_input=torch.tensor([target]))
        allowed = logits[0, -1].clone()
        allowed[forbidden + ([model.eos_index] if len(target) == 1 else [])] = -float("inf")
        target.append(int(allowed.argmax()))
    return {"source": source[0], "target": torch.tensor(target), "log_probabilities": logits[0].log_softmax(-1)}


if __name__ == "__main__":
    workplace = Path(sys.argv[1])
    recipe = workplace / "recipe.yaml"
    recipe.write_text(json.dumps(settings(workplace, json.loads(sys.argv[2]))))  # JSON is YAML
    run("train", str(recipe), "--skip-test")
    answers = answer(workplace, str(recipe))
    run("test", str(recipe), "--output-path", str(workplace / "translations"))
    translations = (workplace / "translations.test").read_text().splitlines()
    torch.save({"answers": answers, "translations": translations}, workplace / "answers.pt")
