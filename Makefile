# Every target makes its own .venv from nothing but Python >= 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
STAMP  := .venv/.made-with-$(notdir $(PYTHON))
PY     := .venv/bin/python

.PHONY: demo test check soak bench clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "labioc needs Python 3.11 or newer: make PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# mypy and editors want the packages below a folder named labioc
build/labioc:
	@mkdir -p $@ && for room in drivers devices iocs sim; do ln -sfn ../../$$room $@/$$room; done

demo: $(STAMP)
	@.venv/bin/labioc demo

check: $(STAMP) build/labioc
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy -p labioc
	$(PY) -m mypy tests benchmarks
	$(PY) -m pytest tests/test_imports.py

test: check
	$(PY) -m pytest -n 4 --dist worksteal

soak: $(STAMP)
	$(PY) -m benchmarks.faults
	$(PY) -m benchmarks.recovery
	$(PY) -m benchmarks.soak
	$(PY) -m benchmarks.stuck_client
	$(PY) -m benchmarks.relay --kills 100
	$(PY) -m benchmarks.autosave

bench: $(STAMP)
	$(PY) -m benchmarks.polling
	$(PY) -m benchmarks.scope
	$(PY) -m benchmarks.server
	$(PY) -m benchmarks.relay
	$(PY) -m benchmarks.modbus

clean:
	rm -rf .venv build dist *.egg-info
