# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The decoder recurrence: one step, and a whole teacher-forced sequence made of such steps.

Holds the layers, the attention on top of them and input feeding. Knows nothing of words, losses or caches.
Shapes: B batch, S source, T target, E embedding, H decoder width, M memory width, A attentional width.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from .attention_rnn_attn import AttendedMemory, LuongAttention
from .cache_rnn_attn import DecoderState
from .cells_rnn_attn import CELLS, scan
from .configuration_rnn_attn import RnnAttnConfig
from .step_weight_rnn_attn import StepLinear, StepWeight, project, step_product


def linear(inputs):
    """No activation at all."""
    return inputs


ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "none": linear}


class SequenceDropout(nn.Module):
    """Dropout on (B, T, width) with, if `variational`, one mask for all T (Gal & Ghahramani 2016)."""

    def __init__(self, probability: float, variational: bool):
        super().__init__()
        self.probability = probability
        self.variational = variational

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.probability == 0:
            return inputs
        if not self.variational:
            return F.dropout(inputs, self.probability)
        return inputs * F.dropout(torch.ones_like(inputs[:, :1]), self.probability)


class SourceMemory(NamedTuple):
    """What the decoder looks at: encoder states (B, S, M), and `keep_mask` (B, S), `True` where there is a word."""

    states: torch.Tensor
    keep_mask: torch.Tensor


class RecurrenceOutput(NamedTuple):
    """Attentional states (B, T, A), attention weights (B, T, S) or `None`, layer outputs (B, T, H), final state."""

    attentional: torch.Tensor
    weights: torch.Tensor | None
    hidden: tuple[torch.Tensor, ...]
    state: DecoderState

    @classmethod
    def join(cls, pieces: "list[RecurrenceOutput]") -> "RecurrenceOutput":
        """Returns what one call on the whole sequence returns, from calls on consecutive pieces of it."""
        weights = None if pieces[0].weights is None else torch.cat([piece.weights for piece in pieces], 1)
        hidden = tuple(torch.cat(layer, 1) for layer in zip(*(piece.hidden for piece in pieces), strict=True))
        attentional = torch.cat([piece.attentional for piece in pieces], 1)
        return cls(attentional, weights, hidden, pieces[-1].state)


class StepProducts(NamedTuple):
    """What the steps of one sequence share.

    Attributes:
        layers: for each layer the products of its input and of its state with their weights. The first layer's input
            is what is fed to it beside the word.
        combine: W_c, from (..., M + H) to (..., A).
        attended: the memory as the attention looks at it, `None` without attention.
        beams: how many rows of a step belong to one sentence of the memory, side by side.
    """

    layers: list[tuple[Callable, Callable]]
    combine: Callable
    attended: AttendedMemory | None
    beams: int = 1

    def of_first(self, rows: int) -> "StepProducts":
        """The same for the first rows of the batch alone."""
        return self if self.attended is None else self._replace(attended=self.attended.of_first(rows))


def can_pack(like: torch.Tensor) -> bool:
    """Whether rows may leave the batch: not where shapes must not depend on data, nor where fewer rows save nothing."""
    return like.device.type == "cpu" and not torch.compiler.is_compiling()


class Packing(NamedTuple):
    """Where the words of padded rows are, step by step, longest row first.

    Attributes:
        order: the rows of the batch from the longest to the shortest, (B,).
        index: of each word its place in the flattened batch (B * T), those of the first step first.
        counts: how many rows have a word in each step.
        steps: T.
    """

    order: torch.LongTensor
    index: torch.LongTensor
    counts: list[int]
    steps: int

    @classmethod
    def of(cls, keep_mask: torch.BoolTensor) -> "Packing":
        """Of rows that have words where `keep_mask` (B, T) is `True`; at least one word in all."""
        steps = keep_mask.shape[1]
        lengths = keep_mask.sum(1)
        order = lengths.argsort(descending=True, stable=True)
        # the places of each row's words, then those of its padding
        places = (~keep_mask).byte().argsort(dim=1, stable=True)
        has_word = torch.arange(steps).unsqueeze(1) < lengths[order]  # (T, B)
        step, row = has_word.nonzero(as_tuple=True)
        index = order[row] * steps + places[order[row], step]
        return cls(order, index, [count for count in has_word.sum(1).tolist() if count], steps)

    def pack(self, sequence: torch.Tensor) -> torch.Tensor:
        """From (B, T, width) to (words, width)."""
        return sequence.flatten(0, 1).index_select(0, self.index)

    def unpack(self, words: torch.Tensor) -> torch.Tensor:
        """From (words, width) to (B, T, width), zero where there is padding."""
        flat = words.new_zeros(len(self.order) * self.steps, words.shape[-1])
        return flat.index_copy(0, self.index, words).unflatten(0, (-1, self.steps))


