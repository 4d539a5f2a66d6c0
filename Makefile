# Two commands do everything on a fresh Debian machine:
#   make lab     sets up, starts a two-node cluster on this machine, loses a host, moves it back, and prints the outages
#   make test    sets up and passes all tests
#
# `make help` lists the rest.

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV   := .venv
BIN    := $(VENV)/bin
ASROOT := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

# Why each: the virtual environment; compiling the core for campaigns; links and namespaces; firewall rules that cut
# links in the lab; ping for the tests; nsenter, setpriv and taskset; ps and sysctl.
SYSTEM := python3 python3-venv python3-dev gcc iproute2 nftables iputils-ping util-linux procps

# For the tests only: a real etcd, real fence agents, a load balancer, the peer to compare with, a real Redis and what runs
# its own tests, what reads the Vagrantfile; hosts that boot in containers, the way into them, and the package that is
# installed there.
TESTING := etcd-server etcd-client fence-agents haproxy keepalived redis-server redis-tools tcl vagrant vagrant-libvirt \
           mmdebstrap systemd-container openssh-client debhelper dpkg-dev
DAEMONS := etcd haproxy keepalived redis-server  # the tests start their own: those of the packages are stopped

# For `make lab-sessions`.
BALANCER := haproxy

# For `make suites` only.
PHP := php-cli php-redis

# For `make deb` only.
PACKAGING := debhelper dpkg-dev

SEEDS ?= 100000
FIRST ?= 1000
RUNS ?= 20
MINUTES ?= 30

.PHONY: help setup lab lab-sessions lab-down test suites system-test floors newest lint lock campaign one-order teeth explore replay golden docs chaos \
        sequences sessions fuzz bench deb dist clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | column -t -s '|'

setup: .make/venv  ## system packages and the virtual environment

.make/system: INSTALL = $(SYSTEM)
.make/testing: INSTALL = $(TESTING)
.make/testing: .make/system
.make/balancer: INSTALL = $(BALANCER)
.make/balancer: .make/system
.make/php: INSTALL = $(PHP)
.make/php: .make/testing
.make/packaging: INSTALL = $(PACKAGING)
.make/packaging: .make/system

.make/system .make/testing .make/balancer .make/php .make/packaging: Makefile
	@mkdir -p .make
	@missing=$$(for package in $(INSTALL); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
	    echo "installing: $$missing"; \
	    $(ASROOT) apt-get update -qq && $(ASROOT) env DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends $$missing >.make/apt.log 2>&1 \
	        || { tail -20 .make/apt.log; exit 1; }; \
	    for unit in $(filter $(DAEMONS),$(INSTALL) $(INSTALL:-server=)); do \
	        [ ! -d /run/systemd/system ] || case "$$missing" in *$$unit*) \
	            $(ASROOT) systemctl disable --now $$unit >>.make/apt.log 2>&1 || true;; esac; done; \
	fi
	@touch $@

# What a lock names, and nothing else, whatever has been published since. setuptools comes first and builds the others:
# pip would download one for each.
PIP := pip install -q --disable-pip-version-check --no-deps
EDITABLE := --no-build-isolation --config-settings editable_mode=compat -e .
define environment
	@$(PYTHON) -m venv --clear $(1)
	@awk -F== '/^[a-z]/ {on = $$1 == "setuptools"} on' $(2) >$@.setuptools
	@{ $(1)/bin/$(PIP) --require-hashes -r $@.setuptools && \
	    $(1)/bin/$(PIP) --require-hashes --no-build-isolation --use-pep517 -r $(2) && \
	    $(1)/bin/$(PIP) $(EDITABLE); } 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
endef

.make/venv: .make/system pyproject.toml requirements.lock
	@echo "making the virtual environment"
	$(call environment,$(VENV),requirements.lock)

.make/redis-suite: .make/testing tests/support/redis-suite tests/support/debian-source
	@tests/support/redis-suite $(CURDIR)/$@ && touch $@

.make/redis-py .make/django-redis: .make/%: .make/system tests/support/python-suite tests/support/%/requirements.txt
	@tests/support/python-suite $(PYTHON) $(CURDIR)/$@ $* && touch $@

.make/phpredis: .make/php tests/support/phpredis-suite tests/support/debian-source
	@tests/support/phpredis-suite $(CURDIR)/$@ && touch $@

