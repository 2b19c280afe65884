# `make` lists the commands. PYTHON chooses the interpreter: make test PYTHON=.venv/bin/python
PYTHON ?= python

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

test:  ## pass the tests (needs: pip install -e '.[test]')
	$(PYTHON) -m pytest

lint: links  ## check style and types (needs: pip install -e '.[dev]')
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m pyright --pythonpath $$($(PYTHON) -c 'import sys; print(sys.executable)')

format:  ## rewrite the code in the project's style
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

bench:  ## print all speed tables: a quarter of an hour on a quiet machine (needs: pip install -e '.[bench]')
	$(PYTHON) -m bench

speed:  ## measure and save them, and write README's figures, docs/speed.md and its picture
	$(PYTHON) -m bench --save bench/results/cpu
	$(PYTHON) -m bench.report

docs:  ## write docs/losses.md, docs/errors.md and the .pyi files of lossc/ from docstrings, signatures and codes
	$(PYTHON) docs/losses.py
	$(PYTHON) docs/errors.py
	$(PYTHON) -m lossc.losses.classes > lossc/losses/classes.pyi
	$(PYTHON) -m lossc.losses.stubs functional > lossc/functional.pyi
	$(PYTHON) -m lossc.losses.stubs torch > lossc/torch/__init__.pyi

bless:  ## accept what the code prints now as what the golden files expect
	$(PYTHON) -m pytest --bless

# pyright reads `lossc.ir` and its sisters through these links on a checkout.
links:
	@mkdir -p .typing/lossc
	@for folder in ir compiler runtime; do ln -sfn ../../$$folder .typing/lossc/$$folder; done
	@for file in lossc/*; do ln -sfn ../../$$file .typing/$$file; done

.PHONY: help test lint format bench speed docs bless links
