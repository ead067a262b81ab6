# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights shared by the steps of a sequence: one gradient for all of them, equal to the sum over steps."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hf_rnn_attn.model.step_weight_rnn_attn import StepLinear, StepWeight, project_rows, step_product


def random(*shape):
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


def gradients_over_steps(product, steps, *leaves):
    total = sum(torch.tanh(product(step)).square().sum() for step in steps)
    return torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("batch", [(), (6,)], ids=["one matrix", "a matrix a row"])
def test_gradient_is_that_of_a_sum_over_steps(batch):
    weight, steps = random(*batch, 3, 2), random(4, *batch, 5, 2)
    deferred = gradients_over_steps(StepWeight(weight), steps, weight, steps)
    plain = gradients_over_steps(lambda step: step @ weight.transpose(-1, -2), steps, weight, steps)
    for left, right in zip(deferred, plain, strict=True):
        torch.testing.assert_close(left, right)


def test_gradient_of_the_bias():
    weight, bias, steps = random(3, 2), random(3), random(4, 5, 2)
    deferred = gradients_over_steps(StepWeight(weight, bias), steps, weight, bias)
    plain = gradients_over_steps(lambda step: F.linear(step, weight, bias), steps, weight, bias)
    for left, right in zip(deferred, plain, strict=True):
        torch.testing.assert_close(left, right)


def test_without_gradients_nothing_is_recorded():
    weight, inputs = random(3, 2), random(5, 2)
    with torch.no_grad():
        product = StepWeight(weight)
        assert not product.records
        torch.testing.assert_close(product(inputs), inputs @ weight.t())


def test_can_be_run_backward_twice():
    weight = torch.randn(3, 2, requires_grad=True)
    product = StepWeight(weight)
    loss = product(torch.ones(1, 2)).sum() + product(torch.ones(1, 2)).sum()
    loss.backward(retain_graph=True)
    first = weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(weight.grad, 2 * first)


def test_under_autocast_products_are_narrow_and_gradients_wide():
    weight, bias = torch.randn(3, 2, requires_grad=True), torch.randn(3, requires_grad=True)
    inputs = torch.randn(5, 2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        product = StepWeight(weight, bias)(inputs)
        expected = F.linear(inputs, weight, bias)
    assert product.dtype == torch.bfloat16
    torch.testing.assert_close(product, expected)
    leaves = [inputs, weight, bias]
    actual, wanted = (torch.autograd.grad(out.float().sum(), leaves) for out in (product, expected))
    for left, right in zip(actual, wanted, strict=True):
        assert left.dtype == torch.float32
        torch.testing.assert_close(left, right)


def test_what_replaces_a_linear_layer_is_called_as_it_is():
    layer = StepLinear(2, 3)
    torch.testing.assert_close(step_product(layer)(torch.ones(1, 2)), layer(torch.ones(1, 2)))
    wrapper = nn.Sequential(layer)
    assert step_product(wrapper) is wrapper


@pytest.mark.parametrize("count", [1, 63, 64, 65, 130])
def test_half_precision_products_come_in_few_sizes(count):
    sizes, weight = [], torch.randn(3, 4)

    def product(rows):
        sizes.append((len(rows), rows.dtype))
        return F.linear(rows, weight.to(rows.dtype))

    tokens = torch.randn(count, 1, 4)
    torch.testing.assert_close(project_rows(tokens, product), F.linear(tokens, weight))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = project_rows(tokens, product)
    torch.testing.assert_close(mixed, F.linear(tokens.bfloat16(), weight.bfloat16()))
    assert sizes == [(count, torch.float32), (-(-count // 64) * 64, torch.bfloat16)]


def test_rows_that_were_missing_change_no_gradient():
    weight = torch.randn(3, 4, dtype=torch.bfloat16, requires_grad=True)
    steps = [torch.randn(5, 4, dtype=torch.bfloat16) for _ in range(3)]
    product = StepWeight(weight)
    sum(product(step).square().sum() for step in steps).backward()
    together = torch.cat(steps)
    expected = 2 * F.linear(together, weight.detach()).t() @ together
    torch.testing.assert_close(weight.grad, expected)
