# Two commands for newcomers: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup demo test check format wheel-test clean

help:
	@echo "make demo        install, then train a tiny model the whole way: pretrain, sft, reward, ppo"
	@echo "make test        install, then run the tests"
	@echo "make check       format, lint, types, tests"
	@echo "make setup       prepare .venv alone"
	@echo "make wheel-test  build the wheel and run it in an empty environment"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/llmtrain pipeline

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check llmtrain tests
	$(BIN)/ruff check llmtrain tests
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: setup
	$(BIN)/ruff format llmtrain tests
	$(BIN)/ruff check --fix llmtrain tests

wheel-test: setup
	$(BIN)/python tests/wheel.py

clean:
	rm -rf $(VENV) dist
