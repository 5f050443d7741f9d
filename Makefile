# The commands for development. `make` without a target lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-fast test-web screenshots pictures guide check bench faults mutations audit run lock

# Tests start the program hundreds of times: without byte code each process would compile it again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
ARGS ?=
# The number of tests at a time, for two cores. They wait for most of their time, and none measures speed.
JOBS ?= 6

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# `make setup PYTHON=python3.13` names one. The lock has wheels for these.
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3
SUITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
# pyenv and uv keep Pythons that are not on PATH, or there only as a shim that refuses.
KEPT := $${PYENV_ROOT:-~/.pyenv}/versions/*/bin/ ~/.local/share/uv/python/*/bin/
# Prints the first one that suits.
FIND_PYTHON := for place in "" $(KEPT); do for name in $(or $(PYTHON),$(PYTHONS)); do \
  "$$place$$name" -c '$(SUITS)' 2> /dev/null && echo "$$place$$name" && exit; done; done
NAMED := $(or $(PYTHON),python3)
IDENTITY := import sys; print(sys.version, sys.base_prefix)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

test-web: setup ## run the tests with npm's packages and Chromium, in two minutes (needs Node 20)
	@$(BIN)/python -m tests.web $(ARGS)

screenshots: setup ## take the pictures in docs/pictures from a demo (needs Node 20 and Chromium)
	@$(BIN)/python -m tests.web.screenshots

pictures: setup ## make sheets of all mails, as mail programs show them, into pictures-out/ (needs Chromium)
	@$(BIN)/python -m tests.pictures

guide: setup ## write docs/templates.md anew, from the code
	@$(BIN)/python -m tests.guide

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
# Bounces are read where a mailbox is set: in a Procfile that is always the same, that line would end all the others.
BOUNCES := bounces: exec stockbell bounces --imap --follow
HAS_MAILBOX := [ -n "$$STOCKBELL_BOUNCE_IMAP" ] || grep -qs '^ *\(export  *\)\{0,1\}STOCKBELL_BOUNCE_IMAP *=.' .env
# honcho gives each process a PORT of its own. Ours is the one that is set, in the environment or in .env.
OWN_PORT := [ -z "$$PORT" ] && port="-u PORT" || port="PORT=$$PORT"; sed "s/^web: exec/& env $$port/"
run: setup ## migrate the database, then run listener, worker, scheduler and web
	@$(BIN)/stockbell migrate
	@{ $(OWN_PORT) Procfile; ! { $(HAS_MAILBOX); } || echo "$(BOUNCES)"; } > .venv/Procfile
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/honcho --env /dev/null --app-root . --procfile .venv/Procfile start

lock: ## pin and hash all dependencies again (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --no-annotate --custom-compile-command 'make lock' --quiet \
	  pyproject.toml --extra web --group dev --output-file requirements.lock

# .venv is also built anew if another Python is named, or if its Python is gone.
.PHONY: another-python
ifneq ($(shell test -x .venv/bin/python || echo gone),)
.venv/locked: another-python
else ifneq ($(PYTHON),)
ifneq ($(shell $$($(FIND_PYTHON)) -c '$(IDENTITY)' 2> /dev/null),$(shell .venv/bin/python -c '$(IDENTITY)'))
.venv/locked: another-python
endif
endif

# A .venv without this file is incomplete or was built by something else. It is built from scratch.
.venv/locked: requirements.lock
	@python=$$($(FIND_PYTHON)); test -n "$$python" || { \
	echo "Stockbell needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module (on Debian and Ubuntu: apt install" \
	"python3-venv). Here, $(NAMED) is $$($(NAMED) --version 2> /dev/null || echo missing)." >&2; exit 1; }; \
	wheels=$$("$$python" tests/wheels.py < requirements.lock) || exit 1; \
	echo "Building .venv with $$python, which takes about a minute ..."; \
	"$$python" -m venv --clear .venv && printf '%s\n' "$$wheels" > .venv/requirements.txt
	@$(PIP) install --require-hashes --only-binary :all: --requirement .venv/requirements.txt
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
