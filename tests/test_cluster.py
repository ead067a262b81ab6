# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Translation on a Ray cluster of two nodes of this machine: every row once, whatever is killed on the way."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch


# before ray is imported: nothing leaves this machine, and its addresses are those of the loopback interface
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

import ray
from ray.cluster_utils import Cluster

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, cli
from hf_rnn_attn.inference import cluster
from hf_rnn_attn.tokenization import train_tokenizer


# of ray itself: files and sockets that it leaves to the collector
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = ["ein", "hund", "und", "zwei", "katzen"]
LINES = [" ".join(WORDS[: number % 6]) for number in range(700)]
NODE = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tokenizer = train_tokenizer([" ".join(WORDS)], ["a dog and two cats"], kind="word")
    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 8, "initializer_range": 1.0}
    model = RnnAttnForConditionalGeneration(RnnAttnConfig(vocab_size=len(tokenizer), **sizes))
    model.generation_config.update(max_length=5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path, model, monkeypatch):
    """A current folder with three files of rows, and how one process translates all of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.txt").write_text("".join(f"{line}\n" for line in LINES[:300]), "utf-8")
    with gzip.open("in/1.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": line, "key": number}) + "\n" for number, line in enumerate(LINES[300:500]))
    pq.write_table(pa.table({"text": LINES[500:], "key": range(200)}), "in/2.parquet")
    (tmp_path / "all.txt").write_text("".join(f"{line}\n" for line in LINES), "utf-8")
    assert cli.main(["translate", "-i", "all.txt", "-o", "expected.txt", "--model", str(model), "--int8"]) == 0
    return tmp_path


@pytest.fixture
def nodes():
    cluster_of_two = Cluster()
    cluster_of_two.add_node(include_dashboard=False, **NODE)
    cluster_of_two.second = cluster_of_two.add_node(**NODE)
    yield cluster_of_two
    ray.shutdown()
    cluster_of_two.shutdown()


def start(nodes, model, pattern="in/*"):
    with ray.init(nodes.address, log_to_driver=False):
        cluster.translate_files(os.path.abspath(pattern), "out", settings={"model": str(model)}, rows_per_shard=32)


def assert_every_row_is_there_once(place):
    tables = [pq.read_table(file) for file in (place / "out").iterdir()]
    rows = sorted((row for table in tables for row in table.to_pylist()), key=lambda row: row["row_id"])
    assert [row["text"] for row in rows] == LINES
    assert [row["translation"] for row in rows] == (place / "expected.txt").read_text("utf-8").split("\n")[:-1]
    assert [row["row_id"] for row in rows] == [
        file * 2**40 + row for file, count in enumerate((300, 200, 200)) for row in range(count)
    ]
    assert [row.get("key") for row in rows[300:]] == [*range(200), *range(200)]
    assert not (place / "out.partial").exists()


def make_slow(monkeypatch, kill_once):
    """Has actors take their time over few rows; the first one of `kill_once`, a file, kills itself."""
    translator = cluster.Translator

    class Slow(translator):
        def __call__(self, batch):
            time.sleep(0.1)
            with contextlib.suppress(FileNotFoundError):
                os.remove(kill_once)
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    monkeypatch.setattr(cluster, "Translator", Slow)
    monkeypatch.setattr(cluster, "WINDOW_LINES", 16)


def wait_for_rows(place):
    """Waits until some rows are written and known to be."""
    limit = time.monotonic() + 120
    while not list(place.glob("out.partial/rows/*.parquet")) and time.monotonic() < limit:
        time.sleep(0.05)


# two nodes of a cluster start for it
@pytest.mark.slow
def test_a_killed_actor_costs_no_row_and_doubles_none(place, nodes, model, monkeypatch):
    (place / "kill").touch()
    make_slow(monkeypatch, str(place / "kill"))
    start(nodes, model)
    assert not (place / "kill").exists()
    assert_every_row_is_there_once(place)
    with pytest.raises(ValueError, match="out: expected a folder to write, got one that holds files"):
        start(nodes, model)


@pytest.mark.slow
def test_a_killed_node_costs_no_row_and_doubles_none(place, nodes, model, monkeypatch):
    make_slow(monkeypatch, str(place / "nothing"))
    killed = []

    def kill():
        wait_for_rows(place)
        nodes.remove_node(nodes.second, allow_graceful=False)
        killed.append(len(list(place.glob("out.partial/rows/*.parquet"))))

    killer = threading.Thread(target=kill)
    killer.start()
    start(nodes, model)
    killer.join()
    assert killed[0] > 0
    assert_every_row_is_there_once(place)


DRIVER = """
import os, sys, time
import ray
from hf_rnn_attn.inference import cluster

