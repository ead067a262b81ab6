# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The decoder recurrence: one step, and a whole teacher-forced sequence made of such steps.

Holds the layers, the attention on top of them and input feeding. Knows nothing of tokens, losses or caches.
Shapes: B sentences, R rows (hypotheses, those of a sentence side by side), S source, T target, E embedding, H decoder
width, M memory width, A attentional width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from .attention_rnn_attn import AttendedMemory, LuongAttention
from .cache_rnn_attn import DecoderState
from .cells_rnn_attn import CELLS, scan
from .configuration_rnn_attn import RnnAttnConfig
from .step_weight_rnn_attn import StepLinear, StepWeight, project_rows, step_product


Product = Callable[[torch.Tensor], torch.Tensor]


def identity(inputs: torch.Tensor) -> torch.Tensor:
    """Returns its argument."""
    return inputs


ACTIVATIONS: dict[str, Product] = {"tanh": torch.tanh, "relu": torch.relu, "none": identity}


class SourceMemory(NamedTuple):
    """The encoded sentences that the decoder attends to.

    Attributes:
        states: encoder states h̄, (B, S, M); `None` in an exported step without attention.
        keep_mask: `False` where there is padding, (B, S).
        keys: the projected states (B, S, H) where the attention score has them.
        source_ids: the source tokens (B, S), which the pointer-generator copies.
    """

    states: torch.Tensor | None
    keep_mask: torch.Tensor | None
    keys: torch.Tensor | None = None
    source_ids: torch.Tensor | None = None

    def select(self, sentences: torch.Tensor) -> "SourceMemory":
        """Returns the memory of these sentences."""
        return SourceMemory(*(None if part is None else part.index_select(0, sentences) for part in self))


class RecurrenceOutput(NamedTuple):
    """Attentional states (R, T, A), attention weights (R, T, S) or `None`, layer outputs (R, T, H), final state."""

    attentional: torch.Tensor
    weights: torch.Tensor | None
    hidden: tuple[torch.Tensor, ...]
    state: DecoderState

    @classmethod
    def join(cls, pieces: "list[RecurrenceOutput]") -> "RecurrenceOutput":
        """Returns what one call on the whole sequence returns, from calls on consecutive pieces of it."""
        weights = [piece.weights for piece in pieces if piece.weights is not None]
        hidden = tuple(torch.cat(layer, 1) for layer in zip(*(piece.hidden for piece in pieces), strict=True))
        attentional = torch.cat([piece.attentional for piece in pieces], 1)
        return cls(attentional, torch.cat(weights, 1) if weights else None, hidden, pieces[-1].state)


class StepProducts(NamedTuple):
    """The products with weights that the steps of one sequence share.

    Attributes:
        first: the first layer's input product of a token's embedding (R, E) and the attentional state (R, A), for steps
            that are taken one at a time.
        layers: for each layer the products of its input and of its state. In the first layer the input is the
            attentional state alone: the product of the embeddings is formed for all steps at once.
        combine: W_c, from (..., M + H) to (..., A).
        attended: the memory as the attention looks at it, `None` without attention.
        beams: K, the number of rows that belong to one sentence of the memory.
    """

    first: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None
    layers: list[tuple[Product, Product]]
    combine: Product
    attended: AttendedMemory | None
    beams: int = 1


