# `make demo` shows a restyled moving picture in a browser; `make test` proves everything.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Idle OpenMP threads that spin take the cores away from the codec and the browser.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo install install-test test quick bench train clip clean

demo: install
	$(BIN)/millrace serve --open

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 to 3.13 is needed; name it with: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV) \
	  || { echo "no venv module; on Debian: apt-get install python3-venv"; exit 2; }

# torch goes first and alone: its version decides which further packages it brings along.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[test]'
	touch $@

test: install-test
	./.ci/chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p .types && ln -sfn .. .types/millrace
	$(BIN)/mypy -p millrace
	$(BIN)/python -m pytest

# Without the browser, the training and whatever else takes more than a few seconds.
quick: install-test
	$(BIN)/python -m pytest -q -m "not browser and not slow"

bench: install
	$(BIN)/millrace bench --model tiny --size 256x256 --seconds 60 --steps 1,2

train: install-test
	$(BIN)/python -m millrace.models.training

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
