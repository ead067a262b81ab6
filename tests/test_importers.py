# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Importers: checkpoints made by hand against the toolkits' equations in plain loops, and, where the toolkits are
installed, checkpoints that they trained against what they say themselves.
"""

import json
import os
import random
import re
import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from reference import cell_step
from safetensors.torch import save_file
from toolkit_checkpoints import (
    JOEY_SPECIALS,
    LAYERS,
    SOURCE_WORDS,
    TARGET_WORDS,
    joeynmt_model,
    opennmt_checkpoint,
    write_opennmt,
)
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from hf_rnn_attn import cli
from hf_rnn_attn.importers import load_joeynmt, load_opennmt


TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
TARGET = [2, 4, 6, 7, 5]


def run_layer(weights, pattern, kind, inputs, state):
    tensors = [weights[pattern.format(name)] for name in TENSORS]
    outputs = []
    for x in inputs:
        state = cell_step(kind, x, state, *tensors)
        outputs.append(state[0])
    return outputs, state


def encode(weights, kind, size, layers, inputs):
    """Returns the memory, and for each layer and direction the final state."""
    finals = []
    for layer in range(layers):
        zeros = (torch.zeros(size),) * LAYERS[kind][2]
        outputs, state = run_layer(weights, f"encoder.rnn.{{}}_l{layer}", kind, inputs, zeros)
        finals.append([state])
        if f"encoder.rnn.weight_ih_l{layer}_reverse" in weights:
            back, state = run_layer(weights, f"encoder.rnn.{{}}_l{layer}_reverse", kind, inputs[::-1], zeros)
            finals[-1].append(state)
            outputs = [torch.cat(pair) for pair in zip(outputs, back[::-1], strict=True)]
        inputs = outputs
    return inputs, finals


def mean_of(memory, scores):
    weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
    return sum(weight * state for weight, state in zip(weights, memory, strict=True))


def opennmt_bridge(weights, finals):
    """Returns each layer's first state: copied, or all layers end to end, row by row through a layer and a ReLU."""
    parts, states = len(finals[0][0]), []
    for part in range(parts):
        row = torch.cat([state[part] for layer in finals for state in layer])
        if "encoder.bridge.0.weight" in weights:
            matrix, bias = weights[f"encoder.bridge.{part}.weight"], weights[f"encoder.bridge.{part}.bias"]
            row = torch.cat([torch.relu(matrix @ piece + bias) for piece in row.split(len(bias))])
        states.append(row.chunk(len(finals)))
    return list(zip(*states, strict=True))


def opennmt_logits(checkpoint, source, target):
    weights, options = checkpoint["model"], checkpoint["opt"]
    kind, mlp = options.rnn_type.lower(), options.global_attention == "mlp"
    table = weights["encoder.embeddings.make_embedding.emb_luts.0.weight"]
    size = options.enc_hid_size // (2 if options.encoder_type == "brnn" else 1)
    memory, finals = encode(weights, kind, size, options.enc_layers, [table[word] for word in source])
    states, fed, logits = opennmt_bridge(weights, finals), torch.zeros(options.dec_hid_size), []
    for word in target:
        x = weights["decoder.embeddings.make_embedding.emb_luts.0.weight"][word]
        x = torch.cat([x, fed]) if options.input_feed else x
        for layer in range(options.dec_layers):
            pattern = f"decoder.rnn.layers.{layer}.{{}}" if options.input_feed else f"decoder.rnn.{{}}_l{layer}"
            (x,), states[layer] = run_layer(weights, pattern, kind, [x], states[layer])
        if mlp:
            query = weights["decoder.attn.linear_query.weight"] @ x + weights["decoder.attn.linear_query.bias"]
            inner = [torch.tanh(query + weights["decoder.attn.linear_context.weight"] @ state) for state in memory]
            scores = [weights["decoder.attn.v.weight"][0] @ vector for vector in inner]
        else:
            query = weights["decoder.attn.linear_in.weight"] @ x if options.global_attention == "general" else x
            scores = [query @ state for state in memory]
        fed = weights["decoder.attn.linear_out.weight"] @ torch.cat([mean_of(memory, scores), x])
        fed = fed + weights["decoder.attn.linear_out.bias"] if mlp else torch.tanh(fed)
        logits.append(checkpoint["generator"]["weight"] @ fed + checkpoint["generator"]["bias"])
    return torch.stack(logits)


