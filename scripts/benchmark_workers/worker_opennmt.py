# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""OpenNMT-py: its model, loss, optimizer and translator, built as its own commands build them; under its own Python."""

import pyonmttok
import torch
from onmt.model_builder import build_model
from onmt.opts import train_opts
from onmt.translate import GNMTGlobalScorer
from onmt.translate.translator import Translator
from onmt.utils.loss import LossCompute
from onmt.utils.optimizers import Optimizer
from onmt.utils.parse import ArgumentParser
from serving import decoding_tasks, pad, serve


SPECIAL = ["<unk>", "<blank>", "<s>", "</s>"]
PAD, BOS, EOS = 1, 2, 3


def options_of(sizes: dict):
    settings = {
        "encoder_type": "brnn",
        "decoder_type": "rnn",
        "rnn_type": "LSTM",
        "word_vec_size": sizes["embedding"],
        "enc_hid_size": 2 * sizes["encoder"],
        "dec_hid_size": sizes["decoder"],
        "layers": 1,
        "global_attention": "general",
        "dropout": 0.2,
        "optim": "adam",
        "learning_rate": 0.001,
        "max_grad_norm": 5,
    }
    parser = ArgumentParser()
    train_opts(parser)
    arguments = ["-data", "{}", "-src_vocab", "none", "-save_model", "none"]
    for name, value in settings.items():
        arguments += [f"-{name}", str(value)]
    options = parser.parse_args(arguments)
    ArgumentParser.update_model_opts(options)
    return options


def build(workload: dict):
    options, vocabulary = options_of(workload["sizes"]), workload["sizes"]["vocabulary"]
    words = pyonmttok.build_vocab_from_tokens(SPECIAL + [f"w{number}" for number in range(4, vocabulary)])
    vocabs = {"src": words, "tgt": words, "decoder_start_token": "<s>", "data_task": "seq2seq"}
    trained, model = (build_model(options, options, vocabs, None, -1) for _ in range(2))
    trained.to(workload["device"])
    model.eval()
    for part in (model.generator.weight, model.generator.bias):
        part.data[EOS] = 0
    loss, optimizer = LossCompute.from_opts(options, trained, words), Optimizer.from_opt(trained, options)
    trained.train()
    batches = workload["training"]
    tasks = {"training": lambda index: train_step(trained, loss, optimizer, batches[index % len(batches)])}
    return tasks | decoding_tasks(workload, decoder(model, vocabs, workload["length"]))


def batch_of(rows: list[list[int]]) -> dict:
    source = [row + [EOS] for row in rows]
    return {"src": pad(source, PAD).unsqueeze(-1), "srclen": torch.tensor([len(row) for row in source])}


def train_step(model, compute_loss, optimizer, pairs) -> int:
    batch = batch_of([row for row, _ in pairs])
    batch["tgt"] = pad([[BOS, *row, EOS] for _, row in pairs], PAD).unsqueeze(-1)
    batch = {name: tensor.to(model.generator.weight.device) for name, tensor in batch.items()}
    optimizer.zero_grad(set_to_none=True)
    outputs, attention = model(batch["src"], batch["tgt"], batch["srclen"], bptt=False, with_align=False)
    loss, _ = compute_loss(batch, outputs, attention)
    target_tokens = int((batch["tgt"][:, 1:] != PAD).sum())
    optimizer.backward(loss / target_tokens)
    model.decoder.detach_state()
    optimizer.step()
    return int(batch["srclen"].sum()) + target_tokens


def decoder(model, vocabs, length: int):
    scorer = GNMTGlobalScorer(0.0, 0.0, "avg", "none")
    translators = {}

    def decode(rows, beams):
        if beams not in translators:
            # its greedy search is sampling from the best one
            sampling = {"random_sampling_topk": 1} if beams == 1 else {}
            limits = {"max_length": length, "max_length_ratio": 0, "beam_size": beams}
            translators[beams] = Translator(model, vocabs, global_scorer=scorer, **limits, **sampling)
        batch = batch_of(rows) | {"indices": torch.arange(len(rows))}
        results = translators[beams].translate_batch(batch, False)
        return sum(len(predictions[0]) for predictions in results["predictions"])

    return decode


if __name__ == "__main__":
    serve(build)
