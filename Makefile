# `make help` lists what there is.  Scripts are called through the interpreter, never through the
# console scripts of the environment, so that a checkout may be moved.

VENV := .venv
PY := $(VENV)/bin/python
SETUP = "$$(scripts/python.sh)" scripts/setup.py
PYTEST = $(PY) -m pytest
SOURCES = src tests scripts examples benchmarks drop-in

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup servers demo test suite format format-check lint type layers unit contract integration \
	golden typing calls interop drop-in storm bench docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup:  ## Make or update the development environment in .venv (PYTHON=... chooses another Python)
	@$(SETUP) dev

demo:  ## Start a worker on the embedded default and take a tour; needs nothing but Python
	@$(SETUP) demo
	@$(PY) scripts/demo.py

test: format-check lint type layers suite drop-in interop  ## All checks and all tests, as in CI

servers: setup
	@$(PY) scripts/servers.py

suite: servers
	$(PYTEST) -n auto -m "not storm" --ignore=tests/interop tests

format: setup  ## Format the code and sort the imports
	@$(PY) -m ruff check --select I --fix --quiet $(SOURCES)
	$(PY) -m ruff format $(SOURCES)

format-check: setup
	$(PY) -m ruff format --check $(SOURCES)

lint: setup  ## Check the style
	$(PY) -m ruff check $(SOURCES)

type: setup  ## Check the types: mypy strict (what users see: make typing)
	$(PY) -m mypy
	$(PY) -m mypy --strict scripts

# Its cache keeps what an import meant when the imported module did not exist yet.
layers: setup  ## Check who may import whom
	@$(PY) -c 'from importlinter.cli import lint_imports_command as run; run(["--no-cache"])'

unit: setup  ## Unit tests: no sockets, no servers
	$(PYTEST) -n auto tests/unit

contract: servers  ## Every broker and every store against one contract
	$(PYTEST) -n auto tests/contract

integration: servers  ## Real workers through the command line
	$(PYTEST) -n auto -m "not storm" tests/integration

golden: setup  ## The wire format, byte for byte
	$(PYTEST) tests/golden

typing: setup  ## What mypy and pyright infer for users
	$(PYTEST) tests/typing

calls: servers  ## Count the function calls from publish to acknowledgement
	$(PYTEST) tests/calls

interop: servers  ## The real Celery on the other side, in .venv-interop
	@$(SETUP) interop
	.venv-interop/bin/python -m pytest -n auto tests/interop

drop-in: servers  ## The drop-in distribution, in .venv-drop-in
	@$(SETUP) drop-in
	.venv-drop-in/bin/python -m pytest -n auto \
		-c drop-in/pyproject.toml drop-in/tests

storm: servers  ## Long fault storms
	$(PYTEST) -m storm tests

bench:  ## Measure celeriac beside the real Celery, on the Redis of this host; asserts nothing
	@$(SETUP) interop
	.venv-interop/bin/python -m benchmarks

docs: setup  ## Write the generated pages of docs/
	$(PY) scripts/reference.py

clean:  ## Remove environments and caches
	rm -rf .venv .venv-drop-in .venv-interop dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
