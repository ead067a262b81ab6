# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The recurrence from CUDA graphs against the recurrence itself; without a GPU, what a graph does is acted out."""

import functools

import pytest
import torch
from small_models import SOURCES, TARGETS, make_model, mask_of, pad
from test_recurrence_rnn_attn import make_recurrence
from torch.utils._pytree import tree_map
from transformers import MarianConfig, MarianMTModel, Seq2SeqTrainingArguments, TrainerControl, TrainerState

from hf_rnn_attn import cuda_graphs
from hf_rnn_attn.cuda_graphs import CudaGraphsCallback, GraphedRecurrence
from hf_rnn_attn.model.cells_rnn_attn import CELLS


class Capture:
    """Stands for `torch.cuda.make_graphed_callables`: inputs, outputs and gradients are always the same tensors."""

    def __init__(self):
        self.count = 0

    def __call__(self, function, arguments, allow_unused_input):
        assert allow_unused_input
        self.count += 1
        with torch.enable_grad():
            outputs = function(*arguments)
        first, others = outputs[0].detach(), [output.detach() for output in outputs[1:]]
        gradients = [torch.zeros_like(argument) for argument in arguments if argument.requires_grad]

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                with torch.no_grad():
                    for old, new in zip(arguments, inputs, strict=True):
                        assert old.shape == new.shape and old.requires_grad == new.requires_grad
                        if old.data_ptr() != new.data_ptr():
                            old.copy_(new)
                now = [argument.detach().clone().requires_grad_(argument.requires_grad) for argument in arguments]
                ctx.wanted = [argument for argument in now if argument.requires_grad]
                with torch.enable_grad():
                    ctx.first, *rest = function(*now)
                first.copy_(ctx.first.detach())
                for old, new in zip(others, rest, strict=True):
                    assert not new.requires_grad
                    old.copy_(new)
                return tuple(output.detach() for output in (first, *others))

            @staticmethod
            def backward(ctx, gradient, *_):
                found = torch.autograd.grad(ctx.first, ctx.wanted, gradient, allow_unused=True)
                for old, new in zip(gradients, found, strict=True):
                    old.copy_(torch.zeros_like(old) if new is None else new)
                left = iter(gradients)
                return tuple(next(left).detach() if argument.requires_grad else None for argument in arguments)

        return Replay.apply


def with_gradients(memory, state):
    """Inputs, layer states and memory of a call, as tensors whose gradient is wanted."""
    memory = memory._replace(states=memory.states.clone().requires_grad_())
    layers = tree_map(lambda part: part.clone().requires_grad_(), state.layers)
    inputs = torch.randn(3, 4, 5, requires_grad=True)
    return inputs, layers, memory


def run(recurrence, call, inputs, layers, memory):
    """Output, and gradients by weights and inputs of a loss on the attentional states."""
    output = call(inputs, recurrence.start(layers, memory), memory)
    recurrence.zero_grad()
    loss = (output.attentional * torch.arange(output.attentional.numel()).view_as(output.attentional).sin()).sum()
    leaves = [inputs, memory.states, *recurrence.parameters(), *(part for layer in layers for part in layer)]
    return output, torch.autograd.grad(loss, leaves, allow_unused=True)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("score", "span"),
    [("general", "global"), ("concat", "local-p"), ("dot", "local-m"), ("location", "global"), ("none", "global")],
)
def test_values_and_gradients_are_those_of_the_recurrence(score, span, kind):
    recurrence, memory, state = make_recurrence(
        decoder_cell_type=kind, attention_score=score, attention_span=span, attention_window=2
    )
    graphed = GraphedRecurrence(recurrence, capture=Capture())
    for _ in range(2):
        arguments = with_gradients(memory, state)
        expected, expected_gradients = run(recurrence, recurrence, *arguments)
        output, gradients = run(recurrence, graphed, *arguments)
        torch.testing.assert_close(output, expected)
        for gradient, wanted in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(torch.zeros(()) if gradient is None else gradient, _or_zero(wanted, gradient))


def _or_zero(wanted, gradient):
    if wanted is not None:
        return wanted
    return torch.zeros(()) if gradient is None else torch.zeros_like(gradient)


def test_a_graph_is_recorded_once_for_like_shapes():
    recurrence, memory, state = make_recurrence()
    capture = Capture()
    graphed = GraphedRecurrence(recurrence, most=2, capture=capture)

    def call(rows, source_length, steps):
        states = memory.states[:rows, :source_length]
        part = memory._replace(states=states, keep_mask=memory.keep_mask[:rows, :source_length])
        layers = tree_map(lambda tensor: tensor[:rows], state.layers)
        inputs = torch.randn(rows, steps, 5)
        arguments = inputs, recurrence.start(layers, part), part
        torch.testing.assert_close(graphed(*arguments), recurrence(*arguments))
        return capture.count

    # three rows or two, and six words or five, are eight in the graph
    assert [call(3, 6, 4), call(2, 6, 4), call(2, 5, 4)] == [1, 1, 1]
    assert call(3, 6, 2) == 2
    # no more are kept
    assert [call(3, 6, 3), call(3, 6, 2), call(3, 6, 4)] == [2, 2, 2]


