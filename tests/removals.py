# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin (`-p removals`) that fails a run in which a library announced that something we use will be removed.

Hears warnings of Python and the log of transformers; lists each announcement once, by the version that removes it.
"""

import logging
import re
import warnings

import pytest


ANNOUNCES = re.compile(r"deprecated|will be removed", re.IGNORECASE)
VERSION = re.compile(r"\bv(\d+(?:\.\d+)*)\b|\b(\d+(?:\.\d+)+)\b")
# Announcements that change nothing here, by their beginnings, with the reason
KNOWN = {
    "`isinstance(treespec, LeafSpec)` is deprecated": "torch's exporter to ONNX, of itself",
    "`torch.jit.script_method` is deprecated": "torch's exporter to ONNX, of itself",
    "Passing `generation_config` together with": "the library's assisted decoding, of its own call",
    "`past_key_values`/`cache_params` are deprecated": "the test that outputs can be read under the former name",
}


class RemovalLog(logging.Handler):
    """Turns what transformers logs of a removal into a warning, which pytest collects from its workers too."""

    def emit(self, record: logging.LogRecord):
        if ANNOUNCES.search(message := record.getMessage()):
            # not an error, as other warnings are: it would stop the test where the library goes on
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(message, FutureWarning, stacklevel=2)


def pytest_configure(config):
    logging.getLogger("transformers").addHandler(RemovalLog(logging.WARNING))
    config.pluginmanager.register(Removals(), "collected-removals")


class Removals:
    """Collects the announcements of a run and fails it at its end if there were any."""

    def __init__(self):
        self.found = {}  # message to the first test that met it

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message, nodeid):
        message = " ".join(str(warning_message.message).split())
        if ANNOUNCES.search(message) and not message.startswith(tuple(KNOWN)):
            self.found.setdefault(message, nodeid)

    @pytest.hookimpl
    def pytest_sessionfinish(self, session):
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter):
        for message, nodeid in sorted(self.found.items(), key=lambda found: version_of(found[0])):
            terminalreporter.write_line(f"removal in {version_of(message)}: {message} ({nodeid})", red=True)


def version_of(message: str) -> str:
    """The version that an announcement names, the last of several: "deprecated since 5.1, removed in 6.0"."""
    versions = [named.group(1) or named.group(2) for named in VERSION.finditer(message)]
    return versions[-1] if versions else "a version that is not named"
