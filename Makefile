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
INVENTORY ?= inventories/nonprod
POLICY_REPORTS ?= $(CURDIR)/.reports/policy
CHECK := env PYTHONPATH=module_utils $(BIN)/python -m pki.check
SHOW := env PYTHONPATH=module_utils $(BIN)/python -m pki.show

export LAB_DIR
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Byte code is what makes every later call a second faster; some pipelines forbid writing it.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

.PHONY: help lab lab-down status policy parties policy-test explain test lint unit adversarial interop generations \
  integration gateways molecule faults molecule-clean mutants bench requirements clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.lab: requirements-bootstrap.txt requirements-lab.txt
	@./tools/venv "$(PYTHON)" "$(VENV)" requirements-lab.txt
	@touch $@ $(VENV)/.run

$(VENV)/.run: requirements-bootstrap.txt requirements.txt
	@./tools/venv "$(PYTHON)" "$(VENV)" requirements.txt
	@touch $@

$(VENV)/.dev: requirements-bootstrap.txt requirements-dev.txt
	@./tools/venv "$(PYTHON)" "$(VENV)" requirements-dev.txt
	@touch $@ $(VENV)/.lab $(VENV)/.run

# The outside judge of what gateways offer, with libraries of its own.
SSLYZE := .venv-sslyze/.ready
$(SSLYZE): requirements-bootstrap.txt requirements-sslyze.txt
	@./tools/venv "$(PYTHON)" "$(@D)" requirements-sslyze.txt
	@touch $@

lab: $(VENV)/.lab ## From nothing to a proven mTLS connection, for real, on loopback
	@echo "== 1/5 Vault, CAs and the far end"
	$(PLAY) playbooks/lab.yml --tags up
	echo "== 2/5 The main job: plan, key, request"
	$(PLAY) playbooks/site.yml
	if ! $(SHOW) --waiting "$(LAB_DIR)/status.json"; then
	  echo "== 3/5 The human and the CA"
	  $(PLAY) playbooks/lab.yml --tags sign
	  echo "== 4/5 The main job again: check, accept, deploy"
	  $(PLAY) playbooks/site.yml
	else
	  echo "== 3/5 and 4/5 are not needed: no request waits for an answer"
	fi
	echo "== 5/5 The proof: live handshakes"
	$(PLAY) playbooks/lab.yml --tags prove
	echo
	$(SHOW) "$(LAB_DIR)/status.json"
	echo
	echo "What was observed: $(LAB_DIR)/matrix.json. Next: make status, make lab-down, or README.md"

lab-down: $(VENV)/.lab ## Stop what the lab started, and nothing else; its state stays
	@$(PLAY) playbooks/lab.yml --tags down

status: $(VENV)/.lab ## Every certificate in one table; reads only
	@$(PLAY) playbooks/status.yml

# make exits 2 for whatever fails. Exit 1 (findings) and 2 (fault) of the program are told apart by
# its last line and by `status` in $(POLICY_REPORTS)/result.json; a pipeline may as well call it.
policy: $(VENV)/.run ## Judge INVENTORY as it is committed; no network, no Vault
	@$(CHECK) --inventory "$(INVENTORY)" --report-dir "$(POLICY_REPORTS)"

parties: $(VENV)/.run ## Say who in INVENTORY needs which certificate, what quotas allow and what holds
	@env PYTHONPATH=module_utils $(BIN)/python -m pki.parties --inventory "$(INVENTORY)"

policy-test: $(VENV)/.run ## Run INVENTORY's own policy cases (policy/cases) on its overlay
	@env PYTHONPATH=module_utils $(BIN)/python -m pki.policy_test --inventory "$(INVENTORY)"

explain: $(VENV)/.run ## Say what RULE asks, what it reads and where its values come from
	@$(CHECK) --inventory "$(INVENTORY)" --explain "$(RULE)"

test: $(VENV)/.dev $(SSLYZE) ## Every check: lint, unit, hostile inputs, both Ansibles, real servers, real hosts
	@$(BIN)/python tools/check.py

lint: $(VENV)/.dev ## Only the linters
	@$(BIN)/python tools/check.py lint

unit: $(VENV)/.dev ## Only the unit tests
	@$(BIN)/python tools/check.py unit

adversarial: $(VENV)/.dev ## Only the hostile inputs
	@$(BIN)/python tools/check.py adversarial

interop: $(VENV)/.dev ## Only the suites and validators of others
	@$(BIN)/python tools/check.py interop

generations: $(VENV)/.dev ## Only the other generation of Ansible, where there is a Python for it
	@$(BIN)/python tools/check.py generations

integration: $(VENV)/.dev ## Only the tests against real servers
	@$(BIN)/python tools/check.py integration

gateways: $(VENV)/.dev $(SSLYZE) ## Only the gateway products, each by what its peers get (nginx, HAProxy)
	@$(BIN)/python tools/check.py gateways

molecule: $(VENV)/.dev ## Only the scenarios on real systemd hosts (podman)
	@$(BIN)/python tools/check.py scenarios

faults: $(VENV)/.dev ## kill -9 in every stage, several times each (long; FAULTS_SEED, FAULTS_ROUNDS)
	@FAULTS=long $(BIN)/python -m pytest -s -v --durations=0 tests/scenarios/test_faults.py

molecule-clean: ## Remove what killed runs of the scenarios left
	@tools/molecule --clean

mutants: $(VENV)/.dev ## Break the judges of certificates on purpose and count who notices (a quarter of an hour)
	@$(BIN)/python tools/mutants.py

bench: $(VENV)/.dev ## CPU seconds of what matters, beside a peer in the same run
	@$(BIN)/python tests/benchmarks/bench.py

fuzz: $(VENV)/.dev ## 200,000 changed inputs at every door (long; FUZZ="--seed 2 --inputs 1000"; goes on where it was)
	@nice -n 19 $(BIN)/python tests/adversarial/fuzz.py $(FUZZ)

requirements: $(VENV)/.lab ## Resolve the pinned requirements again
	@for name in requirements-bootstrap requirements requirements-lab requirements-dev requirements-sslyze; do
	  $(BIN)/uv --system-certs pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate $$name.in -o $$name.txt
	done
	for name in tests/interop/cryptography/*.in; do
	  $(BIN)/uv --system-certs pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate "$$name" -o "$${name%.in}.txt"
	done

clean: lab-down ## Stop the lab and remove its state and the environments
	@rm -rf "$(LAB_DIR)" "$(VENV)" .venv-2.19 .venv-2.21 .venv-sslyze .reports .cache/mutants .cache/cryptography
