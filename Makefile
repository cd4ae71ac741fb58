# parkmesh: everything a person or CI calls. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo app car mail lab-up lab-down lab-status control ee docs venv test test-quick molecule lint bench drills clean

# Which lab: the demonstration's, unless told otherwise. Labs of different names or clones run side by side.
export PARKMESH_LAB ?= demo
export PATH := $(CURDIR)/.venv/bin:$(PATH)
LAB := .venv/bin/python -m lab

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Build the whole system in the lab on this machine (root; Debian 12 or 13); V=1 prints every task
	@scripts/demo $(if $(V),-v)

app: venv ## Run the application alone, with sample data, on this machine (no lab, any user)
	@PYTHONPATH="$(CURDIR)/app/src" .venv/bin/python -m parkmesh serve --embedded

car: ## Send a car to community A's entrance: make car PLATE=1234BCD
	@$(LAB) exec devices-a -- parkmesh simulate car "$(or $(PLATE),1234BCD)" --site /etc/parkmesh/site.json || [ $$? -eq 3 ]

mail: ## Print the latest mails that the app servers in the lab sent: make mail COUNT=10
	@$(LAB) mail $(if $(COUNT),--count $(COUNT))

lab-up: venv ## Start the lab only: AWS API, networks, hosts
	@$(LAB) preflight && $(LAB) up

lab-down: ## Remove exactly what the lab made
	@$(LAB) down

lab-status: ## Show what of the lab is there
	@$(LAB) status

control: ## Install only what running the playbooks needs (any user; no root)
	@scripts/bootstrap control

ee: ## Build the execution environment, the container image of a control node (podman): make ee PLUGIN=session-manager-plugin.deb
	@$(if $(PLUGIN),test -f "$(PLUGIN)" || { echo "make ee: there is no file $(PLUGIN)" >&2; exit 2; })
	@scripts/bootstrap ci
	@.cache/ci/bin/ansible-builder build --container-runtime podman --context .cache/ee --tag parkmesh-ee:latest
	@$(if $(PLUGIN),cp "$(PLUGIN)" .cache/ee/plugin.deb && \
	  printf 'FROM parkmesh-ee:latest\nUSER 0\nCOPY plugin.deb /tmp/\nRUN dpkg --install /tmp/plugin.deb && rm /tmp/plugin.deb\nUSER 1000\n' \
	  | podman build --tag parkmesh-ee:latest --file - .cache/ee)

docs: ## Build the documentation's site in dist/site (any user)
	@scripts/bootstrap docs
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict > .cache/docs.log 2>&1 || { cat .cache/docs.log; exit 1; }
	@echo "  open $(CURDIR)/dist/site/index.html"

venv: ## Install what the project needs on this machine
	@scripts/bootstrap test

test: ## Run all tests, linters first
	@scripts/bootstrap test
	@.venv/bin/python scripts/run_tests.py

test-quick: ## Run only what needs no containers
	@scripts/bootstrap test
	@.venv/bin/python scripts/run_tests.py --only lint,zerotier,unit

molecule: venv ## Test a role on a host of its own: make molecule SCENARIO=zerotier DEBIAN=bookworm (all, on trixie)
	@$(if $(DEBIAN),LAB_DEBIAN=$(DEBIAN) )$(if $(SCENARIO),molecule test --scenario-name $(SCENARIO),.venv/bin/python scripts/scenarios.py)

lint: venv ## Run the linters
	@.venv/bin/python scripts/run_tests.py --only lint

bench: venv ## Measure; prints figures and ratios
	@for script in bench/*.py; do echo "== $$script"; .venv/bin/python "$$script" || exit 1; done

drills: venv ## Crash, damage and kill a gateway, leave it alone for a week, run it as on ARM, boot and kill servers, kill playbooks, lose a zone of a lab, roll and scale its servers, upgrade another (root), in some hours; SEED=<number> does the same again
	@cd app/tests/gateway && export PYTHONPATH="$(CURDIR)/app/src" && \
	  "$(CURDIR)/.venv/bin/python" spool_crashes.py --crashes 10000 $(if $(SEED),--seed $(SEED)) && \
	  "$(CURDIR)/.venv/bin/python" spool_crashes.py --crashes 3000 --damage $(if $(SEED),--seed $(SEED)) && \
	  "$(CURDIR)/.venv/bin/python" kills.py --kills 1000 $(if $(SEED),--seed $(SEED)) && \
	  "$(CURDIR)/.venv/bin/python" week.py $(if $(SEED),--seed $(SEED))
	@PYTHONPATH="$(CURDIR)/app/src" PARKMESH_INTERLEAVINGS=10000 .venv/bin/pytest -q tests/unit/project/test_slot_interleavings.py \
	  $(if $(SEED),--hypothesis-seed=$(SEED))
	@PYTHONPATH="$(CURDIR)/app/src" .venv/bin/python -m tests.emulator.slot_boots --boots 200 $(if $(SEED),--seed $(SEED))
	@.venv/bin/python -m tests.emulator.interruptions --kills 20 --throttled 0.2 $(if $(SEED),--seed $(SEED))
	@export PARKMESH_LAB=drills LAB_EGRESS=nat_instance LAB_METRIC_PERIOD_S=10; \
	  scripts/demo && .venv/bin/python -m lab.drills.starts $(if $(SEED),--seed $(SEED)) && \
	  .venv/bin/python -m lab.drills.zone_lost $(if $(SEED),--seed $(SEED)) && \
	  .venv/bin/python -m lab.drills.rolls $(if $(SEED),--seed $(SEED)); \
	  code=$$?; $(LAB) down; exit $$code
	@PARKMESH_LAB=upgrade .venv/bin/python -m lab.drills.upgrade $(if $(SEED),--seed $(SEED))
	@cd app/tests/gateway && PYTHONPATH="$(CURDIR)/app/src" "$(CURDIR)/.venv/bin/python" arm64.py

clean: ## Remove the lab, the venv and every cache of this clone
	@[ ! -x .venv/bin/python ] || $(LAB) down --all
	@rm -rf .venv .cache dist test-results .lab
