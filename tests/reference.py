# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The papers' equations in plain loops: one sentence, one word, one number at a time; no batches, no padding.

Slow and simple on purpose. Reads the weights of a model and shares no code with it, so that autograd through these
loops gives reference gradients too.
"""

import torch


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def cell_step(kind, x, state, w_ih, w_hh, b_ih, b_hh):
    """One recurrent step for vectors x (I,) and state tuple of (H,)."""
    hidden = state[0]
    size = hidden.shape[0]
    from_x, from_h = w_ih @ x + b_ih, w_hh @ hidden + b_hh
    if kind == "rnn_tanh":
        return (torch.tanh(from_x + from_h),)
    if kind == "gru":
        r = sigmoid(from_x[:size] + from_h[:size])
        z = sigmoid(from_x[size : 2 * size] + from_h[size : 2 * size])
        n = torch.tanh(from_x[2 * size :] + r * from_h[2 * size :])
        return ((1 - z) * n + z * hidden,)
    gates = from_x + from_h
    i, f = sigmoid(gates[:size]), sigmoid(gates[size : 2 * size])
    g, o = torch.tanh(gates[2 * size : 3 * size]), sigmoid(gates[3 * size :])
    cell = f * state[1] + i * g
    return o * torch.tanh(cell), cell


def run_direction(kind, layer, inputs, suffix):
    """Runs a list of vectors through one direction of a torch layer; returns outputs and final state."""
    weights = [getattr(layer, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    zeros = torch.zeros(layer.hidden_size, dtype=weights[0].dtype)
    state = (zeros, zeros) if kind == "lstm" else (zeros,)
    outputs = []
    for x in inputs:
        state = cell_step(kind, x, state, *weights)
        outputs.append(state[0])
    return outputs, state


def encode(model, words):
    """Returns the memory, a list of vectors in the order of `words`, and each layer's final state (parts, M)."""
    config, encoder = model.config, model.model.encoder
    hidden = [encoder.embed_tokens.weight[word] for word in words]
    if config.reverse_source:
        hidden = hidden[::-1]
    finals = []
    for index, layer in enumerate(encoder.layers):
        outputs, final = run_direction(config.encoder_cell_type, layer, hidden, "")
        if config.encoder_bidirectional:
            back, back_final = run_direction(config.encoder_cell_type, layer, hidden[::-1], "_reverse")
            outputs = [torch.cat(pair) for pair in zip(outputs, back[::-1], strict=True)]
            final = [torch.cat(pair) for pair in zip(final, back_final, strict=True)]
        residual = config.encoder_residual and index > 0
        hidden = [new + old if residual else new for new, old in zip(outputs, hidden, strict=True)]
        finals.append(torch.stack(list(final)))
    return hidden[::-1] if config.reverse_source else hidden, finals


def bridge(model, finals):
    """Returns the first state of every decoder layer."""
    config, module = model.config, model.model.decoder.bridge
    parts = 2 if config.decoder_cell_type == "lstm" else 1
    zeros = torch.zeros(config.decoder_hidden_size, dtype=finals[0].dtype)
    states = []
    squash = {"tanh": torch.tanh, "relu": lambda x: x * (x > 0), "none": lambda x: x}[config.bridge_activation]
    for layer in range(config.decoder_layers):
        source = finals[max(0, config.encoder_layers - config.decoder_layers + layer)]
        if config.bridge_source != "matched":
            source = torch.cat(finals) if config.bridge_source == "all" else finals[-1]
        if config.bridge == "zero":
            states.append((zeros,) * parts)
        elif config.bridge == "copy":
            states.append(tuple(source[part] if part < len(source) else zeros for part in range(parts)))
        else:
            projection = module.projections[layer]
            flat = squash(projection.weight @ torch.cat(list(source)) + projection.bias)
            states.append(tuple(flat.split(config.decoder_hidden_size)))
    return states


