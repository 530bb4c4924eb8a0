# `make demo` runs the main job on embedded data; `make test` runs the tests; `make torture` runs their long forms,
# or some: `make torture CHECKS="kill owners"`. Each sets everything up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test torture lint setup clean
.DEFAULT_GOAL := demo

demo: setup
	$(BIN)/vqvae demo

test: setup
	$(BIN)/python -m pytest

torture: setup
	$(BIN)/python -m tests.torture $(CHECKS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vqvae needs Python 3.11 or later; found `$(PYTHON) --version`: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build src/*.egg-info .pytest_cache .ruff_cache
