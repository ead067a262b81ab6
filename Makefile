# `make demo` and `make test` set up what they need: a virtual environment with the pinned packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NEWEST := .venv-newest

# a file's tests stay together, for they share models and servers
PARALLEL := --numprocesses auto --dist loadfile

.PHONY: demo test test-lowest test-newest lint site browser picture clean

demo: $(VENV)/.installed
	$(BIN)/hf-rnn-attn demo --output runs/demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered

# the same packages, but for transformers, which lies in a folder of its own and comes first; the site, the course, the
# browser and the types are those of the pinned packages
PINNED_ONLY := notebooks site examples browser typing cluster server onnx formats inspection_tools
test-lowest: $(VENV)/lowest/.installed
	PYTHONPATH=$(VENV)/lowest $(BIN)/python -m pytest $(PARALLEL) $(PINNED_ONLY:%=--ignore tests/test_%.py)

# what the package index has today, without the pins and the upper bounds; installed afresh each time
test-newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet $(shell grep ^torch== constraints.txt)
	$(NEWEST)/bin/python -m pip install --quiet --editable ".[dev]"
	$(NEWEST)/bin/python -m pip install --quiet --upgrade transformers accelerate datasets tokenizers peft
	PYTHONPATH=tests $(NEWEST)/bin/python -m pytest $(PARALLEL) -p removals

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# for tests/test_browser.py, where root may install it; elsewhere those tests skip themselves
browser:
	@command -v chromium || command -v google-chrome || [ "$$(id -u)" != 0 ] || ! command -v apt-get || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-core; } || \
		echo "no browser could be installed; the tests in it skip themselves"

# of the attention page, for the documentation
picture: $(VENV)/.installed
	$(BIN)/python scripts/viewer_picture.py

site: $(VENV)/.installed
	$(BIN)/python -m zensical build --strict

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/lowest/.installed: $(VENV)/.installed requirements-lowest.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/lowest --requirement requirements-lowest.txt
	touch $@

clean:
	rm -rf $(VENV) $(NEWEST) .cache build site dist *.egg-info
