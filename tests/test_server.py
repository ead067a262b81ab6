# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The translation server: its two contracts, its limits, and what becomes of requests when many come or it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest


pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient
from libretranslatepy import LibreTranslateAPI

from hf_rnn_attn import BUNDLED, cli
from hf_rnn_attn.server import Limits, Server, create_app, find_models, load_translator, read_keys


ROOT = Path(__file__).parents[1]
MODELS = {("de", "en"): "first", ("en", "de"): "second"}


class Upper:
    """A translator that writes in capitals; its other translations have a number behind them."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batches, self.threads = seconds, [], set()
        self.search = type("Search", (), {"num_beams": 5})

    model = None

    def __call__(self, batches, num_return_sequences, **settings):
        (texts,) = batches
        self.batches.append((len(texts), settings))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if "fault" in texts:
            raise RuntimeError("/secret/path")
        ranks = ["", *(f" {rank}" for rank in range(1, num_return_sequences))]
        return [[{"translation_text": text.upper() + rank} for text in texts for rank in ranks]]


@pytest.fixture
def translator():
    return Upper()


def client_of(translator, keys=(), models=MODELS, **limits):
    app = create_app(Server(models, lambda name: translator, Limits(**limits), frozenset(keys)))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def client(translator):
    with client_of(translator) as client:
        yield client


BODY = {"q": "Guten Morgen. Wie geht's?\n\nBis bald.", "source": "de", "target": "en"}


@pytest.mark.parametrize("kind", ["json", "data", "multipart"])
def test_a_body_of_each_kind_is_read(client, kind):
    sent = {"files": {name: (None, value) for name, value in BODY.items()}} if kind == "multipart" else {kind: BODY}
    answer = client.post("/translate", **sent)
    assert answer.status_code == 200
    assert answer.json() == {"translatedText": "GUTEN MORGEN. WIE GEHT'S?\n\nBIS BALD."}


def test_a_list_is_answered_with_lists(client):
    answer = client.post("/translate", json={"q": ["eins", "zwei"], "source": "de", "target": "en", "alternatives": 1})
    assert answer.json() == {"translatedText": ["EINS", "ZWEI"], "alternatives": [["EINS 1"], ["ZWEI 1"]]}
    form = client.post("/translate", data={"q": ["eins", "zwei"], "source": "de", "target": "en"})
    assert form.json() == {"translatedText": ["EINS", "ZWEI"]}


def test_alternatives_are_the_next_best(client):
    answer = client.post("/translate", data=BODY | {"q": "eins. Zwei.", "alternatives": "2"}).json()
    assert answer == {"translatedText": "EINS. ZWEI.", "alternatives": ["EINS. 1 ZWEI. 1", "EINS. 2 ZWEI. 2"]}


def test_the_source_is_detected(client):
    text = "Ich habe keine Ahnung, wovon du redest."
    answer = client.post("/translate", json={"q": text, "source": "auto", "target": "en"}).json()
    assert answer["translatedText"] == text.upper()
    assert answer["detectedLanguage"]["language"] == "de" and answer["detectedLanguage"]["confidence"] > 90
    first = client.post("/detect", data={"q": "I have no idea what you are talking about."}).json()[0]
    assert first["language"] == "en" and 90 < first["confidence"] <= 100
    several = client.post("/translate", json={"q": [text, text], "source": "auto", "target": "en"}).json()
    assert [found["language"] for found in several["detectedLanguage"]] == ["de", "de"]


def test_what_the_server_says_of_itself(client):
    assert client.get("/languages").json() == [
        {"code": "de", "name": "German", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": ["de"]},
    ]
    assert client.get("/health").json() == {"status": "ok"}
    settings = client.get("/frontend/settings").json()
    assert settings["charLimit"] == 10_000 and settings["keyRequired"] is False
    assert settings["language"] == {
        "source": {"code": "de", "name": "German"},
        "target": {"code": "en", "name": "English"},
    }
    client.post("/translate", json=BODY)
    metrics = client.get("/metrics").text
    assert 'translation_requests_total{route="/translate",status="200"} 1.0' in metrics
    assert "translation_batch_sentences_sum 3.0" in metrics


def test_the_contract_of_the_hub(client, translator):
    assert client.post("/", json={"inputs": "eins"}).json() == [{"translation_text": "EINS"}]
    body = {"inputs": ["eins", "zwei"], "parameters": {"num_beams": 2, "max_new_tokens": 9}}
    assert client.post("/models/en-de", json=body).json() == [
        {"translation_text": "EINS"},
        {"translation_text": "ZWEI"},
    ]
    assert translator.batches[-1][1] == {"num_beams": 2, "max_new_tokens": 9}


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/translate", {"source": "de", "target": "en"}, 400, "q: expected a text or a list of texts"),
        ("/translate", BODY | {"q": 5}, 400, "q: expected a text"),
        ("/translate", BODY | {"q": []}, 400, "q: expected a text"),
        ("/translate", BODY | {"q": ["a", None]}, 400, "q: expected a text"),
        ("/translate", BODY | {"target": "fr"}, 400, "source and target: expected one of de-en, en-de"),
        ("/translate", BODY | {"target": None}, 400, "target: expected the code of a language"),
        ("/translate", BODY | {"source": ["de"]}, 400, "source: expected the code"),
        ("/translate", BODY | {"source": "auto", "target": "fr"}, 400, "expected one of de-en, en-de"),
        ("/translate", BODY | {"format": "pdf"}, 400, "format: expected text or html"),
        ("/translate", BODY | {"format": ["text"]}, 400, "format: expected text or html"),
        ("/translate", BODY | {"alternatives": 10}, 400, "alternatives: expected a number from 0 to 9"),
        ("/translate", BODY | {"alternatives": "-1"}, 400, "alternatives"),
        ("/translate", BODY | {"alternatives": True}, 400, "alternatives"),
        ("/translate", BODY | {"q": "a" * 10_001}, 413, "expected at most 10000 characters, got 10001"),
        ("/translate", BODY | {"q": ["a"] * 101}, 413, "expected at most 100 texts, got 101"),
        ("/translate", ["q"], 400, "expected an object of JSON, got list"),
        ("/detect", {"q": ["a", "b"]}, 400, "expected one text, got 2"),
        ("/", {"inputs": None}, 400, "inputs: expected a text"),
        ("/", {"inputs": "a", "parameters": {"temperature": 1}}, 400, "parameters: expected an object with max_length"),
        ("/", {"inputs": "a", "parameters": {"num_beams": 11}}, 400, "num_beams: expected a number from 1 to 10"),
        ("/", {"inputs": "a", "parameters": 5}, 400, "parameters"),
        ("/models/de-fr", {"inputs": "a"}, 404, "no such model; there are de-en, en-de"),
        ("/models/..%2Fetc", {"inputs": "a"}, 404, ""),
        ("/nowhere", {}, 404, "Not Found"),
        ("/health", {}, 405, "Method Not Allowed"),
        ("/translate", BODY | {"q": "fault"}, 500, "the server failed; its log says why"),
    ],
    ids=str,
)
def test_a_refusal_is_one_line_of_json(client, path, body, status, words):
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"} and words in answer.json()["error"]
    assert "/secret" not in answer.text and "Traceback" not in answer.text
    assert client.post("/translate", json=BODY).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"", "application/json", 400),
        (b"q=a", "text/plain", 400),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"a" * 1_000_001, "application/json", 413),
        (b"&".join([b"q=a"] * 2_000), "application/x-www-form-urlencoded", 400),
    ],
    ids=str,
)
def test_a_body_that_cannot_be_read_is_refused(client, content, kind, status):
    answer = client.post("/translate", content=content, headers={"content-type": kind})
    assert answer.status_code == status and list(answer.json()) == ["error"]


def test_a_body_without_a_length_is_cut_off(client):
    answer = client.post("/translate", content=(b"a" * 100_000 for _ in range(20)))
    assert answer.status_code == 413


def test_keys_are_asked_for(translator):
    with client_of(translator, keys=["one", "zwei ü"]) as client:
        assert client.post("/translate", json=BODY).json() == {"error": "expected a valid api_key, got none"}
        for key in ("two", "", 5, ["one"], "\ud800"):
            assert client.post("/translate", content=json.dumps(BODY | {"api_key": key})).status_code == 403
        assert client.post("/translate", data=BODY | {"api_key": "zwei ü"}).status_code == 200
        assert client.post("/", json={"inputs": "a"}, headers={"Authorization": "Bearer one"}).status_code == 200
        assert client.post("/detect", json={"q": "a"}).status_code == 403
        assert client.get("/languages").status_code == client.get("/health").status_code == 200


def test_a_client_has_a_rate(translator):
    with client_of(translator, rate=3) as client:
        answers = [client.post("/translate", json=BODY) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].json() == {"error": "expected at most 3 requests a minute"}
    assert answers[3].headers["retry-after"] == "21"


def test_requests_that_come_together_share_batches_and_one_thread():
    slow = Upper(0.02)
    with client_of(slow, wait=20) as client, ThreadPoolExecutor(24) as pool:
        texts = [f"text {number}" for number in range(48)]
        answers = list(pool.map(lambda text: client.post("/translate", json=BODY | {"q": text}).json(), texts))
    assert [answer["translatedText"] for answer in answers] == [text.upper() for text in texts]
    assert len(slow.batches) < 24 and max(size for size, _ in slow.batches) > 4
    assert len(slow.threads) == 1


def test_of_a_flood_what_is_accepted_is_answered():
    slow = Upper(0.05)
    with client_of(slow, requests=4) as client, ThreadPoolExecutor(32) as pool:
        sent = [client.post for _ in range(64)]
        answers = list(pool.map(lambda post: post("/translate", json=BODY), sent))
        assert client.post("/translate", json=BODY).status_code == 200
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all(answer.json()["translatedText"] for answer in answers if answer.status_code == 200)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert "expected at most 4 requests at a time" in refused.json()["error"] and refused.headers["retry-after"] == "1"


def test_what_takes_too_long_is_given_up():
    with client_of(Upper(0.5), seconds=0.1) as client:
        answer = client.post("/translate", json=BODY)
    assert answer.status_code == 503 and "within 0.1 s" in answer.json()["error"]


def test_a_model_is_loaded_when_it_is_used_first():
    loaded = []
    app = create_app(Server(MODELS, lambda name: loaded.append(name) or Upper()))
    with TestClient(app) as client:
        client.get("/languages")
        assert loaded == []
        for _ in range(2):
            client.post("/translate", json=BODY | {"source": "en", "target": "de"})
    assert loaded == ["second"]


@pytest.fixture(scope="module")
def bundled():
    translators = {}

    def load(name):
        return translators.setdefault(name, load_translator(name))

    with TestClient(create_app(Server(find_models(["de-en", "en-de"]), load))) as client:
        yield client


def test_a_bundled_model_translates_text_and_html(bundled):
    answer = bundled.post("/translate", json=BODY | {"q": "Guten Morgen!\n\nDas ist gut.", "alternatives": 2}).json()
    assert answer["translatedText"] == "Good morning.\n\nThat's good." and len(answer["alternatives"]) == 2
    html = '<p>Das ist <b class="x">sehr</b> gut.</p>'
    answer = bundled.post("/translate", json=BODY | {"q": html, "format": "html"}).json()
    assert answer == {"translatedText": '<p>That\'s <b class="x">very</b> good.</p>'}


def test_the_command_refuses_what_it_cannot_serve(capsys, tmp_path):
    for arguments, words in [
        (["--model", "nowhere"], "--model nowhere: its languages are not known; write them before it: de-en=nowhere"),
        (["--model", "de-en=nowhere/at/all"], "nowhere/at/all: no such folder"),
        (["--model", "de-en", "--model", f"de-en={BUNDLED['de', 'en']}"], "expected one model for de-en, got"),
        (["--runtime", "onnx"], "--runtime onnx: expected folders of `hf-rnn-attn export`"),
        (
            ["--runtime", "onnx", "--model", f"de-en={tmp_path}"],
            "no exported model; write one with `hf-rnn-attn export",
        ),
        (["--api-keys", os.devnull], f"{os.devnull}: expected API keys, one a line, got none"),
        (["--api-keys", str(tmp_path / "none")], "No such file"),
    ]:
        assert cli.main(["serve", *arguments]) == 2
        assert words in capsys.readouterr().err
    for arguments in (["--port", "0"], ["--port", "70000"], ["--max-beams", "0"], ["--max-rate", "-1"]):
        with pytest.raises(SystemExit):
            cli.main(["serve", *arguments])


def test_languages_are_found_in_names_and_configurations(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text('{"task_specific_params": {"translation_fr_to_en": {}}}', "utf-8")
    names = [str(tmp_path / "mine"), "ko-en=user/name", "user/tatoeba-en-de"]
    assert list(find_models(names)) == [("fr", "en"), ("ko", "en"), ("en", "de")]


def test_keys_of_a_file_and_of_the_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text("one\n\n two \n", "utf-8")
    assert read_keys(str(file), "three, four,") == {"one", "two", "three", "four"}


@pytest.fixture
def process():
    """The command on a free port of the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hf_rnn_attn_cli", "serve", "--port", str(port), "--model", "de-en"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_RNN_ATTN_API_KEYS": "secret"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout.readline() == f"serving de-en on http://127.0.0.1:{port}\n"
            for _ in range(300):
                try:
                    urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield process, f"http://127.0.0.1:{port}/"
        finally:
            process.kill()


