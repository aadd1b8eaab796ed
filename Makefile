# make demo   install what the demo needs into .venv, and run it
# make test   install what the tests need into .venv; lint, format, types, the site of the documentation, tests
# make docs   install what the documentation needs into .venv, and build its site: build/docs/index.html
#
# PYTHON    interpreter for the environment, 3.11 or newer
# PIP_ARGS  passed to pip, for example an index with CPU builds of torch

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
SPHINX := $(BIN)/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going --fresh-env -d build/doctrees

.PHONY: demo test docs bench clean

demo: .venv/.demo
	$(BIN)/elites demo

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SPHINX) docs build/docs
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto

docs: .venv/.docs
	$(SPHINX) docs build/docs
	@echo "build/docs/index.html"

# the figures of the documentation; most of a day on two cores
bench: .venv/.bench
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.pipelines
	$(BIN)/python -m benchmarks.needle
	$(BIN)/python -m benchmarks.trajectory
	$(BIN)/python -m benchmarks.pendulum
	$(BIN)/python -m benchmarks.previews
	$(BIN)/python -m benchmarks.quality --workers 2
	$(BIN)/python -m benchmarks.quality.clock
	$(BIN)/python -m benchmarks.steering
	$(BIN)/python -m benchmarks.reproduce
	$(BIN)/python -m benchmarks.guidance
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.kills
	$(BIN)/python -m benchmarks.hallucination
	$(BIN)/python -m benchmarks.hacking
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.subscribers
	$(BIN)/python -m benchmarks.foresight

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "elites needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python has no venv module: install it (on Debian, the package python3-venv)."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: pyproject.toml constraints.txt | .venv/.python
	$(PIP) -e ".[diffusers]"
	@touch $@

.venv/.test: pyproject.toml constraints.txt | .venv/.python
	$(PIP) -e ".[test]"
	@touch $@ .venv/.demo .venv/.docs

.venv/.docs: pyproject.toml constraints.txt | .venv/.python
	$(PIP) -e ".[docs]"
	@touch $@

.venv/.bench: pyproject.toml constraints.txt | .venv/.python
	$(PIP) -e ".[bench]"
	@touch $@ .venv/.demo

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
