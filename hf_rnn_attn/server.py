# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A translation server: the API of LibreTranslate, and beside it the Hub's contract for translation.

Holds the routes and the limits; `batching.py` has the worker. A request is accepted or refused at once; what is
accepted is answered. Runs without torch where the models are exported graphs.
"""

import argparse
import asyncio
import contextlib
import functools
import hmac
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prometheus_client
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from starlette.exceptions import HTTPException

from . import BUNDLED
from .batching import Pair, QueuedTranslator, Worker
from .text import translate_html, translate_text


logger = logging.getLogger(__name__)

PAIR = re.compile(r"([a-z]{2,3})-([a-z]{2,3})")
# connections that may be open at a time, and clients whose rate is remembered
CONNECTIONS, CLIENTS = 1_000, 10_000
# of `parameters` in the Hub's contract
PARAMETERS = {"num_beams", "max_length", "max_new_tokens"}
NAMES = dict(
    re.findall(
        r"(\w+)=(\w+)",
        """
ar=Arabic cs=Czech da=Danish de=German el=Greek en=English es=Spanish fi=Finnish fr=French he=Hebrew hi=Hindi
hu=Hungarian id=Indonesian it=Italian ja=Japanese ko=Korean nl=Dutch no=Norwegian pl=Polish pt=Portuguese
ro=Romanian ru=Russian sv=Swedish tr=Turkish uk=Ukrainian vi=Vietnamese zh=Chinese
""",
    )
)


@dataclass(frozen=True)
class Limits:
    """What one request, one client and the server may ask for.

    Args:
        characters (`int`): of a request, all its texts together.
        texts (`int`): of a request.
        bytes (`int`): of the body of a request.
        beams (`int`): and alternatives.
        seconds (`float`): for an answer.
        requests (`int`): accepted at a time.
        rate (`int`): requests of a client a minute; 0 for any number.
        batch (`int`): sentences translated at a time.
        wait (`float`): milliseconds that a sentence waits for others to fill a batch.
    """

    characters: int = 10_000
    texts: int = 100
    bytes: int = 1_000_000
    beams: int = 10
    seconds: float = 60.0
    requests: int = 64
    rate: int = 0
    batch: int = 32
    wait: float = 5.0


class Refusal(Exception):
    """An answer that says why a request is not served.

    Args:
        status (`int`): of HTTP.
        message (`str`): what was expected, and what came.
        retry (`int`, *optional*): seconds after which to try again.
    """

    def __init__(self, status: int, message: str, retry: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {} if retry is None else {"Retry-After": str(retry)}


class Rates:
    """Counts the requests of clients: as many a minute as `most`, all at once or spread out (a token bucket)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, client: str) -> None:
        """Counts one request.

        Raises:
            Refusal: 429 for one too many.
        """
        if not self._most:
            return
        now = time.monotonic()
        left, before = self._left.pop(client, (float(self._most), now))
        left = min(self._most, left + (now - before) * self._most / 60)
        # the newest last, so that the oldest is forgotten first
        self._left[client] = (left - (left >= 1), now)
        if len(self._left) > CLIENTS:
            del self._left[next(iter(self._left))]
        if left < 1:
            raise Refusal(429, f"expected at most {self._most} requests a minute", int(60 / self._most) + 1)


@dataclass(frozen=True)
class Server:
    """What the routes share.

    Args:
        models (`Mapping`): by the languages, source and target, what `load` takes.
        load (`Callable`): returns the translator for a value of `models`.
        limits ([`Limits`]): they.
        keys (`frozenset`): the API keys, one of which a request must have; without any, none is asked for.
    """

    models: Mapping[Pair, str]
    load: Callable[[str], Any]
    limits: Limits = Limits()
    keys: frozenset[str] = frozenset()


