# Two commands do everything on a fresh Debian machine:
#   make lab     sets up, starts a two-node cluster on this machine, loses a host, moves it back, and prints the outages
#   make test    sets up and passes all tests
#
# `make help` lists the rest.

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV   := .venv
BIN    := $(VENV)/bin
ASROOT := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

# Why each: the virtual environment; building systemd-python; links and namespaces; firewall rules that cut links in the
# lab; ping for the tests; nsenter and setpriv; ps and sysctl.
SYSTEM := python3 python3-venv python3-dev gcc pkg-config libsystemd-dev iproute2 nftables iputils-ping util-linux procps

SEEDS ?= 100000
FIRST ?= 1000

.PHONY: help setup lab lab-down test lint campaign replay golden clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | column -t -s '|'

setup: .make/venv  ## system packages and the virtual environment

.make/system: Makefile
	@mkdir -p .make
	@missing=$$(for package in $(SYSTEM); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
	    echo "installing: $$missing"; \
	    $(ASROOT) apt-get update -qq && $(ASROOT) env DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends $$missing >.make/apt.log 2>&1 \
	        || { tail -20 .make/apt.log; exit 1; }; \
	fi
	@touch $@

.make/venv: .make/system pyproject.toml
	@echo "making the virtual environment"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]' --config-settings editable_mode=compat 2>.make/pip.log \
	    || { cat .make/pip.log; exit 1; }
	@touch $@

lab: setup  ## a live two-node cluster here: a host lost, a planned move, the measured outages
	@$(BIN)/haagent lab down >/dev/null 2>&1 || true
	@$(BIN)/haagent lab demo --keep

lab-down: setup  ## end the cluster that `make lab` left running
	@$(BIN)/haagent lab down

test: setup  ## all tests
	@$(BIN)/python -m pytest

lint: setup  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

campaign: setup  ## many simulated schedules: make campaign SEEDS=100000 FIRST=1000
	@$(BIN)/python -m tests.sim.compiled $(FIRST) $(SEEDS)

replay: setup  ## the story of one simulated schedule: make replay SEED=7
	@$(BIN)/python -m tests.sim $(SEED)

golden: setup  ## write the simulator's golden transcripts anew; commit only what you can explain
	@GOLDEN=rewrite $(BIN)/python -m pytest -q tests/sim/test_stories.py

clean:  ## remove what these commands made in this folder
	rm -rf .make $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
