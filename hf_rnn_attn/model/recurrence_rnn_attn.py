# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The decoder recurrence: one step, and a whole teacher-forced sequence made of such steps.

Holds the cells, the attention on top of them and input feeding. Knows nothing of words, losses or caches.
Shapes: B batch, S source, T target, E embedding, H decoder width, M memory width, A attentional width.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .attention_rnn_attn import LuongAttention
from .cache_rnn_attn import DecoderState
from .configuration_rnn_attn import RnnAttnConfig


class _StepProduct(torch.autograd.Function):
    """`inputs @ weight.T` whose weight gradient is left to [`_SequenceGradient`]."""

    @staticmethod
    def forward(ctx, inputs, weight, tape):
        ctx.save_for_backward(inputs, weight)
        ctx.tape = tape
        return inputs @ weight.t()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.tape.append((gradient, inputs))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None


class _SequenceGradient(torch.autograd.Function):
    """The weight itself; its gradient is one product over all the steps that wrote to the tape."""

    @staticmethod
    def forward(ctx, weight, tape):
        ctx.set_materialize_grads(False)
        ctx.tape = tape
        return weight.view_as(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _):
        gradients, inputs = zip(*ctx.tape, strict=True)
        ctx.tape.clear()
        return torch.cat(gradients).t() @ torch.cat(inputs), None


class StepWeight:
    """A weight that every step of a sequence multiplies by.

    Autograd alone would form the weight's gradient at every step and add the T large matrices up. Here the steps note
    their factors, and one product makes the gradient when the backward pass leaves the sequence: the same sum, with a
    fraction of the memory traffic. Lives for one sequence.

    Args:
        weight (`torch.Tensor` of shape `(out, in)`): called on (B, in), it returns (B, out).
        bias (`torch.Tensor` of shape `(out,)`, *optional*): is added to the product.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        # a compiler sees the whole sequence anyway, and could not follow the tape
        self.records = torch.is_grad_enabled() and weight.requires_grad and not torch.compiler.is_compiling()
        self.tape = []
        self.weight = _SequenceGradient.apply(weight, self.tape) if self.records else weight
        self.bias = bias

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        product = _StepProduct.apply(inputs, self.weight, self.tape) if self.records else F.linear(inputs, self.weight)
        return product if self.bias is None else product + self.bias


def lstm_step(projected, recurrent, state):
    """Hochreiter & Schmidhuber 1997 with forget gate. Gates in torch's order: input, forget, candidate, output.

    `projected` and `recurrent` are the shares of input and last hidden state, (B, 4H), biases included.
    """
    _, cell = state
    gates = projected + recurrent
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


def gru_step(projected, recurrent, state):
    """Cho et al. 2014, with the reset gate after the recurrent product as in torch and cuDNN."""
    (hidden,) = state
    reset_in, update_in, candidate_in = projected.chunk(3, -1)
    reset_rec, update_rec, candidate_rec = recurrent.chunk(3, -1)
    reset = torch.sigmoid(reset_in + reset_rec)
    update = torch.sigmoid(update_in + update_rec)
    candidate = torch.tanh(candidate_in + reset * candidate_rec)
    return ((1 - update) * candidate + update * hidden,)


def tanh_step(projected, recurrent, state):
    """Elman 1990."""
    return (torch.tanh(projected + recurrent),)


class StepLayer:
    """Beside a torch layer among the bases of a class: called with `None`, the layer hands out its weights.

    What wraps a layer and changes its weights for the time of a call, such as a LoRA adapter, works for single steps
    only if they get the weights through a call.
    """

    def forward(self, inputs, state=None):
        if inputs is None:
            return self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        return super().forward(inputs, state)


class StepLSTM(StepLayer, nn.LSTM):
    pass


class StepGRU(StepLayer, nn.GRU):
    pass


class StepRNN(StepLayer, nn.RNN):
    pass


class Cell(NamedTuple):
    """A cell type: torch's fused layer, the same as a single step, and the number of state tensors."""

    layer: type[nn.RNNBase]
    step: callable
    state_count: int


CELLS = {
    "lstm": Cell(StepLSTM, lstm_step, 2),
    "gru": Cell(StepGRU, gru_step, 1),
    "rnn_tanh": Cell(StepRNN, tanh_step, 1),
}


