# Everything runs in .venv, which the first target that needs it makes; a second run starts at once.
# Needs only python3 (3.11 or newer) and make.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test chaos lint format setup bench lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL_SELF = $(PIP) install --no-deps --no-build-isolation --editable .

LINES ?= 1000000
TEST_JOBS ?= 2
JOBS ?= 100

help: ## Say what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Word count over 1M lines, embedded and on a real local cluster (LINES=N)
	@$(BIN)/minispark demo --lines $(LINES)

test: $(VENV)/.development ## Run the test suite (TEST_JOBS=N processes)
	@$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadscope

chaos: $(VENV)/.development ## Run jobs while their cluster is taken apart (JOBS=100 SEED=N)
	@$(BIN)/python -m minispark.testing.chaos --jobs $(JOBS) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/.development ## Check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.development ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

setup: $(VENV)/.development ## Make .venv with everything for development

bench: $(VENV)/.runtime ## Warm cluster against one warm Polars process
	@$(BIN)/python bench/warm.py

lock: ## Resolve the lock files anew (needs uv)
	./scripts/lock.sh

clean: ## Remove .venv, caches and build output; data/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Mini-Spark needs Python 3.11 or newer; there is no '$(PYTHON)' here. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Mini-Spark needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.11" % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing Mini-Spark into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(INSTALL_SELF)
	@touch $@

$(VENV)/.development: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing Mini-Spark and its development tools into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(INSTALL_SELF)
	@touch $@ $(VENV)/.runtime
