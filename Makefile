# `make demo` and `make test` set up what they need: a virtual environment with the pinned packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# a file's tests stay together, for they share models and servers
PARALLEL := --numprocesses auto --dist loadfile

# what a supported version of transformers must do: generate, translate, save and load, train
LOWEST_TESTS := $(addprefix tests/test_, generation.py beam_search_rnn_attn.py cache_rnn_attn.py modeling_rnn_attn.py \
	pipeline_rnn_attn.py plain_search_rnn_attn.py standalone.py training.py)
# a trainer as old as that cannot load the state of an optimizer in several processes on a CPU
NOT_LOWEST := tests/test_training.py::test_two_processes_share_the_batches_and_resume

.PHONY: demo test test-lowest lint clean

demo: $(VENV)/.installed
	$(BIN)/hf-rnn-attn demo --output runs/demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PARALLEL)

# the same packages, but for the few that lie in a folder of their own and come first
test-lowest: $(VENV)/lowest/.installed
	PYTHONPATH=$(VENV)/lowest $(BIN)/python -m pytest $(PARALLEL) $(LOWEST_TESTS) --deselect $(NOT_LOWEST)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/lowest/.installed: $(VENV)/.installed requirements-lowest.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/lowest --requirement requirements-lowest.txt
	touch $@

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
