# `make demo` trains both stages on built-in images; `make test` runs the tests; `make torture` runs the long checks,
# and `make torture CHECKS="kill owners"` runs some of them. Each command first installs the versions of
# constraints.txt into .venv. `make test-newest` and `make test-oldest` run the tests with the newest and the oldest
# versions that pyproject.toml allows; `make pins` rewrites constraints.txt (docs/dependencies.md). `make docs` builds the
# documentation into site/; `make docs-commands` runs the commands of its pages on small data (CONTRIBUTING.md).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# `make pins` moves every pin except torch's; `make pins TORCH=2.14.1` chooses another torch
TORCH  ?= $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' constraints.txt)
# further arguments of pip in test-newest, such as `make test-newest WITH=torch==2.13.0`
WITH   ?=

# one variable for installed packages, one for packages that build wheels: pip reads both since 25.3
pinned_by = PIP_CONSTRAINT=$(1) PIP_BUILD_CONSTRAINT=$(1)
COMPILE = .venv-pins/bin/uv pip compile --quiet --python-version 3.11 --strip-extras --no-header \
	--annotation-style line

.PHONY: demo test test-newest test-oldest torture lint docs docs-commands pins setup clean check-python
.DEFAULT_GOAL := demo

demo: setup
	$(BIN)/vqvae demo

# a worker for each core; threads that wait sleep, so that workers do not slow each other down
PYTEST = GOMP_SPINCOUNT=1000 $(1)/python -m pytest -n auto --dist worksteal

test: setup
	$(call PYTEST,$(BIN))

torture: setup
	$(BIN)/python -m tests.torture $(CHECKS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

# without warnings, and without the advertisement that mkdocs-material prints
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo open site/index.html

docs-commands: setup
	$(BIN)/python -m docs_build.run_commands $(PAGES)

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt | check-python
	$(PYTHON) -m venv $(VENV)
	$(call pinned_by,constraints.txt) $(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

test-newest: check-python
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet -e '.[dev]' $(WITH)
	.venv-newest/bin/python -m pip list
	$(call PYTEST,.venv-newest/bin)

# the oldest versions of our dependencies, with the newest versions of what they depend on
test-oldest: .venv-pins/bin/uv
	$(PYTHON) -m venv --clear .venv-oldest
	$(COMPILE) --resolution lowest-direct --extra dev pyproject.toml -o .venv-oldest/constraints.txt >/dev/null
	$(call pinned_by,.venv-oldest/constraints.txt) .venv-oldest/bin/python -m pip install --quiet -e '.[dev]'
	.venv-oldest/bin/python -m pip list
	$(call PYTEST,.venv-oldest/bin)

# one version for every Python and system; torch itself pins the packages of its CUDA builds
pins: .venv-pins/bin/uv
	echo 'torch==$(TORCH)' >.venv-pins/torch.txt
	$(COMPILE) --universal --fork-strategy fewest --upgrade --extra dev --extra cuda --extra heif \
		--constraint .venv-pins/torch.txt pyproject.toml -o .venv-pins/pins.txt >/dev/null
	{ echo '# The versions that are tested together, made by `make pins`: docs/dependencies.md. Ranges: pyproject.toml.'; \
		grep -v '^nvidia-\|^cuda-' .venv-pins/pins.txt; } >constraints.txt

.venv-pins/bin/uv: | check-python
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python -m pip install --quiet 'uv>=0.9'

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vqvae needs Python 3.11 or later; found `$(PYTHON) --version`: make PYTHON=python3.12 demo"; exit 2; }

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest .venv-pins build site src/*.egg-info .pytest_cache .ruff_cache