class AttentionalRecurrence(nn.Module):
    """The decoder of Luong et al. 2015 between the word embedding and the output layer.

    h_t = RNN([e(y_{t-1}) ; h~_{t-1}], h_{t-1}); c_t by attention; h~_t = tanh(W_c [c_t ; h_t]) (eq. 5 and §3.3).

    Without input feeding no step needs the attentional state of the one before, so the layers run as one fused call
    each and attention is computed for all T at once.
    """

    def __init__(self, config: RnnAttnConfig):
        super().__init__()
        self.cell = CELLS[config.decoder_cell_type]
        self.input_feeding = config.input_feeding
        self.residual = config.decoder_residual
        self.hidden_size = hidden_size = config.decoder_hidden_size
        attentional_size = config.attentional_size
        input_size = config.decoder_embedding_size + (attentional_size if config.input_feeding else 0)
        sizes = [input_size] + [hidden_size] * (config.decoder_layers - 1)
        self.layers = nn.ModuleList(self.cell.layer(size, hidden_size, batch_first=True) for size in sizes)
        self.dropout = SequenceDropout(config.decoder_dropout, config.variational_dropout)
        self.attention = None if config.attention_score == "none" else LuongAttention(config)
        context_size = 0 if self.attention is None else config.memory_size
        self.combine = StepLinear(context_size + hidden_size, attentional_size, bias=config.attention_bias)
        self.activate = ACTIVATIONS[config.attentional_activation]

    def start(self, layers: tuple[tuple[torch.Tensor, ...], ...], memory: SourceMemory) -> DecoderState:
        """Returns the state before the first word, from the layer states that the bridge hands over."""
        hidden = layers[0][0]
        keys = None if self.attention is None else self.attention.project_memory(memory.states)
        attentional = hidden.new_zeros(hidden.shape[0], self.combine.out_features)
        positions = torch.zeros(hidden.shape[0], dtype=torch.long, device=hidden.device)
        return DecoderState(layers, attentional, positions, keys)

    def forward(
        self,
        inputs: torch.Tensor,
        state: DecoderState,
        memory: SourceMemory,
        keep_mask: torch.Tensor | None = None,
    ) -> RecurrenceOutput:
        r"""
        Args:
            inputs (`torch.Tensor` of shape `(B, T, E)`): embeddings of the words before each prediction.
            state ([`DecoderState`]): what `start` or the last call returned.
            memory ([`SourceMemory`]): the encoded sentence.
            keep_mask (`torch.BoolTensor` of shape `(B, T)`, *optional*):
                `False` where an input is padding; such a step leaves the state of its row as it was, and what comes
                out there means nothing.
        """
        if keep_mask is not None and can_pack(keep_mask) and keep_mask.any():
            return self._run_packed(inputs, state, memory, Packing.of(keep_mask))
        # the shapes of a fused call are fixed to those of an exporter's example
        if self.input_feeding or keep_mask is not None or torch.compiler.is_exporting():
            return self._run_steps(inputs, state, memory, keep_mask)
        return self._run_fused(inputs, state, memory)

    def _run_fused(self, inputs, state, memory):
        hidden, outputs, layer_states = inputs, [], []
        for index, (layer, layer_state) in enumerate(zip(self.layers, state.layers, strict=True)):
            layer_input = self.dropout(hidden) if index else hidden
            native = tuple(part.unsqueeze(0).contiguous() for part in layer_state)
            output, native = layer(layer_input, native if self.cell.state_count == 2 else native[0])
            native = native if self.cell.state_count == 2 else (native,)
            hidden = output + hidden if self.residual and index else output
            outputs.append(hidden)
            layer_states.append(tuple(part.squeeze(0) for part in native))
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        positions = state.positions.unsqueeze(1) + steps  # (B, T)
        attentional, weights = self._attend(hidden, self._products([], state, memory), positions)
        last = DecoderState(tuple(layer_states), attentional[:, -1], positions[:, -1] + 1, state.keys)
        return RecurrenceOutput(attentional, weights, tuple(outputs), last)

    def _run_steps(self, inputs, state, memory, keep_mask):
        project_words, layers = self._layer_products(inputs.shape[-1])
        products = self._products(layers, state, memory)
        # the words' share of the first layer's input is known beforehand: one product for all T
        word_shares = project_words(inputs)
        masks = [self.dropout(inputs.new_ones(*inputs.shape[:2], self.hidden_size)) for _ in self.layers[1:]]
        if torch.compiler.is_exporting() and inputs.shape[1] != 1:
            return self._scan_steps(word_shares, products, masks, state, keep_mask)
        masks = list(zip(*(mask.unbind(1) for mask in masks), strict=True)) or [()] * inputs.shape[1]
        attentional, weights, hidden = [], [], []
        # unbind and not indexing: the gradient of T slices is one stack, not T sums over the whole
        for index, step_input in enumerate(word_shares.unbind(1)):
            projected = self._feed(step_input, products, state)
            step_hidden, step_weights, new_state = self._step(projected, products, masks[index], state)
            state = new_state if keep_mask is None else _advance(state, new_state, keep_mask[:, index])
            attentional.append(new_state.attentional)
            weights.append(step_weights)
            hidden.append(step_hidden)
        weights = None if self.attention is None else torch.cat(weights, 1)
        hidden = tuple(torch.stack(layer, 1) for layer in zip(*hidden, strict=True))
        return RecurrenceOutput(torch.stack(attentional, 1), weights, hidden, state)

    def _run_packed(self, inputs, state, memory, packing):
        """The loop of `_run_steps` over rows that leave when their words are at an end: padding costs nothing."""
        memory = SourceMemory(*(part[packing.order] for part in memory))
        keys = None if state.keys is None else state.keys[packing.order]
        running = tree_map(lambda part: part[packing.order], state[:3])
        project_words, layers = self._layer_products(inputs.shape[-1])
        products = self._products(layers, DecoderState(*running, keys), memory)
        masks = [self.dropout(inputs.new_ones(*inputs.shape[:2], self.hidden_size)) for _ in self.layers[1:]]
        sequences = [project(packing.pack(inputs), project_words), *map(packing.pack, masks)]
        outputs, ended = [], []
        for step_input, *step_masks in zip(*(part.split(packing.counts) for part in sequences), strict=True):
            rows = step_input.shape[0]
            if rows < running[1].shape[0]:
                ended.append(tree_map(lambda part, rows=rows: part[rows:], running))
                running = tree_map(lambda part, rows=rows: part[:rows], running)
                products = products.of_first(rows)
            old = DecoderState(*running, keys)
            hidden, weights, new = self._step(self._feed(step_input, products, old), products, step_masks, old)
            outputs.append((new.attentional, *hidden) if weights is None else (new.attentional, *hidden, weights[:, 0]))
            running = new[:3]
        last = tree_map(lambda *parts: torch.cat(parts)[packing.order.argsort()], running, *reversed(ended))
        attentional, *hidden = (packing.unpack(torch.cat(parts)) for parts in zip(*outputs, strict=True))
        weights = None if self.attention is None else hidden.pop()
        return RecurrenceOutput(attentional, weights, tuple(hidden), DecoderState(*last, state.keys))

    def stepper(
        self, word_size: int, state: DecoderState, memory: SourceMemory
    ) -> Callable[[torch.Tensor, DecoderState], tuple[torch.Tensor | None, DecoderState]]:
        """Returns a function from the embeddings of one word (B, E) and a state to the attention weights, (B, 1, S) or
        `None`, and the next state, for many steps over one memory without gradient and dropout. `word_size` is E. The
        state may have K rows for each sentence of the memory, hypotheses side by side; its keys, as the memory, have
        one, and the weights are (B / K, K, S)."""
        _, layers = self._layer_products(word_size)
        products = self._products(layers, state, memory)
        products = products._replace(beams=state.attentional.shape[0] // memory.states.shape[0])
        masks = [1.0] * (len(self.layers) - 1)
        project_input = self._input_product()
        return lambda words, state: self._step(project_input(words, state.attentional), products, masks, state)[1:]

    def _input_product(self):
        """Returns the product of the first layer's input, of a word (B, E) and the attentional state (B, A), as one."""
        ((weight, _, bias, _),) = self.layers[0](None)
        product = StepWeight(weight, bias)
        if not self.input_feeding:
            return lambda words, _: product(words)
        return lambda words, attentional: product(torch.cat([words, attentional], -1))

    def _products(self, layers, state, memory) -> StepProducts:
        attended = None
        if self.attention is not None:
            attended = self.attention.attend_to(memory.states, state.keys, memory.keep_mask)
        return StepProducts(layers, step_product(self.combine), attended)

    def _layer_products(self, word_size):
        """Returns the projection of all words (B, T, E), and the `layers` of [`StepProducts`]."""
        products = []
        for layer in self.layers:
            ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer(None)
            if products:
                from_input = StepWeight(weight_ih, bias_ih)
            else:
                weight_words, weight_fed = weight_ih.tensor_split([word_size], dim=1)
                project_words = partial(F.linear, weight=weight_words, bias=bias_ih)
                from_input = StepWeight(weight_fed)
            products.append((from_input, StepWeight(weight_hh, bias_hh)))
        return project_words, products

    def _scan_steps(self, word_shares, products, masks, state, keep_mask):
        """The loop of `_run_steps` in the form that an exporter can follow for any T."""
        if keep_mask is None:
            keep_mask = word_shares.new_ones(word_shares.shape[:2], dtype=torch.bool)

        def step(carry, step_inputs):
            step_input, keep, *step_masks = step_inputs
            old = DecoderState(*carry, state.keys)
            hidden, weights, new = self._step(self._feed(step_input, products, old), products, step_masks, old)
            outputs = (new.attentional, *hidden) if weights is None else (new.attentional, *hidden, weights.squeeze(1))
            return _advance(old, new, keep)[:3], tuple(output.clone() for output in outputs)

        sequences = tuple(sequence.transpose(0, 1) for sequence in (word_shares, keep_mask, *masks))
        # a scan's state keeps its memory layout; the bridge hands over slices
        layers = tuple(tuple(part.contiguous() for part in layer) for layer in state.layers)
        carry, outputs = scan(step, (layers, state.attentional, state.positions), sequences)
        attentional, *hidden = (output.transpose(0, 1) for output in outputs)
        weights = None if self.attention is None else hidden.pop()
        return RecurrenceOutput(attentional, weights, tuple(hidden), DecoderState(*carry, state.keys))

    def _feed(self, word_share, products, state):
        """The product of the first layer's input, from the share of the word in it."""
        return word_share + products.layers[0][0](state.attentional) if self.input_feeding else word_share

    def _step(self, projected, products, masks, state):
        hidden, layer_states = [], []
        for index, ((from_input, from_state), layer_state) in enumerate(
            zip(products.layers, state.layers, strict=True)
        ):
            if index:
                projected = from_input(hidden[-1] * masks[index - 1])
            layer_state = self.cell.step(projected, from_state(layer_state[0]), layer_state)
            layer_states.append(layer_state)
            hidden.append(layer_state[0] + hidden[-1] if self.residual and index else layer_state[0])
        # hypotheses of one sentence look at its memory together, like words of one target
        query = hidden[-1].view(-1, products.beams, self.hidden_size)
        positions = state.positions.view(-1, products.beams)
        attentional, weights = self._attend(query, products, positions)
        new_state = DecoderState(tuple(layer_states), attentional.flatten(0, 1), state.positions + 1, state.keys)
        return hidden, weights, new_state

    def _attend(self, hidden, products, positions):
        if self.attention is None:
            return self.activate(products.combine(hidden)), None
        context, weights = self.attention(hidden, products.attended, positions)
        return self.activate(products.combine(torch.cat([context, hidden], -1))), weights


def _advance(old: DecoderState, new: DecoderState, keep: torch.Tensor) -> DecoderState:
    """Returns the new state in the rows (B,) where `keep` is `True`, and the old one in the others."""
    column = keep.unsqueeze(1)
    layers = tuple(
        tuple(torch.where(column, new_part, old_part) for new_part, old_part in zip(*pair, strict=True))
        for pair in zip(new.layers, old.layers, strict=True)
    )
    attentional = torch.where(column, new.attentional, old.attentional)
    return DecoderState(layers, attentional, torch.where(keep, new.positions, old.positions), new.keys)
