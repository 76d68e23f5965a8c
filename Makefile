# The front door. `make demo` and `make test` do everything on a machine with Python 3.11 or newer and make.
# The virtual environment is made once; pip runs again only when pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Grids that train networks first, for an hour or more.
TRAINING := $(wildcard grids/*_training.yaml)
# One test process a core, with one thread each. Each begins with its own part of the list of tests and then takes from the others,
# so that nearly every file is the work of one process, which makes the file's fixtures once.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo figures training test test-slow lint docs bench pretrained clean

demo: $(STAMP)
	$(BIN)/harness run grids/fig2_deterministic.yaml
	@$(BIN)/harness report fig2_deterministic

figures: $(STAMP)
	$(BIN)/harness run $(filter-out $(TRAINING),$(wildcard grids/*.yaml)); code=$$?; $(BIN)/harness report --all && exit $$code

training: $(STAMP)
	$(BIN)/harness run $(TRAINING); code=$$?; $(BIN)/harness report --all && exit $$code

test test-slow: export OMP_NUM_THREADS := 1

test: $(STAMP)
	$(BIN)/pytest $(PARALLEL) -m "not slow"

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/commands.py --check

docs: $(STAMP)
	$(BIN)/python docs/commands.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks.table

pretrained: $(STAMP)
	$(BIN)/harness train pretrained/recipes/digits-*.yaml --fresh --device cpu -o pretrained

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]" --constraint constraints.txt
	$(BIN)/pip install --quiet --no-deps torch-fidelity --constraint constraints.txt  # a judge in tests; needs torchvision, which we do not
	touch $(STAMP)