def create_app(server: Server) -> FastAPI:
    """Returns the application.

    Args:
        server ([`Server`]): models, limits and keys.
    """
    limits, rates = server.limits, Rates(server.limits.rate)
    registry = prometheus_client.CollectorRegistry()
    answers = prometheus_client.Counter(
        "translation_requests", "Requests, by route and status.", ["route", "status"], registry=registry
    )
    durations = prometheus_client.Histogram("translation_seconds", "Time of an answer.", ["route"], registry=registry)
    characters = prometheus_client.Counter("translation_characters", "Characters accepted.", registry=registry)
    active = prometheus_client.Gauge("translation_active_requests", "Requests that are worked on.", registry=registry)
    sizes = prometheus_client.Histogram(
        "translation_batch_sentences", "Sentences of a batch.", buckets=[1, 2, 4, 8, 16, 32, 64], registry=registry
    )
    worker = Worker(lambda pair: server.load(server.models[pair]), limits.batch, limits.wait / 1000, sizes.observe)
    threads = ThreadPoolExecutor(limits.requests, thread_name_prefix="request")
    accepted = 0

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        # the requests are answered by now, or their client is gone
        await asyncio.to_thread(worker.close)
        threads.shutdown()

    app = FastAPI(title="hf-rnn-attn", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Any]) -> Response:
        start = time.perf_counter()
        try:
            response = await call_next(request)
        except Exception:
            logger.exception("a request failed")
            response = _error(500, "the server failed; its log says why")
        route = getattr(request.scope.get("route"), "path", "other")
        answers.labels(route, response.status_code).inc()
        durations.labels(route).observe(time.perf_counter() - start)
        return response

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return _error(refusal.status, refusal.message, refusal.headers)

    @app.exception_handler(HTTPException)
    async def refuse_route(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)

    async def read(request: Request) -> dict[str, Any]:
        """Returns the fields of a request that may be served."""
        rates.take(request.client.host if request.client else "")
        fields = await _read_fields(request, limits)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        _check_key(fields.get("api_key") or bearer, server.keys)
        return fields

    async def run(function: Callable[[], Any], size: int) -> Any:
        """Returns what a function returns that waits for the worker."""
        nonlocal accepted
        if accepted >= limits.requests:
            raise Refusal(503, f"expected at most {limits.requests} requests at a time; try again", 1)
        accepted += 1
        active.inc()
        characters.inc(size)
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, function)
        except TimeoutError:
            raise Refusal(503, f"expected an answer within {limits.seconds:g} s; send less text", 1) from None
        finally:
            accepted -= 1
            active.dec()

    @app.post("/translate")
    async def translate(request: Request) -> Any:
        fields = await read(request)
        texts = _texts(fields, "q", limits)
        source, target = (_string(fields, name) for name in ("source", "target"))
        kind = _choice(fields, "format", ("text", "html"))
        count = _number(fields, "alternatives", 0, limits.beams - 1)
        detected = await asyncio.to_thread(lambda: [_detect(text)[0] for text in texts]) if source == "auto" else []
        pairs = [
            _pair(_source(found["language"], target, server.models), target, server.models) for found in detected
        ] or [_pair(source, target, server.models)] * len(texts)

        def work() -> list[list[str]]:
            deadline = time.monotonic() + limits.seconds
            function = translate_html if kind == "html" else translate_text
            outputs = []
            for text, pair in zip(texts, pairs, strict=True):
                translator = QueuedTranslator(worker, pair, {"num_return_sequences": 1 + count}, deadline)
                outputs.append(_ranked(function, translator, text, pair[0], count))
            return outputs

        outputs = await run(work, sum(map(len, texts)))
        answer: dict[str, Any] = {"translatedText": [output[0] for output in outputs]}
        if detected:
            answer["detectedLanguage"] = detected
        if count:
            answer["alternatives"] = [output[1:] for output in outputs]
        return answer if isinstance(fields["q"], list) else {name: values[0] for name, values in answer.items()}

    @app.post("/")
    @app.post("/models/{name}")
    async def infer(request: Request, name: str | None = None) -> Any:
        fields = await read(request)
        texts = _texts(fields, "inputs", limits)
        settings = _parameters(fields.get("parameters"), limits)
        pair = next(iter(server.models))
        if name is not None:
            named = PAIR.fullmatch(name)
            if named is None or named.groups() not in server.models:
                raise Refusal(404, f"no such model; there are {_names(server.models)}")
            pair = named[1], named[2]

        def work() -> list[dict[str, str]]:
            deadline = time.monotonic() + limits.seconds
            translator = QueuedTranslator(worker, pair, {"num_return_sequences": 1} | settings, deadline)
            return [{"translation_text": _ranked(translate_text, translator, text, pair[0], 0)[0]} for text in texts]

        return await run(work, sum(map(len, texts)))

    @app.get("/languages")
    async def languages() -> Any:
        codes = dict.fromkeys(source for source, _ in server.models)
        return [
            {"code": code, "name": NAMES.get(code, code), "targets": [t for s, t in server.models if s == code]}
            for code in codes
        ]

    @app.post("/detect")
    async def detect(request: Request) -> Any:
        fields = await read(request)
        (text, *others) = _texts(fields, "q", limits)
        if others:
            raise Refusal(400, f"q: expected one text, got {1 + len(others)}")
        return await asyncio.to_thread(_detect, text)

    @app.get("/health")
    async def health() -> Any:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/frontend/settings")
    async def settings() -> Any:
        first = [{"code": code, "name": NAMES.get(code, code)} for code in next(iter(server.models))]
        return {
            "apiKeys": bool(server.keys),
            "keyRequired": bool(server.keys),
            "charLimit": limits.characters,
            "frontendTimeout": 500,
            "filesTranslation": False,
            "supportedFilesFormat": [],
            "suggestions": False,
            "language": {"source": first[0], "target": first[1]},
        }

    return app


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def _ranked(function: Callable[..., str], translator: Any, text: str, language: str, count: int) -> list[str]:
    """Returns the best translation, and up to `count` others: the next best of each sentence."""
    found = {}
    for rank in range(1 + count):
        translator.rank = rank
        found[function(translator, text, language, 2**20)] = None
    return list(found)