class AttentionalRecurrence(nn.Module):
    """The decoder of Luong et al. 2015 between the token embedding and the output layer.

    h_t = RNN([e(y_{t-1}) ; h̃_{t-1}], h_{t-1}); c_t by attention; h̃_t = tanh(W_c [c_t ; h_t]) (eq. 5 and §3.3).

    Without input feeding no step needs the attentional state of the one before, so the layers run as one fused call
    each and attention is computed for all T at once.
    """

    # whether a layer can read a whole sequence in one call
    has_fused_layers = True

    def __init__(self, config: RnnAttnConfig) -> None:
        super().__init__()
        self.cell = CELLS[config.decoder_cell_type]
        self.input_feeding = config.input_feeding
        self.residual = config.decoder_residual
        self.embedding_size = config.decoder_embedding_size
        self.hidden_size = hidden_size = config.decoder_hidden_size
        attentional_size = cast(int, config.attentional_size)
        input_size = self.embedding_size + (attentional_size if config.input_feeding else 0)
        sizes = [input_size] + [hidden_size] * (config.decoder_layers - 1)
        self.layers = nn.ModuleList(self.cell.layer(size, hidden_size, batch_first=True) for size in sizes)
        self.dropout = nn.Dropout(config.decoder_dropout)
        self.attention = None if config.attention_score == "none" else LuongAttention(config)
        context_size = 0 if self.attention is None else config.memory_size
        self.combine = StepLinear(context_size + hidden_size, attentional_size, bias=config.attention_bias)
        self.activate = ACTIVATIONS[config.attentional_activation]

    def project_memory(self, states: torch.Tensor) -> torch.Tensor | None:
        """Returns the keys (B, S, H) of encoder states (B, S, M), where the attention score has them."""
        return None if self.attention is None else self.attention.project_memory(states)

    def start(self, layers: tuple[tuple[torch.Tensor, ...], ...]) -> DecoderState:
        """Returns the state before the first token, from the layer states that the bridge hands over."""
        hidden = layers[0][0]
        attentional = hidden.new_zeros(hidden.shape[0], self.combine.out_features)
        positions = torch.zeros(hidden.shape[0], dtype=torch.long, device=hidden.device)
        return DecoderState(layers, attentional, positions)

    def prepare(self, memory: SourceMemory, beams: int) -> StepProducts:
        """Returns the products for many single steps over one memory without gradient; `beams` rows share a memory."""
        _, layers = self._layer_products()
        return self._products(self._first_product(), layers, memory, beams)

    def forward(
        self,
        inputs: torch.Tensor,
        state: DecoderState,
        memory: SourceMemory,
        keep_mask: torch.Tensor | None = None,
        products: StepProducts | None = None,
    ) -> RecurrenceOutput:
        r"""Reads T tokens of each row.

        Args:
            inputs (`torch.Tensor` of shape `(R, T, E)`): embeddings of the tokens before each prediction.
            state ([`DecoderState`]): what `start` or the last call returned.
            memory ([`SourceMemory`]): the encoded sentences, one for each row; not read where `products` are given.
            keep_mask (`torch.BoolTensor` of shape `(R, T)`, *optional*): `False` where an input is padding; such a step
                leaves the state of its row as it was, and what comes out there means nothing.
            products ([`StepProducts`], *optional*): what `prepare` returned, for a single step (T = 1).
        """
        if products is not None:
            return self._run_one(inputs, state, products)
        # the shapes of a fused call are fixed to those of an exporter's example
        if self.input_feeding or keep_mask is not None or not self.has_fused_layers or torch.compiler.is_exporting():
            return self._run_steps(inputs, state, memory, keep_mask)
        return self._run_fused(inputs, state, memory)

    def _run_one(self, inputs: torch.Tensor, state: DecoderState, products: StepProducts) -> RecurrenceOutput:
        """Takes one step (T = 1) with products that are there already."""
        masks = [self.dropout(state.attentional.new_ones(inputs.shape[0], self.hidden_size)) for _ in self.layers[1:]]
        # `prepare` made it
        projected = products.first(inputs[:, 0], state.attentional)  # pyright: ignore[reportOptionalCall]
        hidden, weights, state = self._step(projected, products, masks, state)
        return RecurrenceOutput(
            state.attentional.unsqueeze(1), weights, tuple(layer.unsqueeze(1) for layer in hidden), state
        )

    def _run_fused(self, inputs: torch.Tensor, state: DecoderState, memory: SourceMemory) -> RecurrenceOutput:
        """Reads all T tokens with one call of each layer, and attends to the source for all of them at once."""
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
        positions = state.positions.unsqueeze(1) + steps  # (R, T)
        attentional, weights = self._attend(hidden, self._products(None, [], memory), positions)
        last = DecoderState(tuple(layer_states), attentional[:, -1], positions[:, -1] + 1)
        return RecurrenceOutput(attentional, weights, tuple(outputs), last)

    def _run_steps(
        self, inputs: torch.Tensor, state: DecoderState, memory: SourceMemory, keep_mask: torch.Tensor | None
    ) -> RecurrenceOutput:
        """Reads T tokens one by one."""
        project_tokens, layers = self._layer_products()
        products = self._products(None, layers, memory)
        # the first layer's product of the embeddings is known beforehand for all T
        token_shares = project_rows(inputs, project_tokens)
        masks = [self.dropout(inputs.new_ones(*inputs.shape[:2], self.hidden_size)) for _ in self.layers[1:]]
        if torch.compiler.is_exporting() and inputs.shape[1] != 1:
            return self._scan_steps(token_shares, products, masks, state, keep_mask)
        masks = list(zip(*(mask.unbind(1) for mask in masks), strict=True)) or [()] * inputs.shape[1]
        attentional, weights, hidden = [], [], []
        # unbind and not indexing: the gradient of T slices is one stack, not T sums over the whole
        for index, token_share in enumerate(token_shares.unbind(1)):
            projected = self._feed(token_share, products, state)
            step_hidden, step_weights, new_state = self._step(projected, products, masks[index], state)
            state = new_state if keep_mask is None else _advance(state, new_state, keep_mask[:, index])
            attentional.append(new_state.attentional)
            weights.append(step_weights)
            hidden.append(step_hidden)
        weights = None if self.attention is None else torch.cat(weights, 1)
        hidden = tuple(torch.stack(layer, 1) for layer in zip(*hidden, strict=True))
        return RecurrenceOutput(torch.stack(attentional, 1), weights, hidden, state)

    def _scan_steps(
        self,
        token_shares: torch.Tensor,
        products: StepProducts,
        masks: list[torch.Tensor],
        state: DecoderState,
        keep_mask: torch.Tensor | None,
    ) -> RecurrenceOutput:
        """Runs the loop of `_run_steps` in the form that an exporter can follow for any T."""
        if keep_mask is None:
            keep_mask = token_shares.new_ones(token_shares.shape[:2], dtype=torch.bool)

        def step(carry: tuple[Any, ...], step_inputs: tuple[torch.Tensor, ...]) -> tuple[Any, tuple[torch.Tensor, ...]]:
            token_share, keep, *step_masks = step_inputs
            old = DecoderState(*carry)
            hidden, weights, new = self._step(self._feed(token_share, products, old), products, step_masks, old)
            outputs = (new.attentional, *hidden) if weights is None else (new.attentional, *hidden, weights.squeeze(1))
            return tuple(_advance(old, new, keep)), tuple(output.clone() for output in outputs)

        sequences = tuple(sequence.transpose(0, 1) for sequence in (token_shares, keep_mask, *masks))
        carry, outputs = scan(step, tuple(state), sequences)
        attentional, *hidden = (output.transpose(0, 1) for output in outputs)
        weights = None if self.attention is None else hidden.pop()
        return RecurrenceOutput(attentional, weights, tuple(hidden), DecoderState(*carry))

    def _first_product(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Returns the first layer's input product, [e ; h̃] with one matrix."""
        ((weight, _, bias, _),) = self.layers[0](None, return_weights=True)
        product = StepWeight(weight, bias)
        if not self.input_feeding:
            return lambda embeddings, _: product(embeddings)
        return lambda embeddings, attentional: product(torch.cat([embeddings, attentional], -1))

    def _layer_products(self) -> tuple[Product, list[tuple[Product, Product]]]:
        """Returns the first layer's product of embeddings (..., E), and the `layers` of [`StepProducts`]."""
        products = []
        for layer in self.layers:
            ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer(None, return_weights=True)
            if products:
                from_input = StepWeight(weight_ih, bias_ih)
            else:
                weight_tokens, weight_fed = weight_ih.tensor_split([self.embedding_size], dim=1)
                project_tokens = partial(F.linear, weight=weight_tokens, bias=bias_ih)
                from_input = StepWeight(weight_fed)
            products.append((from_input, StepWeight(weight_hh, bias_hh)))
        # there is a first layer
        return project_tokens, products  # pyright: ignore[reportPossiblyUnboundVariable]

    def _products(
        self,
        first: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None,
        layers: list[tuple[Product, Product]],
        memory: SourceMemory,
        beams: int = 1,
    ) -> StepProducts:
        """Adds to products with the layers' weights those of attention and attentional state."""
        attended = None
        if self.attention is not None:
            # states and mask are there: only a step without attention is exported without them
            attended = self.attention.attend_to(
                memory.states,  # pyright: ignore[reportArgumentType]
                memory.keys,
                memory.keep_mask,  # pyright: ignore[reportArgumentType]
            )
        return StepProducts(first, layers, step_product(self.combine), attended, beams)

    def _feed(self, token_share: torch.Tensor, products: StepProducts, state: DecoderState) -> torch.Tensor:
        """Returns the first layer's input product, from the embedding's share of it."""
        return token_share + products.layers[0][0](state.attentional) if self.input_feeding else token_share

    def _step(
        self, projected: torch.Tensor, products: StepProducts, masks: Sequence[torch.Tensor], state: DecoderState
    ) -> tuple[list[torch.Tensor], torch.Tensor | None, DecoderState]:
        """Returns each layer's output (R, H), the attention weights (R, 1, S) or `None`, and the next state."""
        hidden, layer_states = [], []
        for index, ((from_input, from_state), layer_state) in enumerate(
            zip(products.layers, state.layers, strict=True)
        ):
            if index:
                projected = from_input(hidden[-1] * masks[index - 1])
            layer_state = self.cell.step(projected, from_state(layer_state[0]), layer_state)
            layer_states.append(layer_state)
            hidden.append(layer_state[0] + hidden[-1] if self.residual and index else layer_state[0])
        # hypotheses of one sentence look at its memory together, like steps of one target
        query = hidden[-1].view(-1, products.beams, self.hidden_size)
        attentional, weights = self._attend(query, products, state.positions.view(-1, products.beams))
        weights = None if weights is None else weights.flatten(0, 1).unsqueeze(1)
        return hidden, weights, DecoderState(tuple(layer_states), attentional.flatten(0, 1), state.positions + 1)

    def _attend(
        self, hidden: torch.Tensor, products: StepProducts, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the attentional states of decoder states (B, T, H), and the attention weights or `None`."""
        if self.attention is None:
            return self.activate(products.combine(hidden)), None
        context, weights = self.attention(hidden, products.attended, positions)
        return self.activate(products.combine(torch.cat([context, hidden], -1))), weights


def _advance(old: DecoderState, new: DecoderState, keep: torch.Tensor) -> DecoderState:
    """Returns the new state in the rows (R,) where `keep` is `True`, and the old one in the others."""

    def choose(new_part: torch.Tensor, old_part: torch.Tensor) -> torch.Tensor:
        return torch.where(keep.view(-1, *[1] * (new_part.dim() - 1)), new_part, old_part)

    return tree_map(choose, new, old)
