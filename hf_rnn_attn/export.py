# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The model as two graphs, for programs that run without this package: the encoder, and one step of the decoder.

Holds the graphs, their export to ONNX or to `torch.export`, and the quantisation of the ONNX graphs. The searches over
them are in the module `hf_rnn_attn_onnx`, which needs no torch. Knows nothing of text. Shapes: B batch, S source, M
memory width, H decoder width, A attentional width, V target vocabulary.
"""

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import transformers
from torch import nn

from .model.cache_rnn_attn import PARTS, DecoderState
from .model.configuration_rnn_attn import RnnAttnConfig
from .model.decoder_rnn_attn import Decoding
from .model.modeling_rnn_attn import RnnAttnForConditionalGeneration
from .model.recurrence_rnn_attn import SourceMemory


# arguments whose second dimension is the length of the source
_SOURCE_LONG = ("input_ids", "attention_mask", "memory", "source_mask", "keys", "source_ids")
# inputs of a quantised product that share a scale
BLOCK = 128


class EncoderGraph(nn.Module):
    """Everything that is computed once a sentence: memory, bridge, and the decoder's state before its first token.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): the model, in evaluation mode.
    """

    def __init__(self, model: RnnAttnForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns what [`StepGraph`] takes beside the token, by the name of its argument.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source tokens.
            attention_mask (`torch.LongTensor` of shape `(B, S)`): 1 for tokens, 0 for padding.
        """
        encoder_outputs = self.model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)
        memory, state, *_ = self.model.start(encoder_outputs, attention_mask)
        tensors: dict[str, Any] = _state_tensors(self.model.config, state)
        if self.model.config.attention_score != "none":
            tensors |= {"memory": memory.states, "source_mask": memory.keep_mask}
        optional = {"keys": memory.keys, "source_ids": memory.source_ids}
        return tensors | {name: tensor for name, tensor in optional.items() if tensor is not None}


