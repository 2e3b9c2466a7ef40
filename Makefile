# Everything runs in .venv. The first target that needs it creates it; later runs start at once.
# Needs only python3 (3.11 or newer) and make.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test tpc walk chaos simulate lint docs wheel format setup setup-browser bench tpch tpcds lock clean \
	build build-debug run-master run-worker run-client-submit run-client-join run-client-status \
	tour-picture create-test-data create-large-data create-1m-data create-join-data \
	polars-tests test-polars-next test-metrics test-fault-tolerance test-cache test-load-balancing \
	test-parallel-tasks test-round-robin \
	metrics-system metrics-jobs metrics-failures metrics-job \
	docker-build docker-up docker-demo docker-test docker-down docker-logs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL_SELF = $(PIP) install --no-deps --no-build-isolation --editable .

LINES ?= 1000000
# Tests wait for processes a third of the time: three at a time keep two cores busy.
TEST_JOBS ?= 3
JOBS ?= 100
HISTORIES ?= 100000
SCALE ?= 1
RUNS ?= 3

# Polars' own tests need more libraries than Mini-Spark: another environment over .venv has them.
POLARS_VENV := target/polars-tests
# The newest Polars lies over the one of .venv.
POLARS_NEXT := target/polars-next
POLARS ?= polars
# Lets an environment see the packages of .venv below its own.
define below
@$(1)/bin/python -c 'import pathlib, site, sys; \
	pathlib.Path(site.getsitepackages()[0], "below.pth").write_text("\n".join(sys.argv[1:]))' \
	"$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')" '$(CURDIR)/src'
endef
MODE ?= default
SHARD ?= 0/1

RELEASE := target/release
DEBUG := target/debug
CLIENT := $(RELEASE)/client
INPUT ?= data/test.csv

help: ## List the targets
	@awk -F':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start here

demo: $(VENV)/.runtime ## Word count over 1M lines, embedded and on a real local cluster (LINES=N)
	@$(BIN)/minispark demo --lines $(LINES)

##@ Build

# The launchers keep state in /tmp/minispark/state unless MINISPARK_STATE_DIR says otherwise. It is
# made 0700, and refused if it is a symbolic link or belongs to another user.
build: $(RELEASE)/master $(RELEASE)/worker $(CLIENT) ## Make .venv and target/release/{master,worker,client}
	@echo "built: $^"

build-debug: $(DEBUG)/master $(DEBUG)/worker $(DEBUG)/client ## The same in target/debug, with tracebacks in errors
	@echo "built: $^"

target/%: scripts/launcher.sh | $(VENV)/.runtime
	@mkdir -p $(@D)
	@sed 's|@BIN@|$(abspath $(BIN))|' $< > $@
	@chmod +x $@

clean: ## Remove .venv, launchers, caches and build output; data/ stays
	rm -rf $(VENV) target build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

##@ A cluster on this machine, each in a terminal of its own

run-master: $(RELEASE)/master ## Start a master on port 8080
	@exec $(RELEASE)/master

run-worker: $(RELEASE)/worker ## Start a worker (WORKER_PORT=9000 WORKER_THREADS=N CACHE_MAX_MB=N)
	@exec $(RELEASE)/worker

run-client-submit: $(CLIENT) | data/test.csv ## Submit a word count (INPUT=data/test.csv PARALLELISM=N)
	@exec $(CLIENT) submit --input '$(INPUT)' $(if $(PARALLELISM),--parallelism $(PARALLELISM))

run-client-join: $(CLIENT) | data/sales.csv ## Submit a join of data/sales.csv and data/catalog.csv
	@exec $(CLIENT) submit examples/join.json $(if $(PARALLELISM),--parallelism $(PARALLELISM))

run-client-status: $(CLIENT) ## Show the state of a job (ID=...)
	@$(need-id)
	@exec $(CLIENT) status '$(ID)'

need-id = [ -n '$(ID)' ] || { echo "Which job? make $@ ID=job-..." >&2; exit 2; }

##@ Data sets

create-test-data: $(CLIENT) ## data/test.csv, 10 lines
	@$(CLIENT) data test

create-large-data: $(CLIENT) ## data/large.csv, 10,000 lines
	@$(CLIENT) data large

create-1m-data: $(CLIENT) ## data/benchmark_1m.csv, 1,000,000 lines
	@$(CLIENT) data 1m

create-join-data: $(CLIENT) ## data/sales.csv and data/catalog.csv
	@$(CLIENT) data join

data/test.csv: | $(CLIENT)
	@$(CLIENT) data test

data/sales.csv: | $(CLIENT)
	@$(CLIENT) data join

##@ Tests