.make/connect-redis: tests/support/connect-redis/fetch tests/support/connect-redis/package-lock.json
	@command -v npm >/dev/null || { echo "connect-redis's tests need Node.js and npm: apt install nodejs npm"; exit 1; }
	@tests/support/connect-redis/fetch $(CURDIR)/$@ && touch $@

.make/floors/made: .make/venv .make/redis-suite requirements.floors.lock
	$(call environment,.make/floors,requirements.floors.lock)

lab: setup  ## a live two-node cluster here: a host lost, a planned move, the measured outages
	@$(BIN)/haagent lab down >/dev/null 2>&1 || true
	@$(BIN)/haagent lab demo --keep

# Both shops serve the same pages. Their packages are their own: haagent needs none of them.
SHOP ?= python
SHOP_python := .make/shop-python/bin/python examples/shop/shop.py
SHOP_node := env NODE_PATH=.make/shop-node/node_modules node examples/shop/node/shop.js

.make/shop-python/made: .make/system examples/shop/requirements.txt
	@echo "making the shop's own virtual environment"
	@$(PYTHON) -m venv --clear .make/shop-python
	@.make/shop-python/bin/$(PIP) --require-hashes -r examples/shop/requirements.txt 2>.make/shop.log \
	    || { cat .make/shop.log; exit 1; }
	@touch $@

.make/shop-node/made: examples/shop/node/package-lock.json
	@command -v npm >/dev/null || { echo "the shop in JavaScript needs Node.js and npm: apt install nodejs npm"; exit 1; }
	@mkdir -p .make/shop-node && cp examples/shop/node/package*.json .make/shop-node/
	@npm ci --prefix .make/shop-node --no-audit --no-fund >.make/shop.log 2>&1 || { cat .make/shop.log; exit 1; }
	@touch $@

lab-sessions: setup .make/balancer .make/shop-$(SHOP)/made  ## a shop behind a balancer: a host lost, and its users stay; or with SHOP=node
	@$(BIN)/haagent lab down --name sessions >/dev/null 2>&1 || true
	@$(BIN)/haagent lab demo --sessions --shop '$(SHOP_$(SHOP))' --name sessions

lab-down: setup  ## end the cluster that `make lab` left running
	@$(BIN)/haagent lab down

# The simulator computes, the others mostly wait: it has what processor time they leave, and tells its end after theirs.
test: setup .make/redis-suite .make/redis-py .make/django-redis .make/shop-python/made  ## all tests
	@chrt --idle 0 $(BIN)/python -m pytest tests/sim >.make/sim.log 2>&1 & sim=$$!; \
	trap 'kill $$sim 2>/dev/null' EXIT; \
	$(BIN)/python -m pytest --deselect tests/sim && passed=yes; \
	wait $$sim && simulated=yes; trap - EXIT; cat .make/sim.log; \
	[ "$$passed$$simulated" = yesyes ]

suites: setup .make/redis-suite .make/redis-py .make/django-redis .make/phpredis .make/connect-redis  ## what Redis and its clients test, all of it, against the store
	@SUITES=all $(BIN)/python -m pytest tests/unit/sessions/store/test_*_suite.py

system-test: setup .make/testing  ## of these only the ones on booted hosts: systemd, SSH, Ansible; needs root
	@$(BIN)/python -m pytest tests/system

# tests/unit in .make/floors or .make/newest, if there are versions that requirements.lock does not have. What
# Redis and its clients test tells of our commands, and nothing of a library that the others do not tell; of the core, which
# has none but msgspec, only what travels is tried.
OF_NO_LIBRARY := --ignore-glob '*/store/test_*_suite.py' --ignore-glob '*/unit/core/test_[!w]*'
define unit-tests
	@others=$$(.make/$@/bin/pip freeze --exclude-editable | tr A-Z_ a-z- \
	    | awk 'NR == FNR {locked[$$1]} NR > FNR && !($$1 in locked)' requirements.lock -); \
	if [ -z "$$others" ]; then \
	    echo "the $(1) versions that pyproject.toml allows are those of requirements.lock, with which make test runs"; \
	    exit; \
	fi; \
	echo "tests/unit with the $(1) versions that pyproject.toml allows, not as in requirements.lock:" $$others; \
	.make/$@/bin/python -m pytest -q tests/unit $(OF_NO_LIBRARY) \
	    || { echo "tests/unit failed with the $(1) versions, named above; again: make $@"; exit 1; }
endef

