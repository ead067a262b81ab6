# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""int8 quantisation for CPUs: linear and recurrent weights in 8 bits, activations in 7 bits.

Holds the layers that compute so, the conversion of a trained model, and its saving and loading. Knows nothing of
training: a quantised model has no gradient. Embedding tables stay in float32. What comes out for a sentence does not
depend on its batch: activations have a fixed scale where their range is known, and else one for each row, and products
are sums of whole numbers.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import GenerationConfig

from ..model.cells_rnn_attn import CELLS, CellState
from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.recurrence_rnn_attn import AttentionalRecurrence, SourceMemory


WEIGHTS_NAME = "int8.safetensors"

# activations lie within 64 steps of their zero point 64: sums of two products of 7 and 8 bits fit into the 16 bits in
# which processors without wider ones form them
STEPS, ZERO_POINT = 64, 64

# oneDNN compiles a kernel for every number of rows that it sees: more than 8 come in multiples of 16
FEW_ROWS, ROWS_AT_A_TIME = 8, 16


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights and a scale for each output, symmetric.

    Inputs of known range have a fixed scale, others one for each row.

    Args:
        weight (`torch.Tensor` of shape `(out, in)`): the weights in float32.
        bias (`torch.Tensor` of shape `(out,)`, *optional*): stays in float32.
        limit (`float`, *optional*): the largest absolute value that an input can have.
        factor (`torch.Tensor` of shape `(out,)`, *optional*): powers of two that the outputs are multiplied by.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        limit: float | None = None,
        factor: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.limit, self.factor = limit, factor
        scale = weight.detach().abs().amax(1).clamp(min=1e-8) / 127
        self.register_buffer("weight", (weight.detach() / scale.unsqueeze(1)).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.pack()

    def pack(self) -> None:
        """Brings the weights into the layout of the kernel; to be repeated when they have been loaded."""
        factor = torch.ones_like(self.scale) if self.factor is None else self.factor
        self.step_scale = self.scale * factor * ((self.limit or 1.0) / STEPS)
        self.added = None if self.bias is None else self.bias * factor
        self.zeros = torch.zeros_like(self.scale, dtype=torch.int32)
        # half a step more, for the conversion to integers cuts off
        self.centre = self.scale.new_tensor(ZERO_POINT + 0.5)
        # builds of torch without oneDNN have a slower product of integers
        has_kernel = torch.backends.mkldnn.is_available()
        self.packed = torch.ops.onednn.qlinear_prepack(self.weight, None) if has_kernel else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the product of `inputs` (..., in) with the weights, (..., out), in the type of `inputs`."""
        rows = inputs.reshape(-1, self.in_features).float()
        if self.limit is None:
            largest = rows.abs().amax(-1, keepdim=True).clamp_min_(1e-8)
            steps = torch.addcdiv(self.centre, rows, largest, value=STEPS).to(torch.uint8)
            product = self._multiply(steps, None).mul_(largest)
            if self.added is not None:
                product += self.added
        else:
            steps = torch.add(self.centre, rows, alpha=STEPS / self.limit).to(torch.uint8)
            product = self._multiply(steps, self.added)
        return product.view(*inputs.shape[:-1], self.out_features).to(inputs.dtype)

    def add_to(self, sums: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Returns `sums` (N, out) and the product of `inputs` (N, in); overwrites `sums` if that is contiguous."""
        if self.packed is None or self.limit is None:
            return sums.add_(self(inputs))
        steps = torch.add(self.centre, inputs, alpha=STEPS / self.limit).to(torch.uint8)
        options = (1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
        return torch.ops.onednn.qlinear_pointwise.binary(
            steps, 1.0, ZERO_POINT, self.packed, self.step_scale, self.zeros, sums.contiguous(), self.added, *options
        )

    def _multiply(self, steps: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        """Returns the product of whole steps (N, in), and `added` (out,), in float32."""
        if self.packed is None:
            product = torch._int_mm((steps - ZERO_POINT).view(torch.int8), self.weight.t()) * self.step_scale
            return product if added is None else product.add_(added)
        count = len(steps)
        if count > FEW_ROWS and count % ROWS_AT_A_TIME:
            steps = F.pad(steps, (0, 0, 0, -count % ROWS_AT_A_TIME))
        # one scale for all rows, and no output scale or function after it
        options = (1.0, 0, torch.float32, "none", [], "")
        product = torch.ops.onednn.qlinear_pointwise(
            steps, 1.0, ZERO_POINT, self.packed, self.step_scale, self.zeros, added, *options
        )
        return product[:count]


class Int8Directions(nn.ModuleList):
    """Products of the same sizes, one for each direction; called and added like one [`Int8Linear`]."""

    def forward(self, inputs: Iterable[torch.Tensor]) -> torch.Tensor:
        """Returns the products (directions, N, out) of `inputs`, (N, in) for each direction."""
        return torch.stack([product(part) for product, part in zip(self, inputs, strict=True)])

    def add_to(self, sums: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Adds the products of `inputs` (directions, N, in) to `sums` (directions, N, out), in place."""
        for product, part_sums, part in zip(cast(Iterable[Int8Linear], self), sums, inputs, strict=True):
            product.add_to(part_sums, part)
        return sums


# Steps of cells, as those of CELLS; `recurrent` is the product with the state's weights, yet to be formed. Gates with
# a sigmoid come halved: σ(x) = (1 + tanh(x / 2)) / 2. An element's `torch.sigmoid` depends on its place among the
# others, its `torch.tanh` does not.


def _halve_gates(mode: str, hidden_size: int) -> torch.Tensor | None:
    """Returns the `factor` of a cell's products; `mode` as torch's layers have it."""
    gates = {"LSTM": [0.5, 0.5, 1.0, 0.5], "GRU": [0.5, 0.5, 1.0]}.get(mode)
    return None if gates is None else torch.tensor(gates).repeat_interleave(hidden_size)


def _lstm_step(projected: torch.Tensor, recurrent: Any, state: CellState) -> CellState:
    hidden, cell = state
    input_gate, forget_gate, candidate, output_gate = recurrent.add_to(projected, hidden).tanh_().chunk(4, -1)
    cell = torch.addcmul(cell, forget_gate, cell)
    cell = cell.add_(torch.addcmul(candidate, input_gate, candidate)).mul_(0.5)
    hidden = torch.tanh(cell)
    return torch.addcmul(hidden, output_gate, hidden).mul_(0.5), cell


def _gru_step(projected: torch.Tensor, recurrent: Any, state: CellState) -> CellState:
    (hidden,) = state
    (gates, candidate), (gates_rec, candidate_rec) = (
        product.tensor_split([2 * hidden.shape[-1]], -1) for product in (projected, recurrent(hidden))
    )
    reset, update = (gates + gates_rec).tanh_().chunk(2, -1)
    candidate = torch.addcmul(candidate_rec, reset, candidate_rec).mul_(0.5).add_(candidate).tanh_()
    return (torch.addcmul(candidate + hidden, update, hidden - candidate).mul_(0.5),)


def _tanh_step(projected: torch.Tensor, recurrent: Any, state: CellState) -> CellState:
    return (torch.tanh(recurrent.add_to(projected, state[0])),)


STEP_FUNCTIONS = {"lstm": _lstm_step, "gru": _gru_step, "rnn_tanh": _tanh_step}


class Int8Layer(nn.Module):
    """One recurrent layer of the encoder, in one or both directions; called like the layer it replaces.

    Args:
        layer (`nn.RNNBase`): a single layer, batch first.
        limit (`float`, *optional*): the largest absolute value that an input can have.
    """

    def __init__(self, layer: nn.RNNBase, limit: float | None = None) -> None:
        super().__init__()
        kind = "rnn_tanh" if isinstance(layer, nn.RNN) else layer.mode.lower()
        self.step, self.state_count = STEP_FUNCTIONS[kind], CELLS[kind].state_count
        self.hidden_size = layer.hidden_size
        factor = _halve_gates(layer.mode, layer.hidden_size)
        self.inputs, self.states = (
            Int8Directions(Int8Linear(weights[kind], weights[kind + 2], limit, factor) for weights in layer.all_weights)
            # a state is a product of numbers in [-1, 1], or an average of them
            for kind, limit in ((0, limit), (1, 1.0))
        )
        self.register_load_state_dict_pre_hook(_quantize_former_layer)

    def forward(self, inputs: torch.Tensor | PackedSequence) -> tuple[Any, Any]:
        """Returns outputs and last state, as torch's layer does."""
        if not isinstance(inputs, PackedSequence):
            lengths = torch.full((inputs.shape[0],), inputs.shape[1])
            output, state = self(pack_padded_sequence(inputs, lengths, batch_first=True))
            return pad_packed_sequence(output, batch_first=True)[0], state
        counts = inputs.batch_sizes
        # both directions take their steps together: the second reads each sentence from its end
        orders = [slice(None), _reversed_order(counts)][: len(self.inputs)]
        projected = self.inputs([inputs.data[order] for order in orders])
        rows = int(counts[0])
        state = tuple(inputs.data.new_zeros(len(orders), rows, self.hidden_size) for _ in range(self.state_count))
        outputs, ended = [], []
        for gates in projected.split(counts.tolist(), 1):
            if (count := gates.shape[1]) < rows:
                ended.append(tuple(part[:, count:] for part in state))
                state, rows = tuple(part[:, :count] for part in state), count
            state = self.step(gates, self.states, state)
            outputs.append(state[0])
        state = tuple(torch.cat(parts, 1) for parts in zip(state, *reversed(ended), strict=True))
        # whole steps: see the attention, which sums them
        output = _round(torch.cat(outputs, 1), -7)
        output = torch.cat([part[order] for part, order in zip(output, orders, strict=True)], -1)
        if inputs.unsorted_indices is not None:
            state = tuple(part.index_select(1, inputs.unsorted_indices) for part in state)
        return inputs._replace(data=output), state if len(state) == 2 else state[0]


def _reversed_order(batch_sizes: torch.Tensor) -> torch.Tensor:
    """Returns for each place of a packed sequence the place where its sentence's tokens stand the other way round."""
    starts = batch_sizes.cumsum(0) - batch_sizes
    steps = torch.arange(len(batch_sizes)).repeat_interleave(batch_sizes)
    sentences = torch.arange(len(steps)) - starts[steps]
    lengths = torch.bincount(sentences)
    return starts[lengths[sentences] - 1 - steps] + sentences


def _quantize_former_layer(layer: Int8Layer, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any) -> None:
    """Quantises the weights of an `"rnn_tanh"` encoder, which checkpoints of version 0.1 hold in float32."""
    for index, suffix in enumerate(("_l0", "_l0_reverse")):
        for kind, short in (("inputs", "ih"), ("states", "hh")):
            weight, bias = (state_dict.pop(f"{prefix}{part}_{short}{suffix}", None) for part in ("weight", "bias"))
            if weight is not None:
                for name, tensor in Int8Linear(weight, bias).state_dict().items():
                    state_dict[f"{prefix}{kind}.{index}.{name}"] = tensor


class Int8Cell(nn.Module):
    """The products of one decoder layer.

    Args:
        layer (`nn.RNNBase`): a single layer.
        embedding_size (`int`): width of the part of its input that is a token's embedding; the rest is fed back.
        fed_limit, state_limit (`float`, *optional*): largest absolute values of what is fed back, and of its state.
    """

    def __init__(
        self, layer: nn.RNNBase, embedding_size: int, fed_limit: float | None, state_limit: float | None
    ) -> None:
        super().__init__()
        ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer.all_weights
        factor = _halve_gates(layer.mode, layer.hidden_size)
        embeddings, fed = weight_ih.tensor_split([embedding_size], dim=1)
        self.embeddings = Int8Linear(embeddings, bias_ih, None, factor) if embedding_size else None
        fed_bias = None if embedding_size else bias_ih
        self.fed = Int8Linear(fed, fed_bias, fed_limit, factor) if fed.shape[1] else None
        self.state = Int8Linear(weight_hh, bias_hh, state_limit, factor)
        self.register_load_state_dict_pre_hook(_read_former_name)


def _read_former_name(cell: Int8Cell, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any) -> None:
    """Renames the product of the embeddings, which checkpoints of version 0.1 call `words`."""
    for name in [name for name in state_dict if name.startswith(f"{prefix}words.")]:
        state_dict[name.replace("words.", "embeddings.")] = state_dict.pop(name)


class Limits(NamedTuple):
    """The largest absolute values of activations, as the configuration bounds them; `None` where it does not."""

    memory: float | None
    state: float | None
    hidden: float | None
    attentional: float | None

    @classmethod
    def of(cls, config: RnnAttnConfig) -> "Limits":
        """Returns the limits. States are products or averages of numbers in [-1, 1], residual layers add them up."""
        memory = config.encoder_layers if config.encoder_residual else 1
        is_bounded = config.bridge != "dense" or config.bridge_activation == "tanh"
        state, hidden = (1, config.decoder_layers if config.decoder_residual else 1) if is_bounded else (None, None)
        return cls(memory, state, hidden, 1 if config.attentional_activation == "tanh" else None)


class Int8Recurrence(AttentionalRecurrence):
    """The decoder recurrence with int8 products.

    Args:
        config ([`RnnAttnConfig`])
        trained ([`AttentionalRecurrence`]): the float32 recurrence of that configuration.
        limits ([`Limits`]): of that configuration.
    """

    has_fused_layers = False
    layers: Any  # an `nn.ModuleList` of [`Int8Cell`]

    def __init__(self, config: RnnAttnConfig, trained: AttentionalRecurrence, limits: Limits) -> None:
        super().__init__(config)
        self.cell = self.cell._replace(step=STEP_FUNCTIONS[config.decoder_cell_type])
        self.attention, self.combine = trained.attention, trained.combine
        layers = cast(Iterable[nn.RNNBase], trained.layers)
        self.layers = nn.ModuleList(
            Int8Cell(layer, 0, limits.hidden, limits.state)
            if index
            else Int8Cell(layer, config.decoder_embedding_size, limits.attentional, limits.state)
            for index, layer in enumerate(layers)
        )

    def _layer_products(self):
        # a step forms the product of the state itself
        return self.layers[0].embeddings, [(layer.fed, lambda _, layer=layer: layer.state) for layer in self.layers]

    def _first_product(self):
        first = self.layers[0]
        if not self.input_feeding:
            return lambda embeddings, _: first.embeddings(embeddings)
        # each share has int8 activations of its own
        return lambda embeddings, attentional: first.fed.add_to(first.embeddings(embeddings), attentional)

    def _products(self, first: Any, layers: Any, memory: SourceMemory, beams: int = 1):
        products = super()._products(first, layers, memory, beams)
        if products.attended is None:
            return products
        match, read = products.attended.match, products.attended.read
        attended = products.attended._replace(
            match=match and (lambda query: match(_round(query, -7)).double()),
            read=lambda weights: read(_round(weights, -14).float()),
        )
        return products._replace(attended=attended)

    def project_memory(self, states: torch.Tensor) -> torch.Tensor | None:
        """Returns the keys (B, S, H), in whole steps of each token, where the attention score has them."""
        keys = super().project_memory(states)
        if keys is None:
            return None
        # 128 steps for each token, as powers of two
        return _round(keys, torch.frexp(keys.abs().amax(-1, keepdim=True)).exponent - 7)

    def _attend(self, hidden: torch.Tensor, products: Any, positions: torch.Tensor):
        # the sum of a softmax has an order that depends on the padding: in float64 nothing of it is left in the weights
        if products.attended is not None and products.attended.match is None:
            hidden = hidden.double()
        attentional, weights = super()._attend(hidden, products, positions)
        return attentional.float(), None if weights is None else weights.float()


def _round(numbers: torch.Tensor, exponent: torch.Tensor | int) -> torch.Tensor:
    """Rounds to multiples of 2**exponent.

    Attention so sums numbers that float32 holds exactly, whatever the order: steps of queries and keys (128 * 128 * H),
    and of weights and states (2**14 * 128), are less than 2**24.
    """
    step = 2.0**exponent
    return (numbers / step).round_() * step


def quantize(model: RnnAttnForConditionalGeneration) -> RnnAttnForConditionalGeneration:
    """Quantises a trained model in place, for use on a CPU.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): a float32 model on the CPU. Its linear and recurrent layers are
            replaced. An output layer that is tied to the embeddings becomes a matrix of its own.

    Returns:
        [`RnnAttnForConditionalGeneration`]: the same model, in evaluation mode and without gradients.

    Raises:
        ValueError: if the model is not in float32, or not on the CPU, or has weights that are not finite.
    """
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(
            f"int8 quantisation needs a float32 model on the CPU, got {model.dtype} on {model.device}; call "
            "`model.float().cpu()` first"
        )
    _check_finite(model, "the model")
    model.eval().requires_grad_(False)
    encoder, decoder = model.model.encoder, model.model.decoder
    limits = Limits.of(model.config)
    encoder.layers = nn.ModuleList(
        Int8Layer(cast(nn.RNNBase, layer), limits.memory if index else None)
        for index, layer in enumerate(encoder.layers)
    )
    decoder.recurrence = Int8Recurrence(model.config, decoder.recurrence, limits).eval()
    attended = None if limits.memory is None or limits.hidden is None else max(limits.memory, limits.hidden)
    limit_of = {"combine": attended, "memory_projection": limits.memory, "lm_head": limits.attentional}
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            limit = limit_of.get(name.rpartition(".")[2])
            model.set_submodule(name, Int8Linear(module.weight, module.bias, limit))
    return model


def save_quantized(model: RnnAttnForConditionalGeneration, folder: str | Path) -> None:
    """Writes a quantised model: configuration, generation settings, and `int8.safetensors`.

    Raises:
        ValueError: if the model is not quantised.
    """
    if not isinstance(model.lm_head, Int8Linear):
        raise ValueError("the model is not quantised; call `quantize(model)` first, or `model.save_pretrained`")
    Path(folder).mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_model(model, str(Path(folder) / WEIGHTS_NAME))


def load_quantized(folder: str | Path) -> RnnAttnForConditionalGeneration:
    """Returns the model that [`save_quantized`] wrote.

    Raises:
        FileNotFoundError: if there is no `int8.safetensors` in the folder.
        ValueError: if that file is damaged, belongs to another configuration, or has weights that are not finite.
    """
    file = Path(folder) / WEIGHTS_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {WEIGHTS_NAME} in {folder}; write one with `save_quantized(model, folder)`"
        )
    model = quantize(RnnAttnForConditionalGeneration(RnnAttnConfig.from_pretrained(folder)))
    try:
        load_model(model, str(file))
    except SafetensorError as error:
        raise ValueError(
            f"{file} is no whole file of int8 weights ({error}); write it anew with `save_quantized`"
        ) from error
    except RuntimeError as error:
        causes = " ".join(str(error).split())
        raise ValueError(f"{file} does not belong to the config.json beside it: {causes}") from error
    _check_finite(model, str(file))
    for module in model.modules():
        if isinstance(module, Int8Linear):
            module.pack()
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def _check_finite(model: nn.Module, where: str) -> None:
    """Raises a ValueError that names the first tensor with a number that is not finite."""
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"expected finite weights, got `nan` or `inf` in `{name}` of {where}; train it anew")
