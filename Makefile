# make demo   record, analyse, draw and browse a real training (OPEN=0 stops after the figures)
# make test   every check there is
# Both create the environment .venv when it is missing.
# make samples   record, analyse and draw every sample anew, into the folder samples (hours; FAST=1: minutes)
# make soak          the store's tests at length: 1,000 kills, 100,000 mutated files of each kind (hours)
# make bench-store   what the store costs beside W&B, TensorBoard, SQLite and JSON lines (four minutes; .venv-peers)
# make bench-rules   what each clip rule costs beside torch's own clip, and its replay (three minutes)
# make bench-recorder   what recording costs a training beside W&B, TensorBoard and Cockpit (15 minutes; GPU=1: on the card)
# make bench-app   what the dashboard takes over 100 runs of a million steps, beside TensorBoard (five minutes; Chromium)
# make bench-many   what questions to 100 runs of a million steps take, and to one of ten million (five minutes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
OPEN ?= 1
DEMO ?= demo
SAMPLES ?= samples
FAST ?= 0
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL_PEERS := $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test samples soak bench-store bench-rules bench-recorder bench-app bench-many format audit clean
.SILENT:

demo: $(VENV)/.core
	$(BIN)/gradlens demo --out "$(DEMO)" $(if $(filter 0,$(OPEN)),--no-show)

samples: $(VENV)/.core
	set -e; for recipe in sample_runs/*/recipe.py; do \
	  name=$$(basename "$$(dirname "$$recipe")"); echo "sample $$name"; \
	  $(BIN)/python "$$recipe" --out "$(SAMPLES)/$$name" $(if $(filter-out 0,$(FAST)),--fast); \
	done
	$(BIN)/python sample_runs/results.py "$(SAMPLES)" --out "$(SAMPLES)/results.md"

test: $(VENV)/.dev
	$(BIN)/python .ci/check.py

bench-store: $(VENV)/.core $(PEERS)/.made
	$(BIN)/python -m benchmarks.store

bench-rules: $(VENV)/.core
	$(BIN)/python -m benchmarks.rules

bench-recorder: $(VENV)/.core $(PEERS)/.made
	$(BIN)/python -m benchmarks.recorder $(if $(GPU),--gpu)

bench-app: $(VENV)/.dev $(PEERS)/.made
	$(BIN)/python -m benchmarks.app

bench-many: $(VENV)/.core
	$(BIN)/python -m benchmarks.many_runs

soak: $(VENV)/.dev
	GRADLENS_SOAK=1 $(BIN)/pytest -q --numprocesses 2 --dist worksteal tests/store

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(VENV)/.dev
	$(BIN)/python .ci/audit.py

clean:
	rm -rf $(VENV) $(PEERS) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

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

# The benchmarks run without the others too, and say in their tables who is missing.
$(PEERS)/.made: benchmarks/peers-requirements.txt benchmarks/peers-without-torch.txt
	echo "installing the others into an environment of their own, $(PEERS)"
	$(PYTHON) -m venv --clear $(PEERS)
	if $(INSTALL_PEERS) --requirement $< && $(INSTALL_PEERS) --no-deps --requirement $(word 2,$^); then touch $@; \
	else rm -rf $(PEERS); echo "they cannot be installed; the table will say so"; fi
