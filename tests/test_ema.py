# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The moving average of the weights by hand, through the events of a training."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState

from hf_rnn_attn.ema import EmaCallback


@pytest.fixture
def training(tmp_path):
    """A callback, a model of one weight, and the events: `step(value)` sets the weight as an optimizer would."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    args = SimpleNamespace(output_dir=tmp_path, resume_from_checkpoint=None, load_best_model_at_end=False)
    events = SimpleNamespace(model=model, args=args, state=TrainerState(global_step=0), control=TrainerControl())

    def tell(event, callback):
        getattr(callback, f"on_{event}")(args, events.state, events.control, model=model)
        return model.weight.item()

    def step(callback, value):
        model.weight.data.fill_(value)
        events.state.global_step += 1
        return tell("step_end", callback)

    events.tell, events.step = tell, step
    return events


def test_the_average_by_hand(training):
    callback = EmaCallback(0.25)
    training.tell("train_begin", callback)
    # the decays are 2/11, 3/12 and 0.25
    expected = 1.0
    for value, decay in ((4.0, 2 / 11), (2.0, 0.25), (8.0, 0.25)):
        assert training.step(callback, value) == value
        expected = decay * expected + (1 - decay) * value
        assert callback.average["weight"].item() == pytest.approx(expected)
    assert training.tell("train_end", callback) == pytest.approx(expected)


@pytest.mark.parametrize("event", ["step_end", "epoch_end"])
def test_an_evaluation_sees_the_average_and_the_training_does_not(training, event):
    callback = EmaCallback(0.5)
    training.tell("train_begin", callback)
    training.control.should_evaluate = event == "step_end"
    seen = training.step(callback, 3.0)
    training.control.should_evaluate = True
    seen = training.tell(event, callback) if event == "epoch_end" else seen
    assert seen == pytest.approx(2 / 11 * 1.0 + 9 / 11 * 3.0)
    assert training.tell("evaluate", callback) == 3.0
    # an evaluation that nobody announced
    assert training.tell("evaluate", callback) == 3.0


def test_the_decay_is_a_fraction():
    for decay in (0, 1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            EmaCallback(decay)
