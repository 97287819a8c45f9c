# Everything a person or CI does here. Needs Python 3.11 to 3.13, git and make; the rest goes into .venv.

PYTHON ?= python3
# Handed on: `make up ARGS='--apply-crds'`, `make test ARGS='tests/unit -k yaml'`, `make bench ARGS=--help`.
ARGS ?=
# Least branch coverage of app, in per cent. CI, which has every server, asks for 90.
COVERAGE_MIN ?= 0

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help up test test-long lint bench lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# A variable of the command line reaches the process's environment, so KUBECONFIG needs no line of its own.
up: $(READY) ## run everything on this machine: make up [KUBECONFIG=file] [ARGS='--apply-crds']
	@$(BIN)/reverser up $(ARGS)

test: $(READY) ## run the tests with branch coverage; lanes whose server is missing are named at the end
	@$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=$(COVERAGE_MIN) $(ARGS)

test-long: $(READY) ## run what takes minutes, and 20,000 examples of each property
	@$(BIN)/python -m pytest -m 'long or hypothesis' --timeout=3600 --hypothesis-profile=long $(ARGS)

lint: $(READY) ## check style, types, layers and the rules of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_house.py

bench: $(READY) ## measure; ARGS=--help lists what
	@$(BIN)/python -m bench $(ARGS)

lock: $(READY) ## pin the newest allowed dependencies, with hashes, for every supported Python
	@rm -f requirements/run.txt requirements/dev.txt
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements/run.txt
	@$(BIN)/uv pip compile $(LOCK) --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links

clean: ## remove what was built or installed here; reverser-data stays
	@rm -rf .venv build dist *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

$(READY): requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11 to 3.13, or name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "Reverser needs Python 3.11 to 3.13, and $(PYTHON) is `$(PYTHON) -V 2>&1`: name another one with make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	@echo "Installing into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
