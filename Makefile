# Everything on a machine that has Python 3.11 to 3.13, pip, venv and make. `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin

.PHONY: demo test test-slow bench check format sanitize kernels clean

demo: $(VENV)/.installed
	$(BIN)/python scripts/demo.py

test: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/check
	PATH="$(BIN):$$PATH" scripts/test

test-slow: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" TESSERA_SEARCH=1 scripts/test -m slow
	PATH="$(BIN):$$PATH" TESSERA_SEARCH=1 scripts/test tests/tiling/test_mosaic.py tests/images/test_resample.py tests/native tests/tiling/test_tiles.py

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/overlap.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/measure.py
	$(BIN)/python benchmarks/degrade.py
	$(BIN)/python benchmarks/train_step.py data.batch=4

# The kernels under AddressSanitizer, UBSan and ThreadSanitizer.
sanitize: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/sanitize

# The kernels again, where the package lies: after a change to their sources.
kernels: $(VENV)/.installed
	$(BIN)/python -m tessera.native.build

check: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/check

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml hatch_build.py constraints.txt
	$(PYTHON) scripts/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out
