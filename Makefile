# What needs Python 3.11 or 3.12, Python 3.10 for Rasa, make, and the package registries.
# Every target sets up what it needs; what is there already is left alone.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

BIN := .venv/bin
UV := $(BIN)/uv
RASA_BIN := rasa_project/.venv/bin
ROOT_READY := .venv/.ready
TESTS_READY := .venv/.ready-for-tests
RASA_READY := rasa_project/.venv/.ready
TEST_PACKAGES := baresip sip-tester pulseaudio postgresql espeak-ng libportaudio2

# An institution's network often has its own certificate authority: trust what the system trusts.
export UV_SYSTEM_CERTS ?= 1

# The first Python that is new enough, not too new, and can make an environment.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	2>/dev/null && echo $$python && break; done)

# `$(call timed,WHAT,COMMANDS)` says what is being done and how long it took.
define timed
	@echo "$(1) …"; begin=$$SECONDS; $(2) && echo "$(1): done in $$((SECONDS - begin)) s"
endef

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup  ## one whole call over SIP, watched live
	@$(BIN)/hotline demo

.PHONY: serve
serve: setup  ## answer real phones until Ctrl-C
	@$(BIN)/hotline serve

.PHONY: console
console: setup  ## type as the caller, read as the caller
	@$(BIN)/hotline console

.PHONY: setup
setup: environments  ## environments, models, trained dialogue, database, prompts
	@$(BIN)/hotline setup

.PHONY: test
test: $(TESTS_READY) system-packages setup  ## everything: style, types, tests
	@$(BIN)/hotline models pull --tests
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest

.PHONY: lint
lint: $(TESTS_READY)  ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: environments
environments: $(ROOT_READY) $(RASA_READY)

$(UV):
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 with venv was found:" \
	"apt install python3.11 python3.11-venv, or pyenv install 3.11, or make PYTHON=/path/to/python"; \
	exit 1; }
	$(call timed,environment with $(PYTHON),\
	$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv)

$(ROOT_READY): requirements.lock pyproject.toml | $(UV)
	$(call timed,packages of the hotline,$(UV) pip sync --quiet --python $(BIN)/python \
	--require-hashes requirements.lock && $(UV) pip install --quiet --python $(BIN)/python --no-deps -e .)
	@touch $@

$(TESTS_READY): requirements-dev.lock $(ROOT_READY)
	$(call timed,packages of the tests,$(UV) pip sync --quiet --python $(BIN)/python \
	--require-hashes requirements-dev.lock && $(UV) pip install --quiet --python $(BIN)/python --no-deps -e .)
	@touch $@

# Inside rasa_project/ its .python-version leads pyenv and uv to a Python 3.10.
$(RASA_READY): rasa_project/requirements.lock | $(UV)
	@cd rasa_project && { ../$(UV) python find --quiet 3.10 >/dev/null 2>&1 || \
	{ echo "Python 3.10 is not here: fetching one …"; ../$(UV) python install --quiet 3.10; } || { echo \
	"Rasa needs Python 3.10: pyenv install 3.10, or apt install python3.10 python3.10-venv," \
	"or $(UV) python install 3.10 with a network; then run make again"; exit 1; }; }
	$(call timed,packages of Rasa,cd rasa_project && \
	../$(UV) venv --quiet --clear --python 3.10 .venv && \
	../$(UV) pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock)
	@touch $@

# What the tests drive from outside: softphones, a sound server, a database server.
.PHONY: system-packages
system-packages:
	@missing=""; \
	have() { command -v $$1 >/dev/null || ls /usr/lib/postgresql/*/bin/$$1 >/dev/null 2>&1; }; \
	for program in baresip sipp pulseaudio postgres espeak-ng; do \
	have $$program || missing="$$missing $$program"; done; \
	ldconfig -p 2>/dev/null | grep -q libportaudio || missing="$$missing libportaudio"; \
	test -z "$$missing" || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "installing for the tests:$$missing …"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	apt-get install -qq --no-install-recommends $(TEST_PACKAGES) >/dev/null; \
	else echo "the tests need:$$missing; apt install $(TEST_PACKAGES)"; exit 1; fi

.PHONY: lock
lock: | $(UV)  ## resolve all dependencies again, with hashes
	@$(call lock,requirements.lock,--python-version 3.11 pyproject.toml)
	@$(call lock,requirements-dev.lock,--python-version 3.11 --extra dev pyproject.toml)
	@$(call lock,rasa_project/requirements.lock,--python-version 3.10 rasa_project/requirements.in)

define lock
$(UV) pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate \
	--output-file $(1) $(2)
endef

.PHONY: clean
clean:  ## remove environments and everything made here; cached models stay
	rm -rf .venv rasa_project/.venv rasa_project/.rasa rasa_project/models var build \
	.mypy_cache .ruff_cache .pytest_cache
