# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Greedy search without the library's work around every step, for calls that ask for nothing but the likeliest words.

The library's loop costs as much as the step of a small model. Holds the test for such calls and the search; the words
are those of the library's loop. Knows the decoder's parts, and nothing of text.
"""

import torch
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from .recurrence_rnn_attn import SourceMemory


PLAIN_CRITERIA = (EosTokenCriteria, MaxLengthCriteria)
PLAIN_ARGUMENTS = {"attention_mask", "encoder_outputs", "past_key_values", "use_cache", "output_words"}


def is_plain_greedy(
    generation_config, logits_processor, stopping_criteria, synced_gpus, streamer, model_kwargs
) -> bool:
    """Whether [`greedy_search`] does all that is asked of the library's `_sample` with these arguments."""
    asked = {name for name, value in model_kwargs.items() if value is not None and value is not False}
    return (
        asked <= PLAIN_ARGUMENTS
        and {"encoder_outputs", "past_key_values"} <= asked
        and not (generation_config.do_sample or generation_config.return_dict_in_generate)
        and not (generation_config.is_assistant or synced_gpus or logits_processor or streamer)
        and all(type(criterion) in PLAIN_CRITERIA for criterion in stopping_criteria)
        and any(type(criterion) is MaxLengthCriteria for criterion in stopping_criteria)
    )


def greedy_search(model, input_ids, stopping_criteria, generation_config, model_kwargs) -> torch.LongTensor:
    """Returns `input_ids` (B, T) with the likeliest words after them, as the library's `_sample` does.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): on one device.
        input_ids (`torch.LongTensor` of shape `(B, T)`): the words so far; the cache may have seen all but the last.
        stopping_criteria (`StoppingCriteriaList`): the length, and the words that end a sentence.
        generation_config (`GenerationConfig`): gives the padding after such a word.
        model_kwargs (`dict`): see [`is_plain_greedy`].
    """
    step, state = _begin(model, model_kwargs)
    cache = model_kwargs["past_key_values"]
    output_words = model_kwargs.get("output_words")
    output_layer = model.lm_head if output_words is None else output_words.layer
    limit = next(criterion.max_length for criterion in stopping_criteria if type(criterion) is MaxLengthCriteria)
    ends = [criterion.eos_token_id for criterion in stopping_criteria if type(criterion) is EosTokenCriteria]
    seen = cache.get_seq_length()
    columns = list(input_ids.unbind(1))
    for words in columns[seen:-1]:
        state = step(words, state)
    unfinished = torch.ones_like(columns[-1], dtype=torch.bool)
    while True:
        state = step(columns[-1], state)
        words = output_layer(state.attentional).argmax(-1)
        words = words if output_words is None else output_words.words[words]
        if ends:
            words = words.where(unfinished, generation_config._pad_token_tensor)
        columns.append(words)
        for end in ends:
            unfinished &= torch.isin(words, end.to(words.device), invert=True)
        if len(columns) >= limit or (ends and not unfinished.any()):
            cache.write(state, len(columns) - 1 - seen)
            return torch.stack(columns, 1)


def _begin(model, model_kwargs):
    """Returns the function that takes one more word (B,) into a state, and the state before it."""
    decoder, encoder_outputs = model.model.decoder, model_kwargs["encoder_outputs"]
    mask = model_kwargs.get("attention_mask")
    states = encoder_outputs[0]
    keep_mask = torch.ones_like(states[..., 0], dtype=torch.bool) if mask is None else mask.bool()
    memory = SourceMemory(states, keep_mask)
    state = model_kwargs["past_key_values"].read()
    if state is None:
        state = decoder.recurrence.start(decoder.bridge(encoder_outputs[1], states), memory)
    advance = decoder.recurrence.stepper(decoder.config.decoder_embedding_size, state, memory)
    return lambda words, state: advance(decoder.embed_tokens(words), state), state
