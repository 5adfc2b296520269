# Every target makes .venv first when it is absent: a bare machine with python3, make and g++ is enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench clean

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: .venv/.installed
	$(BIN)/tinyalign demo

test: .venv/.installed
	$(BIN)/pytest -n 2 --dist loadgroup --durations=10

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: .venv/.installed
	$(BIN)/tinyalign bench

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
