# Everything a bare Debian 12 machine needs to run and test Halfpipe: `make lab`, `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON := /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
ARCH := $(shell uname -m)
CLANG_FLAGS := -O2 -g -Wall -Wextra -Werror -target bpf -I/usr/include/$(ARCH)-linux-gnu

PYTHON_PACKAGES := ca-certificates python3 python3-venv
BPF_PACKAGES := clang libbpf1 libbpf-dev bpftool
LAB_PACKAGES := redis-server iproute2 iputils-ping curl tcpdump tftpd-hpa util-linux mount
TEST_PACKAGES := chromium fonts-dejavu-core nginx-light dovecot-pop3d dovecot-imapd bind9 freeradius snmpd slapd mariadb-server postgresql monitoring-plugins-basic vsftpd postfix chrony
INSTALL := dataplane/lab/install-packages.sh
WITH_DOCKER := dataplane/container/with-docker.sh
# A stamp in the environment itself: it goes when the environment goes.
SYNCED := $(VENV)/.synced

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | sort | expand -t 12

.PHONY: setup
setup: packages $(SYNCED) ## Install system packages and the locked Python dependencies

.PHONY: packages
packages:
	@$(INSTALL) $(PYTHON_PACKAGES) $(BPF_PACKAGES) $(LAB_PACKAGES)

.PHONY: test-packages
test-packages:
	@$(INSTALL) $(PYTHON_PACKAGES) $(BPF_PACKAGES) $(LAB_PACKAGES) $(TEST_PACKAGES)

.PHONY: python-packages
python-packages:
	@$(INSTALL) $(PYTHON_PACKAGES)

# Every hash is checked, that of uv itself included. Compiled now: most processes of the lab could not do it later.
$(SYNCED): requirements.lock | python-packages
	@echo "Installing the Python dependencies into $(VENV)"
	@umask 022; \
	same() { [ "$$(readlink -f $(BIN)/python)" = "$$(readlink -f $(PYTHON))" ] && $(BIN)/python -m pip --version; }; \
	same >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }; \
	lock=$$(mktemp); trap 'rm -f "$$lock"' EXIT; \
	awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock >"$$lock"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$$lock"; \
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --system-certs --quiet --require-hashes --compile-bytecode requirements.lock; \
	touch $@

.PHONY: bpf
bpf: packages build/forward.bpf.o build/forward_xdp.bpf.o build/ring.so ## Compile the eBPF object

build/%.bpf.o: dataplane/bpf/%.bpf.c $(wildcard dataplane/bpf/*.h)
	@mkdir -p build
	clang $(CLANG_FLAGS) -c $< -o $@.tmp && mv $@.tmp $@

.PHONY: lab
lab: need-root setup bpf ## Run everything in network namespaces, in the foreground (PORT=8000)
	@exec $(PYTHON) -m dataplane.lab up --port $(PORT)

.PHONY: lab-down
lab-down: need-root ## Stop the lab, or remove what a crashed one left
	@exec $(PYTHON) -m dataplane.lab down

.PHONY: compose-lab
compose-lab: ## Run the lab in containers, with PostgreSQL (PORT=8000); needs Docker, or root to install it
	@CONSOLE_PORT=$(PORT) $(WITH_DOCKER) --keep dataplane/container/compose-lab.sh up

.PHONY: compose-down
compose-down: ## Take the containers of the lab away, with all they kept
	@exec dataplane/container/compose-lab.sh down

.PHONY: need-root
need-root:
	@[ "$$(id -u)" -eq 0 ] || { echo "The lab needs root, to make network namespaces and load eBPF: run 'sudo make lab'." >&2; exit 1; }

# The browser's driver keeps an event loop in the main thread, which other tests cannot stand: two processes.
.PHONY: test
test: test-packages $(SYNCED) bpf ## Run all tests
	@status=0; \
	$(BIN)/pytest -p no:playwright -m "not browser" || status=$$?; \
	browser=5; \
	if [ -d tests/browser ]; then \
		browser=0; \
		DJANGO_ALLOW_ASYNC_UNSAFE=1 $(BIN)/pytest -m browser tests/browser || browser=$$?; \
	fi; \
	[ $$browser -eq 5 ] && browser=0; \
	exit $$(( status > browser ? status : browser ))

.PHONY: compose-test
compose-test: test-packages $(SYNCED) ## Build and start the lab in containers, and test it; skipped where Docker cannot run
	@status=0; \
	$(WITH_DOCKER) $(BIN)/pytest -p no:playwright -m compose tests/compose || status=$$?; \
	if [ $$status -eq 77 ]; then echo "The tests of the containers are skipped."; status=0; fi; \
	exit $$status

.PHONY: test-fast
test-fast: $(SYNCED) ## Run the tests that need neither root nor a browser
	@$(BIN)/pytest -p no:playwright -m "not browser and not kernel"

.PHONY: bench
bench: setup bpf build/bench.bpf.o build/loss.bpf.o ## Measure forwarder and checks against their goals (root), into build/bench.json
	@$(INSTALL) nftables
	@exec $(BIN)/python -m dataplane.bench

build/ring.so: dataplane/ring.c
	@mkdir -p build
	clang -O2 -Wall -Wextra -Werror -shared -fPIC -o $@.tmp $< && mv $@.tmp $@

build/bench.bpf.o: dataplane/bench/bpf/harness.bpf.c
	@mkdir -p build
	clang $(CLANG_FLAGS) -c $< -o $@.tmp && mv $@.tmp $@

build/loss.bpf.o: dataplane/bench/bpf/loss.bpf.c
	@mkdir -p build
	clang $(CLANG_FLAGS) -c $< -o $@.tmp && mv $@.tmp $@

.PHONY: lint
lint: $(SYNCED) ## Check style, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy .

.PHONY: lock
lock: $(SYNCED) ## Resolve the dependencies anew and write requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --group dev pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Remove what was built or kept, the lab's database and password included
	@if $(PYTHON) -m dataplane.lab status 2>/dev/null; then echo "Run 'make lab-down' first." >&2; exit 1; fi
	rm -rf build .lab .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
