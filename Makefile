# The front door. `make demo` and `make test` each work as the first command on a fresh machine.
# Everything is installed into .venv beside this file; nothing outside of it is touched.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
NEWEST := python3.14 python3.13 python3.12 python3.11 python3
COGGED := $(shell grep -rlF '[[[cog' --include='*.md' README.md docs plugins 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench docs golden fmt clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv and install what development and the demo need

# The first Python of the list that really runs: a name on PATH may be a shim of a version manager
# that only fails. `PYTHON=/path/to/python make setup` chooses another.
$(BIN)/python:
	@set -eu; python="$(PYTHON)"; \
	if [ -z "$$python" ]; then for name in $(NEWEST); do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then python="$$name"; break; fi; done; fi; \
	if [ -z "$$python" ]; then \
	  echo "policyguard needs Python 3.11 or newer; found: $$(python3 --version 2>&1 | tail -n 1)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "$$python is not Python 3.11 or newer." >&2; exit 1; fi; \
	if ! "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then \
	  echo "$$python can't make virtual environments: the modules venv and ensurepip are missing." >&2; \
	  echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; fi; \
	echo "Creating $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

# uv is quicker where it happens to be there; where it can't reach an index that pip is set up for,
# pip does it.
$(STAMP): pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS)) | $(BIN)/python
	@echo "Installing what development and the demo need (once; a minute or so)"
	@set -eu; what="--group dev --group demo -e .[otel] $(addprefix -e ,$(PLUGINS))"; \
	if command -v uv >/dev/null 2>&1 && uv pip install --quiet --python $(BIN)/python $$what; \
	then :; else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check $$what; fi
	@touch $@

demo: $(STAMP)  ## run the picture service and see the embedding stopped on its way to the ad pixel
	@$(BIN)/python -m policyguard demo

# One seed for all workers, so that they agree on names of tests that show a set; another one each
# time, so that nothing comes to rest on an order.
test: $(STAMP)  ## run all tests
	@seed=$${PYTHONHASHSEED:-$$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}; \
	echo "PYTHONHASHSEED=$$seed"; PYTHONHASHSEED=$$seed $(BIN)/python -m pytest -n 2

check: $(STAMP)  ## everything that is not a test: style, types, layers, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m cogapp --check --check-fail-msg='run `make docs`' -I docs $(COGGED)
	$(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html

bench: $(STAMP)  ## measure; ratios in one run, on this machine
	@if ! $(BIN)/python -c 'import cedarpy' >/dev/null 2>&1; then \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench; fi
	@$(BIN)/python -m tests.benchmarks.run

docs: $(STAMP)  ## write the generated parts of the documents, then build docs/_build/html
	$(BIN)/python -m cogapp -r -I docs $(COGGED)
	$(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

golden: $(STAMP)  ## write the expected outputs anew; review them as a diff
	POLICYGUARD_GOLDEN=1 $(BIN)/python -m pytest -n 2 tests
	@git --no-pager diff --stat

fmt: $(STAMP)  ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) .venv-* build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
