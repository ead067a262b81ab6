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


class Int8Product:
    """Multiplies rows with int8 weights; one scale for each output, symmetric.

    Args:
        weight (`torch.Tensor` of shape `(out, in)`): the weights in float32.
        bias (`torch.Tensor` of shape `(out,)`, *optional*): stays in float32.
        limit (`float` or `torch.Tensor` of shape `(in,)`, *optional*): the largest absolute values of inputs. Without
            them each row has a scale of its own.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, limit: float | torch.Tensor | None = None
    ) -> None:
        self.bias, self.has_limit = bias, limit is not None
        limit = torch.as_tensor(1.0 if limit is None else limit)
        self.steps = STEPS / limit
        self.weight, scale = _to_int8(weight * limit)
        self.scale = scale / STEPS
        self.zeros = torch.zeros_like(self.scale, dtype=torch.int32)
        # half a step more, for the conversion to integers cuts off
        self.centre = torch.tensor(ZERO_POINT + 0.5)
        # builds of torch without oneDNN have a slower product of integers
        has_kernel = torch.backends.mkldnn.is_available()
        self.packed = torch.ops.onednn.qlinear_prepack(self.weight, None) if has_kernel else None

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the products (N, out) of `rows` (N, in), in float32."""
        if self.has_limit:
            return self._multiply(self._round(rows), self.bias)
        largest = rows.abs().amax(-1, keepdim=True).clamp_min_(1e-8)
        steps = torch.addcdiv(self.centre, rows, largest, value=STEPS).to(torch.uint8)
        product = self._multiply(steps, None).mul_(largest)
        return product if self.bias is None else product.add_(self.bias)

    def _round(self, rows: torch.Tensor) -> torch.Tensor:
        # embeddings that a caller gives may lie outside of the table's range
        return torch.addcmul(self.centre, rows, self.steps).clamp_(0, 2 * STEPS).to(torch.uint8)

    def _multiply(self, steps: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        """Returns the product of whole steps (N, in), and `added` (out,), in float32."""
        if self.packed is None:
            product = torch._int_mm((steps - ZERO_POINT).view(torch.int8), self.weight.t()) * self.scale
            return product if added is None else product.add_(added)
        padding = -len(steps) % ROWS_AT_A_TIME if len(steps) > FEW_ROWS else 0
        if padding:
            steps = F.pad(steps, (0, 0, 0, padding))
        # one scale for all rows, and no output scale or function after it
        options = (1.0, 0, torch.float32, "none", [], "")
        product = torch.ops.onednn.qlinear_pointwise(
            steps, 1.0, ZERO_POINT, self.packed, self.scale, self.zeros, added, *options
        )
        return product[:-padding] if padding else product


def _to_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weights (out, in) in steps of int8, and the step of each row (out,)."""
    scale = weight.abs().amax(1).clamp(min=1e-8) / 127
    return (weight / scale.unsqueeze(1)).round().to(torch.int8), scale


class Int8Weight(nn.Module):
    """The weights of one linear map as a checkpoint holds them: in int8, with a scale for each output.

    Args:
        weight (`torch.Tensor` of shape `(out, in)`): the weights in float32.
        bias (`torch.Tensor` of shape `(out,)`, *optional*): stays in float32.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        steps, scale = _to_int8(weight.detach())
        self.register_buffer("weight", steps)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def dequantize(self) -> torch.Tensor:
        """Returns the weights (out, in) in float32."""
        return self.weight * self.scale.unsqueeze(1)


class Int8Linear(Int8Weight):
    """`nn.Linear` with int8 weights.

    Args:
        weight, bias: as in [`Int8Weight`].
        limit (`float`, *optional*): as in [`Int8Product`].
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, limit: float | None = None) -> None:
        super().__init__(weight, bias)
        self.out_features, self.in_features = weight.shape
        self.limit = limit
        self.pack()

    def pack(self) -> None:
        """Brings the weights into the layout of the kernel; to be repeated when they have been loaded."""
        self.product = Int8Product(self.dequantize(), self.bias, self.limit)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the product of `inputs` (..., in) with the weights, (..., out), in the type of `inputs`."""
        product = self.product(inputs.flatten(0, -2).float())
        return product.unflatten(0, inputs.shape[:-1]).to(inputs.dtype) if inputs.dim() > 2 else product


# Steps of cells: from the sums of all products, biases included, and the last state. Gates with a sigmoid come halved:
# σ(x) = (1 + tanh(x / 2)) / 2. An element's `torch.sigmoid` depends on its place among the others, its `torch.tanh`
# does not.


def _lstm_step(gates: torch.Tensor, state: CellState) -> CellState:
    input_gate, forget_gate, candidate, output_gate = gates.tanh_().chunk(4, -1)
    cell = torch.addcmul(state[1], forget_gate, state[1])
    cell = cell.add_(torch.addcmul(candidate, input_gate, candidate)).mul_(0.5)
    hidden = torch.tanh(cell)
    return torch.addcmul(hidden, output_gate, hidden).mul_(0.5), cell


def _gru_step(gates: torch.Tensor, state: CellState) -> CellState:
    (hidden,) = state
    sums, candidate, candidate_rec = gates.tensor_split([2 * hidden.shape[-1], 3 * hidden.shape[-1]], -1)
    reset, update = sums.tanh_().chunk(2, -1)
    candidate = torch.addcmul(candidate_rec, reset, candidate_rec).mul_(0.5).add_(candidate).tanh_()
    return (torch.addcmul(candidate + hidden, update, hidden - candidate).mul_(0.5),)


def _tanh_step(gates: torch.Tensor, state: CellState) -> CellState:
    return (gates.tanh_(),)


class Int8CellType(NamedTuple):
    """How the rows of torch's weights become the gates of a step.

    Attributes:
        step: from gates (N, G * H) and the last state to the next.
        factors: what the rows of each of torch's gates are multiplied by.
        input_gates, state_gates: the places of torch's gates among the G gates, for products of inputs and of states.
    """

    step: Any
    factors: tuple[float, ...]
    input_gates: tuple[int, ...]
    state_gates: tuple[int, ...]

    def spread(self, part: Int8Weight, places: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns weights (G, H, in) and biases (G, H), zero where a product has no share in a gate."""

        def place(rows: torch.Tensor) -> torch.Tensor:
            gates = rows.unflatten(0, (len(self.factors), -1))
            spread = gates.new_zeros(max(self.state_gates) + 1, *gates.shape[1:])
            for index, gate, factor in zip(places, gates, self.factors, strict=True):
                spread[index] = gate * factor
            return spread

        return place(part.dequantize()), place(part.scale * 0 if part.bias is None else part.bias)


INT8_CELLS = {
    "lstm": Int8CellType(_lstm_step, (0.5, 0.5, 1.0, 0.5), (0, 1, 2, 3), (0, 1, 2, 3)),
    # the reset gate stands between the two products of the candidate
    "gru": Int8CellType(_gru_step, (0.5, 0.5, 1.0), (0, 1, 2), (0, 1, 3)),
    "rnn_tanh": Int8CellType(_tanh_step, (1.0,), (0,), (0,)),
}


class Int8Layer(nn.Module):
    """One recurrent layer of the encoder, in one or both directions; called like the layer it replaces.

    Args:
        layer (`nn.RNNBase`): a single layer, batch first.
        limit (`float`, *optional*): the largest absolute value that an input can have.
    """

    def __init__(self, layer: nn.RNNBase, limit: float | None = None) -> None:
        super().__init__()
        kind = "rnn_tanh" if isinstance(layer, nn.RNN) else layer.mode.lower()
        self.cell, self.state_count, self.limit = INT8_CELLS[kind], CELLS[kind].state_count, limit
        self.hidden_size = layer.hidden_size
        self.inputs, self.states = (
            nn.ModuleList(Int8Weight(weights[kind], weights[kind + 2]) for weights in layer.all_weights)
            for kind in (0, 1)
        )
        self.register_load_state_dict_pre_hook(_quantize_former_layer)
        self.pack()

    def pack(self) -> None:
        """Brings the weights into the layout of the kernel; to be repeated when they have been loaded."""
        self.input_product = self._join(self.inputs, self.cell.input_gates, self.limit)
        # a state is a product of numbers in [-1, 1], or an average of them
        self.state_product = self._join(self.states, self.cell.state_gates, 1.0)

    def _join(self, directions: nn.ModuleList, places: tuple[int, ...], limit: float | None) -> Int8Product:
        """Returns one product for both directions, (directions * G * H, in)."""
        weights, biases = zip(*(self.cell.spread(cast(Int8Weight, part), places) for part in directions), strict=True)
        return Int8Product(torch.stack(weights).flatten(0, 2), torch.stack(biases).flatten(), limit)

    def forward(self, inputs: torch.Tensor | PackedSequence) -> tuple[Any, Any]:
        """Returns outputs and last state, as torch's layer does."""
        if not isinstance(inputs, PackedSequence):
            lengths = torch.full((inputs.shape[0],), inputs.shape[1])
            output, state = self(pack_padded_sequence(inputs, lengths, batch_first=True))
            return pad_packed_sequence(output, batch_first=True)[0], state
        counts = inputs.batch_sizes
        # both directions take their steps together: the second reads each sentence from its end
        orders = [slice(None), _reversed_order(counts)][: len(self.inputs)]
        directions, rows = len(orders), int(counts[0])
        shares = self.input_product(inputs.data).chunk(directions, 1)
        gates = torch.stack([share[order] for share, order in zip(shares, orders, strict=True)])
        width = gates.shape[2]
        state = tuple(gates.new_zeros(directions, rows, self.hidden_size) for _ in range(self.state_count))
        outputs, ended = [], []
        for sums in gates.split(counts.tolist(), 1):
            if (count := sums.shape[1]) < rows:
                ended.append(tuple(part[:, count:] for part in state))
                state, rows = tuple(part[:, :count] for part in state), count
            product = self.state_product(state[0].flatten(0, 1))
            # of each direction its own part
            stride = directions * width
            sums = sums + product.as_strided((directions, count, width), (count * stride + width, stride, 1))
            state = self.cell.step(sums, state)
            outputs.append(state[0])
        state = tuple(torch.cat(parts, 1) for parts in zip(state, *reversed(ended), strict=True))
        # whole steps: see the attention, which sums them
        output = _round(torch.cat(outputs, 1), -7)
        output = torch.cat([part[order] for part, order in zip(output, orders, strict=True)], 1)
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
                for name, tensor in Int8Weight(weight, bias).state_dict().items():
                    state_dict[f"{prefix}{kind}.{index}.{name}"] = tensor


class Int8Cell(nn.Module):
    """The weights of one decoder layer, multiplied with all its inputs [e ; h̃ ; s] in one call.

    Args:
        layer (`nn.RNNBase`): a single layer.
        cell ([`Int8CellType`]): the kind of cell that it has.
        embedding_size (`int`): width of the part of its input that is a token's embedding; the rest is fed back.
        fed_limit, state_limit (`float`, *optional*): largest absolute values of what is fed back, and of its state.
    """

    def __init__(
        self,
        layer: nn.RNNBase,
        cell: Int8CellType,
        embedding_size: int,
        fed_limit: float | None,
        state_limit: float | None,
    ) -> None:
        super().__init__()
        ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer.all_weights
        embeddings, fed = weight_ih.tensor_split([embedding_size], dim=1)
        self.cell, self.fed_limit, self.state_limit = cell, fed_limit, state_limit
        self.embeddings = Int8Weight(embeddings, bias_ih) if embedding_size else None
        self.fed = Int8Weight(fed, None if embedding_size else bias_ih) if fed.shape[1] else None
        self.state = Int8Weight(weight_hh, bias_hh)
        self.register_load_state_dict_pre_hook(_read_former_name)

    def pack(self, embedding_limit: float) -> None:
        """Brings the weights into the layout of the kernel; to be repeated when they have been loaded."""
        parts = [
            (part, limit, places)
            for part, limit, places in (
                (self.embeddings, embedding_limit, self.cell.input_gates),
                (self.fed, self.fed_limit, self.cell.input_gates),
                (self.state, self.state_limit, self.cell.state_gates),
            )
            if part is not None
        ]
        weights, biases = zip(*(self.cell.spread(part, places) for part, _, places in parts), strict=True)
        # without a limit of one part, a row has one scale for all
        limits = [limit for _, limit, _ in parts]
        widths = torch.tensor([weight.shape[2] for weight in weights])
        limit = None if None in limits else torch.tensor(limits).repeat_interleave(widths)
        self.product = Int8Product(torch.cat(weights, 2).flatten(0, 1), torch.stack(biases).sum(0).flatten(), limit)


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
        cell = INT8_CELLS[config.decoder_cell_type]
        # a step forms its one product of what is fed in and the state itself
        self.cell = self.cell._replace(
            step=lambda fed, product, state: cell.step(product(torch.cat([fed, state[0]], -1)), state)
        )
        self.attention, self.combine = trained.attention, trained.combine
        layers = cast(Iterable[nn.RNNBase], trained.layers)
        self.layers = nn.ModuleList(
            Int8Cell(layer, cell, 0, limits.hidden, limits.state)
            if index
            else Int8Cell(layer, cell, config.decoder_embedding_size, limits.attentional, limits.state)
            for index, layer in enumerate(layers)
        )

    def _layer_products(self):
        return _same, [(_same, lambda _, layer=layer: layer.product) for layer in self.layers]

    def _first_product(self):
        if not self.input_feeding:
            return lambda embeddings, _: embeddings
        return lambda embeddings, attentional: torch.cat([embeddings, attentional], -1)

    def _feed(self, token_share: torch.Tensor, products: Any, state: Any) -> torch.Tensor:
        return self._first_product()(token_share, state.attentional)

    def _products(self, first: Any, layers: Any, memory: SourceMemory, beams: int = 1):
        products = super()._products(first, layers, memory, beams)
        if products.attended is None:
            return products
        match, read = products.attended.match, products.attended.read
        attended = products.attended._replace(
            match=match and (lambda query: match(_round(query, -7)).double()),
            read=lambda weights: read(_round(weights.float(), -14)),
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


def _same(inputs: torch.Tensor) -> torch.Tensor:
    return inputs


def _round(numbers: torch.Tensor, exponent: torch.Tensor | int) -> torch.Tensor:
    """Rounds to multiples of 2**exponent, numbers in float32 of less than 2**22 of them.

    Attention so sums numbers that float32 holds exactly, whatever the order: steps of queries and keys (128 * 128 * H),
    and of weights and states (2**14 * 128), are less than 2**24.
    """
    # a sum of this size has the last of its 24 bits there
    large = 1.5 * 2.0 ** (exponent + 23)
    return (numbers + large).sub_(large)


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
    _pack_decoder(model)
    return model


def _pack_decoder(model: RnnAttnForConditionalGeneration) -> None:
    """Packs the products that depend on the range of the embeddings."""
    limit = model.model.decoder.embed_tokens.weight.abs().max().clamp(min=1e-8).item()
    for layer in model.model.decoder.recurrence.layers:
        cast(Int8Cell, layer).pack(limit)


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
        if isinstance(module, (Int8Linear, Int8Layer)):
            module.pack()
    _pack_decoder(model)
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def _check_finite(model: nn.Module, where: str) -> None:
    """Raises a ValueError that names the first tensor with a number that is not finite."""
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"expected finite weights, got `nan` or `inf` in `{name}` of {where}; train it anew")