def joeynmt_logits(weights, options, source, target):
    encoder, decoder = options["encoder"], options["decoder"]
    scales = [
        side["embeddings"]["embedding_dim"] ** 0.5 if side["embeddings"].get("scale") else 1
        for side in options.values()
    ]
    inputs = [weights["src_embed.lut.weight"][word] * scales[0] for word in source]
    memory, finals = encode(weights, encoder["rnn_type"], encoder["hidden_size"], encoder["num_layers"], inputs)
    top, size = torch.cat([state[0] for state in finals[-1]]), decoder["hidden_size"]
    if decoder["init_hidden"] == "bridge":
        first = torch.tanh(weights["decoder.bridge_layer.weight"] @ top + weights["decoder.bridge_layer.bias"])
    else:
        first = top[:size] if decoder["init_hidden"] == "last" else torch.zeros(size)
    kind = decoder["rnn_type"]
    states, fed, logits = [(first,) * LAYERS[kind][2]] * decoder["num_layers"], torch.zeros(size), []
    for word in target:
        x = weights["trg_embed.lut.weight"][word] * scales[1]
        x = torch.cat([x, fed]) if decoder["input_feeding"] else x
        for layer in range(decoder["num_layers"]):
            (x,), states[layer] = run_layer(weights, f"decoder.rnn.{{}}_l{layer}", kind, [x], states[layer])
        keys = [weights["decoder.attention.key_layer.weight"] @ state for state in memory]
        scores = [x @ key for key in keys]
        if decoder["attention"] == "bahdanau":
            query, energy = weights["decoder.attention.query_layer.weight"] @ x, "decoder.attention.energy_layer.weight"
            scores = [weights[energy][0] @ torch.tanh(query + key) for key in keys]
        fed = weights["decoder.att_vector_layer.weight"] @ torch.cat([x, mean_of(memory, scores)])
        fed = torch.tanh(fed + weights["decoder.att_vector_layer.bias"])
        logits.append(weights["decoder.output_layer.weight"] @ fed)
    return torch.stack(logits)


@torch.no_grad()
def our_logits(model, source, target):
    return model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encoder_type": "rnn", "rnn_type": "GRU", "global_attention": "dot", "input_feed": 0},
        {"global_attention": "mlp", "enc_layers": 2, "dec_layers": 2},
        {"global_attention": "mlp", "input_feed": 0, "rnn_type": "GRU"},
        {"enc_layers": 2, "dec_layers": 2, "input_feed": 0},
        {"bridge": True},
        {"bridge": True, "enc_layers": 2, "dec_layers": 2, "rnn_type": "GRU"},
        {"bridge": True, "enc_layers": 3, "dec_layers": 3},
        {"bridge": True, "enc_layers": 2, "dec_layers": 2, "encoder_type": "rnn"},
        {"share_decoder_embeddings": True, "tgt_word_vec_size": 8},
    ],
    ids=str,
)
def test_opennmt_logits_are_those_of_plain_loops(tmp_path, options):
    checkpoint = write_opennmt(tmp_path, **options)
    model, tokenizer = load_opennmt(tmp_path / "model.pt")
    source = tokenizer("ein kat@@ ze hund")["input_ids"]
    assert source == [4, 6, 7, 5]
    expected = opennmt_logits(checkpoint, source, TARGET)
    torch.testing.assert_close(our_logits(model, source, TARGET), expected, atol=1e-5, rtol=0)
    assert model.config.tie_word_embeddings == bool(options.get("share_decoder_embeddings"))
    assert (model.config.encoder_dropout, model.config.decoder_dropout) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        ({}, {}),
        ({"rnn_type": "gru"}, {"rnn_type": "gru", "attention": "luong"}),
        ({"num_layers": 2, "rnn_type": "gru"}, {"num_layers": 3}),
        ({"num_layers": 2}, {"rnn_type": "gru", "init_hidden": "last", "num_layers": 2}),
        ({"hidden_size": 8}, {"init_hidden": "last", "attention": "luong", "input_feeding": False}),
        ({"embeddings": {"embedding_dim": 3, "scale": True}}, {"init_hidden": "zero"}),
        ({}, {"embeddings": {"embedding_dim": 6, "scale": True}}),
        ({"bidirectional": False, "hidden_size": 8}, {"init_hidden": "last"}),
    ],
    ids=str,
)
def test_joeynmt_logits_are_those_of_plain_loops(tmp_path, encoder, decoder):
    weights, options = joeynmt_model(tmp_path, encoder, decoder)
    model, tokenizer = load_joeynmt(tmp_path)
    source = tokenizer("ein kat@@ ze hund")["input_ids"]
    assert source == [4, 6, 7, 5, 3]
    expected = joeynmt_logits(weights, options, source, TARGET)
    torch.testing.assert_close(our_logits(model, source, TARGET), expected, atol=1e-5, rtol=0)


