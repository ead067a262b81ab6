# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""JoeyNMT: its model, loss, optimizer and search; under its own Python."""

from types import SimpleNamespace

import torch
from joeynmt.batch import Batch
from joeynmt.builders import build_gradient_clipper, build_optimizer
from joeynmt.model import build_model
from joeynmt.search import search
from joeynmt.vocabulary import Vocabulary
from serving import decoding_tasks, pad, serve


UNK, PAD, BOS, EOS = range(4)


def vocabulary_of(size: int) -> Vocabulary:
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "sep_token": None}
    ids = {"unk_id": UNK, "pad_id": PAD, "bos_id": BOS, "eos_id": EOS, "sep_id": None}
    return Vocabulary([f"w{number}" for number in range(4, size)], SimpleNamespace(**names, **ids, lang_tags=[]))


def model_of(sizes: dict):
    def side(hidden):
        embeddings = {"embedding_dim": sizes["embedding"], "dropout": 0.2}
        return {"type": "recurrent", "rnn_type": "lstm", "embeddings": embeddings, "hidden_size": hidden}

    encoder = side(sizes["encoder"]) | {"bidirectional": True, "num_layers": 1}
    decoder = side(sizes["decoder"]) | {"attention": "luong", "input_feeding": True, "hidden_dropout": 0.2}
    words = vocabulary_of(sizes["vocabulary"])
    return build_model({"encoder": encoder, "decoder": decoder | {"init_hidden": "bridge"}}, words, words)


def build(workload: dict):
    trained, model = model_of(workload["sizes"]).train(), model_of(workload["sizes"]).eval()
    model.decoder.output_layer.weight.data[EOS] = 0
    trained.loss_function = ("crossentropy", 0.0)
    settings = {"optimizer": "adam", "learning_rate": 0.001, "clip_grad_norm": 5.0, "clip_grad_val": None}
    optimizer, clip = build_optimizer(settings, trained.parameters()), build_gradient_clipper(settings)
    batches, length = workload["training"], workload["length"]

    def decode(rows, beams):
        batch = batch_of(rows)
        batch.sort_by_src_length()
        words, _, _ = search(model, batch, length, beams, 1.0)
        return words.size

    tasks = {"training": lambda index: train_step(trained, optimizer, clip, batches[index % len(batches)])}
    return tasks | decoding_tasks(workload, decode)


def batch_of(rows: list[list[int]], targets: list[list[int]] | None = None) -> Batch:
    source = [row + [EOS] for row in rows]
    return Batch(
        src=pad(source, PAD),
        src_length=torch.tensor([len(row) for row in source]),
        src_prompt_mask=None,
        trg=None if targets is None else pad([[BOS, *row, EOS] for row in targets], PAD),
        trg_prompt_mask=None,
        indices=torch.arange(len(rows)),
        device=torch.device("cpu"),
        pad_index=PAD,
        eos_index=EOS,
        is_train=targets is not None,
    )


def train_step(model, optimizer, clip, pairs) -> int:
    batch = batch_of(*map(list, zip(*pairs, strict=True)))
    batch.sort_by_src_length()
    loss, *_ = model(return_type="loss", **vars(batch))
    batch.normalize(loss, normalization="tokens").backward()
    clip(parameters=model.parameters())
    optimizer.step()
    optimizer.zero_grad()
    return int(batch.src_length.sum()) + batch.ntokens


if __name__ == "__main__":
    serve(build)
