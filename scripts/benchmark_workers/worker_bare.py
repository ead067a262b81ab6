# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The reference: the same model as the plainest PyTorch loop, without a search or a library around it; and the rates of
the machine, its matrix product and its memory.
"""

import torch
from serving import decoding_tasks, pad, serve
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


PAD, BOS, EOS = 0, 1, 2
# large enough that starting a product takes no time
GEMM_SIZE = {"cpu": 1536, "cuda": 8192}
VECTOR_SIZE = {"cpu": 8192, "cuda": 32768}


class BareModel(nn.Module):
    def __init__(self, sizes: dict):
        super().__init__()
        memory, hidden = 2 * sizes["encoder"], sizes["decoder"]
        self.source_words = nn.Embedding(sizes["vocabulary"], sizes["embedding"])
        self.target_words = nn.Embedding(sizes["vocabulary"], sizes["embedding"])
        self.encoder = nn.LSTM(sizes["embedding"], sizes["encoder"], batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(sizes["embedding"] + hidden, hidden)
        self.query = nn.Linear(hidden, memory, bias=False)
        self.combine = nn.Linear(memory + hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, sizes["vocabulary"], bias=False)
        self.dropout = nn.Dropout(0.2)
        self.hidden = hidden

    def encode(self, source):
        lengths = (source != PAD).sum(1).cpu()
        packed = pack_padded_sequence(self.dropout(self.source_words(source)), lengths, True, enforce_sorted=False)
        outputs, (hidden, cell) = self.encoder(packed)
        memory = pad_packed_sequence(outputs, batch_first=True)[0]
        return (
            memory,
            torch.cat(tuple(hidden), -1),
            torch.cat(tuple(cell), -1),
            memory.new_zeros(len(source), self.hidden),
        )

    def step(self, words, state, memory, mask):
        hidden, cell, fed = state
        hidden, cell = self.cell(torch.cat([words, fed], -1), (hidden, cell))
        scores = torch.bmm(memory, self.query(hidden).unsqueeze(2)).squeeze(2)
        weights = scores.masked_fill(mask, -1e9).softmax(-1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        return hidden, cell, torch.tanh(self.combine(torch.cat([context, hidden], -1)))

    def train_step(self, optimizer, pairs) -> int:
        device = self.output.weight.device
        source = pad([row + [EOS] for row, _ in pairs], PAD).to(device)
        target = pad([[BOS, *row, EOS] for _, row in pairs], PAD).to(device)
        memory, *state = self.encode(source)
        words, attentional = self.dropout(self.target_words(target[:, :-1])), []
        for word in words.unbind(1):
            state = self.step(word, state, memory, source == PAD)
            attentional.append(state[-1])
        logits = self.output(self.dropout(torch.stack(attentional, 1)))
        nn.functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        return int((source != PAD).sum() + (target[:, 1:] != PAD).sum())

    @torch.inference_mode()
    def decode(self, rows, beams: int, length: int) -> int:
        source = pad([row + [EOS] for row in rows], PAD)
        memory, *state = (tensor.repeat_interleave(beams, 0) for tensor in self.encode(source))
        mask = (source == PAD).repeat_interleave(beams, 0)
        word, words = torch.full((len(memory),), BOS), []
        for _ in range(length):
            state = self.step(self.target_words(word), state, memory, mask)
            word = self.output(state[-1]).argmax(-1)
            words.append(word)
        return torch.stack(words, 1)[::beams].numel()


def build(workload: dict):
    trained, model = (BareModel(workload["sizes"]).to(workload["device"]) for _ in range(2))
    model.eval()
    optimizer = torch.optim.Adam(trained.parameters())
    batches, length = workload["training"], workload["length"]
    tasks = {"training": lambda index: trained.train_step(optimizer, batches[index % len(batches)])}
    tasks |= decoding_tasks(workload, lambda rows, beams: model.decode(rows, beams, length))
    return tasks | machine_tasks(workload["device"])


def machine_tasks(device: str):
    """Operations of a matrix product, and bytes of a matrix that is read once, in the place of tokens."""
    gemm_size, vector_size = GEMM_SIZE[device], VECTOR_SIZE[device]
    square = torch.randn(gemm_size, gemm_size, device=device)
    large, vector = torch.randn(vector_size, vector_size, device=device), torch.randn(vector_size, device=device)

    def sgemm(index):
        torch.mm(square, square)
        return 2 * gemm_size**3

    def bandwidth(index):
        torch.mv(large, vector)
        return large.numel() * large.element_size()

    return {"sgemm": sgemm, "bandwidth": bandwidth}


if __name__ == "__main__":
    serve(build)
