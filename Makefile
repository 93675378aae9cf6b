# `make` lists the targets. The virtual environment is made from pyproject.toml and constraints.txt, once for each change of either:
# first what `make demo` needs, then, for every other target, the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SHOWABLE := $(VENV)/.demo
READY := $(VENV)/.installed
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
# Some machines tell Python to keep no bytecode: every command that a test starts would compile us anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test slow quick long check format render manifests terraform conformance bench constraints site clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

install: $(READY)  ## Make .venv with everything in it

$(SHOWABLE): pyproject.toml constraints.txt .ci/install
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) on the PATH; name another with make PYTHON=..."; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python .ci/install training serving drift report platform
	@touch $@

$(READY): $(SHOWABLE)
	@$(BIN)/python .ci/install features iceberg kafka networks retrieval collections reviews snowflake tracking dev
	@touch $@

demo: $(SHOWABLE)  ## The main job for fraud, end to end, in under three minutes; installs what fraud needs, leaves nothing running
	@$(BIN)/hallmark demo

# What stands up real controllers and Terraform has targets of its own; reading it takes each pytest process seconds.
OURS := --ignore=tests/conformance --ignore=tests/terraform

test: quick  ## The test suite: under ten minutes
	$(BIN)/python -m pytest $(OURS) -m "serial and not slow and not long"

# Feast and PyFlink need other versions of what we need, so each has an environment of its own.
FEAST := $(VENV)/feast
FLINK := $(VENV)/flink
$(FEAST)/.installed: benchmarks/features/rivals/requirements.txt $(READY)
$(FLINK)/.installed: tests/hallmark/feature_store/flink-requirements.txt $(READY)
$(FEAST)/.installed $(FLINK)/.installed:
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

slow: $(READY) $(FEAST)/.installed $(FLINK)/.installed  ## The tests that take long: whole rollouts and drills, trainings that are killed, statistical promises; CI runs them too
	$(BIN)/python -m pytest $(OURS) -n 4 --dist loadfile --no-loadscope-reorder -m "slow and not long"

long: $(READY)  ## Promises on every seed and at every moment, not on the first alone: run by hand before a release (three quarters of an hour)
	HALLMARK_LONG=1 $(BIN)/python -m pytest -n 2 -m "long or many"

quick: $(READY)  ## The tests that need no quiet machine
	$(BIN)/python -m pytest $(OURS) -n 4 --dist loadfile --no-loadscope-reorder -m "not serial and not slow and not long"

check: $(READY)  ## Lint, types, and whether generated files are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hallmark render --check
	$(BIN)/hallmark lint

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

render: $(READY)  ## Write the generated files
	$(BIN)/hallmark render

manifests: $(READY)  ## Check what a cluster applies: freshness, lint, schemas, policies, tenancy, builds
	$(BIN)/hallmark render --check
	for each in dev staging production; do kubectl kustomize --load-restrictor LoadRestrictionsNone manifests/clusters/$$each > /dev/null || exit 1; done
	$(BIN)/hallmark lint
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/manifests tests/hallmark/render tests/hallmark/lint

# checkov pins boto3 and others, so it has an environment of its own.
CHECKOV := $(VENV)/checkov
$(CHECKOV)/.installed: terraform/requirements.txt $(READY)
	test -x $(CHECKOV)/bin/python || $(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/pip install --quiet --disable-pip-version-check -r terraform/requirements.txt
	@touch $@

terraform: $(READY) $(CHECKOV)/.installed  ## Check terraform/: tests, plans, an apply to moto (8 minutes; TF_PLUGIN_MIRROR=folder for a mirror)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m terraform -rs tests/terraform

conformance: $(READY)  ## Real etcd, API server, controllers, KServe, Knative's webhook, istiod, Kueue and Trainer, and what we ship on them (first time 20 minutes, then 6)
	@$(BIN)/python -m tests.conformance.needs
	@nice $(BIN)/python -m tests.conformance.build
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m conformance tests/conformance

site: $(READY)  ## Write docs/ as a site with search into .hallmark/site
	$(BIN)/python -m mkdocs build --quiet

bench: $(READY)  ## The benchmarks, the model server's first (15 minutes; VENVS=folder of other servers: docs/performance.md)
	$(BIN)/python -m benchmarks.serving $(if $(VENVS),--venvs $(VENVS)) --save .hallmark/performance
	for each in benchmarks/*.py; do $(BIN)/python $$each || exit 1; done
	$(BIN)/python -m benchmarks.retrieval
	$(BIN)/python -m benchmarks.retrieval.over_http
	for each in online offline serving stream merge; do $(BIN)/python -m benchmarks.features.$$each || exit 1; done

constraints: $(READY)  ## Write constraints.txt from what is installed
	@{ echo "# Versions that were tested together: written by \`make constraints\` from a fresh environment."; \
	  $(BIN)/pip freeze --exclude-editable | grep -vi '^hallmark' | sed 's/+cpu//'; } > constraints.draft
	@mv constraints.draft constraints.txt

clean:  ## Remove .venv and what running left behind
	rm -rf $(VENV) .hallmark .pytest_cache .mypy_cache .ruff_cache
