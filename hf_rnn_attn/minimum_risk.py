# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Minimum-risk training: a trained model learns to prefer, among its own translations, those that score better.

This file knows candidates, their probabilities and their costs. It does not know how a metric is computed, nor how the
trainer weighs the risk against the likelihood of the reference.
Shapes: B batch, C candidates for each sentence, T target.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase


class MinimumRisk:
    r"""The cost to expect of a translation that is drawn from the model's candidates (Shen et al. 2016, eq. 8):

        risk(x) = \sum_{u in U(x)} p(u | x) cost(u) / \sum_{u' in U(x)} p(u' | x)

    U(x) are what beam search finds with the weights of the moment, as Edunov et al. (2018) take them.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            Decodes candidates and references into the texts that are compared.
        cost (`Callable[[str, str], float]`):
            Of a candidate and its reference; 0 where nothing is wrong.
        candidates (`int`):
            How many for each sentence, and the width of the beam; at least 2.

    Raises:
        ValueError: fewer than two candidates, of which none could be preferred.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, cost: Callable[[str, str], float], candidates: int):
        if candidates < 2:
            raise ValueError(f"minimum risk: expected at least 2 candidates to choose between, got {candidates}")
        self.tokenizer = tokenizer
        self.cost = cost
        self.candidates = candidates

    def __call__(self, model: PreTrainedModel, forward: Callable, inputs: dict[str, torch.Tensor]) -> torch.FloatTensor:
        """The risk of each sentence, (B,), with its gradient.

        Args:
            model (`PreTrainedModel`): generates the candidates.
            forward (`Callable`): the model as the trainer has wrapped it, for the pass that gets the gradient.
            inputs (`dict`): `input_ids` and `attention_mask` of the source, `labels` of the reference.
        """
        source = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        found = self._generate(model, source)
        costs = self._costs(found, inputs["labels"])
        labels = found.masked_fill(_after_the_end(found, model.generation_config.eos_token_id), -100)
        source = {name: tensor.repeat_interleave(self.candidates, 0) for name, tensor in source.items()}
        logits = forward(**source, labels=labels).logits
        wide = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
        likelihoods = -F.cross_entropy(wide, labels.flatten(), reduction="none").view(labels.shape).sum(1)
        return expected_cost(likelihoods.view(-1, self.candidates), costs)

    @torch.no_grad()
    def _generate(self, model, source):
        """Returns the candidates (B * C, T), those of one sentence side by side, without the start symbol."""
        was_training = model.training
        model.eval()
        found = model.generate(**source, num_beams=self.candidates, num_return_sequences=self.candidates)
        model.train(was_training)
        return found[:, 1:].clone()

    def _costs(self, found, labels):
        """Returns the costs (B, C) of the candidates against the references."""
        references = self._decode(labels.masked_fill(labels == -100, self.tokenizer.pad_token_id))
        references = [reference for reference in references for _ in range(self.candidates)]
        costs = [self.cost(*texts) for texts in zip(self._decode(found), references, strict=True)]
        return torch.tensor(costs, device=labels.device).view(-1, self.candidates)

    def _decode(self, ids):
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)


def expected_cost(likelihoods: torch.Tensor, costs: torch.Tensor) -> torch.Tensor:
    """The mean of costs (B, C) under probabilities proportional to the exponentials of `likelihoods` (B, C): (B,)."""
    return (likelihoods.softmax(1) * costs).sum(1)


def _after_the_end(ids, eos_token_id):
    """Returns a mask (rows, T) of what stands behind the first end symbol of a row."""
    ends = torch.isin(ids, torch.as_tensor(eos_token_id, device=ids.device))
    return ends.cumsum(1) - ends.long() > 0
