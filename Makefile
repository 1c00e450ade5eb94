# make demo   record, analyse, draw and browse a real training (OPEN=0 stops after the figures)
# make test   every check there is
# Both create the environment .venv when it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OPEN ?= 1
DEMO ?= demo
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test format audit clean
.SILENT:

demo: $(VENV)/.core
	$(BIN)/gradlens demo --out "$(DEMO)" $(if $(filter 0,$(OPEN)),--no-show)

test: $(VENV)/.dev
	$(BIN)/python .ci/check.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(VENV)/.dev
	$(BIN)/python .ci/audit.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	$(PYTHON) .ci/machine.py
	echo "creating the environment $(VENV)"
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.made
	echo "installing gradlens and what it needs, pinned by constraints.txt (about a minute; torch is the large one)"
	$(INSTALL) --editable ".[samples]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	echo "installing gradlens, what it needs and what its tests need, pinned by constraints.txt (about a minute)"
	$(INSTALL) --editable ".[dev]"
	touch $(VENV)/.core $@
