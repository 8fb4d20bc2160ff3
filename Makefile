# Everything is installed into .venv and called from there, so no environment has to be activated.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-int8 run demo demo-archives card test test-all test-slurm coverage bench lint types format lock clean

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV_STAMP := .venv/uv.stamp
SETUP_STAMP := .venv/setup.stamp
INT8_STAMP := .venv/int8.stamp
DEV_STAMP := .venv/dev.stamp

# pip compiles what it installs; uv has to be told. Otherwise the first run does it, and every run where .venv is read-only.
export UV_COMPILE_BYTECODE := 1

DEMO := --configfile demo/config.yaml
PYTHON_FILES := workflow/scripts tests demo training benchmarks
COMPILE := $(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP_STAMP) ## install the workflow into .venv (PYTHON=python3.12 chooses the interpreter)

setup-int8: $(INT8_STAMP) ## install what precision: int8 needs, too

run: setup ## run the workflow with config.yaml on all cores
	$(BIN)/snakemake --cores all

demo: setup demo-archives ## run the workflow on sample archives with the bundled detector
	$(BIN)/snakemake --cores all $(DEMO)
	$(BIN)/snakemake --report demo/report.html $(DEMO)
	@printf '%s\n' '' \
		'One crop per person:   demo/output/Person' \
		'Photos without one:    demo/output/No_Person' \
		'What became of what:   demo/output/manifests' \
		'One row per archive:   demo/output/summary.csv' \
		'Report for a browser:  demo/report.html'

card: $(DEV_STAMP) ## measure the bundled detector as its model card does (TRUTH=truth.csv RAW_ZIPS=folder)
	@test -f "$(TRUTH)" -a -d "$(RAW_ZIPS)" || \
		{ echo "name a table of true boxes and a folder of archives: make card TRUTH=truth.csv RAW_ZIPS=raw_zips" >&2; exit 1; }
	$(BIN)/snakemake --cores all $(DEMO) --config "raw_zips=$(RAW_ZIPS)" output=demo/measured confidence=0.01
	$(BIN)/python benchmarks/evaluate.py "$(TRUTH)" demo/measured --confidence 0.25
	$(BIN)/python benchmarks/evaluate.py "$(TRUTH)" demo/measured \
		--confidence "$$(awk '/^confidence:/ { print $$2 }' demo/config.yaml)"

demo-archives: setup
	$(BIN)/python demo/make_archives.py demo/raw_zips

test: $(DEV_STAMP) ## run the tests, but for the slow ones and those with Slurm
	$(BIN)/python -m pytest -q -n auto -m "not slow and not slurm" tests

test-all: $(DEV_STAMP) ## run the slow tests, and then all others
	$(BIN)/python -m pytest -q -n auto -m slow tests
	$(MAKE) test

test-slurm: $(DEV_STAMP) ## run the workflow through a real Slurm, brought up on this machine (needs root)
	$(BIN)/python -m pytest -q -m slurm tests/slurm

# Apart from `make test`, which it would slow by a third.
coverage: $(DEV_STAMP) ## run the unit tests, and fail if they cover less of the package than before
	$(BIN)/python -m pytest -q -n auto -m "not slow" --cov --cov-report=term:skip-covered tests/unit

bench: $(DEV_STAMP) ## measure speed and memory against other ways to do the job (BENCH="--rounds 1" passes options)
	PYTHONPATH=$(CURDIR)/workflow/scripts $(BIN)/python benchmarks/bench.py $(BENCH)

lint: $(DEV_STAMP) demo-archives types ## check style, types, rooms and the workflow
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/snakefmt --check Snakefile workflow
	PYTHONPATH=workflow/scripts $(BIN)/lint-imports --no-cache
	$(BIN)/snakemake --lint $(DEMO)

types: $(DEV_STAMP)
	$(BIN)/mypy $(PYTHON_FILES)
	$(BIN)/mypy tests/faults/conftest.py

format: $(DEV_STAMP) ## format the code
	$(BIN)/ruff check --fix $(PYTHON_FILES)
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/snakefmt Snakefile workflow

lock: $(UV_STAMP) ## pin the dependencies anew after an edit of envs/*.in (LOCK=--upgrade takes the newest)
	$(COMPILE) $(LOCK) envs/requirements.in -o envs/requirements.txt
	$(COMPILE) $(LOCK) envs/requirements-int8.in -o envs/requirements-int8.txt
	$(COMPILE) $(LOCK) envs/requirements-dev.in -o envs/requirements-dev.txt

clean: ## remove .venv, caches and the demo's output; your archives, results and rerun records stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache demo/raw_zips demo/output demo/measured demo/report.html .coverage .coverage.*
	find workflow tests demo training benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Stamps are written last: whatever was interrupted is done again.
$(UV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
		{ echo "zipcrop needs Python 3.11, 3.12 or 3.13, which '$(PYTHON)' is not; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "'$(PYTHON)' lacks the module venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

# --reinstall: an interrupted installation can leave packages that look complete.
$(SETUP_STAMP): envs/requirements.txt $(UV_STAMP)
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-cache --reinstall --require-hashes -r $<
	touch $@

$(INT8_STAMP): envs/requirements-int8.txt $(SETUP_STAMP)
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-cache --reinstall --require-hashes -r $<
	touch $@

$(DEV_STAMP): envs/requirements-dev.txt $(INT8_STAMP)
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-cache --reinstall --require-hashes -r $<
	touch $@
