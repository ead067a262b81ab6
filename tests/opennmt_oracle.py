# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Trains a tiny model with OpenNMT-py and writes down what that model says; runs under the toolkit's own Python.

`python opennmt_oracle.py FOLDER '{"encoder_type": "brnn", ...}'`: FOLDER holds train.src, train.tgt and test.src; it
gets model.pt and answers.pt: for each line of test.src the ids of the source, those of the greedy translation and the
log-probabilities along it, and the translations that the toolkit's own command writes. Knows nothing of the package
that is tested.
"""

import json
import sys
from argparse import Namespace
from pathlib import Path

import torch


def train(folder: Path, options: dict):
    from onmt.bin.build_vocab import main as build_vocab
    from onmt.bin.train import main as run_training

    corpus = {"path_src": f"{folder}/train.src", "path_tgt": f"{folder}/train.tgt"}
    recipe = {
        "data": {"corpus": corpus},
        "save_data": f"{folder}/data",
        "src_vocab": f"{folder}/vocab.src",
        "tgt_vocab": f"{folder}/vocab.tgt",
        "overwrite": True,
        "seed": 1,
    }
    training = {
        "save_model": f"{folder}/model",
        "src_words_min_frequency": 2,
        "tgt_words_min_frequency": 2,
        "word_vec_size": 12,
        "hidden_size": 16,
        "layers": 1,
        "train_steps": 30,
        "save_checkpoint_steps": 30,
        "batch_size": 16,
        "bucket_size": 64,
        "num_workers": 0,
        "optim": "adam",
        "learning_rate": 0.01,
        "param_init": 0.5,
        "world_size": 1,
    }
    shared = {"share_vocab": True} if options.get("share_vocab") else {}
    call(build_vocab, folder / "vocab.yaml", recipe | shared | {"n_sample": -1, "num_threads": 1})
    call(run_training, folder / "train.yaml", recipe | training | options)
    (folder / "model_step_30.pt").rename(folder / "model.pt")
    for path in folder.glob("*.safetensors"):
        path.rename(folder / "model.00.safetensors")  # the only name that the toolkit reads


def call(main, path: Path, settings: dict):
    path.write_text(json.dumps(settings))  # JSON is YAML
    sys.argv = [main.__module__, "-config", str(path)]
    main()


@torch.no_grad()
def answer(folder: Path) -> list[dict]:
    from onmt.model_builder import load_test_model
    from onmt.opts import translate_opts
    from onmt.utils.parse import ArgumentParser

    parser = ArgumentParser()
    translate_opts(parser)
    options = parser.parse_args(["-model", f"{folder}/model.pt", "-src", f"{folder}/test.src", "-gpu", "-1"])
    vocabs, model, _ = load_test_model(options)
    return [greedy(model, vocabs, line.split(" ")) for line in (folder / "test.src").read_text().splitlines()]


def greedy(model, vocabs, words: list[str], limit: int = 12) -> dict:
    source = torch.tensor([vocabs["src"](words)]).unsqueeze(-1)
    target = [vocabs["tgt"][vocabs["decoder_start_token"]]]
    length = torch.tensor([len(words)])
    while len(target) <= limit and vocabs["tgt"].ids_to_tokens[target[-1]] != "</s>":
        memory, final, length = model.encoder(source, length)
        model.decoder.init_state(source, memory, final)
        states, _ = model.decoder(torch.tensor([target]).unsqueeze(-1), memory, src_len=length)
        scores = torch.log_softmax(model.generator(states[0]), -1)
        target.append(int(scores[-1].argmax()))
    return {"source": source.flatten(), "target": torch.tensor(target), "log_probabilities": scores}


def official_translations(folder: Path) -> list[str]:
    from onmt.bin.translate import main as translate

    files = ["-src", f"{folder}/test.src", "-output", f"{folder}/test.out"]
    sys.argv = ["translate", "-model", f"{folder}/model.pt", *files, "-beam_size", "1", "-gpu", "-1"]
    sys.argv += ["-max_length", "12", "-max_length_ratio", "0"]
    translate()
    return (folder / "test.out").read_text().splitlines()


if __name__ == "__main__":
    workplace = Path(sys.argv[1])
    train(workplace, json.loads(sys.argv[2]))
    # the toolkit reads its own options back from the checkpoint's pickle
    torch.serialization.add_safe_globals([Namespace])
    torch.save(
        {"answers": answer(workplace), "translations": official_translations(workplace)}, workplace / "answers.pt"
    )