def test_what_does_not_train_takes_the_ordinary_way():
    recurrence, memory, state = make_recurrence()
    capture = Capture()
    graphed = GraphedRecurrence(recurrence, capture=capture)
    inputs = torch.randn(3, 4, 5)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    torch.testing.assert_close(graphed(inputs, state, memory, mask), recurrence(inputs, state, memory, mask))
    with torch.no_grad():
        torch.testing.assert_close(graphed(inputs, state, memory), recurrence(inputs, state, memory))
    recurrence.eval()
    torch.testing.assert_close(graphed(inputs, state, memory), recurrence(inputs, state, memory))
    assert capture.count == 0


def test_gradients_of_several_batches_add_up():
    recurrence, memory, state = make_recurrence()
    graphed = GraphedRecurrence(recurrence, capture=Capture())
    batches = [torch.randn(3, 4, 5) for _ in range(3)]
    sums = []
    for call in (recurrence, graphed):
        recurrence.zero_grad()
        for inputs in batches:
            call(inputs, recurrence.start(state.layers, memory), memory).attentional.square().sum().backward()
        sums.append([parameter.grad.clone() for parameter in recurrence.parameters()])
    torch.testing.assert_close(sums[1], sums[0])


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A model that says it is on a GPU, and graphs that are acted out."""
    capture = Capture()
    monkeypatch.setattr(cuda_graphs, "GraphedRecurrence", functools.partial(GraphedRecurrence, capture=capture))
    device = property(lambda model: torch.device("cuda"))
    monkeypatch.setattr(cuda_graphs.RnnAttnForConditionalGeneration, "device", device)
    return capture


def test_the_model_trains_through_graphs_and_is_as_before(pretended_gpu, tmp_path):
    model = make_model(encoder_dropout=0.0, decoder_dropout=0.0).train()
    batch = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
    # as on a GPU, where rows stay in the batch
    batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    arguments = Seq2SeqTrainingArguments(output_dir=tmp_path, report_to="none", use_cpu=True)
    plain = model(**batch).loss
    callback, events = CudaGraphsCallback(), (arguments, TrainerState(), TrainerControl())
    callback.on_train_begin(*events, model=model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_rnn_attn.model.modeling_rnn_attn.can_pack", lambda like: False)
        graphed = model(**batch).loss
    assert pretended_gpu.count == 1
    torch.testing.assert_close(graphed, plain)
    callback.on_train_end(*events, model=model)
    torch.testing.assert_close(model(**batch).loss, plain)
    assert pretended_gpu.count == 1


def test_what_graphs_do_not_go_with_is_refused(pretended_gpu, tmp_path):
    arguments = Seq2SeqTrainingArguments(output_dir=tmp_path, report_to="none", use_cpu=True)
    callback, model = CudaGraphsCallback(), make_model()
    with pytest.raises(ValueError, match="without input feeding there are no steps to record"):
        callback.on_train_begin(arguments, None, None, model=make_model(input_feeding=False))
    arguments.dataloader_num_workers, arguments.dataloader_pin_memory = 1, True
    with pytest.raises(ValueError, match="would pin memory while a graph is recorded"):
        callback.on_train_begin(arguments, None, None, model=model)
    model.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="a graph keeps what gradient checkpointing drops"):
        callback.on_train_begin(arguments, None, None, model=model)


def test_another_model_and_another_device_are_refused(tmp_path):
    arguments = Seq2SeqTrainingArguments(output_dir=tmp_path, report_to="none", use_cpu=True)
    sizes = {"vocab_size": 12, "d_model": 8, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
    other = MarianMTModel(MarianConfig(**sizes, encoder_layers=1, decoder_layers=1, pad_token_id=0))
    with pytest.raises(ValueError, match="expected an RnnAttnForConditionalGeneration, got MarianMTModel"):
        CudaGraphsCallback().on_train_begin(arguments, None, None, model=other)
    with pytest.raises(ValueError, match="expected the model on a GPU, it is on cpu"):
        CudaGraphsCallback().on_train_begin(arguments, None, None, model=make_model())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_on_a_gpu_losses_and_gradients_are_those_without_graphs(dtype):
    model = make_model(encoder_dropout=0.0, decoder_dropout=0.0).cuda().train()
    batch = {"input_ids": pad(SOURCES, 0), "attention_mask": mask_of(SOURCES), "labels": pad(TARGETS, -100)}
    batch = {name: tensor.cuda() for name, tensor in batch.items()}
    recurrence, results = model.model.decoder.recurrence, []
    for forward in (recurrence.forward, GraphedRecurrence(recurrence)):
        recurrence.forward = forward
        model.zero_grad()
        for _ in range(2):
            with torch.autocast("cuda", dtype, enabled=dtype is not None):
                loss = model(**batch, skip_logits=True).loss
            loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
        results[-1] = [tensor.clone() for tensor in results[-1]]
    torch.testing.assert_close(results[1], results[0], rtol=1e-2, atol=1e-4)
