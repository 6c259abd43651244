# Every job that a person or CI runs; `make help` lists them.
# Needs Python 3.11 or later with venv, and a package index that pip reaches. `make check` wants npx too.

PYTHON ?= python3
DATA ?= simulated
# More workers than cores gain nothing; the tests' own threads are held at one each (tests/conftest.py).
WORKERS ?= 2
# Further arguments: `make test ARGS="-k encoding -x"`.
ARGS ?=
# Where real data sets lie; beside the checkout if they are there, else in data/.
export HOLDFAST_DATA ?= $(if $(wildcard ../shared/data),../shared/data,data)
# Environments of other people's software, each its own, so that its pins and ours never meet.
export HOLDFAST_PEERS ?= ../peers

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
# A module's tests stay with one worker, so that what they share (a fitted model, an environment) is made once;
# modules come in the order of tests/conftest.py, by default those with few tests, however long, would come last.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder
BENCHMARKS := prepare encoding engine quality offline
# Outside the checkout: models and other people's environments of `make bench-serving` and `bench-training`.
BENCH_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast-bench
PEERS := mlserver litserve ray

# On a terminal pip shows its progress bars; in a log one line per step is enough.
PIP_QUIET := $(if $(MAKE_TERMOUT),,-qq)
# pip compiles on one core and a second install repeats nothing, so compiling is left to compileall below.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile $(PIP_QUIET) -c constraints.txt
# Their own tests are never imported. Some ship templates, which do not compile: that is no failure.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib >/dev/null 2>&1 || true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long test-slow test-triton test-deploy coverage check check-format check-lint check-types check-arrows \
	check-protos bench bench-serving bench-training peers peers-training format protos clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(STAMPS)/run ## prepare, train, export, serve and score (DATA=simulated|online_retail_ii|cdnow)
	$(BIN)/python -m training.demo data=$(DATA) $(ARGS)

test: $(STAMPS)/test ## run the tests (ARGS="-k name")
	$(PYTEST) $(ARGS)

test-long: $(STAMPS)/test ## run the tests that take ten seconds or more each, as CI does too
	$(PYTEST) -m long $(ARGS)

test-slow: $(STAMPS)/test ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

test-triton: $(STAMPS)/test $(HOLDFAST_PEERS)/tritonclient/.installed ## ask a server with an unmodified tritonclient
	$(BIN)/python -m pytest -m peers tests/peers $(ARGS)

test-deploy: $(HOLDFAST_PEERS)/kubernetes/.installed ## check deploy/ by promtool, kubectl and systemd, where they are
	deploy/check $(HOLDFAST_PEERS)/kubernetes

coverage: $(STAMPS)/test ## run the tests and show the branches that none of them takes
	$(PYTEST) -m "not slow and not peers" --cov --cov-report=term $(ARGS)

check: check-format check-lint check-types check-arrows check-protos ## format, lint, types, import arrows, protos

check-format: $(STAMPS)/check
	$(BIN)/ruff format --check --quiet .

check-lint: $(STAMPS)/check
	$(BIN)/ruff check --quiet .

check-types: $(STAMPS)/check
	$(BIN)/mypy

check-arrows: $(STAMPS)/check
	$(BIN)/lint-imports --no-logo

check-protos: $(STAMPS)/check
	.ci/check-protos $(BIN)/python

bench: $(STAMPS)/test ## measure, and write benchmarks/results/*.json
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done

bench-serving: $(STAMPS)/test peers ## measure the server under load, beside others (ARGS="--quick --no-peers")
	$(BIN)/python -m benchmarks.serving --cache $(BENCH_CACHE) $(ARGS)

bench-training: $(STAMPS)/test peers-training ## measure the training step and its loader (ARGS="--quick --no-peers")
	$(BIN)/python -m benchmarks.training --cache $(BENCH_CACHE) $(ARGS)

peers: ## install the servers that bench-serving compares with, each in an environment of its own
	@$(call install-peers,$(PEERS:%=benchmarks/serving/peers/%.txt))

peers-training: ## install pytorch-lifestream, which bench-training compares with, likewise
	@$(call install-peers,benchmarks/training/peers/lifestream.txt)

# An environment per file of versions; one that is up to date stays, one that cannot be installed is left out.
define install-peers
for versions in $(1); do \
	name=$$(basename $$versions .txt); home=$(BENCH_CACHE)/peers/$$name; \
	cmp -s $$versions $$home/versions.txt && continue; \
	echo "environment: $$home, $$(sed -n 2p $$versions)"; \
	rm -rf $$home && $(PYTHON) -m venv $$home && \
	$$home/bin/python -m pip install --disable-pip-version-check $(PIP_QUIET) -r $$versions && \
	cp $$versions $$home/versions.txt || echo "$$name cannot be installed here: it will be left out"; \
done
endef

format: $(STAMPS)/check ## format, and mend what the linter can
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

protos: ## write the stubs in holdfast/ anew from protos/
	PYTHON=$(PYTHON) protos/generate.sh

clean: ## remove the environment, builds and caches; stores, outputs and results stay
	rm -rf $(VENV) build dist .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment grows in steps, so that a demo does not wait for linters. A step is taken again only when
# pyproject.toml or constraints.txt changed; pip then moves what is not at its pin.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Holdfast needs Python 3.11 or later; name one with PYTHON=python3.12"; exit 1; }
	@echo "environment: $(VENV), from $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# torch comes first and by its exact pin, so that pip takes a CPU wheel where one is configured, and nothing that
# follows can pull another build with gigabytes of CUDA packages.
$(STAMPS)/torch: $(STAMPS)/venv constraints.txt
	@echo "environment: $$(grep '^torch==' constraints.txt) (the largest part)"
	@$(PIP_INSTALL) $$(grep '^torch==' constraints.txt)
	@touch $@

$(STAMPS)/run: $(STAMPS)/torch pyproject.toml constraints.txt
	@echo "environment: packages to train and to serve"
	@$(PIP_INSTALL) -e '.[train,serve]'
	@$(COMPILE)
	@touch $@

$(STAMPS)/test: $(STAMPS)/run
	@echo "environment: packages to test"
	@$(PIP_INSTALL) -e '.[test]'
	@$(COMPILE)
	@touch $@

$(HOLDFAST_PEERS)/tritonclient/.installed: tests/peers/tritonclient.txt
	@echo "environment: $(@D), with $$(grep '^tritonclient==' $<)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --disable-pip-version-check $(PIP_QUIET) -r $<
	@touch $@

$(HOLDFAST_PEERS)/kubernetes/.installed: deploy/schemas.txt
	@echo "environment: $(@D), with $$(grep '^kubernetes-validate==' $<)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --disable-pip-version-check $(PIP_QUIET) -r $<
	@touch $@

$(STAMPS)/check: $(STAMPS)/test
	@echo "environment: packages to check"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@
