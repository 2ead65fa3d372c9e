# make demo: train IF-GAN on rendered faces, in minutes.  make test: the tests.  make check: lint, types.
# make docs EXTRAS=docs: the API reference, build/api/index.html.
# Each makes .venv and installs what it needs; nothing is fetched but by pip. Python 3.11 or newer.
# Other versions have an environment of their own (.venv.12), here with the newest that pip finds:
#   make test PYTHON=python3.12 CONSTRAINTS=
#   make test VENV=.venv.lowest CONSTRAINTS=constraints-lowest.txt
PYTHON ?= python3
EXTRAS ?= test
CONSTRAINTS ?= constraints.txt
VENV ?= .venv$(patsubst python3%,%,$(notdir $(PYTHON)))
BIN := $(VENV)/bin
WHICH := $(or $(notdir $(CONSTRAINTS)),newest)
INSTALLED := $(VENV)/installed-$(EXTRAS)-$(WHICH)

.PHONY: demo test check docs install clean

install: $(INSTALLED)

# What was installed by other constraints is no longer there.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		$(if $(CONSTRAINTS),--constraint $(CONSTRAINTS),--upgrade --upgrade-strategy eager) --editable ".[$(EXTRAS)]"
	find $(VENV) -maxdepth 1 -name 'installed-*' ! -name '*-$(WHICH)' -delete
	touch $@

demo: install
	$(BIN)/python scripts/demo.py --workdir=runs/demo

test: install
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest tests/parity

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The warnings left out are of annotations in JAX, optax and TensorFlow Datasets, one of which runs uname.
docs: install
	PDOC_ALLOW_EXEC=1 $(BIN)/python -W "ignore:Error parsing type annotation" -m pdoc ifgan_jax --output-directory build/api

clean:
	rm -rf .venv* build dist *.egg-info .ruff_cache .mypy_cache