test: $(VENV)/.development ## Run the test suite (TEST_JOBS=N processes)
	@$(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal -m "not walk and not tpc"

tpc: $(VENV)/.development ## Compare the queries of TPC-H and TPC-DS with plain Polars, at scale 0.01
	@$(BIN)/python -m pytest -m tpc tests/tpc

walk: $(VENV)/.development ## Run the commands of README and docs on a fresh copy (minutes)
	@$(BIN)/python -m pytest -m walk -v tests/walk

polars-tests: $(POLARS_VENV)/.made ## Run Polars' tests on the engine (POLARS_TESTS=.../py-polars/tests MODE=small SHARD=0/4)
	@[ -n '$(POLARS_TESTS)' ] || { echo "Which copy? make $@ POLARS_TESTS=/path/to/py-polars/tests" >&2; exit 2; }
	@PYTHONPATH='$(CURDIR)/tests' $(POLARS_VENV)/bin/python -m polars_suite '$(POLARS_TESTS)' \
		--mode '$(MODE)' --shard '$(SHARD)' $(SUITE_OPTIONS)

# Made again each time: there may be a newer release. What .venv has is not seen by pip, which would
# keep the Polars that is there.
test-polars-next: $(VENV)/.development ## Run the contract tests with the newest Polars, and see what changed (POLARS=polars==2.2.0rc1)
	@$(BIN)/python -m venv --clear $(POLARS_NEXT)
	@$(POLARS_NEXT)/bin/python -m pip --disable-pip-version-check --quiet install '$(POLARS)'
	$(call below,$(POLARS_NEXT))
	@$(POLARS_NEXT)/bin/python -c 'import polars; print("Polars", polars.__version__)'
	@$(POLARS_NEXT)/bin/python -m pytest -m polars_contract tests/engines tests/plan

test-metrics: $(CLIENT) ## Read all metrics without a token, with curl
	@./scripts/test_metrics.sh

test-fault-tolerance: $(CLIENT) ## Kill a worker and a task's process during a job
	@./scripts/test_fault_tolerance.sh

test-cache: $(CLIENT) ## See rows cached for the next job, and spilled
	@./scripts/test_cache.sh

test-load-balancing: $(CLIENT) ## See tasks distributed by load
	@./scripts/test_load_balancing.sh

test-parallel-tasks: $(CLIENT) ## See a worker run several tasks at a time
	@./scripts/test_parallel_tasks.sh

test-round-robin: $(CLIENT) ## See workers get tasks in turn
	@./scripts/test_round_robin.sh

chaos: $(VENV)/.development ## Run jobs while faults strike their cluster (JOBS=100 SEED=N)
	@$(BIN)/python -m tests.chaos --jobs $(JOBS) $(if $(SEED),--seed $(SEED))

simulate: $(VENV)/.development ## Simulate clusters with faults (HISTORIES=100000 SEED=0)
	@$(BIN)/minispark simulate --histories $(HISTORIES) --seed $(or $(SEED),0) --digest

##@ Metrics of a running master (MASTER_URL=URL)

metrics-system: $(CLIENT) ## The cluster and its workers
	@exec $(CLIENT) metrics system

metrics-jobs: $(CLIENT) ## All jobs
	@exec $(CLIENT) metrics jobs

metrics-failures: $(CLIENT) ## Failures by kind, worker and job
	@exec $(CLIENT) metrics failures

metrics-job: $(CLIENT) ## One job (ID=...)
	@$(need-id)
	@exec $(CLIENT) metrics job '$(ID)'

##@ Docker

docker-build: ## Build the image (BASE_IMAGE=python:3.11-slim)
	@./scripts/docker.sh build

docker-up: ## Start a master and two workers on 127.0.0.1
	@./scripts/docker.sh up

docker-demo: ## Count the words of 1,000,000 lines there, with live metrics
	@./scripts/docker-demo.sh

docker-test: ## Kill one worker's container and cut another off during a job
	@./scripts/docker-fault-test.sh

docker-down: ## Stop and remove the containers and their data
	@./scripts/docker.sh down

docker-logs: ## Follow their logs
	@./scripts/docker.sh logs

##@ Development

lint: $(VENV)/.development ## Check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck -x scripts/*.sh .ci/run; \
		else echo "shellcheck is not installed: the scripts are not checked"; fi

docs: $(VENV)/.development ## Build the site into target/site
	@$(BIN)/python scripts/build_docs.py

tour-picture: $(VENV)/.development ## Make docs/tour.jpg for the README from a real run (needs Chromium)
	@$(BIN)/python scripts/tour_picture.py

wheel: $(VENV)/.development ## Build a wheel into dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

format: $(VENV)/.development ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

setup-browser: ## Install Chromium for the tests of the web pages (Debian, Ubuntu)
	@./scripts/install-browser.sh

setup: $(VENV)/.development ## Make .venv with everything for development

bench: $(VENV)/.runtime ## Warm cluster against one warm Polars process
	@$(BIN)/python bench/warm.py

tpch: $(VENV)/.development ## TPC-H on plain Polars, embedded and a cluster, side by side (SCALE=1 RUNS=3)
	@$(BIN)/python -m bench.tpc.run tpch --scale $(SCALE) --runs $(RUNS)

tpcds: $(VENV)/.development ## Queries of TPC-DS, likewise
	@$(BIN)/python -m bench.tpc.run tpcds --scale $(SCALE) --runs $(RUNS)

lock: ## Resolve the lock files again (needs uv)
	./scripts/lock.sh

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

$(POLARS_VENV)/.made: tests/polars_suite/requirements.txt $(VENV)/.development
	@echo "installing the libraries of Polars' tests into $(POLARS_VENV)"
	@$(BIN)/python -m venv $(POLARS_VENV)
	$(call below,$(POLARS_VENV))
	@$(POLARS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

$(VENV)/.development: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing Mini-Spark and its development tools into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(INSTALL_SELF)
	@touch $@ $(VENV)/.runtime