floors: .make/floors/made  ## the unit tests with the oldest versions that pyproject.toml allows
	$(call unit-tests,oldest)

newest: setup .make/redis-suite  ## the unit tests with the newest versions there are, which is what pip installs today
	@$(PYTHON) -m venv --clear .make/newest
	@.make/newest/bin/pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e '.[test]' \
	    2>.make/newest.log || { cat .make/newest.log; exit 1; }
	$(call unit-tests,newest)

lint: setup  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# For every Python from 3.11 on, and with what builds us. No address of an index comes into the files.
BUILDING = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
COMPILE = pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command 'make lock'
LOCK = $(BIN)/python -c '$(BUILDING)' | $(BIN)/uv $(COMPILE) pyproject.toml -

lock: setup  ## write down what is installed, after a change of pyproject.toml; UPGRADE=yes: the newest of all
	@$(LOCK) --all-extras $(if $(UPGRADE),--upgrade) --output-file requirements.lock >/dev/null
	@$(LOCK) --extra test --resolution lowest-direct --upgrade --output-file requirements.floors.lock >/dev/null
	@for place in examples/shop tests/support/redis-py tests/support/django-redis; do (cd $$place && $(abspath $(BIN))/uv $(COMPILE) \
	    requirements.in $(if $(UPGRADE),--upgrade) --output-file requirements.txt >/dev/null) || exit 1; done
	@$(MAKE) --no-print-directory setup

campaign: setup  ## many simulated schedules: make campaign SEEDS=100000 FIRST=1000 WITH="--guardians --twins"
	@$(BIN)/python -m tests.sim.compiled $(FIRST) $(SEEDS) $(WITH)

one-order: setup  ## many lives of stores of which one leads, checked for one order: make one-order SEEDS=1000 FIRST=1000
	@$(BIN)/python -m tests.sim.store.strong $(FIRST) $(SEEDS)

teeth: setup  ## each rule taken out: how many schedules it takes until two serve
	@$(BIN)/python -m tests.sim.teeth

explore: setup  ## everything that can befall two nodes and a witness, with few faults: make explore MINUTES=10
	@$(BIN)/python -m tests.sim.explore $(MINUTES)

replay: setup  ## the story of one simulated schedule: make replay SEED=7
	@$(BIN)/python -m tests.sim $(SEED)

golden: setup  ## write the simulator's golden transcripts anew; commit only what you can explain
	@GOLDEN=rewrite $(BIN)/python -m pytest -q tests/sim/test_stories.py tests/sim/test_scenarios.py

docs: setup  ## write what docs/ says of options and commands anew, from what the code declares
	@$(BIN)/python -m manual.reference

chaos: setup  ## random faults on real agents, and nobody may ever serve twice: make chaos MINUTES=30 SEED=7
	@$(BIN)/python -m trials.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --markdown docs/reports/chaos.md

sequences: setup .make/testing  ## what has made two answer somewhere, again and again: make sequences RUNS=20
	@$(BIN)/python -m trials.sequences --runs $(RUNS) --markdown docs/reports/sequences.md

sessions: setup  ## stores under faults: lost hosts, cuts, joins, a million sessions: make sessions RUNS=50
	@$(BIN)/python -m trials.store --runs $(RUNS) --markdown docs/reports/sessions.md

fuzz: setup  ## hostile input for a store, at its door and its link to the peers: make fuzz RUNS=200000 SEED=7
	@$(BIN)/python -m trials.fuzz --runs $(if $(filter file,$(origin RUNS)),200000,$(RUNS)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(ONLY),--only $(ONLY) --first $(if $(filter file,$(origin FIRST)),0,$(FIRST)),--markdown docs/reports/fuzz.md)

bench: setup .make/testing  ## beside keepalived, fault by fault: make bench RUNS=20
	@$(ASROOT) $(BIN)/python -m trials.bench --runs $(RUNS) --markdown docs/reports/benchmarks.md

deb: setup .make/packaging  ## dist/haagent_VERSION_ARCH.deb for Debian 12 and 13; DEB_VERSION=... for another version
	@debian/make-deb $(BIN)/python $(DEB_VERSION)

dist: setup  ## wheel and sdist, for pip
	@$(BIN)/python -m build --no-isolation --outdir dist . >.make/build.log 2>&1 || { tail -20 .make/build.log; exit 1; }
	@ls dist/*.whl dist/*.tar.gz

clean:  ## remove what these commands made in this folder
	rm -rf .make $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
