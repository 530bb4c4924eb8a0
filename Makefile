# `make demo` runs the main job on embedded data; `make test` runs the tests; `make torture` runs their long forms,
# or some: `make torture CHECKS="kill owners"`. Each sets everything up, with the versions of constraints.txt.
# `make test-newest` and `make test-oldest` run the tests with the newest and the oldest versions that
# pyproject.toml allows; `make pins` renews constraints.txt: docs/dependencies.md.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# `make pins` moves every pin but torch's: a new torch is a decision, `make pins TORCH=2.14.1`
TORCH  ?= $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' constraints.txt)
# more for pip in test-newest, such as `make test-newest WITH=torch==2.13.0` where its newest build is too large
WITH   ?=

# one for what is installed, one for what builds our wheel: pip asks for both since 25.3
pinned_by = PIP_CONSTRAINT=$(1) PIP_BUILD_CONSTRAINT=$(1)
COMPILE = .venv-pins/bin/uv pip compile --quiet --python-version 3.11 --strip-extras --no-header \
	--annotation-style line

.PHONY: demo test test-newest test-oldest torture lint pins setup clean check-python
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

$(VENV)/.installed: pyproject.toml constraints.txt | check-python
	$(PYTHON) -m venv $(VENV)
	$(call pinned_by,constraints.txt) $(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

test-newest: check-python
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet -e '.[dev]' $(WITH)
	.venv-newest/bin/python -m pip list
	.venv-newest/bin/python -m pytest

# the oldest of what we ask for, the newest of what that asks for
test-oldest: .venv-pins/bin/uv
	$(PYTHON) -m venv --clear .venv-oldest
	$(COMPILE) --resolution lowest-direct --extra dev pyproject.toml -o .venv-oldest/constraints.txt >/dev/null
	$(call pinned_by,.venv-oldest/constraints.txt) .venv-oldest/bin/python -m pip install --quiet -e '.[dev]'
	.venv-oldest/bin/python -m pip list
	.venv-oldest/bin/python -m pytest

# one version for every Python and system; what torch's CUDA builds bring along is torch's own to pin
pins: .venv-pins/bin/uv
	echo 'torch==$(TORCH)' >.venv-pins/torch.txt
	$(COMPILE) --universal --fork-strategy fewest --upgrade --extra dev --extra cuda \
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
	rm -rf $(VENV) .venv-newest .venv-oldest .venv-pins build src/*.egg-info .pytest_cache .ruff_cache
