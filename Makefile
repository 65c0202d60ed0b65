# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types bench models clean

help:  ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.core: pyproject.toml
	@echo "setting up $(VENV) (about a minute, once) ..."
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "edgeagent needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.11 ..." % v)'
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@$(RUN)/pip install --disable-pip-version-check --progress-bar on -q -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "installing the development tools ..."
	@$(RUN)/pip install --disable-pip-version-check --progress-bar on -q -e .[dev]
	@touch $@

setup: $(VENV)/.core  ## make .venv with edgeagent in it

demo: $(VENV)/.core  ## the whole job on virtual hardware (ARGS="--fast --json")
	@$(RUN)/edgeagent demo $(ARGS)

test: $(VENV)/.dev  ## the whole test suite
	$(RUN)/pytest $(ARGS)

lint: $(VENV)/.dev  ## ruff: rules and format
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/.dev  ## mypy --strict
	$(RUN)/mypy

bench: $(VENV)/.dev  ## measure against the floors (ARGS="child replay": only those)
	@PYTHONPATH=tests $(RUN)/python -m bench $(ARGS)

clean:  ## remove what the build made
	rm -rf $(VENV) .venv-* .mypy_cache .pytest_cache .ruff_cache dist build
