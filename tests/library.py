# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The library's own model tests, which are not part of its wheel, made importable.

The source distribution of transformers, of the version that is installed, is fetched from the package index once and
kept in an ignored folder. It lacks some files that the tests import; modules that do nothing stand in for those.
"""

import importlib
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import transformers
from filelock import FileLock


CACHE = Path(__file__).parent.parent / ".cache"
PACKAGE = "library_tests"


def import_library_tests(name: str) -> types.ModuleType:
    """Returns the module `name` of the library's folder of tests.

    Raises:
        FileNotFoundError: if the source distribution is neither in the cache nor to be had.
    """
    if PACKAGE not in sys.modules:
        package = _module(PACKAGE)
        CACHE.mkdir(exist_ok=True)
        # several processes may want them at once
        with FileLock(CACHE / "lock"):
            package.__path__ = [str(_fetch())]
        # what the source distribution does not ship
        _module(f"{PACKAGE}.exporters")
        _module(f"{PACKAGE}.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
        _module(f"{PACKAGE}.generation")
        _module(f"{PACKAGE}.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    return importlib.import_module(f"{PACKAGE}.{name}")


def _module(name: str, **content) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__path__ = []
    vars(module).update(content)
    sys.modules[name] = module
    return module


def _fetch() -> Path:
    root = f"transformers-{transformers.__version__}"
    folder = CACHE / root / "tests"
    if not folder.is_dir():
        archive = CACHE / f"{root}.tar.gz"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        command += ["--dest", str(CACHE), f"transformers=={transformers.__version__}"]
        outcome = subprocess.run(command, capture_output=True, text=True)
        if not archive.is_file():
            raise FileNotFoundError(f"expected {archive.name} from the package index; pip said: {outcome.stderr}")
        with tarfile.open(archive) as files:
            members = [member for member in files.getmembers() if member.name.startswith(f"{root}/tests/")]
            files.extractall(CACHE, members=members, filter="data")
    return folder
