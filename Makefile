# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Real pictures and networks, where they lie beside the clone; `CFCAM_DATA= make test` runs without them.
ifneq ($(wildcard ../shared/data),)
export CFCAM_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help demo test quick soak lint docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: a bare `torch` may resolve to a build of several gigabytes.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps quantus==0.6.0  # an oracle; its own requirement of OpenCV would overwrite the one with ximgproc
	@touch $@

# Model definitions only: torchvision's wheel wants the CUDA build of torch, and breaks transformers where it cannot load.
.torchvision: $(VENV)/.dev
	$(PIP) --no-deps --target $@ torchvision==0.28.0 timm==1.0.31

# What FHIR Bundles are held against, as locked by hash; none of its install scripts runs. Needs Node 20 or later.
.fhir: tests/exchange/fhir/npm/package-lock.json
	mkdir -p $@
	cp tests/exchange/fhir/npm/package.json tests/exchange/fhir/npm/package-lock.json $@
	npm ci --prefix $@ --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

demo: $(VENV)/.runtime  ## explain the demo images with the demo network
	$(BIN)/cfcam demo

# Each worker has one half, file after file, and takes over from the other at the end: what a file sets up is set up once.
test: $(VENV)/.dev  ## run the whole test suite (ARGS='-m data': a part of it)
	$(BIN)/pytest -n auto --maxprocesses 2 --dist worksteal $(ARGS)

quick: $(VENV)/.dev  ## run the tests nearest to your change, for two minutes at most
	$(BIN)/pytest -n auto --maxprocesses 2 --quick 100 $(ARGS)

soak: $(VENV)/.dev .torchvision  ## kill gateways (one with a full disk), folder runs and an audit's writers; the largest networks (an hour)
	CFCAM_SOAK=1 unshare --map-root-user --mount $(BIN)/pytest -s tests/jobs/gateway/test_kill.py tests/jobs/gateway/arrivals/test_foreign.py  # it mounts a disk
	CFCAM_SOAK=1 $(BIN)/pytest -s tests/jobs/test_kill.py tests/clinical/audit/test_audit.py
	CFCAM_SOAK=1 CFCAM_TORCHVISION=$(CURDIR)/.torchvision $(BIN)/pytest -s tests/capture/test_architectures.py -k by_name
	$(BIN)/python -m tests.fuzz.soak

lint: $(VENV)/.dev  ## format check, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without --quiet: it keeps back the warnings before --strict has counted them, and everything passes.
docs: $(VENV)/.dev  ## build the documentation into site/
	$(BIN)/typer cfcam.cli.app utils docs --name cfcam --title "Command line" > docs/reference/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove the environment and everything built
	rm -rf $(VENV) .torchvision .fhir site output cfcam-demo .mypy_cache .pytest_cache .ruff_cache
