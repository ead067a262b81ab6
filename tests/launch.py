# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Starts several processes as a user does, on the loopback interface."""

import os
import subprocess
import sys


def launch(processes, *command, **environment):
    """Runs a script or `-m module` with its arguments in so many processes on the CPU; returns what came of it."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines=1"]
    launcher += [f"--num_processes={processes}", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **environment}
    command = [*launcher, *map(str, command)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
