# `make demo` and `make test` need Python >= 3.11 with pip, and nothing else: each makes .venv and installs
# what it needs. PYTHON and VENV choose another interpreter and another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs clean

demo: $(VENV)/.demo
	$(BIN)/mupwd demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Anew each time: what an earlier build warned of, the next one would not mention.
docs: $(VENV)/.dev
	rm -rf build/docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet --jobs 2 -d build/doctrees docs build/docs
	$(BIN)/python docs/check_site.py build/docs

# A stamp per set of extras, renewed when the metadata changes.
$(VENV)/.demo: pyproject.toml
	$(MAKE) --no-print-directory $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[proxy]'
	touch $@

$(VENV)/.dev: pyproject.toml
	$(MAKE) --no-print-directory $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mupwd needs Python 3.11 or newer, found %s: run make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
