# Two commands for newcomers: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PEERS := .venv-peers
PEERS_PIP := $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check
BENCH_DATA := $(or $(LLMTRAIN_DATA),$(wildcard ../shared/data))

.PHONY: help setup demo test check invariants gates votes people bench growth format wheel-test clean

help:
	@echo "make demo        install, then train a tiny model the whole way: pretrain, sft, reward, ppo"
	@echo "make test        install, then run the tests"
	@echo "make check       format, lint, types, tests"
	@echo "make invariants  put each of 37 kinds of bug in, and print which test catches it"
	@echo "make gates       PPO against an enumerated optimum, four seeds: about a minute and a half"
	@echo "make votes       50 raters, 10,000 votes, the server killed 20 times, on both databases: about nine minutes"
	@echo "make people      the demo whose rankings a script enters in a real browser, in place of people"
	@echo "make bench       install TRL beside us and measure in turn: bench/RESULTS.md; some twenty minutes on two quiet cores"
	@echo "make growth      time and memory over length, vocabulary, answers, batch and size: about eight minutes on two quiet cores"
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
	$(BIN)/ruff format --check llmtrain tests bench
	$(BIN)/ruff check llmtrain tests bench
	$(BIN)/mypy
	$(BIN)/python -m pytest

invariants: setup
	$(BIN)/python -m pytest tests/invariants/test_mutations.py --table

gates: setup
	$(BIN)/python -m bench.gates

votes: setup
	$(BIN)/python -m bench.votes

people: setup
	$(BIN)/python -m bench.people

# Of a part alone: make bench BENCH='--only pretrain sft'
bench: setup $(PEERS)/.installed
	$(BIN)/python -m bench.peers $(if $(BENCH_DATA),--data $(BENCH_DATA)) $(BENCH)

$(PEERS)/.installed: bench/peers/requirements.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) torch==2.13.0
	$(PEERS_PIP) --requirement bench/peers/requirements.txt
	touch $@
growth: setup
	$(BIN)/python -m bench.growth

format: setup
	$(BIN)/ruff format llmtrain tests bench
	$(BIN)/ruff check --fix llmtrain tests bench

wheel-test: setup
	$(BIN)/python tests/wheel.py

clean:
	rm -rf $(VENV) $(PEERS) dist