def test_a_client_of_libretranslate_is_served_and_a_stop_loses_nothing(process):
    server, address = process
    client = LibreTranslateAPI(address, api_key="secret")
    assert client.languages() == [{"code": "de", "name": "German", "targets": ["en"]}]
    assert client.translate("Guten Morgen!", "de", "en") == "Good morning."
    assert client.detect("Das Wetter ist heute sehr schön.")[0]["language"] == "de"
    with pytest.raises(HTTPError, match="403"):
        LibreTranslateAPI(address, api_key="other").translate("Guten Morgen!", "de", "en")
    texts = [" ".join(["Das Wetter ist heute sehr schön."] * count) for count in (20, 21, 22, 23)]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda text: client.translate(text, "de", "en"), texts)
        until_active(address, len(texts))
        server.send_signal(signal.SIGTERM)
        assert all("weather" in answer for answer in answers)
    assert server.wait(30) == 0


def until_active(address, count):
    for _ in range(200):
        with urlopen(Request(f"{address}metrics")) as answer:
            accepted = [
                line for line in answer.read().decode().splitlines() if line.startswith("translation_characters_t")
            ]
        # the characters of all texts are counted when they are accepted
        if float(accepted[0].split()[1]) > 33 * 20 * count:
            return
        time.sleep(0.02)
    raise AssertionError("the requests were not accepted")