async def _read_fields(request: Request, limits: Limits) -> dict[str, Any]:
    """Returns the fields of a body in JSON, or of a form of either kind; a field given several times is a list."""
    too_large = Refusal(413, f"expected at most {limits.bytes} bytes, got more")
    if int(request.headers.get("content-length") or 0) > limits.bytes:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.bytes:
            raise too_large
        parts.append(part)
    # where the request looks for a body that was read
    request._body = b"".join(parts)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = await request.form(max_files=0, max_fields=limits.texts + 10, max_part_size=limits.bytes)
        values = {name: form.getlist(name) for name in form}
        return {name: value if len(value) > 1 else value[0] for name, value in values.items()}
    if kind not in ("application/json", ""):
        raise Refusal(400, "expected a body in JSON, or a form")
    try:
        fields = json.loads(request._body)
    except (ValueError, RecursionError):
        raise Refusal(400, "expected a body in JSON, got something else") from None
    if not isinstance(fields, dict):
        raise Refusal(400, f"expected an object of JSON, got {type(fields).__name__}")
    return fields


def _check_key(key: Any, keys: frozenset[str]) -> None:
    if not keys:
        return
    given = key.encode("utf-8", "replace") if isinstance(key, str) else b""
    # each is compared, so that the time says nothing
    if not sum(hmac.compare_digest(given, known.encode()) for known in keys):
        raise Refusal(403, "expected a valid api_key, got " + ("another" if given else "none"))


def _texts(fields: Mapping[str, Any], name: str, limits: Limits) -> list[str]:
    value = fields.get(name)
    texts: list[Any] = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, f"{name}: expected a text or a list of texts")
    if len(texts) > limits.texts:
        raise Refusal(413, f"{name}: expected at most {limits.texts} texts, got {len(texts)}")
    if (size := sum(map(len, texts))) > limits.characters:
        raise Refusal(413, f"{name}: expected at most {limits.characters} characters, got {size}")
    return texts


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(400, f"{name}: expected the code of a language")
    return value


