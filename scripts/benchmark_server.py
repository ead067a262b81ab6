# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Speed and limits of `hf-rnn-attn serve` on the loopback: requests of one sentence each.

    python scripts/benchmark_server.py dev.de --model de-en --int8

Starts the server, sends `--requests` requests from 1, 8 and 32 clients, each of which waits for its answer before it
sends the next; then a flood of twice as many clients as the server accepts requests. What the server does not know is
handed on to `serve`.
"""

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


PORT = 5151
ACCEPTED = 32
local = threading.local()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="text file in the first language of the model")
    parser.add_argument("--languages", nargs=2, default=["de", "en"])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    arguments, options = parser.parse_known_args()
    lines = itertools.cycle(arguments.source.read_text("utf-8").splitlines()[:200])
    bodies = [
        json.dumps({"q": next(lines), "source": arguments.languages[0], "target": arguments.languages[1]})
        for _ in range(arguments.requests)
    ]
    command = [sys.executable, "-m", "hf_rnn_attn_cli", "serve", "--port", str(PORT), "--max-requests", str(ACCEPTED)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            wait_for_start(server)
            post(bodies[0])
            print("| clients | requests/s | p50, ms | p99, ms | refused |\n| --: | --: | --: | --: | --: |")
            # the last is the flood
            for clients in (*arguments.clients, 2 * ACCEPTED):
                report(clients, bodies)
            print(f"\nlargest memory of the server: {peak_memory(server.pid)} MiB")
        finally:
            server.terminate()
            print(f"exit status after SIGTERM: {server.wait(60)}")


def wait_for_start(server):
    server.stdout.readline()
    for _ in range(600):
        try:
            return get("/health")
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server did not start")


def report(clients, bodies):
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(post, bodies))
    duration = time.perf_counter() - start
    seconds = sorted(took for status, took in answers if status == 200)
    refused = sum(status in (429, 503) for status, _ in answers)
    assert len(seconds) + refused == len(bodies), "every request is answered or refused"
    p99 = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    cells = (clients, len(seconds) / duration, 1000 * statistics.median(seconds), 1000 * p99, refused)
    print("| {} | {:.0f} | {:.0f} | {:.0f} | {} |".format(*cells), flush=True)


def post(body):
    """Returns the status of the answer and the seconds that it took."""
    start = time.perf_counter()
    connection = getattr(local, "connection", None) or http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    local.connection = connection
    connection.request("POST", "/translate", body, {"Content-Type": "application/json"})
    with connection.getresponse() as answer:
        content = json.loads(answer.read())
    assert ("translatedText" if answer.status == 200 else "error") in content
    return answer.status, time.perf_counter() - start


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().read()


def peak_memory(pid):
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
