# Everything a person or CI does here. Needs Python 3.11 to 3.13, git and make; the rest goes into .venv.

# Handed on: `make up ARGS='--apply-crds'`, `make test ARGS='tests/unit -k yaml'`, `make bench ARGS=--help`.
ARGS ?=
# Lanes of tests that need a server: `make test LANES='postgres sshd'`, or LANES=all. Without a name, none.
LANES ?=
# How many test processes share the work: more than a small machine has cores, because tests wait a lot.
JOBS ?= 3
# Least branch coverage of app, in per cent; nothing is measured without it. CI, which has every server, asks for 90.
COVERAGE ?=

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help up down status doctor test test-long lint mutate remedies bench chaos soak lock wire clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# A variable of the command line reaches the process's environment, so KUBECONFIG needs no line of its own.
up: run-packages ## run everything on this machine, with a sandbox: make up [KUBECONFIG=file] [ARGS='--apply-crds']
	@$(BIN)/reverser up $(ARGS)

down: run-packages ## stop what `make up` runs; the data stays
	@$(BIN)/reverser down $(ARGS)

status: run-packages ## show how far each destination is
	@$(BIN)/reverser status $(ARGS)

doctor: run-packages ## look at everything, and say what to do about what is wrong
	@$(BIN)/reverser doctor $(ARGS)

test: dev-packages ## run the tests that need no server; LANES=all adds those whose server is here
	@$(BIN)/python -m pytest -n $(JOBS) --lanes='$(LANES)' $(if $(COVERAGE),--cov --cov-report=term --cov-fail-under=$(COVERAGE)) $(ARGS)

test-long: dev-packages ## run what takes minutes, and 20,000 examples of each property; writes docs/reference/properties.md
	@$(BIN)/python -m pytest -n $(JOBS) -m 'long or hypothesis' --timeout=3600 --hypothesis-profile=long \
	  --properties-page=docs/reference/properties.md $(ARGS)

lint: dev-packages ## check style, types, layers and the rules of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_house.py

mutate: mutation-packages ## change the code that selects and sanitises, and see whether the tests notice; about 10 minutes
	@$(BIN)/python tools/mutation.py $(ARGS)

remedies: dev-packages ## take one remedy at a time out of the code, and see whether the tests notice; about an hour
	@$(BIN)/python tools/remedies.py $(ARGS)

bench: dev-packages ## measure; ARGS=--help lists what
	@$(BIN)/python -m bench $(ARGS)

chaos: dev-packages ## break everything under load and check: [SEEDS=17-20] [MINUTES=10] [LANE=production] [FAULTS=12]
	@$(BIN)/python -m tests.chaos $(if $(SEEDS),--seeds $(SEEDS)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(LANE),--lane $(LANE)) $(if $(FAULTS),--faults $(FAULTS)) $(ARGS)

soak: dev-packages ## steady changes and a fault each minute, and what grows meanwhile: [MINUTES=30] [LANE=production]
	@$(BIN)/python -m tests.chaos.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(LANE),--lane $(LANE)) $(ARGS)

lock: dev-packages ## pin the newest allowed dependencies, with hashes, for every supported Python
	@rm -f $(wildcard requirements/*.txt)
	@$(BIN)/uv pip compile $(LOCK) --extra build pyproject.toml -o requirements/run.txt
	@$(BIN)/uv pip compile $(LOCK) --extra build --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	@$(BIN)/uv pip compile $(LOCK) --extra build --extra dev --extra mutation -c requirements/dev.txt pyproject.toml -o requirements/mutation.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links

# Go is needed only here; the modules come by `go mod download k8s.io/api@VERSION`, and so on.
wire: ## make app/sandbox/wire.json anew from Kubernetes' Go modules: make wire VERSION=v0.36.0
	@python3 tools/wire_table.py $(or $(MODULES),$$(go env GOMODCACHE)) $(or $(VERSION),v0.36.0)

clean: ## remove what was built or installed here; reverser-data stays
	@rm -rf .venv build dist *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Which Python runs: the one that was named with PYTHON=, else the one of .venv, else the first of these that fits.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
CANDIDATES = $(or $(PYTHON),$(BIN)/python python3 python3.13 python3.12 python3.11)

# Asked each time: install.py knows in a moment whether all is there.
.PHONY: run-packages dev-packages mutation-packages
run-packages dev-packages mutation-packages: %-packages:
	@for python in $(CANDIDATES); do \
	  if $$python -c '$(SUPPORTED)' 2>/dev/null; then exec $$python requirements/install.py $*; fi; \
	done; \
	found="not on the PATH"; \
	if command -v $(or $(PYTHON),python3) >/dev/null; then found=`$(or $(PYTHON),python3) -V 2>&1`; fi; \
	echo "Reverser needs Python 3.11 to 3.13, and $(or $(PYTHON),python3) is $$found." >&2; \
	echo "Install one of these, or name one that is there: make PYTHON=/path/of/python3.12 up" >&2; \
	exit 1
