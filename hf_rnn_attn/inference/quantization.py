# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Dynamic int8 quantisation for CPUs: linear and recurrent weights in 8 bits, activations in 8 bits call by call.

Holds the layers that compute so, the conversion of a trained model, and its saving and loading. Knows nothing of
training: a quantised model has no gradient. Embedding tables stay in float32.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import GenerationConfig

from ..model.configuration_rnn_attn import RnnAttnConfig
from ..model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from ..model.recurrence_rnn_attn import AttentionalRecurrence


WEIGHTS_NAME = "int8.safetensors"


class Int8Linear(nn.Module):
    """`nn.Linear` with one scale for each output and symmetric int8 weights, through torch's quantised kernels.

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
        zeros = torch.zeros_like(self.scale, dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(self.weight, self.scale.double(), zeros, 0)
        self.packed = torch.ops.quantized.linear_prepack(weight, self.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the product of `inputs` (..., in) with the weights, (..., out), in float32."""
        # the reduced range keeps sums of two products in 16 bits on processors that have no wider ones
        return torch.ops.quantized.linear_dynamic(inputs, self.packed, reduce_range=True)


class Int8Layer(nn.Module):
    """One recurrent layer of the encoder, LSTM or GRU, in one or both directions; called like the layer it replaces.

    Args:
        layer (`nn.LSTM` or `nn.GRU`): a single layer, batch first.
    """

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.is_lstm = isinstance(layer, nn.LSTM)
        self.hidden_size = layer.hidden_size
        suffixes = ("_l0", "_l0_reverse") if layer.bidirectional else ("_l0",)
        self.inputs, self.states = (
            nn.ModuleList(
                Int8Linear(getattr(layer, f"weight_{kind}{name}"), getattr(layer, f"bias_{kind}{name}"))
                for name in suffixes
            )
            for kind in ("ih", "hh")
        )

    def forward(self, inputs: torch.Tensor | PackedSequence) -> tuple[Any, Any]:
        """Returns outputs and last state, as torch's layer does."""
        if not isinstance(inputs, PackedSequence):
            lengths = torch.full((inputs.shape[0],), inputs.shape[1])
            output, state = self(pack_padded_sequence(inputs, lengths, batch_first=True))
            return pad_packed_sequence(output, batch_first=True)[0], state
        data, batch_sizes, sorted_indices, unsorted_indices = inputs
        cells = [
            torch.ops.quantized.make_quantized_cell_params_dynamic(ih.packed, hh.packed, ih.bias, hh.bias, True)
            for ih, hh in zip(self.inputs, self.states, strict=True)
        ]
        # a number, as a tensor
        start = data.new_zeros(len(cells), batch_sizes[0], self.hidden_size)  # pyright: ignore[reportArgumentType]
        # biases, one layer, no dropout, not in training, in both directions or one
        options = (True, 1, 0.0, False, len(cells) == 2)
        if self.is_lstm:
            output, *state = torch.quantized_lstm(
                data, batch_sizes, (start, start), cells, *options, dtype=torch.qint8, use_dynamic=True
            )
        else:
            output, *state = torch.quantized_gru(data, batch_sizes, start, cells, *options)
        if unsorted_indices is not None:
            state = [part.index_select(1, unsorted_indices) for part in state]
        output = PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices)
        return output, tuple(state) if self.is_lstm else state[0]


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


def quantize(model: RnnAttnForConditionalGeneration) -> RnnAttnForConditionalGeneration:
    """Quantises a trained model in place, for use on a CPU.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): a float32 model on the CPU. Its linear and recurrent layers are
            replaced, but for those of an encoder that is neither LSTM nor GRU: torch has no kernel. An output layer
            that is tied to the embeddings becomes a matrix of its own.

    Returns:
        [`RnnAttnForConditionalGeneration`]: the same model, in evaluation mode and without gradients.

    Raises:
        ValueError: if the model is not in float32, or not on the CPU.
    """
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(
            f"int8 quantisation needs a float32 model on the CPU, got {model.dtype} on {model.device}; call "
            "`model.float().cpu()` first"
        )
    model.eval().requires_grad_(False)
    encoder, decoder = model.model.encoder, model.model.decoder
    if model.config.encoder_cell_type in ("lstm", "gru"):
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
    """Returns the model that [`save_quantized`] wrote."""
    model = quantize(RnnAttnForConditionalGeneration(RnnAttnConfig.from_pretrained(folder)))
    load_model(model, str(Path(folder) / WEIGHTS_NAME))
    for module in model.modules():
        if isinstance(module, Int8Linear):
            module.pack()
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model
