# Every verb sets up what it needs on a fresh machine; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

SYSTEM_PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAUNCHERS := $(VENV)/.installed-launchers
ARGS ?=

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(SYSTEM_PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,gguf,instruct,notebooks,quantization,site]'
	touch $(STAMP)

$(LAUNCHERS): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[launchers]'
	touch $(LAUNCHERS)

.PHONY: help install run golden drift test test-slow test-faults repeat-faults check lint format type layers micro-table docs site tables figures notebooks clean

help: ## list the verbs
	@grep -E '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## create .venv with the tested versions

run: $(STAMP) ## train, evaluate and record: make run ARGS="method=pedro task=boolq"
	$(BIN)/python -m pedro_bench $(ARGS)

test: $(STAMP) ## the test suite, on both cores, without a network
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-slow: $(STAMP) ## the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu and not network" $(ARGS)

test-faults: $(LAUNCHERS) ## every fault, the slow ones too; writes the table of docs/reliability.md
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "fault and not gpu and not network" --write-faults=docs/reliability.md $(ARGS)

repeat-faults: $(LAUNCHERS) ## every fault, 20 times in a row; goes on where it stopped
	$(BIN)/python scripts/repeat_faults.py $(ARGS)

golden: $(STAMP) ## store the golden traces of raised versions
	$(BIN)/python -m tests.golden $(ARGS)

drift: $(STAMP) ## what other versions of torch and transformers do to results; writes docs/drift.md
	$(BIN)/python scripts/drift.py $(ARGS)

check: lint type layers docs ## lint, types, layers and documents

lint: $(STAMP) ## ruff and module sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/check_file_sizes.py

format: $(STAMP) ## bring the code into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## import contracts
	$(BIN)/lint-imports

micro-table: $(STAMP) ## what the embedded backbone can do, into docs/micro.md; goes on where it stopped
	$(BIN)/python scripts/micro_table.py $(ARGS)

docs: $(STAMP) ## documents agree with the disk
	$(BIN)/python -m pytest tests/repo -q

site: $(STAMP) ## the documents as a site, build/site/index.html; notebooks are executed; without a network
	$(BIN)/python -m mkdocs build --strict $(ARGS)

tables: $(STAMP) ## results/runs -> results/tables, from records alone
	$(BIN)/python -m pedro_bench.cli.tables $(ARGS)

figures: $(STAMP) ## results/runs -> results/figures, from records and what lies beside them
	$(BIN)/python -m pedro_bench.cli.figures $(ARGS)

notebooks: $(STAMP) ## execute the notebooks on tiny data
	$(BIN)/python -m pytest -m "slow or not slow" tests/integration/test_notebooks.py $(ARGS)

clean: ## remove caches and outputs/: trained adapters, fetched weights; records stay
	rm -rf outputs build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
