# Everything for a machine with Python 3.11 or later, pip, venv and make. Each target installs what it needs into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
CORE ?= $(VENV)-core
CORE_BIN := $(abspath $(CORE))/bin
# The optional parts of Tessera that the tests need.
EXTRAS := export,hdf5,onnx,openvino,realsr,torch,train

.PHONY: demo test test-core test-slow test-arm coverage docs bench check format sanitize kernels clean

# Upscale the pictures in examples/.
demo: $(VENV)/.installed
	$(BIN)/python scripts/demo.py

# Linter, formatter, types and tests.
test: $(VENV)/.installed-dev $(CORE)/.installed
	PATH="$(BIN):$$PATH" scripts/check
	PATH="$(BIN):$$PATH" scripts/test
	PATH="$(CORE_BIN):$$PATH" scripts/test_core

# The core in a separate environment without PyTorch and OpenVINO.
test-core: $(CORE)/.installed
	PATH="$(CORE_BIN):$$PATH" scripts/test_core

test-slow: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" TESSERA_SEARCH=1 scripts/test -n 0 -m slow
	PATH="$(BIN):$$PATH" TESSERA_SEARCH=1 scripts/test tests/tiling/test_mosaic.py tests/images/test_resample.py tests/native tests/tiling/test_tiles.py

# The kernels for 64-bit Arm, under emulation. Needs, and does not install, these packages of Debian and Ubuntu:
# gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
test-arm: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/test_arm

# The tests with coverage: prints the untested lines of each file, and writes out/coverage. Sets no minimum.
coverage: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/test --cov --cov-report=term-missing:skip-covered --cov-report=html:out/coverage

# The documentation site and the man page, with warnings as errors, in out/docs.
docs: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/docs

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/overlap.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/measure.py
	$(BIN)/python benchmarks/degrade.py
	$(BIN)/python benchmarks/train_step.py data.batch=4

# The C kernels under AddressSanitizer, UBSan and ThreadSanitizer.
sanitize: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/sanitize

# Rebuild the C kernels in place, after a change to their sources.
kernels: $(VENV)/.installed
	$(BIN)/python -m tessera.native.build

check: $(VENV)/.installed-dev
	PATH="$(BIN):$$PATH" scripts/check

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml hatch_build.py constraints.txt
	$(PYTHON) scripts/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"  # the first with --group
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]" --group dev
	touch $@

$(CORE)/.installed: pyproject.toml hatch_build.py constraints.txt
	$(PYTHON) scripts/check_python.py
	$(PYTHON) -m venv $(CORE)
	$(CORE_BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(CORE_BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group core-test
	touch $@

clean:
	rm -rf $(VENV) $(CORE) out
