# Every target makes its own .venv first; a second run finds it ready.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

# What failed half way, as a venv without pip, must not count as made.
.DELETE_ON_ERROR:
.PHONY: demo test test-engine soak check bench clean

demo: $(VENV)/.installed
	$(BIN)/kato demo

test: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_ARGS)

test-engine: $(VENV)/.dev
	tests/engine/up
	$(BIN)/pytest --require docker,podman -m "docker or podman" $(PYTEST_ARGS); \
	code=$$?; tests/engine/down; exit $$code

soak: $(VENV)/.dev
	$(BIN)/pytest --soak -m soak --timeout 3600 $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python tests/bench $(BENCH)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

$(VENV)/bin/python:
	@echo "making $(VENV), once; it may take a minute" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/.installed
