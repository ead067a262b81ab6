# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The package itself: a training step, `generate`, the same in bf16 and in int8, and its cost as one size grows."""

import copy
import ctypes
import re
from pathlib import Path

import torch
from serving import decoding_tasks, pad, serve

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnn_attn.inference.quantization import quantize
from hf_rnn_attn.training.run import keep_freed_memory


PAD, EOS = 0, 2


def new_model(sizes: dict) -> RnnAttnForConditionalGeneration:
    config = RnnAttnConfig(
        vocab_size=sizes["vocabulary"],
        encoder_embedding_size=sizes["embedding"],
        decoder_embedding_size=sizes["embedding"],
        encoder_hidden_size=sizes["encoder"],
        decoder_hidden_size=sizes["decoder"],
    )
    model = RnnAttnForConditionalGeneration(config)
    # the end has logit 0, far below the best: no sentence ends early
    model.lm_head.weight.data[EOS] = 0
    return model


def train_step(model, optimizer, pairs, bf16: bool = False) -> int:
    sources, targets = ([row + [EOS] for row in side] for side in zip(*pairs, strict=True))
    labels, input_ids = pad(targets, -100), pad(sources, PAD)
    labels, input_ids = labels.to(model.device), input_ids.to(model.device)
    mask = (input_ids != PAD).long()
    # as `hf-rnn-attn train` does it
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        outputs = model(input_ids=input_ids, attention_mask=mask, labels=labels, skip_logits=True)
    outputs.loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()
    return sum(map(len, sources)) + sum(map(len, targets))


def generate(model, rows, beams: int, length: int) -> int:
    input_ids = pad([row + [EOS] for row in rows], PAD)
    mask = (input_ids != PAD).long()
    return model.generate(input_ids, attention_mask=mask, num_beams=beams, max_length=length + 1)[:, 1:].numel()


def training_tasks(workload: dict):
    model = new_model(workload["sizes"]).to(workload["device"]).train()
    optimizer, batches = torch.optim.Adam(model.parameters(), fused=True), workload["training"]
    return {
        f"training{lower}": lambda index, lower=lower: train_step(
            model, optimizer, batches[index % len(batches)], bool(lower)
        )
        for lower in ("", " bf16")
    }


def build(workload: dict):
    keep_freed_memory()
    if workload["device"] == "cuda":
        return training_tasks(workload)
    model = new_model(workload["sizes"]).eval()
    bf16, int8 = copy.deepcopy(model).to(torch.bfloat16), copy.deepcopy(model)
    quantize(int8)
    tasks, length = training_tasks(workload), workload["length"]
    for suffix, kind in (("", model), (" bf16", bf16), (" int8", int8)):
        decoding = decoding_tasks(workload, lambda rows, beams, kind=kind: generate(kind, rows, beams, length))
        tasks |= {f"{name}{suffix}": task for name, task in decoding.items()}
    return tasks | growth_tasks(workload) | {f"memory {n}": memory_task(model, n) for n in workload["memory"]}


def growth_tasks(workload: dict):
    """A training step and a greedy translation for each value of each size that grows."""
    tasks = {}
    for axis, values in workload["growth"].items():
        for value in values:
            shape = workload["growth_shape"] | {axis: value}
            tasks[f"growth {axis} {value} training"] = lambda index, shape=shape: grow(workload, shape, True)
            tasks[f"growth {axis} {value} greedy"] = lambda index, shape=shape: grow(workload, shape, False)
    return tasks


_models = {}


def grow(workload, shape, training: bool) -> int:
    sizes = workload["sizes"] | {"vocabulary": shape["vocabulary"], "decoder": shape["hidden"]}
    sizes["encoder"] = shape["hidden"] // 2
    key = (sizes["vocabulary"], sizes["decoder"])
    if key not in _models:
        model = new_model(sizes)
        _models.clear()
        _models[key] = model, torch.optim.Adam(model.parameters(), fused=True)
    model, optimizer = _models[key]
    source, target = (torch.randint(4, shape["vocabulary"], (shape["batch"], shape[side])) for side in SIDES)
    if training:
        return train_step(model.train(), optimizer, list(zip(source.tolist(), target.tolist(), strict=True)))
    return generate(model.eval(), source.tolist(), 1, shape["target"])


SIDES = ("source", "target")


def memory_task(model, length: int):
    """Returns as `tokens` by how many KiB the process grew at most while it decoded; asks Linux."""

    def run(index):
        # what was freed goes back to the system, and the peak starts again from the present size
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_memory()
        generate(model, [[5] * 20] * 16, 1, length)
        return peak_memory() - before

    return run


def peak_memory() -> int:
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    serve(build)
