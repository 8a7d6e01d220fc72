# Two commands matter: `make lab` proves the whole job on this machine, `make test` checks the project.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
LAB_DIR ?= $(CURDIR)/.lab
BIN := $(VENV)/bin
PLAY := $(BIN)/ansible-playbook -i inventories/lab

export LAB_DIR
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Byte code is what makes every later call a second faster; some pipelines forbid writing it.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

.PHONY: help lab lab-down status test unit integration lint requirements clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.lab: requirements-bootstrap.txt requirements-lab.txt
	@./tools/venv "$(PYTHON)" "$(VENV)" requirements-lab.txt
	@touch $@

$(VENV)/.dev: requirements-bootstrap.txt requirements-dev.txt
	@./tools/venv "$(PYTHON)" "$(VENV)" requirements-dev.txt
	@touch $@ $(VENV)/.lab

lab: $(VENV)/.lab ## From nothing to a proven mTLS connection, for real, on loopback
	@$(PLAY) playbooks/lab.yml --tags up
	$(PLAY) playbooks/site.yml
	$(PLAY) playbooks/lab.yml --tags sign
	$(PLAY) playbooks/site.yml
	$(PLAY) playbooks/lab.yml --tags prove
	$(PLAY) playbooks/status.yml

lab-down: $(VENV)/.lab ## Stop what the lab started, and nothing else; its state stays
	@$(PLAY) playbooks/lab.yml --tags down

status: $(VENV)/.lab ## Every certificate in one table; reads only
	@$(PLAY) playbooks/status.yml

test: $(VENV)/.dev ## Lint, unit and integration tests
	@$(BIN)/python tools/check.py

lint: $(VENV)/.dev ## Only the linters
	@$(BIN)/python tools/check.py lint

unit: $(VENV)/.dev ## Only the unit tests
	@$(BIN)/python tools/check.py unit

integration: $(VENV)/.dev ## Only the tests against real servers
	@$(BIN)/python tools/check.py integration

requirements: $(VENV)/.lab ## Resolve the pinned requirements again
	@for name in requirements-bootstrap requirements requirements-lab requirements-dev; do
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate $$name.in -o $$name.txt
	done

clean: lab-down ## Stop the lab and remove its state and the environment
	@rm -rf "$(LAB_DIR)" "$(VENV)"
