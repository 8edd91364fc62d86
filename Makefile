# Two commands for a newcomer: make demo, make test. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= auto
TWIN_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/twin/tools
export TWIN_TOOLS

.PHONY: demo demo-kind test fuzz test-real real-tools campaigns fidelity lint types layers requirements docs bench validate clean

demo: $(VENV)/.run ## watch two incidents, from alert to report
	$(BIN)/twin demo

demo-kind: $(VENV)/.run ## the shop in examples/ with a shadow on kind: a fix that Kubernetes rejects, and one that it lets through
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[kube]'
	bash deploy/demo-kind.sh out/demo-kind

test: $(VENV)/.dev ## every test that needs nothing but PyPI
	$(BIN)/python -m pytest -n $(JOBS) -m "not real"

test-real: $(VENV)/.dev ## plus those that need OPA and Chromium; says what is missing
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "real and not kind"
	$(BIN)/python -m pytest -m kind

real-tools: ## build or install what PyPI does not carry, once, into a cache folder
	sh deploy/tools/build-opa.sh
	sh deploy/tools/install-debian.sh
	sh deploy/test-clusters/control-plane/build.sh
	bash deploy/test-clusters/kind/build.sh
	$(PYTHON) deploy/tools/check.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

fuzz: $(VENV)/.dev ## the property tests again, with many examples that no run has seen
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n $(JOBS) --timeout 3600 -m "not real" tests/property tests/twin tests/policies

campaigns: $(VENV)/.dev ## the long forms of what CI does in short: every crash point, many random writes
	TWIN_CRASH_STEP=1 TWIN_DIFFERENTIAL=200 $(BIN)/python -m pytest -m real tests/end_to_end/test_live_promotion.py tests/contract

fidelity: $(VENV)/.dev ## what a real cluster does beside what its twin says; ten quiet minutes
	$(BIN)/python -m tests.benchmarks.bench_fidelity

requirements: $(VENV)/.dev ## which test holds which requirement
	$(BIN)/python tests/requirements.py

bench: $(VENV)/.run ## the whole benchmark; takes a while
	$(BIN)/twin bench run --suite core --out out/bench

validate: $(VENV)/.run ## judge every scenario but the held-out ones, on 20 seeds; an hour and more, too long for CI
	$(BIN)/twin bench validate --suite all --seeds 20 --jobs $(JOBS)

clean:
	rm -rf $(VENV) out

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …" >&2; exit 11; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run
