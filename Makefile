# Everything a bare Debian 12 machine needs to run and test Halfpipe.
SHELL := /bin/bash
PYTHON := /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
ARCH := $(shell uname -m)
CLANG_FLAGS := -O2 -g -Wall -Wextra -Werror -target bpf -I/usr/include/$(ARCH)-linux-gnu

.PHONY: bpf
bpf: build/forward.bpf.o

build/forward.bpf.o: $(wildcard dataplane/bpf/*.c dataplane/bpf/*.h)
	@mkdir -p build
	clang $(CLANG_FLAGS) -c dataplane/bpf/forward.bpf.c -o $@.tmp && mv $@.tmp $@