translator = cluster.Translator


class Slow(translator):
    def __call__(self, batch):
        time.sleep(0.3)
        return super().__call__(batch)


cluster.Translator, cluster.WINDOW_LINES = Slow, 16
with ray.init(sys.argv[1], log_to_driver=False):
    settings = {"model": sys.argv[2]}
    cluster.translate_files(os.path.abspath("in/*"), "out", settings=settings, rows_per_shard=32)
"""


@pytest.mark.slow
def test_a_killed_driver_goes_on_with_what_is_missing(place, nodes, model):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, nodes.address, str(model)], stderr=subprocess.DEVNULL)
    wait_for_rows(place)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    written = {path.name for path in (place / "out").iterdir()}
    assert 0 < len(list(place.glob("out.partial/rows/*.parquet"))) < 20
    with pytest.raises(ValueError, match="out: its rows are of other files, or another model or option"):
        start(nodes, model, "in/0*")
    start(nodes, model)
    assert_every_row_is_there_once(place)
    assert written & {path.name for path in (place / "out").iterdir()}


@pytest.mark.slow
def test_the_command_translates_and_says_what_it_cannot_read(place, nodes, model, capsys):
    command = ["translate", "--ray", nodes.address, "--model", str(model), "-o", "out", "-i"]
    (place / "in" / "3.jsonl").write_text('{"text": "ein"}\n[]\n', "utf-8")
    assert cli.main([*command, str(place / "in" / "*")]) == 2
    assert "3.jsonl:2: expected a JSON object, got []" in capsys.readouterr().err
    (place / "in" / "3.jsonl").unlink()
    # what is written is of other files
    assert cli.main([*command, str(place / "in" / "*")]) == 2
    assert cli.main([*command, str(place / "in" / "*"), "-o", "out2"]) == 0
    (place / "out2").rename(place / "out3")


def read(file, column="text"):
    return pa.concat_tables(cluster._read_file(*cluster.url_to_fs(str(file)), number=2, column=column)).to_pylist()


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.txt", "ein\n\nzwei\u2028drei\n".encode(), [{"text": "ein"}, {"text": ""}, {"text": "zwei\u2028drei"}]),
        ("a.de.gz", gzip.compress(b"ein\nzwei", mtime=0), [{"text": "ein"}, {"text": "zwei"}]),
        (
            "a.jsonl",
            b'{"text": "ein", "id": "x"}\n{"text": null, "id": "y"}\n',
            [{"text": "ein", "id": "x"}, {"text": None, "id": "y"}],
        ),
    ],
)
def test_rows_keep_their_columns_and_have_a_number(name, content, rows, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == [{**row, "row_id": 2 * 2**40 + number} for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"ein\n\xff\n", "a.txt:2: expected UTF-8"),
        ("a.jsonl", b"{}\nein\n", "a.jsonl:2: malformed JSON"),
        ("a.jsonl", b"3\n", "a.jsonl:1: expected a JSON object, got 3"),
        (
            "a.jsonl",
            b'{"source": "ein"}\n',
            "expected a column 'text', and none that is called 'row_id' or 'translation'",
        ),
        ("a.jsonl", b'{"text": "ein", "row_id": 1}\n', "got text, row_id"),
        ("a.parquet", b"ein\n", "a.parquet: not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ein hund"], "expected --input and --output"),
        (["-i", "in/*"], "expected --input and --output"),
        (["-i", "in/*", "-o", "out", "--model", "de-en", "en-de"], "--ray takes one model, got 2"),
        (["-i", "in/*", "-o", "out", "--n-best", "3"], "--ray does not take --n-best"),
        (["-i", "in/*", "-o", "out", "--keep-loops", "--format", "tsv"], "not take --format and --keep-loops"),
        (["-i", "in/*", "-o", "out", "--split", "de", "--max-new-tokens", "5"], "--split and --max-new-tokens"),
        (["-i", "in/*", "-o", "out", "--replace-unknown"], "--ray does not take --replace-unknown"),
    ],
)
def test_what_a_cluster_does_not_do_is_refused(arguments, message, capsys):
    assert cli.main(["translate", *arguments, "--ray", "auto"]) == 2
    assert message in capsys.readouterr().err
