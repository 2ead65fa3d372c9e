# make demo: train IF-GAN on rendered faces, in minutes.  make test: every test.  make check: lint, types.
# Each makes .venv and installs what it needs; nothing is fetched but by pip. Python 3.11 or newer.
PYTHON ?= python3
EXTRAS ?= test
BIN := .venv/bin

.PHONY: demo test check install clean

install: .venv/installed-$(EXTRAS)

.venv/installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	touch $@

demo: install
	$(BIN)/python scripts/demo.py --workdir=runs/demo

test: install
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -n 0 tests/parity

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist *.egg-info .ruff_cache .mypy_cache
