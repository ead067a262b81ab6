# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The teacher-forced recurrence on a GPU as CUDA graphs.

With input feeding a sentence is a chain of steps, each of some twenty small kernels, and Python takes longer to start
them than the GPU to run them. A CUDA graph is such a chain, recorded once and started as a whole.

This file holds the graphs, and the callback that puts them into a model for the time of a training. It does not know
what the recurrence computes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from transformers import TrainerCallback

from .model.cache_rnn_attn import DecoderState
from .model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from .model.recurrence_rnn_attn import AttentionalRecurrence, RecurrenceOutput, SourceMemory


# rows and source words of a graph come in multiples of this, so that few graphs serve many batches; a collator with
# `pad_to_multiple_of` does the same for the target words
MULTIPLE = 8
# each holds the memory of its inputs and outputs
MOST_GRAPHS = 64


class _OwnGradient(torch.autograd.Function):
    """The tensor itself. Its gradient is a copy, because a graph writes the next one into the same memory."""

    @staticmethod
    def forward(ctx, tensor):
        return tensor.view_as(tensor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient.clone()


class _Steps(nn.Module):
    """A recurrence under its class's own `forward`, whatever has taken the place of that on the instance."""

    def __init__(self, recurrence: AttentionalRecurrence):
        super().__init__()
        self.recurrence = recurrence

    def forward(self, *arguments) -> RecurrenceOutput:
        return AttentionalRecurrence.forward(self.recurrence, *arguments)


class GraphedRecurrence:
    """An [`AttentionalRecurrence`] that replays CUDA graphs where it trains: one for each shape of a batch.

    Values are those of the recurrence itself. Gradients flow through the attentional states alone, and a backward pass
    has to follow each forward pass before the next, for a graph's tensors lie where the last replay left them. Calls
    without a gradient, calls with a mask for the targets, and new shapes once there are `most` graphs, take the
    ordinary way.

    Args:
        recurrence ([`AttentionalRecurrence`]): on a GPU, with input feeding.
        most (`int`): how many graphs are kept.
        capture (`Callable`): makes a graph of a function and its arguments, as `torch.cuda.make_graphed_callables`.
    """

    def __init__(
        self,
        recurrence: AttentionalRecurrence,
        most: int = MOST_GRAPHS,
        capture: Callable = torch.cuda.make_graphed_callables,
    ):
        self._steps = _Steps(recurrence)
        self._most = most
        self._capture = capture
        self._graphs = {}

    def __call__(
        self,
        inputs: torch.Tensor,
        state: DecoderState,
        memory: SourceMemory,
        keep_mask: torch.Tensor | None = None,
    ) -> RecurrenceOutput:
        """Arguments and result as of [`AttentionalRecurrence`]."""
        if not (self._steps.recurrence.training and torch.is_grad_enabled()) or keep_mask is not None:
            return self._steps(inputs, state, memory, keep_mask)
        arguments = _pad_to_multiple((inputs, state, memory))
        key = _key(arguments)
        if key not in self._graphs:
            if len(self._graphs) == self._most:
                return self._steps(inputs, state, memory)
            self._graphs[key] = self._record(arguments)
        output = self._graphs[key](arguments)
        rows, source_length = memory.keep_mask.shape
        output = tree_map(lambda part: None if part is None else part[:rows], output)
        weights = None if output.weights is None else output.weights[..., :source_length]
        return output._replace(weights=weights, state=output.state._replace(keys=state.keys))

    def _record(self, example) -> Callable:
        """Returns a function from arguments of the shapes of `example` to what the recurrence makes of them."""
        names, parameters = zip(*self._steps.named_parameters(), strict=True)
        empty = [leaf is None for leaf in tree_leaves(example)]
        structure = tree_flatten(example)[1]
        output_structure = None

        def run(*tensors):
            nonlocal output_structure
            weights = dict(zip(names, tensors, strict=False))
            arguments = tree_unflatten(_insert(tensors[len(names) :], empty), structure)
            output = functional_call(self._steps, weights, arguments)
            first, *others = leaves = tree_leaves(output)
            output_structure = tree_flatten(output)[1], [leaf is None for leaf in leaves]
            # a gradient of zeros for all others would cost as much as the one that is wanted
            return (first, *(leaf.detach() for leaf in others if leaf is not None))

        static = [torch.zeros_like(leaf, requires_grad=leaf.requires_grad) for leaf in _tensors(example)]
        device = example[0].device.type
        dtype = torch.get_autocast_dtype(device)
        # what autocast keeps for later would be memory of the graph
        with torch.autocast(device, dtype, torch.is_autocast_enabled(device), cache_enabled=False):
            replay = self._capture(run, (*parameters, *static), allow_unused_input=True)

        def call(arguments) -> RecurrenceOutput:
            tensors = replay(*map(_OwnGradient.apply, parameters), *_tensors(arguments))
            structure, empty = output_structure
            return tree_unflatten(_insert(tensors, empty), structure)

        return call


class CudaGraphsCallback(TrainerCallback):
    """Trains an [`RnnAttnForConditionalGeneration`] with input feeding through a [`GraphedRecurrence`].

    Raises:
        ValueError: when the training begins, for a model or arguments that graphs do not go with.
    """

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        _check(model, args)
        recurrence = model.model.decoder.recurrence
        recurrence.forward = GraphedRecurrence(recurrence)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        del model.model.decoder.recurrence.forward


def _check(model, args):
    where = "cuda_graphs"
    if not isinstance(model, RnnAttnForConditionalGeneration):
        raise ValueError(f"{where}: expected an RnnAttnForConditionalGeneration, got {type(model).__name__}")
    if not model.config.input_feeding:
        raise ValueError(f"{where}: without input feeding there are no steps to record; leave it out")
    if model.config.pointer_generator:
        raise ValueError(f"{where}: pointer_generator needs a gradient of the attention that a graph drops; choose one")
    if model.device.type != "cuda":
        raise ValueError(f"{where}: expected the model on a GPU, it is on {model.device.type}; leave it out")
    if model.is_gradient_checkpointing:
        raise ValueError(f"{where}: a graph keeps what gradient checkpointing drops; choose one")
    if args.dataloader_num_workers and args.dataloader_pin_memory:
        raise ValueError(
            f"{where}: dataloader_num_workers={args.dataloader_num_workers} would pin memory while a graph is "
            "recorded; set dataloader_pin_memory to false, or dataloader_num_workers to 0"
        )


def _pad_to_multiple(arguments):
    """Adds rows without a word, and source words that are masked; neither changes what comes out of the others."""
    inputs, state, memory = arguments
    rows, columns = (-size % MULTIPLE for size in memory.keep_mask.shape)
    by_source = (*memory, state.keys)
    *memory, keys = (None if part is None else _pad(part, rows, columns) for part in by_source)
    inputs, *state = tree_map(lambda part: _pad(part, rows), (inputs, *state[:3]))
    return inputs, DecoderState(*state, keys), SourceMemory(*memory)


def _pad(tensor: torch.Tensor, rows: int, columns: int = 0) -> torch.Tensor:
    """Zeros below (B, ...), and after the entries of (B, S, ...)."""
    if tensor.dim() == 1:
        return F.pad(tensor, (0, rows))
    return F.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, columns, 0, rows))


def _tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if leaf is not None]


def _insert(tensors: Sequence[torch.Tensor], empty: Sequence[bool]) -> list[torch.Tensor | None]:
    """Puts `None` back where it stood among the leaves."""
    tensors = iter(tensors)
    return [None if is_empty else next(tensors) for is_empty in empty]


def _key(arguments) -> tuple[Any, ...]:
    """What a recorded graph depends on."""
    leaves = _tensors(arguments)
    device = leaves[0].device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return (autocast, *((leaf.shape, leaf.dtype, leaf.requires_grad) for leaf in leaves))
