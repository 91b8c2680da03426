# Everything is one command; each makes the environment first if it is not there.
# PYTEST takes further options:  make test PYTEST="-k smtp -x"

.DEFAULT_GOAL := help
.PHONY: help install run demo test test-services faults check lint types layers bench corpora lock clean

BIN := .venv/bin
PYTEST ?=
REPORT ?= docs/reports/$(shell date +%F)-faults

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

install: ## make the environment in .venv from requirements.lock
	@sh scripts/bootstrap.sh

run: install ## start everything with a demo workspace, and answer a first mail
	@exec $(BIN)/mailagent serve --demo

demo: install ## send one more mail to the running system and show its reply and story
	@$(BIN)/mailagent demo

test: install ## all tests that need nothing but pip (a real PostgreSQL included)
	@$(BIN)/pytest -m "not service" -n auto --dist loadfile $(PYTEST)

test-services: install ## tests against system services; with CI set they are installed by apt first
	@if [ -n "$${CI:-}" ]; then sh scripts/services.sh; fi
	@$(BIN)/pytest -m service $(PYTEST)

faults: install ## the long fault runs; REPORT=path says where their report goes
	@MAILAGENT_TEST_FAULTS=long MAILAGENT_TEST_FAULT_REPORT=$(REPORT) \
		$(BIN)/pytest tests/faults tests/properties --timeout 3600 $(PYTEST)

check: lint types layers test ## formatting, lint, types, layers and tests

lint: install
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types: install
	@$(BIN)/mypy

layers: install
	@$(BIN)/lint-imports --no-logo

bench: install ## the benchmarks, as ratios against a peer in the same run
	@$(BIN)/python -m bench.accept --workers 2
	@$(BIN)/python -m bench.flow
	@$(BIN)/python -m bench.read
	@$(BIN)/python -m bench.turns
	@$(BIN)/python -m bench.nodes
	@$(BIN)/python -m bench.scale --quick
	@$(BIN)/python -m bench.purge
	@$(BIN)/python -m bench.webhooks

corpora: install ## the third-party mail corpora through the SMTP door, then through every door
	@$(BIN)/python -m bench.corpora
	@$(BIN)/python -m bench.doors

lock: install ## renew requirements.lock and scripts/uv.txt
	@uv=$$(sh scripts/bootstrap.sh uv) && \
	options="--quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header" && \
	$$uv pip compile $$options --python $(BIN)/python --group dev pyproject.toml --output-file requirements.lock && \
	echo uv | $$uv pip compile $$options --python $(BIN)/python --no-annotate --output-file scripts/uv.txt -

clean: ## remove the environment and all caches; data in var/ stays
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