def attend(config, attention, h_t, memory, t):
    """Returns context (M,) and weights (S,) for one decoder state: Luong et al. 2015, eq. 4 to 10."""
    length = len(memory)
    scores = []
    for s, h_s in enumerate(memory):
        if config.attention_score == "dot":
            score = h_t @ h_s
        elif config.attention_score == "general":
            score = h_t @ (attention.memory_projection.weight @ h_s)
        elif config.attention_score == "concat":
            w_a = torch.cat([attention.query_projection.weight, attention.memory_projection.weight], dim=1)
            b_a = attention.memory_projection.bias if config.attention_bias else 0
            score = attention.score_vector.weight[0] @ torch.tanh(w_a @ torch.cat([h_t, h_s]) + b_a)
        else:
            score = attention.location_projection.weight[s] @ h_t if s < config.location_size else None
        scores.append(score)
    centre = None
    if config.attention_span == "local-m":
        centre = torch.tensor(float(t))
    if config.attention_span == "local-p":
        inner = torch.tanh(attention.position_projection.weight @ h_t)
        centre = length * sigmoid(attention.position_vector.weight[0] @ inner)
    kept = [
        score is not None and (centre is None or abs(s - centre.item()) <= config.attention_window)
        for s, score in enumerate(scores)
    ]
    total = sum(torch.exp(score) for score, keep in zip(scores, kept, strict=True) if keep)
    weights = []
    for s, (score, keep) in enumerate(zip(scores, kept, strict=True)):
        weight = torch.exp(score) / total if keep else h_t.new_zeros(())
        if keep and config.attention_span == "local-p":
            sigma = config.attention_window / 2
            weight = weight * torch.exp(-((s - centre) ** 2) / (2 * sigma**2))
        weights.append(weight)
    context = sum(weight * h_s for weight, h_s in zip(weights, memory, strict=True))
    return context, torch.stack(weights)


def mix(model, word_logits, attentional, weights, words):
    """Returns log P (V,) of a pointer-generator: See et al. 2017, eq. 9."""
    p_gen = sigmoid(model.pointer.gate.weight[0] @ attentional + model.pointer.gate.bias[0])
    exponentials = torch.exp(word_logits)
    total = sum(exponentials)
    probabilities = []
    for word, exponential in enumerate(exponentials):
        copied = sum(weight for weight, source in zip(weights, words, strict=True) if source == word)
        probabilities.append(p_gen * exponential / total + (1 - p_gen) * copied)
    return torch.log(torch.stack(probabilities))


def logits(model, words, decoder_words):
    """Returns logits (T, V) and attention weights (T, S) or `None` for one sentence pair without padding."""
    config, decoder = model.config, model.model.decoder
    recurrence = decoder.recurrence
    memory, finals = encode(model, words)
    states = bridge(model, finals)
    attentional = torch.zeros(config.attentional_size, dtype=memory[0].dtype)
    all_logits, all_weights = [], []
    for t, word in enumerate(decoder_words):
        x = decoder.embed_tokens.weight[word]
        if config.input_feeding:
            x = torch.cat([x, attentional])
        for index, layer in enumerate(recurrence.layers):
            states[index] = cell_step(
                config.decoder_cell_type,
                x,
                states[index],
                *(getattr(layer, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
            )
            x = states[index][0] + x if config.decoder_residual and index else states[index][0]
        combined = x
        if config.attention_score != "none":
            context, weights = attend(config, recurrence.attention, x, memory, t)
            combined = torch.cat([context, x])
            all_weights.append(weights)
        attentional = recurrence.combine.weight @ combined + (recurrence.combine.bias if config.attention_bias else 0)
        attentional = torch.tanh(attentional) if config.attentional_activation == "tanh" else attentional
        word_logits = model.lm_head.weight @ attentional + (model.lm_head.bias if config.output_bias else 0)
        all_logits.append(mix(model, word_logits, attentional, weights, words) if model.pointer else word_logits)
    return torch.stack(all_logits), torch.stack(all_weights) if all_weights else None
