# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Dynamic int8 quantisation for CPUs: linear and recurrent weights in 8 bits, activations in 7 bits row by row.

Holds the layers that compute so, the conversion of a trained model, and its saving and loading. Knows nothing of
training: a quantised model has no gradient. Embedding tables stay in float32. What comes out for a sentence does not
depend on its batch: each row has a scale of its own, and products are sums of integers.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import GenerationConfig

from ..model.cells_rnn_attn import CELLS
from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.recurrence_rnn_attn import AttentionalRecurrence, SourceMemory


WEIGHTS_NAME = "int8.safetensors"

# activations lie within 63 steps of their zero point 64: sums of two products of 7 and 8 bits fit into the 16 bits in
# which processors without wider ones form them
STEPS, ZERO_POINT = 63, 64


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights and a scale for each output and each row of inputs, all symmetric.

    Args:
        weight (`torch.Tensor` of shape `(out, in)`): the weights in float32.
        bias (`torch.Tensor` of shape `(out,)`, *optional*): stays in float32.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        scale = weight.detach().abs().amax(1).clamp(min=1e-8) / 127
        self.register_buffer("weight", (weight.detach() / scale.unsqueeze(1)).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.pack()

    def pack(self) -> None:
        """Brings the weights into the layout of the kernel; to be repeated when they have been loaded."""
        self.step_scale = self.scale / STEPS
        self.zeros = torch.zeros_like(self.scale, dtype=torch.int32)
        # half a step more, for the conversion to integers cuts off
        self.centre = self.scale.new_tensor(ZERO_POINT + 0.5)
        # builds of torch without oneDNN have a slower product of integers
        has_kernel = torch.backends.mkldnn.is_available()
        self.packed = torch.ops.onednn.qlinear_prepack(self.weight, None) if has_kernel else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the product of `inputs` (..., in) with the weights, (..., out), in the type of `inputs`."""
        rows = inputs.reshape(-1, self.in_features).float()
        largest = torch.linalg.vector_norm(rows, torch.inf, -1, keepdim=True).clamp_min_(1e-8)
        steps = torch.addcdiv(self.centre, rows, largest, value=STEPS).to(torch.uint8)
        if self.packed is None:
            product = torch._int_mm((steps - ZERO_POINT).view(torch.int8), self.weight.t()) * self.step_scale
        else:
            # one scale for all rows, and no bias, output scale or function after it
            product = torch.ops.onednn.qlinear_pointwise(
                steps,
                1.0,
                ZERO_POINT,
                self.packed,
                self.step_scale,
                self.zeros,
                None,
                1.0,
                0,
                torch.float32,
                "none",
                [],
                "",
            )
        product.mul_(largest)
        if self.bias is not None:
            product.add_(self.bias)
        return product.view(*inputs.shape[:-1], self.out_features).to(inputs.dtype)


class Int8Layer(nn.Module):
    """One recurrent layer of the encoder, in one or both directions; called like the layer it replaces.

    Args:
        layer (`nn.RNNBase`): a single layer, batch first.
    """

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.cell = CELLS["rnn_tanh" if isinstance(layer, nn.RNN) else layer.mode.lower()]
        self.hidden_size = layer.hidden_size
        self.inputs, self.states = (
            nn.ModuleList(Int8Linear(weights[kind], weights[kind + 2]) for weights in layer.all_weights)
            for kind in (0, 1)
        )
        self.register_load_state_dict_pre_hook(_quantize_former_layer)

    def forward(self, inputs: torch.Tensor | PackedSequence) -> tuple[Any, Any]:
        """Returns outputs and last state, as torch's layer does."""
        if not isinstance(inputs, PackedSequence):
            lengths = torch.full((inputs.shape[0],), inputs.shape[1])
            output, state = self(pack_padded_sequence(inputs, lengths, batch_first=True))
            return pad_packed_sequence(output, batch_first=True)[0], state
        directions = [self._run(index, inputs) for index in range(len(self.inputs))]
        outputs, states = zip(*directions, strict=True)
        state = tuple(torch.stack(parts) for parts in zip(*states, strict=True))
        if inputs.unsorted_indices is not None:
            state = tuple(part.index_select(1, inputs.unsorted_indices) for part in state)
        return inputs._replace(data=torch.cat(outputs, -1)), state if len(state) == 2 else state[0]

    def _run(self, direction: int, inputs: PackedSequence) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Returns outputs (tokens, H) and last state, `parts` tensors (B, H), of the direction 0 or 1."""
        steps = list(self.inputs[direction](inputs.data).split(inputs.batch_sizes.tolist()))
        rows = len(steps[0])
        state = tuple(inputs.data.new_zeros(rows, self.hidden_size) for _ in range(self.cell.state_count))
        outputs = []
        for projected in reversed(steps) if direction else steps:
            count = len(projected)
            reading = tuple(part[:count] for part in state)
            new = self.cell.step(projected, self.states[direction](reading[0]), reading)
            outputs.append(new[0])
            if count < rows:
                new = tuple(torch.cat([part, old[count:]]) for part, old in zip(new, state, strict=True))
            state = new
        return torch.cat(outputs[::-1] if direction else outputs), state


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
    """

    def __init__(self, layer: nn.RNNBase, embedding_size: int) -> None:
        super().__init__()
        ((weight_ih, weight_hh, bias_ih, bias_hh),) = layer.all_weights
        embeddings, fed = weight_ih.tensor_split([embedding_size], dim=1)
        self.embeddings = Int8Linear(embeddings, bias_ih) if embedding_size else None
        self.fed = Int8Linear(fed, None if embedding_size else bias_ih) if fed.shape[1] else None
        self.state = Int8Linear(weight_hh, bias_hh)
        self.register_load_state_dict_pre_hook(_read_former_name)


def _read_former_name(cell: Int8Cell, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any) -> None:
    """Renames the product of the embeddings, which checkpoints of version 0.1 call `words`."""
    for name in [name for name in state_dict if name.startswith(f"{prefix}words.")]:
        state_dict[name.replace("words.", "embeddings.")] = state_dict.pop(name)


class Int8Recurrence(AttentionalRecurrence):
    """The decoder recurrence with int8 products.

    Args:
        config ([`RnnAttnConfig`])
        trained ([`AttentionalRecurrence`]): the float32 recurrence of that configuration.
    """

    has_fused_layers = False
    layers: Any  # an `nn.ModuleList` of [`Int8Cell`]

    def __init__(self, config: RnnAttnConfig, trained: AttentionalRecurrence) -> None:
        super().__init__(config)
        self.attention, self.combine = trained.attention, trained.combine
        embedding_sizes = [config.decoder_embedding_size] + [0] * (config.decoder_layers - 1)
        layers = cast(Iterable[nn.RNNBase], trained.layers)
        self.layers = nn.ModuleList(map(Int8Cell, layers, embedding_sizes))

    def _layer_products(self):
        return self.layers[0].embeddings, [(layer.fed, layer.state) for layer in self.layers]

    def _first_product(self):
        first = self.layers[0]
        if not self.input_feeding:
            return lambda embeddings, _: first.embeddings(embeddings)
        # each share has int8 activations of its own
        return lambda embeddings, attentional: first.embeddings(embeddings) + first.fed(attentional)

    # Sums over the source have an order that depends on the batch. In float64 nothing of that is left in float32.

    def _products(self, first: Any, layers: Any, memory: SourceMemory, beams: int = 1):
        states, keys = (None if part is None else part.double() for part in (memory.states, memory.keys))
        return super()._products(first, layers, memory._replace(states=states, keys=keys), beams)

    def _attend(self, hidden: torch.Tensor, products: Any, positions: torch.Tensor):
        attentional, weights = super()._attend(hidden.double(), products, positions)
        return attentional.float(), None if weights is None else weights.float()


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
    encoder.layers = nn.ModuleList(map(Int8Layer, cast(Iterable[nn.RNNBase], encoder.layers)))
    decoder.recurrence = Int8Recurrence(model.config, decoder.recurrence).eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            model.set_submodule(name, Int8Linear(module.weight, module.bias))
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
