# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The library's beam search, with length normalisation and coverage penalty of Wu et al. 2016 (section 7).

Knows of the model what the library's search knows of it, and that it returns cross attentions.
"""

import copy

import torch
from transformers import GenerationMixin


# parameters of `generate` that the library does not know
PENALTIES = ("gnmt_length_penalty", "coverage_penalty")


def length_penalty(length: int, alpha: float | None, exponent: float) -> float:
    """lp of Wu et al. 2016 with `alpha`; without, the library's `length ** exponent`."""
    return length**exponent if alpha is None else ((5 + length) / 6) ** alpha


class PenalisedBeamSearch:
    r"""
    A model as the library's beam search sees it, but for the score of a finished hypothesis Y (Wu et al. 2016, eq. 14):

        s(Y, X) = log P(Y|X) / lp(Y) + cp(X; Y)
        lp(Y)   = ((5 + |Y|) / 6) ** alpha, or without alpha the library's |Y| ** length_penalty
        cp(X; Y) = beta * sum_i log(min(sum_j p_ij, 1))

    p_ij is the attention that the j-th target word paid to the i-th source word, mean over heads, in the last layer;
    |Y| counts the generated tokens, the end of the sentence included. As in the library, hypotheses that still run are
    compared by log P alone. Lives for one search: it keeps the attention of the steps so far.

    Args:
        model ([`RnnAttnForConditionalGeneration`]): with `beta`, one that has attention.
        alpha (`float` or `None`): of the length normalisation.
        beta (`float`): of the coverage penalty; 0 for none.
        length_penalty (`float`): the library's exponent; read where `alpha` is `None`.
    """

    def __init__(self, model, alpha: float | None, beta: float, length_penalty: float):
        self._model = model
        # transformers before 5.10 asks the configuration for the number of target words, and there this is its name
        self.config = copy.copy(model.config)
        self.config.vocab_size = model.config.decoder_vocab_size
        self._alpha, self._beta, self._exponent = alpha, beta, length_penalty
        self._attention = []  # of each step (B * beams, S)
        self._source_mask = None

    def __getattr__(self, name):
        return getattr(self._model, name)

    def run(self, *args, **kwargs):
        """The library's beam search; arguments and result are those of `GenerationMixin._beam_search`."""
        if self._beta:
            kwargs["output_attentions"] = True
            self._source_mask = kwargs.get("attention_mask")
        return GenerationMixin._beam_search(self, *args, **kwargs)

    def __call__(self, **inputs):
        outputs = self._model(**inputs)
        if self._beta:
            self._attention.append(outputs.cross_attentions[-1][:, :, -1].mean(1))
        return outputs

    def _prefill(self, *args, **kwargs):
        outputs = self._model._prefill(*args, **kwargs)
        if self._beta:
            # the words of a forced prefix were looked up too
            self._attention.append(outputs.cross_attentions[-1].mean(1).sum(1))
        return outputs

    def _length_penalty(self, length: int) -> float:
        return length_penalty(length, self._alpha, self._exponent)

    def _coverage_penalty(self, beam_indices: torch.Tensor) -> torch.Tensor:
        """cp of hypotheses (B, K), whose j-th token came from row `beam_indices[b, k, j]` of the batch."""
        attention = torch.stack(self._attention)  # (T, B * beams, S)
        steps = torch.arange(len(attention), device=attention.device)
        coverage = attention[steps, beam_indices.long()].sum(2)  # (B, K, S)
        # in floating point even the logarithm of nothing must be finite: such a hypothesis is worse, not undefined
        penalty = coverage.clamp(torch.finfo(coverage.dtype).tiny, 1).log()
        if self._source_mask is not None:
            source_mask = self._source_mask.view(len(beam_indices), -1, penalty.shape[-1])
            penalty = penalty * source_mask[:, :1]  # all beams of a sentence have the same
        return self._beta * penalty.sum(-1)

    def _update_finished_beams(self, *, topk_log_probs, topk_running_beam_indices, **state):
        length = state["cur_len"] + 1 - state["decoder_prompt_len"]
        scores = topk_log_probs / self._length_penalty(length)
        if self._beta:
            scores = scores + self._coverage_penalty(topk_running_beam_indices[:, :, :length])
        state.update(topk_log_probs=scores, topk_running_beam_indices=topk_running_beam_indices, length_penalty=0.0)
        return self._model._update_finished_beams(**state)

    def _check_early_stop_heuristic(self, *, running_beam_scores, **state):
        # the bound on what a running hypothesis can still reach; a penalty for coverage only lowers it
        prompt_length = state["decoder_prompt_len"]
        divisor = self._length_penalty(state["cur_len"] - prompt_length)
        if state["early_stopping"] == "never":
            divisor = max(divisor, self._length_penalty(state["max_length"] - prompt_length))
        bound = running_beam_scores / divisor
        state.update(running_beam_scores=bound, length_penalty=0.0)
        return self._model._check_early_stop_heuristic(**state)
