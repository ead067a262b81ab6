# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The processes that `accelerate launch` or `torchrun` starts for one command."""

import os

import torch
from accelerate import PartialState


def join_processes(cpu: bool) -> PartialState:
    """Returns the group of the processes of this launch, which is this process alone where nothing was launched.

    Args:
        cpu (`bool`): computes on CPUs, also where there are accelerators.

    Raises:
        ValueError: the launched processes do not form a group.
    """
    state = PartialState(cpu=cpu or not torch.accelerator.is_available())
    check_processes(state.num_processes, "compute on the CPU")
    return state


def check_processes(seen: int, advice: str):
    """Raises where launched processes do not form a group: each would do all the work and write the same files."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != seen:
        raise ValueError(
            f"{launched} processes were launched and this one sees {seen}; without a GPU for each, {advice}"
        )
