# Each target makes .venv and installs what it needs; a second call does no work twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
DOCS_INSTALLED := $(VENV)/.installed-docs
# A module goes to one worker, so that its fixtures are made once.
WORKERS := -n 2 --dist=loadfile
PYTEST_ARGS ?=
BENCHMARK_ARGS ?=

.PHONY: train test test-all lint benchmark docs

train: $(INSTALLED)
	$(BIN)/python bin/train.py --flagfile=configs/pinwheel.flags

test: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) -m "not slow" $(PYTEST_ARGS)

test-all: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(BENCH_INSTALLED)
	$(BIN)/python bin/benchmark.py $(BENCHMARK_ARGS)

docs: $(DOCS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(INSTALLED): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@