def test_plain_loops_notice_a_wrong_weight(tmp_path):
    checkpoint = write_opennmt(tmp_path, bridge=True)
    model, _ = load_opennmt(tmp_path / "model.pt")
    with torch.no_grad():
        model.model.decoder.recurrence.layers[0].bias_hh_l0[0] += 0.1
    assert (our_logits(model, [4, 5], TARGET) - opennmt_logits(checkpoint, [4, 5], TARGET)).abs().max() > 1e-4


def test_a_batch_with_padding_gives_what_each_sentence_gives_alone(tmp_path):
    write_opennmt(tmp_path, bridge=True, enc_layers=2, dec_layers=2, global_attention="mlp")
    model, tokenizer = load_opennmt(tmp_path / "model.pt")
    batch = tokenizer(["hund", "ein kat@@ ze"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[5, 1, 1], [4, 6, 7]]
    with torch.no_grad():
        logits = model(**batch, decoder_input_ids=torch.tensor([TARGET] * 2)).logits
    torch.testing.assert_close(logits[0], our_logits(model, [5], TARGET), atol=1e-5, rtol=0)


def test_joeynmt_ties(tmp_path):
    sizes = {"embeddings": {"embedding_dim": 8, "scale": True}}
    joeynmt_model(tmp_path, sizes, sizes, model={"tied_softmax": True})
    assert not load_joeynmt(tmp_path)[0].config.tie_word_embeddings  # a scaled table is not the output layer's
    sizes["embeddings"]["scale"] = False
    weights, _ = joeynmt_model(tmp_path, sizes, sizes, model={"tied_softmax": True})
    weights["decoder.output_layer.weight"] = weights["trg_embed.lut.weight"]
    torch.save({"model_state": weights}, tmp_path / "best.ckpt")
    model, _ = load_joeynmt(tmp_path)
    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight


@pytest.mark.parametrize("name", ["model.safetensors", "model.00.safetensors"])
def test_opennmt_weights_beside_the_checkpoint(tmp_path, name):
    checkpoint = opennmt_checkpoint()
    generator = {f"generator.{name}": tensor for name, tensor in checkpoint.pop("generator").items()}
    weights = checkpoint.pop("model")
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds no weights, and no .*model.safetensors lies beside it"):
        load_opennmt(tmp_path / "model.pt")
    save_file(weights | generator, tmp_path / name)
    model, _ = load_opennmt(tmp_path / "model.pt")
    torch.testing.assert_close(model.model.encoder.layers[0].weight_ih_l0, weights["encoder.rnn.weight_ih_l0"])


def test_half_precision_becomes_single(tmp_path):
    checkpoint = opennmt_checkpoint()
    checkpoint["model"] = {name: tensor.half() for name, tensor in checkpoint["model"].items()}
    torch.save(checkpoint, tmp_path / "model.pt")
    assert load_opennmt(tmp_path / "model.pt")[0].dtype == torch.float32


def test_opennmt_tokenizer_ends_target_texts_only(tmp_path):
    write_opennmt(tmp_path)
    _, tokenizer = load_opennmt(tmp_path / "model.pt")
    encoded = tokenizer("ein vogel ze", text_target="a c@@ at")
    assert (encoded["input_ids"], encoded["labels"]) == ([4, 0, 7], [4, 6, 7, 3])
    assert tokenizer.decode([2, 4, 6, 7, 3, 1], skip_special_tokens=True) == "a c@@ at"
    assert (tokenizer.pad_token, tokenizer.unk_token, tokenizer.target_vocab_size) == ("<blank>", "<unk>", 9)


@pytest.mark.parametrize(
    ("kind", "words", "text"),
    [
        ("subword-nmt", ["a", "c@@", "at", "bir@@"], "a cat bir"),
        ("sentencepiece", ["▁a", "▁c", "at"], "a cat"),
        ("joiner", ["a", "c￭", "at", "￭", "s"], "a cats"),
        (None, ["a", "c@@", "at"], "a c@@ at"),
    ],
)
def test_detokenization(tmp_path, kind, words, text):
    checkpoint = write_opennmt(tmp_path)
    vocabulary = [*TARGET_WORDS[:4], *words]
    checkpoint["vocab"]["tgt"] = vocabulary + [f"fill{i}" for i in range(9 - len(vocabulary))]
    torch.save(checkpoint, tmp_path / "model.pt")
    _, tokenizer = load_opennmt(tmp_path / "model.pt", detokenize=kind)
    ids = [4 + index for index in range(len(words))]
    assert tokenizer.decode([2, *ids, 3], skip_special_tokens=True) == text
    tokenizer.save_pretrained(tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert loaded.decode([2, *ids, 3], skip_special_tokens=True) == text


def test_joeynmt_characters_and_case(tmp_path):
    joeynmt_model(tmp_path, data={"level": "char", "lowercase": True})
    words = JOEY_SPECIALS + ["▁", "a", "b", "ä"]
    for name, length in (("src", 8), ("trg", 9)):
        lines = "".join(f"{word}\n" for word in [*words, "c"][:length])
        (tmp_path / f"{name}_vocab.txt").write_text(lines, encoding="utf-8")
    _, tokenizer = load_joeynmt(tmp_path)
    assert tokenizer("Ab Ä?")["input_ids"] == [5, 6, 4, 7, 0, 3]
    assert tokenizer.decode([2, 5, 6, 4, 7, 3], skip_special_tokens=True) == "ab ä"


def test_joeynmt_special_symbols_of_ones_own(tmp_path):
    joeynmt_model(tmp_path)
    path = tmp_path / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["data"]["special_symbols"] = {"bos_token": "<start>", "bos_id": 2, "lang_tags": ["<de>"]}
    path.write_text(yaml.safe_dump(settings))
    for name, words in (("src", SOURCE_WORDS), ("trg", TARGET_WORDS)):
        lines = ["<unk>", "<pad>", "<start>", "</s>", "<de>", *words[5:]]
        (tmp_path / f"{name}_vocab.txt").write_text("\n".join(lines) + "\n")
    model, tokenizer = load_joeynmt(tmp_path)
    assert (tokenizer.bos_token, model.config.decoder_start_token_id) == ("<start>", 2)
    assert tokenizer.decode([4, 5, 3], skip_special_tokens=True) == "dog"
    assert model.generation_config.suppress_tokens == [2, 1, 4]


def test_generation_defaults_are_the_toolkits(tmp_path):
    write_opennmt(tmp_path)
    generation = load_opennmt(tmp_path / "model.pt")[0].generation_config
    assert (generation.num_beams, generation.max_length, generation.decoder_start_token_id) == (5, 251, 2)
    joeynmt_model(tmp_path, testing={"beam_size": 4, "max_output_length": 30, "generate_unk": False})
    generation = load_joeynmt(tmp_path)[0].generation_config
    assert (generation.num_beams, generation.length_penalty, generation.max_length) == (4, 0.0, 31)
    assert (generation.suppress_tokens, generation.min_new_tokens) == ([2, 1, 0], 1)


def test_joeynmt_takes_the_checkpoint_that_is_named(tmp_path):
    best, _ = joeynmt_model(tmp_path)
    (tmp_path / "best.ckpt").rename(tmp_path / "20.ckpt")
    with pytest.raises(FileNotFoundError, match="latest.ckpt"):
        load_joeynmt(tmp_path)
    model, _ = load_joeynmt(tmp_path / "20.ckpt")
    torch.testing.assert_close(model.lm_head.weight, best["decoder.output_layer.weight"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model_task", "lm"),
        ("encoder_type", "transformer"),
        ("encoder_type", "cnn"),
        ("decoder_type", "transformer"),
        ("rnn_type", "SRU"),
        ("global_attention", "none"),
        ("global_attention_function", "sparsemax"),
        ("copy_attn", True),
        ("coverage_attn", True),
        ("context_gate", "both"),
        ("position_encoding", True),
        ("n_src_feats", 1),
        ("lora_layers", ["linear_in"]),
        ("quant_layers", ["linear_in"]),
        ("enc_layers", 2),
    ],
)
def test_opennmt_refuses_what_it_cannot_import_and_names_it(tmp_path, option, value):
    checkpoint = write_opennmt(tmp_path)
    setattr(checkpoint["opt"], option, value)
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=f"OpenNMT-py model with .*{option}={value!r}".replace("[", r"\[")):
        load_opennmt(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("side", "option", "value"),
    [
        ("encoder", "type", "transformer"),
        ("decoder", "type", "transformer"),
        ("decoder", "type", None),
        ("decoder", "attention", "dot"),
        ("decoder", "init_hidden", "mean"),
        ("decoder", "activation", "relu"),
    ],
)
def test_joeynmt_refuses_what_it_cannot_import_and_names_it(tmp_path, side, option, value):
    joeynmt_model(tmp_path)
    path = tmp_path / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["model"][side][option] = value
    if value is None:
        del settings["model"][side][option]  # a decoder is a transformer unless the configuration says otherwise
    path.write_text(yaml.safe_dump(settings))
    found = value or "transformer"
    with pytest.raises(ValueError, match=f"JoeyNMT model with {side}.{option}='{found}' cannot be imported"):
        load_joeynmt(tmp_path)


def test_the_configuration_of_joeynmt_1_is_refused(tmp_path):
    joeynmt_model(tmp_path)
    path = tmp_path / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["data"] = {"src": "de", "trg": "en", "level": "bpe"}
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(ValueError, match="where data.src is a section; got 'de'"):
        load_joeynmt(tmp_path)


class Malicious:
    """A pickle of this writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    checkpoint = opennmt_checkpoint() | {"optim": Malicious(tmp_path / "harm")}
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="running code that it brings along"):
        load_opennmt(tmp_path / "model.pt")
    assert not (tmp_path / "harm").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "harm").exists()


def test_files_that_are_something_else(tmp_path):
    torch.save({"weights": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="no checkpoint of OpenNMT-py 3: expected opt and vocab"):
        load_opennmt(tmp_path / "model.pt")
    torch.save(torch.ones(1), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="expected a dictionary, got Tensor"):
        load_opennmt(tmp_path / "model.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(ValueError, match="is no checkpoint: expected a zip archive"):
        load_opennmt(tmp_path / "text.pt")
    joeynmt_model(tmp_path)
    torch.save({"weights": torch.ones(1)}, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of JoeyNMT 2: expected model_state"):
        load_joeynmt(tmp_path)


def test_every_tensor_must_be_accounted_for(tmp_path):
    checkpoint = write_opennmt(tmp_path)
    extra = checkpoint | {"model": checkpoint["model"] | {"decoder.attn.linear_cover.weight": torch.ones(8, 1)}}
    torch.save(extra, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="do not explain its tensors decoder.attn.linear_cover.weight"):
        load_opennmt(tmp_path / "model.pt")
    del checkpoint["model"]["decoder.attn.linear_in.weight"]
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="ask for the tensor decoder.attn.linear_in.weight"):
        load_opennmt(tmp_path / "model.pt")


def test_vocabularies_must_fit(tmp_path):
    joeynmt_model(tmp_path)
    path = tmp_path / "trg_vocab.txt"
    words = path.read_text()
    path.write_text(words + "fish\n")
    with pytest.raises(ValueError, match=r"ask for \(10, 5\) as the shape of .*embed_tokens"):
        load_joeynmt(tmp_path)
    path.write_text(words.replace("</s>", "<end>"))
    with pytest.raises(ValueError, match="found no </s>"):
        load_joeynmt(tmp_path)


@pytest.mark.parametrize("toolkit", ["opennmt", "joeynmt"])
def test_the_command_writes_a_folder_that_translates(tmp_path, toolkit, capsys):
    if toolkit == "opennmt":
        write_opennmt(tmp_path, bridge=True, global_attention="mlp")
        path, load = tmp_path / "model.pt", load_opennmt
    else:
        joeynmt_model(tmp_path)
        path, load = tmp_path, load_joeynmt
    output = str(tmp_path / "imported")
    assert cli.main(["import", toolkit, str(path), output, "--detokenize", "subword-nmt"]) == 0
    assert capsys.readouterr().out == f"model and tokenizer written to {output}\n"
    model, tokenizer = load(path, detokenize="subword-nmt")
    loaded, loaded_tokenizer = AutoModelForSeq2SeqLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    torch.testing.assert_close(our_logits(loaded, [4, 5], TARGET), our_logits(model, [4, 5], TARGET))
    assert loaded_tokenizer("ein ze")["input_ids"] == tokenizer("ein ze")["input_ids"]
    translated = pipeline("translation", model=output)("ein kat@@ ze", max_length=8)[0]["translation_text"]
    inputs = tokenizer("ein kat@@ ze", return_tensors="pt")
    ids = model.generate(**inputs, max_length=8)[0]
    assert translated == tokenizer.decode(ids, skip_special_tokens=True) and "@@" not in translated


def set_option(**options):
    return lambda checkpoint: vars(checkpoint["opt"]).update(options)


def set_tensor(name, value):
    def change(checkpoint):
        weights = checkpoint["model"]
        weights[name] = value(weights[name])

    return change


def put(key, value):
    return lambda checkpoint: checkpoint.__setitem__(key, value)


def with_nan(tensor):
    tensor.view(-1)[0] = float("nan")
    return tensor


LINEAR = "decoder.attn.linear_out.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("opt", {"rnn_type": "LSTM"}), "no RNN checkpoint of OpenNMT-py 3"),
        (put("opt", None), "no RNN checkpoint of OpenNMT-py 3"),
        (put("vocab", None), "no RNN checkpoint of OpenNMT-py 3"),
        (put("vocab", {"src": SOURCE_WORDS}), "no RNN checkpoint of OpenNMT-py 3: no 'tgt'"),
        (put("vocab", {"src": "words", "tgt": TARGET_WORDS}), "Expected a vocabulary that is a list of words"),
        (put("vocab", {"src": [1, 2], "tgt": TARGET_WORDS}), "Expected a vocabulary that is a list of words"),
        (put("vocab", {"src": [], "tgt": TARGET_WORDS}), "Expected every special token in the vocabulary"),
        (put("vocab", {"src": [*SOURCE_WORDS, "ein"], "tgt": TARGET_WORDS}), "found 'ein' twice"),
        (put("model", ["a"]), "no RNN checkpoint of OpenNMT-py 3"),
        (put("model", {LINEAR: "text"}), "expected a tensor of numbers as decoder.attn.linear_out.weight"),
        (put("generator", None), "no RNN checkpoint of OpenNMT-py 3"),
        (set_option(rnn_type=3), "with rnn_type=3 cannot be imported"),
        (set_option(rnn_type=["LSTM"] * 1000), "with rnn_type=['LSTM', 'LSTM',"),
        (set_option(enc_hid_size="8"), "no RNN checkpoint of OpenNMT-py 3"),
        (set_option(enc_hid_size=10**6, dec_hid_size=10**6), "Do all files belong together?"),
        (set_option(enc_hid_size=10**9, dec_hid_size=10**9), "`encoder_hidden_size` must be at most"),
        (set_option(enc_hid_size=10**30), "`encoder_hidden_size` must be at most"),
        (set_option(enc_hid_size=-8), "model.pt: `encoder_hidden_size` must be at least 1, got -4"),
        (set_option(src_word_vec_size=7), "Do all files belong together?"),
        (set_option(dropout="much"), "`encoder_dropout`: expected float | int, got 'much'"),
        (set_option(dropout=[]), "no RNN checkpoint of OpenNMT-py 3"),
        (set_option(enc_layers=3, dec_layers=3), "ask for the tensor encoder.rnn.weight_ih_l1"),
        (set_tensor(LINEAR, with_nan), "linear_out.weight holds values that are not finite"),
        (set_tensor(LINEAR, lambda tensor: tensor / 0), "linear_out.weight holds values that are not finite"),
        (set_tensor(LINEAR, lambda tensor: tensor.int()), "expected a tensor of numbers as decoder.attn.linear_out"),
        (set_tensor(LINEAR, lambda tensor: tensor[:3]), "ask for (8, 16) as the shape of"),
        (set_tensor(LINEAR, lambda tensor: tensor.to_sparse()), "expected a tensor of numbers"),
        (set_tensor(LINEAR, lambda _: torch.zeros(1).expand(10**9, 10**9)), "is larger than what is stored of it"),
    ],
)
def test_a_checkpoint_of_other_contents_is_one_line(tmp_path, capsys, change, message):
    checkpoint = write_opennmt(tmp_path)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "model.pt")
    check_refusal(["opennmt", str(tmp_path / "model.pt")], message, tmp_path, capsys)


def check_refusal(arguments, message, folder, capsys):
    assert cli.main(["import", *arguments, str(folder / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and len(error) < 1200
    assert not (folder / "out").exists() and not (folder / "out.new").exists()


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    at = content.index(b"data.pkl") + 200
    content[at : at + 40] = bytes(40)
    path.write_bytes(content)


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_zip(path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", b"x" * 1000)


FILE_DAMAGE = [
    (lambda path: path.unlink(), "expected the file of a checkpoint, found none"),
    (as_folder, "expected the file of a checkpoint, found a folder"),
    (lambda path: path.write_bytes(b""), "expected a zip archive"),
    (lambda path: path.write_text("text"), "expected a zip archive"),
    (half, "expected a zip archive"),
    (flip, "model"),
    (as_zip, "model"),
    (lambda path: as_zip(path, zipfile.ZIP_DEFLATED), "expected an archive without compression"),
    (lambda path: torch.save([1], path), "expected a dictionary, got list"),
    (lambda path: torch.save({str(n) * 100: 1 for n in range(1000)}, path), "is no checkpoint of"),
]


@pytest.mark.parametrize(("damage", "message"), FILE_DAMAGE)
def test_a_damaged_file_of_opennmt_is_one_line(tmp_path, capsys, damage, message):
    write_opennmt(tmp_path)
    damage(tmp_path / "model.pt")
    check_refusal(["opennmt", str(tmp_path / "model.pt")], message, tmp_path, capsys)


@pytest.mark.parametrize(("damage", "message"), FILE_DAMAGE[2:])
def test_a_damaged_file_of_joeynmt_is_one_line(tmp_path, capsys, damage, message):
    joeynmt_model(tmp_path)
    (tmp_path / "best.ckpt").rename(tmp_path / "model.ckpt")
    damage(tmp_path / "model.ckpt")
    check_refusal(["joeynmt", str(tmp_path / "model.ckpt")], message, tmp_path, capsys)


def test_damaged_weights_beside_a_checkpoint_are_one_line(tmp_path, capsys):
    checkpoint = write_opennmt(tmp_path)
    del checkpoint["model"]
    torch.save(checkpoint, tmp_path / "model.pt")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    check_refusal(["opennmt", str(tmp_path / "model.pt")], "no RNN checkpoint of OpenNMT-py 3", tmp_path, capsys)


# each alias ten times the one before it: a thousand million in all
YAML_BOMB = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", None, "config.yaml: No such file or directory"),
        ("config.yaml", b"", "config.yaml: expected the configuration of JoeyNMT 2, got a NoneType"),
        ("config.yaml", b"- a", "config.yaml: expected the configuration of JoeyNMT 2, got a list"),
        ("config.yaml", b"a: [", "config.yaml: expected YAML"),
        ("config.yaml", b"\x89PNG", "config.yaml: expected UTF-8"),
        ("config.yaml", b"[" * 1000, "config.yaml: expected YAML"),
        ("config.yaml", b"a: !!python/object:os.system x", "config.yaml: expected YAML"),
        ("config.yaml", b"data: {}", "no RNN checkpoint of JoeyNMT 2: no 'model'"),
        ("config.yaml", b"data: {src: {}}\nmodel: 3", "no RNN checkpoint of JoeyNMT 2"),
        ("config.yaml", b"data: [1]\nmodel: {}", "no RNN checkpoint of JoeyNMT 2"),
        ("config.yaml", (YAML_BOMB + "data: {src: *a9}\nmodel: {}").encode(), "where data.src is a section"),
        ("src_vocab.txt", None, "src_vocab.txt: No such file or directory"),
        ("trg_vocab.txt", None, "trg_vocab.txt: No such file or directory"),
        ("src_vocab.txt", b"", "Expected every special token in the vocabulary"),
        ("src_vocab.txt", b"\xff\xfe", "src_vocab.txt: expected UTF-8"),
        ("src_vocab.txt", b"<unk>\n<pad>\n<s>\n</s>\na\na\n", "found 'a' twice"),
        ("src_vocab.txt", b"<unk>\n<pad>\n<s>\n</s>\na\n", "Do all files belong together?"),
        ("best.ckpt", None, "latest.ckpt: expected the file of a checkpoint, found none"),
    ],
)
def test_a_folder_of_other_contents_is_one_line(tmp_path, capsys, file, content, message):
    joeynmt_model(tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    check_refusal(["joeynmt", str(tmp_path)], message, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opennmt", "missing.pt", "out"], "missing.pt: expected the file of a checkpoint, found none"),
        (["joeynmt", "missing", "out"], "missing/config.yaml: No such file or directory"),
        (["opennmt", "model.pt", "out", "--detokenize", "moses"], "Expected detokenize to be one of subword-nmt,"),
    ],
)
def test_a_mistake_on_the_command_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_opennmt(tmp_path)
    assert cli.main(["import", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_blocks_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "importers.md").read_text("utf-8")
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    write_opennmt(tmp_path)
    (tmp_path / "joey").mkdir()
    joeynmt_model(tmp_path / "joey", testing={"max_output_length": 5})
    (tmp_path / "source.txt").write_text("ein hund\nein kat@@ ze\n")
    monkeypatch.chdir(tmp_path)
    for language, block in blocks:
        if language == "python":
            exec(block, {})
        else:
            assert all(cli.main(shlex.split(line)[1:]) == 0 for line in block.splitlines())
    assert [language for language, _ in blocks] == ["sh", "sh", "python"]
    assert capsys.readouterr().out.count("\n") == 6  # two confirmations, two translations of two lines


def ask_toolkit(toolkit, folder, options):
    """Lets the toolkit train on words to be written backwards in capitals; returns its answers to test.src."""
    variable = f"HF_RNN_ATTN_{toolkit.upper()}_PYTHON"
    if variable not in os.environ:
        pytest.skip(f"{toolkit} is not there: {variable} names no Python that has it (see docs/importers.md)")
    rng = random.Random(0)
    sources = [rng.choices("abcdefg", k=rng.randint(2, 6)) for _ in range(200)]
    tests = ["a b c", "g zzz e f a b", "d"]
    for name, lines in (("train", map(" ".join, sources)), ("test", tests)):
        lines = list(lines)
        (folder / f"{name}.src").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{name}.tgt").write_text("".join(f"{line[::-1].upper()}\n" for line in lines))
    oracle = Path(__file__).with_name(f"{toolkit}_oracle.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [os.environ[variable], str(oracle), str(folder), json.dumps(options)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return tests, torch.load(folder / "answers.pt")


def check_answers(model, tokenizer, lines, answers):
    for line, answer, translation in zip(lines, answers["answers"], answers["translations"], strict=True):
        source, target = tokenizer(line)["input_ids"], answer["target"].tolist()
        assert source == answer["source"].tolist()
        logits = our_logits(model, source, target[:-1])
        torch.testing.assert_close(logits.log_softmax(-1), answer["log_probabilities"], atol=1e-5, rtol=0)
        ids = model.generate(torch.tensor([source]), num_beams=1, max_length=13)[0].tolist()
        assert ids == target
        assert tokenizer.decode(ids, skip_special_tokens=True) == translation


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"encoder_type": "brnn", "layers": 2},
        {"encoder_type": "rnn", "rnn_type": "GRU", "global_attention": "dot", "input_feed": 0},
        {"encoder_type": "brnn", "global_attention": "mlp", "layers": 2, "bridge": True},
        {"encoder_type": "rnn", "rnn_type": "GRU", "global_attention": "mlp", "layers": 2, "bridge": True},
        {"encoder_type": "brnn", "layers": 3, "bridge": True, "input_feed": 0, "save_format": "safetensors"},
        {"share_vocab": True, "share_embeddings": True, "share_decoder_embeddings": True, "word_vec_size": 16},
    ],
    ids=str,
)
def test_opennmt_itself_agrees(tmp_path, options):
    lines, answers = ask_toolkit("opennmt", tmp_path, options)
    model, tokenizer = load_opennmt(tmp_path / "model.pt")
    check_answers(model, tokenizer, lines, answers)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": {"encoder": {"rnn_type": "gru"}, "decoder": {"rnn_type": "gru", "attention": "luong"}}},
        {"model": {"encoder": {"num_layers": 2}, "decoder": {"num_layers": 2, "init_hidden": "last"}}},
        {"model": {"decoder": {"hidden_size": 8, "init_hidden": "last", "input_feeding": False}}},
        {
            "model": {
                "encoder": {"num_layers": 2, "rnn_type": "gru"},
                "decoder": {"num_layers": 3, "init_hidden": "zero"},
            }
        },
        {"data": {"level": "char", "lowercase": True}, "model": {"decoder": {"attention": "luong"}}},
    ],
    ids=str,
)
def test_joeynmt_itself_agrees(tmp_path, options):
    lines, answers = ask_toolkit("joeynmt", tmp_path, options)
    model, tokenizer = load_joeynmt(tmp_path / "model")
    check_answers(model, tokenizer, lines, answers)


@pytest.mark.slow
def test_joeynmt_itself_agrees_about_one_scaled_and_tied_matrix(tmp_path):
    vocabulary = tmp_path / "joint.txt"
    vocabulary.write_text("".join(f"{letter}\n" for letter in "abcdefgABCDEFG"))
    embeddings = {"embeddings": {"embedding_dim": 16, "scale": True}}
    model_options = {"encoder": embeddings, "decoder": embeddings, "tied_embeddings": True, "tied_softmax": True}
    options = {"data": {"voc_file": str(vocabulary)}, "model": model_options}
    lines, answers = ask_toolkit("joeynmt", tmp_path, options)
    model, tokenizer = load_joeynmt(tmp_path / "model")
    check_answers(model, tokenizer, lines, answers)
    assert model.config.share_encoder_decoder_embeddings and not model.config.tie_word_embeddings
