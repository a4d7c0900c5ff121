# Two commands for a new machine: `make demo` and `make test`. Both need Python 3.10 or newer, and no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check docs bench clean

demo: $(VENV)/demo  ## notifications through a real PostgreSQL, into a callback
	$(BIN)/python -m pgnotify demo

test: $(VENV)/nox  ## all tests, as CI runs them: those on one driver, and all others, at the same time
	@$(MAKE) --no-print-directory -j2 test-drivers test-others

test-%: $(VENV)/nox
	$(BIN)/nox -t $*

check: $(VENV)/nox  ## lint, types and the tests without a server: for the hand that edits
	$(BIN)/nox -s lint types offline

docs: $(VENV)/nox  ## the site in build/docs, and every block of code in it
	$(BIN)/nox -s docs

bench: $(VENV)/nox  ## what every way to listen costs, side by side: forty minutes
	$(BIN)/nox -s bench

$(VENV)/demo: $(VENV)/made pyproject.toml
	$(BIN)/pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/nox: $(VENV)/made
	$(BIN)/pip install --quiet 'nox[uv]>=2025.5'
	touch $@

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "pgnotify needs Python 3.10 or newer, $(PYTHON) is older: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .nox build dist
