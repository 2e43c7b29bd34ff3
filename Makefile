# Everything a checkout needs: `make demo` and `make test` set up the environment first, by themselves.

VENV ?= .venv
EXTRAS ?= dev
PREFINE := $(VENV)/bin/prefine
PYTHON_OF := $(VENV)/bin/python

# Bytecode makes every start several seconds quicker, so it is written even where the shell turns it off.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format docs lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

setup: ## make or update the environment in .venv
	@bash scripts/setup_env.sh $(VENV) $(EXTRAS)

demo: setup ## run the whole pipeline on the embedded tiny world: runs/demo/report.html
	@$(PREFINE) demo

test: check ## check, then run the tests
	@OMP_NUM_THREADS=1 $(PYTHON_OF) -m pytest -n auto --maxprocesses 2 --dist loadfile $(PYTEST)

check: setup ## formatting, lint, types
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/pyright

format: setup ## format and fix what can be fixed
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

docs: setup ## write the pages that are made from the code
	@$(PYTHON_OF) scripts/make_docs.py

lock: setup ## pin every dependency in constraints.txt
	@bash scripts/lock.sh $(VENV)

clean: ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