class StepGraph(nn.Module):
    """One token further: the last token and the state before it in, scores of the next token and the state after it
    out.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): the model, in evaluation mode.
    """

    def __init__(self, model: RnnAttnForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, decoder_input_ids: torch.Tensor, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns `logits` (B, V), or with `config.pointer_generator` log probabilities, `attention` (B, S) where there
        is attention, and each state tensor as `next_` name.

        Args:
            decoder_input_ids (`torch.LongTensor` of shape `(B, 1)`): the token before the one to predict.
            tensors (`torch.Tensor`):
                What [`EncoderGraph`] returned, or for the state, what the last step did: `hidden_0`, `cell_0` and so
                on for each layer (B, H), `attentional` (B, A) with input feeding, `positions` (B,) with `"local-m"`.
        """
        config = self.model.config
        memory = SourceMemory(*(tensors.get(name) for name in ("memory", "source_mask", "keys", "source_ids")))
        scores, weights, after = self.model.step(decoder_input_ids, Decoding(memory, _state_of(config, tensors)))
        outputs = {"logits": scores[:, -1]}
        if weights is not None:
            outputs["attention"] = weights[:, -1]
        return outputs | {f"next_{name}": tensor for name, tensor in _state_tensors(config, after.state).items()}


def _state_tensors(config: RnnAttnConfig, state: DecoderState) -> dict[str, torch.Tensor]:
    """Returns the tensors of a state that change from step to step and that the next step reads, by name."""
    tensors = {}
    for index, layer in enumerate(state.layers):
        tensors |= {f"{name}_{index}": part for name, part in zip(PARTS, layer, strict=False)}
    if config.input_feeding:
        tensors["attentional"] = state.attentional
    if config.attention_span == "local-m":
        tensors["positions"] = state.positions
    return tensors


def _state_of(config: RnnAttnConfig, tensors: dict[str, torch.Tensor]) -> DecoderState:
    """Returns the state of which these are the tensors; what a step does not read is zero."""
    layers = tuple(
        tuple(tensors[name] for name in (f"{part}_{index}" for part in PARTS) if name in tensors)
        for index in range(config.decoder_layers)
    )
    hidden = layers[0][0]
    attentional = tensors.get("attentional", hidden.new_zeros(hidden.shape[0], cast(int, config.attentional_size)))
    positions = tensors.get("positions", hidden.new_zeros(hidden.shape[0], dtype=torch.long))
    return DecoderState(layers, attentional, positions)


# an example that has a gradient cannot be copied, as the exporters do
@torch.no_grad()
def export_graphs(model: RnnAttnForConditionalGeneration, format: Literal["onnx", "torch"] = "onnx") -> Any:
    """Exports [`EncoderGraph`] and [`StepGraph`] for any batch size and any length, with the library's exporters.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): the model, in evaluation mode.
        format (`str`, *optional*, defaults to `"onnx"`): `"onnx"`, or `"torch"` for programs of `torch.export`.

    Returns:
        [`~transformers.exporters.ExportedModel`]: its components are `"encoder"` and `"step"`; `save_pretrained`
        writes them with the configuration, `components[name].program` is the graph itself.

    Raises:
        ValueError: if the model is in training mode, in which its dropout would be exported too.
        ImportError: if a package of the extra `export` is missing.
    """
    if model.training:
        raise ValueError("the model is in training mode; call `model.eval()` before exporting it")
    exporter, options, exported_model = _exporter(format)
    source = torch.ones(2, 3, dtype=torch.long, device=model.device)
    graphs = {"encoder": EncoderGraph(model), "step": StepGraph(model)}
    inputs = {"input_ids": source, "attention_mask": source}
    components = {}
    for name, graph in graphs.items():
        shapes = {key: _dynamic_dimensions(key) for key in inputs}
        # clones, because a tracer takes two arguments that are one tensor for one argument
        example = {key: tensor.clone() for key, tensor in inputs.items()}
        exported = exporter.export(graph.eval(), example, options(dynamic=True, dynamic_shapes=shapes))
        components[name] = exported.components["model"]
        if name == "encoder":
            inputs = {"decoder_input_ids": source[:, :1], **graph(**inputs)}
    return exported_model(
        components, exporter.export_format, config=model.config, generation_config=model.generation_config
    )


def _exporter(format: str) -> tuple[Any, Any, Any]:
    from transformers import exporters

    if not hasattr(exporters, "ExportedModel"):
        raise ImportError(
            f"Exporting needs transformers 5.23 or newer, got {transformers.__version__}. Run "
            "`pip install 'hf-rnn-attn[export]'`."
        )
    if format == "onnx":
        return exporters.OnnxExporter(), exporters.OnnxConfig, exporters.ExportedModel
    if format == "torch":
        return exporters.DynamoExporter(), exporters.DynamoConfig, exporters.ExportedModel
    raise ValueError(f"`format` must be 'onnx' or 'torch', got {format!r}")


def _dynamic_dimensions(name: str) -> dict[int, Any]:
    return dict.fromkeys(range(2 if name in _SOURCE_LONG else 1), torch.export.Dim.DYNAMIC)


def quantize_graphs(folder: str | Path) -> None:
    """Quantises exported ONNX graphs in place, for CPUs: weights in 8 bits, and in the same kernel activations too.

    Products with constant weights become onnxruntime's MatMulNBits. It has a scale for each block of `BLOCK` inputs,
    of each row of its own, so that a translation does not depend on its batch. Embedding tables stay in float32.

    Args:
        folder (`str` or `Path`): what `export_graphs(model).save_pretrained(folder)` wrote.
    """
    import onnx

    for name in ("encoder.onnx", "step.onnx"):
        file = Path(folder, name)
        model = onnx.load(file)
        graph, new = model.graph, []
        _quantize_products(graph, {}, new)
        # what the products no longer read; an output layer that is tied to the embeddings came as their transpose
        read = _names_read(graph)
        for node in [node for node in graph.node if not read & set(node.output)]:
            graph.node.remove(node)
        read = _names_read(graph)
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept + new)
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
        onnx.save(model, file)
        file.with_name(f"{name}.data").unlink(missing_ok=True)


def _quantize_products(graph: Any, weights: dict[str, np.ndarray], new: list[Any]) -> None:
    """Puts quantised products into a graph and those inside of it, and their tensors into `new`; `weights` are those of
    the graphs around it, by name.
    """
    from onnx import AttributeProto, helper, numpy_helper

    weights = weights | {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _quantize_products(attribute.g, weights, new)
        if node.op_type == "Transpose" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]].transpose(options["perm"])
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights or weights[node.input[1]].ndim != 2:
            continue
        weight = weights[node.input[1]] if options.get("transB") else weights[node.input[1]].T
        outputs, inputs = weight.shape
        blocks = np.pad(weight, ((0, 0), (0, -inputs % BLOCK))).reshape(outputs, -1, BLOCK)
        scales = np.abs(blocks).max(-1).clip(1e-8) / 127
        tensors = {"steps": (blocks / scales[..., None]).round().astype(np.int16) + 128, "scales": scales.ravel()}
        types = {"steps": np.uint8, "scales": np.float32}
        names = [f"{node.output[0]}_{name}" for name in tensors]
        new += [
            numpy_helper.from_array(tensors[kind].astype(types[kind]), name)
            for kind, name in zip(tensors, names, strict=True)
        ]
        product = helper.make_node(
            "MatMulNBits",
            [node.input[0], *names, "", "", *node.input[2:]],
            node.output,
            domain="com.microsoft",
            K=inputs,
            N=outputs,
            bits=8,
            block_size=BLOCK,
            accuracy_level=4,
        )
        node.CopyFrom(product)


def _names_read(graph: Any) -> set[str]:
    """Returns the names that the nodes and outputs of a graph read, those inside of its nodes included."""
    names = {output.name for output in graph.output}
    for node in graph.node:
        names.update(node.input, *(_names_read(part.g) for part in node.attribute if part.HasField("g")))
    return names
