# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Sentences of many requests, translated in batches by one thread.

Knows nothing of the network, and of a translator how it is called.
"""

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from .words import word_attention


Pair = tuple[str, str]


@dataclass(eq=False)
class Job:
    """Something for the worker: a sentence to translate, or a call with the model."""

    pair: Pair
    settings: tuple[tuple[str, Any], ...]
    sentence: str | None
    call: Callable[[Any], Any] | None = None
    result: Future[Any] = field(default_factory=Future)

    @property
    def group(self) -> Any:
        """What sentences of one batch have in common; a call is a batch by itself."""
        return (self.pair, self.settings) if self.call is None else self


class Worker(threading.Thread):
    """The one thread that uses the models: takes sentences of all requests in batches.

    Args:
        load (`Callable`): returns the translator of a pair.
        batch (`int`): most sentences of one.
        wait (`float`): seconds that a sentence waits for others to fill a batch.
        observe (`Callable`): is called with the size of each batch.
    """

    def __init__(self, load: Callable[[Pair], Any], batch: int, wait: float, observe: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self._load, self._batch, self._wait, self._observe = functools.cache(load), batch, wait, observe
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False

    def submit(self, jobs: Iterable[Job]) -> None:
        """Accepts jobs; their results are set when they are done."""
        with self._changed:
            self._jobs.extend(jobs)
            self._changed.notify_all()

    def close(self) -> None:
        """Finishes what was accepted and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join()

    def run(self) -> None:
        """Works until it is closed."""
        while batch := self._next_batch():
            batch = [job for job in batch if job.result.set_running_or_notify_cancel()]
            try:
                results = self._work(batch) if batch else []
            # a fault is the answer to these requests, and no end of the server; its log has it
            except Exception as error:
                for job in batch:
                    job.result.set_exception(error)
            else:
                for job, result in zip(batch, results, strict=True):
                    job.result.set_result(result)

    def _next_batch(self) -> list[Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            self._changed.wait_for(lambda: len(self._jobs) >= self._batch or self._closing, self._wait)
            if not self._jobs:
                return []
            group = self._jobs[0].group
            batch = [job for job in self._jobs if job.group == group][: self._batch]
            taken = set(map(id, batch))
            self._jobs = deque(job for job in self._jobs if id(job) not in taken)
            return batch

    def _work(self, batch: list[Job]) -> list[Any]:
        first = batch[0]
        translator = self._load(first.pair)
        if first.call is not None:
            return [first.call(translator)]
        self._observe(len(batch))
        settings = dict(first.settings)
        count = settings["num_return_sequences"]
        if count > 1:
            settings["num_beams"] = max(count, _default_beams(translator))
        (records,) = translator([[job.sentence for job in batch]], **settings)
        texts = [record["translation_text"] for record in records]
        return [texts[start : start + count] for start in range(0, len(texts), count)]


def _default_beams(translator: Any) -> int:
    generation = getattr(translator.model, "generation_config", None)
    return translator.search.num_beams if generation is None else generation.num_beams or 1


class QueuedTranslator:
    """What [`translate_text`] and [`translate_html`] take for a translator; hands sentences to the worker.

    Args:
        worker ([`Worker`]): it.
        pair: of languages.
        settings (`Mapping`): of the search; `num_return_sequences` texts are found for each sentence.
        deadline (`float`): of `time.monotonic()`.

    Attributes:
        rank (`int`): which of the texts to give, 0 for the best.
    """

    def __init__(self, worker: Worker, pair: Pair, settings: Mapping[str, Any], deadline: float) -> None:
        self.task = f"translation_{pair[0]}_to_{pair[1]}"
        self.rank = 0
        self._worker, self._pair, self._settings = worker, pair, tuple(sorted(settings.items()))
        self._deadline = deadline
        self._found: dict[str, list[str]] = {}

    def tokenizer(self, texts: Sequence[str]) -> dict[str, Any]:
        """Returns the texts as they are: what asks for tokens wants their number alone, and the worker's tokenizer is
        for one thread.
        """
        return {"input_ids": texts}

    def __call__(self, batches: Sequence[Sequence[str]], **_: Any) -> list[list[dict[str, str]]]:
        """Returns the translations of rank `rank`, of each sentence of the one batch."""
        (sentences,) = batches
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._found]
        jobs = [Job(self._pair, self._settings, sentence) for sentence in new]
        self._found.update(zip(new, self._results(jobs), strict=True))
        return [[{"translation_text": self._found[sentence][self.rank]} for sentence in sentences]]

    def attend_words(self, sources: Sequence[str], targets: Sequence[str]) -> Any:
        """Returns the attention between the words of sentences and their translations."""
        job = Job(self._pair, (), None, functools.partial(_attend_words, sources=sources, targets=targets))
        return self._results([job])[0]

    def _results(self, jobs: list[Job]) -> list[Any]:
        self._worker.submit(jobs)
        try:
            return [job.result.result(max(0.0, self._deadline - time.monotonic())) for job in jobs]
        finally:
            for job in jobs:
                job.result.cancel()


def _attend_words(translator: Any, sources: Sequence[str], targets: Sequence[str]) -> Any:
    if hasattr(translator, "attend"):
        attended = zip(translator.attend(sources, targets), sources, targets, strict=True)
        return [
            word_attention(weights, spans, source, own, target) for (weights, spans, own), source, target in attended
        ]
    from .alignment import attend_words

    return list(attend_words(translator.model, translator.tokenizer, sources, targets))
