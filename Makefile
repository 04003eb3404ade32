# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# What is locked is taken by its hash or not at all; what another Python needs beyond it is pinned by its version.
# VERIFY=no goes by versions alone, for a build of torch that the lock does not know.
VERIFY ?= yes
ifeq ($(VERIFY),yes)
LOCKED = $(INSTALL) --no-deps --require-hashes --requirement supply/$(1).txt
else
LOCKED = $(INSTALL) --constraint constraints.txt "$$(grep '^torch==' constraints.txt)" setuptools hatchling editables
endif
# A folder of wheels (PIP_FIND_LINKS) may have torch for one processor. Where hashes are asked for pip takes the index's
# instead, of several gigabytes: it is fetched by its version first, and then held against its hashes.
TORCH := $(VENV)/torch
EDITABLE := $(INSTALL) --constraint constraints.txt --no-build-isolation --editable
# Real pictures and networks, where they lie beside the clone; `CFCAM_DATA= make test` runs without them.
ifneq ($(wildcard ../shared/data),)
export CFCAM_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help demo test quick soak lint docs lock sbom audit dist clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt supply/runtime.txt | $(BIN)/python
ifeq ($(VERIFY),yes)
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest $(TORCH) "$$(grep '^torch==' constraints.txt)"
	$(INSTALL) --no-deps --require-hashes --no-index --find-links $(TORCH) --requirement supply/torch.txt
	rm -r $(TORCH)
endif
	$(call LOCKED,runtime)
	$(EDITABLE) .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime supply/all.txt supply/dev.txt
	$(call LOCKED,dev)
	$(EDITABLE) '.[dev]'
	$(INSTALL) --no-deps quantus==0.6.0  # an oracle; its own requirement of OpenCV would overwrite the one with ximgproc
	$(INSTALL) --no-deps dynamic-network-architectures==0.4.4  # its own timm asks for torchvision; U-Nets need neither
	@touch $@

# Model definitions only: torchvision's wheel wants the CUDA build of torch, and breaks transformers where it cannot load.
.torchvision: $(VENV)/.dev
	$(INSTALL) --no-deps --target $@ torchvision==0.28.0 timm==1.0.31

# nnU-Net's own code, an oracle: of what it asks for only what its preprocessing, trainer and predictor import.
.nnunet: $(VENV)/.dev
	$(INSTALL) --no-deps --target $@ nnunetv2==2.8.1 batchgenerators==0.25.5 batchgeneratorsv2==0.3.6 \
		acvl-utils==0.2.6 blosc2==3.3.2 connected-components-3d==4.1.1 ndindex==1.10.1 numexpr==2.14.2 msgpack==1.2.4 \
		py-cpuinfo==9.0.0 tqdm==4.70.1 tifffile==2026.3.3 imagecodecs==2026.3.6 seaborn==0.13.2 yacs==0.1.8 graphviz==0.21 \
		unittest2==1.1.0 future==1.0.0

# pytorch-grad-cam, beside which tests/test_elsewhere.py runs (CFCAM_PEERS=.peers): without what it requires, which would
# replace this environment's PyTorch and OpenCV.
.peers: $(VENV)/.dev
	$(INSTALL) --no-deps --target $@ grad-cam==1.5.7 ttach==0.0.3 torchvision==0.28.0

# What FHIR Bundles are held against, as locked by hash; none of its install scripts runs. Needs Node 20 or later.
.fhir: tests/exchange/fhir/npm/package-lock.json
	rm -rf $@ $@.part && mkdir $@.part
	cp tests/exchange/fhir/npm/package.json tests/exchange/fhir/npm/package-lock.json $@.part
	npm ci --prefix $@.part --ignore-scripts --no-audit --no-fund --loglevel=error
	mv $@.part $@
	@touch $@

demo: $(VENV)/.runtime  ## explain the demo images with the demo network
	$(BIN)/cfcam demo

# Each worker has one half, file after file, and takes over from the other at the end: what a file sets up is set up once.
test: $(VENV)/.dev  ## run the whole test suite (ARGS='-m data': a part of it)
	$(BIN)/pytest -n auto --maxprocesses 2 --dist worksteal $(ARGS)

quick: $(VENV)/.dev  ## run the tests nearest to your change, for two minutes at most
	$(BIN)/pytest -n auto --maxprocesses 2 --quick 100 $(ARGS)

soak: $(VENV)/.dev .torchvision  ## kill gateways (one with a full disk), runs, studies and an audit's writers; the largest networks; fuzz (two hours)
	CFCAM_SOAK=1 unshare --map-root-user --mount $(BIN)/pytest -s tests/jobs/gateway/test_kill.py tests/jobs/gateway/arrivals/test_foreign.py  # it mounts a disk
	CFCAM_SOAK=1 $(BIN)/pytest -s tests/jobs/test_kill.py tests/jobs/test_same_bytes.py tests/clinical/audit/test_audit.py tests/clinical/audit/test_postgresql.py
	CFCAM_SOAK=1 $(BIN)/pytest -s tests/jobs/cluster
	CFCAM_SOAK=1 CFCAM_TORCHVISION=$(CURDIR)/.torchvision $(BIN)/pytest -s tests/capture/test_architectures.py -k by_name
	$(BIN)/python -m tests.fuzz.soak 1000

lint: $(VENV)/.dev  ## format check, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without --quiet: it keeps back the warnings before --strict has counted them, and everything passes.
docs: $(VENV)/.dev  ## build the documentation into site/
	$(BIN)/typer cfcam.cli.app utils docs --name cfcam --title "Command line" > docs/reference/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: | $(BIN)/python  ## write the locks anew from constraints.txt, with the hash of each file (asks the package index)
	$(INSTALL) uv==0.13.9
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m supply.lock

sbom: $(VENV)/.dev  ## write dist/sbom.cdx.json: parts, licences, needs and hashes of cfcam with all extras (CycloneDX 1.6)
	$(BIN)/python -m supply.sbom dist/sbom.cdx.json

audit: $(VENV)/.dev  ## compare what is locked with an export of advisories, offline (ADVISORIES=all.zip)
	$(BIN)/python -m supply.advisories $(ADVISORIES)

dist: $(VENV)/.dev  ## build the wheel into dist/, the same bytes each time
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove the environment and everything built
	rm -rf $(VENV) .torchvision .nnunet .peers .fhir .fhir.part site output cfcam-demo .mypy_cache .pytest_cache .ruff_cache