def linear(inputs):
    """No activation at all."""
    return inputs


ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "none": linear}


def _scan(step, state, sequences, reverse=False):
    """Runs `step` along the first dimension of `sequences`, in a form that an exporter can follow for any length."""
    # not yet a public name of torch; nothing but an export comes here
    from torch._higher_order_ops.scan import scan

    return scan(step, state, sequences, dim=0, reverse=reverse)


def scan_direction(
    cell: Cell, layer: nn.RNNBase, inputs: torch.Tensor, keep_mask: torch.Tensor, suffix: str
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """One direction of a recurrent layer in the form that an exporter can follow, for any batch and any length.

    Args:
        cell ([`Cell`]): the cell type of `layer`.
        layer (`nn.RNNBase`): a single layer; its weights are read.
        inputs (`torch.Tensor` of shape `(B, S, I)`): what it reads.
        keep_mask (`torch.BoolTensor` of shape `(B, S)`): `False` where a step leaves the state as it was.
        suffix (`str`): `"_l0"` to read from the left, `"_l0_reverse"` to read from the right.

    Returns:
        The state after the last step, `parts` tensors (B, H), and the outputs (B, S, H).
    """
    weight_ih, weight_hh, bias_ih, bias_hh = (
        getattr(layer, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(state, step_inputs):
        projected, keep = step_inputs
        new_state = cell.step(projected, F.linear(state[0], weight_hh, bias_hh), state)
        new_state = tuple(torch.where(keep, *parts) for parts in zip(new_state, state, strict=True))
        return new_state, new_state[0].clone()

    projected = F.linear(inputs, weight_ih, bias_ih).transpose(0, 1)
    start = tuple(inputs.new_zeros(inputs.shape[0], layer.hidden_size) for _ in range(cell.state_count))
    sequences = (projected, keep_mask.t().unsqueeze(-1))
    state, outputs = _scan(step, start, sequences, reverse=suffix.endswith("reverse"))
    return state, outputs.transpose(0, 1)


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
        self.combine = nn.Linear(context_size + hidden_size, attentional_size, bias=config.attention_bias)
        self.activate = ACTIVATIONS[config.attentional_activation]

    def start(self, layers: tuple[tuple[torch.Tensor, ...], ...], memory: SourceMemory) -> DecoderState:
        """Returns the state before the first word, from the layer states that the bridge hands over."""
        hidden = layers[0][0]
        keys = self.attention.project_memory(memory.states) if self._has_keys else None
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
                `False` where an input is padding; such a step leaves the state of its row as it was.
        """
        # the shapes of a fused call are fixed to those of an exporter's example
        if self.input_feeding or keep_mask is not None or torch.compiler.is_exporting():
            return self._run_steps(inputs, state, memory, keep_mask)
        return self._run_fused(inputs, state, memory)

    @property
    def _has_keys(self) -> bool:
        return self.attention is not None and self.attention.score == "concat"

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
        attentional, weights = self._attend(hidden, state.keys, memory, positions)
        last = DecoderState(tuple(layer_states), attentional[:, -1], positions[:, -1] + 1, state.keys)
        return RecurrenceOutput(attentional, weights, tuple(outputs), last)

    def _run_steps(self, inputs, state, memory, keep_mask):
        project_words, products = self._products(inputs.shape[-1])
        # the words' share of the first layer's input is known beforehand: one product for all T
        projected = project_words(inputs)
        masks = [self.dropout(inputs.new_ones(*inputs.shape[:2], self.hidden_size)) for _ in self.layers[1:]]
        if torch.compiler.is_exporting() and inputs.shape[1] != 1:
            return self._scan_steps(projected, products, masks, state, memory, keep_mask)
        masks = list(zip(*(mask.unbind(1) for mask in masks), strict=True)) or [()] * inputs.shape[1]
        attentional, weights, hidden = [], [], []
        # unbind and not indexing: the gradient of T slices is one stack, not T sums over the whole
        for index, step_input in enumerate(projected.unbind(1)):
            step_hidden, step_weights, new_state = self._step(step_input, products, masks[index], state, memory)
            state = new_state if keep_mask is None else _advance(state, new_state, keep_mask[:, index])
            attentional.append(new_state.attentional)
            weights.append(step_weights)
            hidden.append(step_hidden)
        weights = None if self.attention is None else torch.cat(weights, 1)
        hidden = tuple(torch.stack(layer, 1) for layer in zip(*hidden, strict=True))
        return RecurrenceOutput(torch.stack(attentional, 1), weights, hidden, state)

    def _products(self, word_size):
        """Returns the projection of all words (B, T, E), and for each layer the products of its input and state.

        The first layer's input is what is fed to it beside the word.
        """
        products = []
        for layer in self.layers:
            weight_ih, weight_hh, bias_ih, bias_hh = layer(None)
            if products:
                from_input = StepWeight(weight_ih, bias_ih)
            else:
                weight_words, weight_fed = weight_ih.tensor_split([word_size], dim=1)
                project_words = partial(F.linear, weight=weight_words, bias=bias_ih)
                from_input = StepWeight(weight_fed)
            products.append((from_input, StepWeight(weight_hh, bias_hh)))
        return project_words, products

    def _scan_steps(self, projected, products, masks, state, memory, keep_mask):
        """The loop of `_run_steps` in the form that an exporter can follow for any T."""
        if keep_mask is None:
            keep_mask = projected.new_ones(projected.shape[:2], dtype=torch.bool)

        def step(carry, step_inputs):
            step_input, keep, *step_masks = step_inputs
            old = DecoderState(*carry, state.keys)
            hidden, weights, new = self._step(step_input, products, step_masks, old, memory)
            outputs = (new.attentional, *hidden) if weights is None else (new.attentional, *hidden, weights.squeeze(1))
            return _advance(old, new, keep)[:3], tuple(output.clone() for output in outputs)

        sequences = tuple(sequence.transpose(0, 1) for sequence in (projected, keep_mask, *masks))
        # a scan's state keeps its memory layout; the bridge hands over slices
        layers = tuple(tuple(part.contiguous() for part in layer) for layer in state.layers)
        carry, outputs = _scan(step, (layers, state.attentional, state.positions), sequences)
        attentional, *hidden = (output.transpose(0, 1) for output in outputs)
        weights = None if self.attention is None else hidden.pop()
        return RecurrenceOutput(attentional, weights, tuple(hidden), DecoderState(*carry, state.keys))

    def _step(self, projected, products, masks, state, memory):
        if self.input_feeding:
            projected = projected + products[0][0](state.attentional)
        hidden, layer_states = [], []
        for index, ((from_input, from_state), layer_state) in enumerate(zip(products, state.layers, strict=True)):
            if index:
                projected = from_input(hidden[-1] * masks[index - 1])
            layer_state = self.cell.step(projected, from_state(layer_state[0]), layer_state)
            layer_states.append(layer_state)
            hidden.append(layer_state[0] + hidden[-1] if self.residual and index else layer_state[0])
        query, positions = hidden[-1].unsqueeze(1), state.positions.unsqueeze(1)
        attentional, weights = self._attend(query, state.keys, memory, positions)
        new_state = DecoderState(tuple(layer_states), attentional.squeeze(1), state.positions + 1, state.keys)
        return hidden, weights, new_state

    def _attend(self, hidden, keys, memory, positions):
        if self.attention is None:
            return self.activate(self.combine(hidden)), None
        keys = memory.states if keys is None else keys
        context, weights = self.attention(hidden, memory.states, keys, memory.keep_mask, positions)
        return self.activate(self.combine(torch.cat([context, hidden], -1))), weights


def _advance(old: DecoderState, new: DecoderState, keep: torch.Tensor) -> DecoderState:
    """Returns the new state in the rows (B,) where `keep` is `True`, and the old one in the others."""
    column = keep.unsqueeze(1)
    layers = tuple(
        tuple(torch.where(column, new_part, old_part) for new_part, old_part in zip(*pair, strict=True))
        for pair in zip(new.layers, old.layers, strict=True)
    )
    attentional = torch.where(column, new.attentional, old.attentional)
    return DecoderState(layers, attentional, torch.where(keep, new.positions, old.positions), new.keys)
