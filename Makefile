# Needs only python3 (>= 3.11), make and git. Each target does its own set-up.
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/quickstart.py
WORKDIR ?= runs/quickstart

# The first interpreter that is new enough; `make install PYTHON=/path` overrides.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$p; break; fi; done)

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-thorough test-slow test-all coverage lint bench

help:
	@echo 'make install     create .venv and install the package into it'
	@echo 'make quickstart  train a small network, print its table, write a report'
	@echo 'make test        run the tests (those marked thorough or slow left out)'
	@echo 'make test-all    run all tests, those marked thorough or slow as well'
	@echo 'make coverage    run the tests; print which share of fluoro_jax they execute'
	@echo 'make lint        ruff and pyright'
	@echo 'make bench       time the generator against the same net in plain linen'

install: $(VENV)/.installed

# Without --no-compile pip would write the bytecode of 15,000 files of which a run reads
# a tenth. The stamp is written last, so an interrupted installation starts again; it
# holds the seconds that it took.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
$(VENV)/.installed: pyproject.toml
	@if ! '$(PYTHON)' -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then \
		echo 'error:  no Python 3.11 or newer ($(or $(PYTHON),python3): '"$$($(or $(PYTHON),python3) --version 2>&1)"')' >&2; \
		echo 'needed: Python >= 3.11' >&2; \
		echo 'why:    JAX and Flax of the versions used here need it' >&2; \
		echo 'fix:    install one, then: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11' >&2; \
		exit 2; fi
	@date +%s > $(VENV).begun
	@if ! '$(PYTHON)' -m venv $(VENV); then \
		echo 'error:  $(PYTHON) could not create $(VENV)' >&2; \
		echo 'needed: the venv and ensurepip modules of the standard library' >&2; \
		echo 'why:    the package is installed into a folder of its own' >&2; \
		echo 'fix:    on Debian or Ubuntu: apt-get install python3-venv' >&2; \
		exit 2; fi
	$(PIP_INSTALL) -e '.$(EXTRAS)'
	@echo "$$(( $$(date +%s) - $$(cat $(VENV).begun) ))" > $@; rm $(VENV).begun

# From nothing, in one go: a second call of pip costs a quarter of a minute.
$(VENV)/.for-tests: pyproject.toml
	@test ! -e $(VENV)/.installed || $(PIP_INSTALL) -e '.[test]'
	@$(MAKE) --no-print-directory $(VENV)/.installed EXTRAS='[test]'
	@touch $@

quickstart: install
	$(BIN)/python -m launch.reproduce --config=$(CONFIG) --workdir=$(WORKDIR)
	@echo "installation, once: $$(cat $(VENV)/.installed) s"

# A module stays on one worker, so that its fixtures are made once.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadscope --durations=10

test: $(VENV)/.for-tests
	$(PYTEST) -m "not slow and not thorough"

test-thorough: $(VENV)/.for-tests
	$(PYTEST) -m "thorough and not slow"

test-slow: $(VENV)/.for-tests
	$(PYTEST) -m slow

test-all: test test-thorough test-slow

coverage: $(VENV)/.for-tests
	$(PYTEST) -m "not slow" --cov=fluoro_jax --cov-report=term:skip-covered

$(VENV)/.linters: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

lint: $(VENV)/.linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: install
	$(BIN)/python -m launch.benchmark --what=generator --preset=peer --peers=linen
