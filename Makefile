# Each target makes .venv and installs what it needs; a second call does no work twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
PYTEST_ARGS ?=
BENCHMARK_ARGS ?=

.PHONY: train test lint benchmark

train: $(INSTALLED)
	$(BIN)/python bin/train.py --flagfile=configs/pinwheel.flags

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m "not slow" $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(BENCH_INSTALLED)
	$(BIN)/python bin/benchmark.py $(BENCHMARK_ARGS)

$(INSTALLED): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@
