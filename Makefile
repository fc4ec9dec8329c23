# The front door. Every target bootstraps what it needs into .venv, from a lock with hashes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
BED ?=

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Sluice needs Python 3.11 or later, this is " + sys.version.split()[0] + "; set PYTHON=") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: help install demo test test-cluster test-real-pods lint format bench lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

install: $(STAMP) ## what every other target needs, into .venv

demo: $(STAMP) ## the main job on loopback; ARGS=--exit ends after the last act
	@$(BIN)/sluice demo $(ARGS)

test: $(STAMP) ## the test suite, and the policy's own tests
	@$(BIN)/sluice policy test
	@$(BIN)/python -m pytest $(ARGS)

test-cluster: $(STAMP) ## real Kubernetes parts on loopback (needs Go); BED=--kubelet adds a node
	@# in one order: all share one cluster, and a failure there has to be repeatable
	@SLUICE_CLUSTER=1 $(BIN)/python -m tests.cluster.bed run $(BED) -- $(BIN)/python -m pytest -p no:randomly tests/cluster $(ARGS)

test-real-pods: $(STAMP) ## an example pipeline in real pods: containerd and a kubelet (root, needs Go)
	@$(BIN)/python -m tests.cluster.bed run --kubelet -- $(BIN)/python -m pytest -p no:randomly \
		tests/cluster/test_cluster_kubelet.py tests/cluster/test_cluster_real_pods.py \
		tests/cluster/test_cluster_real_resolver.py $(ARGS)

lint: $(STAMP) ## ruff, mypy, import-linter, policy check, deployment files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python -m pytest -q tests/unit/test_deployment.py
	@$(BIN)/sluice policy check

format: $(STAMP) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## each figure of the README beside its reference
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(STAMP) ## resolve pyproject.toml anew into requirements.lock
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
		--extra examples --extra dev --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## forget .venv and caches; state/ is yours and stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