def _choice(fields: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    value = fields.get(name) or choices[0]
    if value not in choices:
        raise Refusal(400, f"{name}: expected {' or '.join(choices)}")
    return value


def _number(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name, least)
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refusal(400, f"{name}: expected a number from {least} to {most}")
    return value


def _parameters(parameters: Any, limits: Limits) -> dict[str, int]:
    if parameters is None:
        return {}
    if not isinstance(parameters, dict) or parameters.keys() - PARAMETERS:
        raise Refusal(400, f"parameters: expected an object with {', '.join(sorted(PARAMETERS))}")
    most = {"num_beams": limits.beams, "max_length": 1_000, "max_new_tokens": 1_000}
    return {name: _number(parameters, name, 1 if name != "max_length" else 2, most[name]) for name in parameters}


def _pair(source: str, target: str, models: Mapping[Pair, str]) -> Pair:
    if (source, target) not in models:
        raise Refusal(400, f"source and target: expected one of {_names(models)}")
    return source, target


def _source(found: str, target: str, models: Mapping[Pair, str]) -> str:
    """Returns a language that was detected, or if nothing translates it, the one that is translated."""
    sources = [source for source, other in models if other == target]
    return found if found in sources or len(sources) != 1 else sources[0]


def _names(models: Mapping[Pair, str]) -> str:
    return ", ".join(map("-".join, models))


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _detect(text: str) -> list[dict[str, Any]]:
    """Returns the likely languages of a text, the likeliest first, with percents."""
    ranked = [(language, round(100 * float(share), 1)) for language, share in _identifier().rank(text)[:5]]
    likely = [{"confidence": share, "language": language} for language, share in ranked if share >= 1]
    return likely or [{"confidence": ranked[0][1], "language": ranked[0][0]}]


def find_models(names: Sequence[str]) -> dict[Pair, str]:
    """Returns the models by their languages.

    Args:
        names (`Sequence[str]`): `de-en` or `en-de`, which come with the package; a checkpoint or an exported folder
            that names its languages in its configuration's `task_specific_params` (translation_de_to_en) or at the end
            of its own name (tatoeba-de-en); or `de-en=` and one that does not.

    Raises:
        ValueError: if the languages of one are not known, or are those of another.
    """
    models: dict[Pair, str] = {}
    for name in names:
        pair, folder = _named_pair(name)
        if pair in models:
            raise ValueError(f"--model {name}: expected one model for {'-'.join(pair)}, got {models[pair]} before it")
        models[pair] = folder
    return models


def _named_pair(name: str) -> tuple[Pair, str]:
    before, equals, folder = name.partition("=")
    if equals and (given := PAIR.fullmatch(before)):
        return (given[1], given[2]), folder
    if (given := PAIR.fullmatch(name)) and (given[1], given[2]) in BUNDLED and not Path(name).is_dir():
        return (given[1], given[2]), BUNDLED[given[1], given[2]]
    file = Path(name, "config.json")
    settings = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    tasks = [re.fullmatch("translation_(.+?)_to_(.+)", task) for task in settings.get("task_specific_params") or ()]
    found = [*filter(None, tasks), *filter(None, [re.search(f"(?:^|[-_/]){PAIR.pattern}$", name.rstrip("/"))])]
    if not found:
        raise ValueError(f"--model {name}: its languages are not known; write them before it: de-en={name}")
    return (found[0][1], found[0][2]), name


def load_translator(name: str, runtime: str = "torch", int8: bool = False) -> Any:
    """Returns the translator of a checkpoint, or with the runtime "onnx" that of an exported folder."""
    if runtime == "onnx":
        from hf_rnn_attn_onnx import OnnxTranslator

        return OnnxTranslator(name, threads=1)
    from .inference import quantize
    from .inference.loading import load_model
    from .model.pipeline_rnn_attn import translation_pipeline

    model, tokenizer = load_model(name, **({"dtype": "float32"} if int8 else {}))
    translator = translation_pipeline(model=model, tokenizer=tokenizer, **({"device": "cpu"} if int8 else {}))
    if int8:
        quantize(translator.model)
    return translator


def _check_model(name: str, runtime: str) -> None:
    """Raises an OSError for a model that is not there; it is loaded when it is used first."""
    if runtime == "torch":
        from .inference.loading import find_model

        find_model(name)
    elif not Path(name, "encoder.onnx").is_file():
        raise FileNotFoundError(f"{name}: no exported model; write one with `hf-rnn-attn export CHECKPOINT {name}`")


def read_keys(file: str | None, variable: str | None) -> frozenset[str]:
    """Returns the API keys of a file, one a line, and of the value of an environment variable, separated by commas.

    Raises:
        ValueError: if there is a file without a key.
    """
    lines = [] if file is None else Path(file).read_text("utf-8").splitlines()
    keys = {key.strip() for key in lines} - {""}
    if file is not None and not keys:
        raise ValueError(f"{file}: expected API keys, one a line, got none")
    return frozenset(keys | ({key.strip() for key in (variable or "").split(",")} - {""}))


def serve(arguments: argparse.Namespace) -> None:
    """Serves until a signal asks it to stop; what was accepted before is answered.

    Args:
        arguments (`argparse.Namespace`): of the command line. `HF_RNN_ATTN_API_KEYS` in the environment may hold API
            keys.
    """
    models = find_models(arguments.models or ["de-en", "en-de"])
    if arguments.runtime == "onnx" and (arguments.int8 or set(models.values()) & set(BUNDLED.values())):
        raise ValueError("--runtime onnx: expected folders of `hf-rnn-attn export`, with or without its --int8")
    for folder in models.values():
        _check_model(folder, arguments.runtime)
    limits = Limits(**{name: getattr(arguments, name) for name in Limits.__dataclass_fields__})
    load = functools.partial(load_translator, runtime=arguments.runtime, int8=arguments.int8)
    server = Server(models, load, limits, read_keys(arguments.api_keys, os.environ.get("HF_RNN_ATTN_API_KEYS")))
    if arguments.host not in ("127.0.0.1", "localhost", "::1") and not server.keys:
        logger.warning("%s can be reached by others, and no API key is asked for; see --api-keys", arguments.host)
    config = uvicorn.Config(
        create_app(server),
        arguments.host,
        arguments.port,
        log_level="info" if arguments.verbose else "warning",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=int(limits.seconds) + 5,
        server_header=False,
    )
    print(f"serving {_names(models)} on http://{arguments.host}:{arguments.port}", flush=True)
    # uvicorn raises a signal again when it has stopped
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
