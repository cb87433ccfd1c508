# Everything runs in .venv, which `make setup` makes; cmake and ninja come from PyPI.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 --dist worksteal
CORE_OPTIONS ?=
DATA ?=
FUZZ_SECONDS ?= 1800
EXTRAS ?= tensorflow,onnx,plot,chain

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
export PATH := $(BIN):$(PATH)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

CORE_SOURCES := $(shell find gvm/_core -name '*.cc' -o -name '*.h' -o -name '*.inc' -o -name '*.cu')
CXX_FILES := $(shell find gvm/_core tests/core tests/conform tests/fuzz examples benchmarks \
  \( -name '*.cc' -o -name '*.h' -o -name '*.c' -o -name '*.cu' \) 2>/dev/null)
TYPED := $(wildcard gvm chain benchmarks)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gvm needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "cannot make .venv: install the venv module (Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	@mkdir -p $(@D) && touch $@

$(STAMPS)/packages: $(STAMPS)/venv pyproject.toml
	$(BIN)/python -m pip install -q --group dev
	@touch $@

# A C++ source that goes away must rebuild too, hence the list of names beside the time stamps.
$(STAMPS)/sources: FORCE
	@mkdir -p $(@D)
	@echo $(sort $(CORE_SOURCES)) | cmp -s - $@ || echo $(sort $(CORE_SOURCES)) > $@

$(STAMPS)/gvm: $(STAMPS)/packages $(STAMPS)/sources $(CORE_SOURCES) CMakeLists.txt $(wildcard cmake/*)
	$(BIN)/python -m pip install -q --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@

.PHONY: FORCE
FORCE:

.PHONY: setup
setup: $(STAMPS)/gvm ## Make .venv with gvm built and installed in it (editable)

.PHONY: demo
demo: setup ## Train one model in every way there is; DATA=<folder> takes MNIST's idx files
	$(BIN)/python examples/demo.py $(if $(DATA),--data '$(DATA)')

.PHONY: core
core: setup ## Build the C++ library and its tests in build/core and run them
	cmake --preset core $(CORE_OPTIONS)
	cmake --build --preset core
	ctest --preset core

.PHONY: lint
lint: setup ## Check style and types
	ruff check .
	ruff format --check .
	mypy $(TYPED)
	$(if $(CXX_FILES),clang-format --dry-run --Werror $(CXX_FILES))

.PHONY: test
test: core lint ## Run every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Every kernel of the CUDA backend as C++ on this processor: no GPU is needed, nor nvcc.
DEVICE_TESTS := $(patsubst %,tests/test_%.py,operators extremes optimizers plan program_identity \
  session_step theorem updates)
.PHONY: simulated
simulated: setup ## Run the tests of operators and programs on the simulated CUDA device
	cmake --preset simulated -DPython_EXECUTABLE=$(BIN)/python \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	cmake --build --preset simulated
	GVM_TEST_EXTENSION="$$(ls $(CURDIR)/build/simulated/_gvm.*.so)" GVM_TEST_LEVELS=devices \
	  $(BIN)/python -m pytest $(PYTEST_ARGS) $(DEVICE_TESTS)

.PHONY: cuda
cuda: setup ## Compile the CUDA backend into build/cuda (nvcc from PyPI where there is none)
	scripts/cuda.sh

.PHONY: sanitize
sanitize: setup ## Run the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	cmake --preset sanitize
	cmake --build --preset sanitize
	ctest --preset sanitize

.PHONY: races
races: setup ## Run the C++ tests under ThreadSanitizer
	cmake --preset thread
	cmake --build --preset thread
	ctest --preset thread

.PHONY: fuzz
fuzz: setup ## Try hostile programs with libFuzzer for FUZZ_SECONDS each (needs clang)
	scripts/fuzz $(FUZZ_SECONDS)

.PHONY: wheels
wheels: setup ## Build the source archive and manylinux wheels (x86-64, aarch64) into dist
	$(BIN)/python -m pip install -q --group wheels
	$(BIN)/python scripts/wheels

.PHONY: verifier
verifier: setup ## Build the page that verifies losses in a browser: build/verify/index.html
	scripts/verifier

.PHONY: matrix
matrix: setup ## Build and try every target there is: other compilers, processors, wasm32
	$(BIN)/python -m benchmarks.matrix --jobs $(JOBS) $(MATRIX_ARGS)

.PHONY: format
format: setup ## Format the sources
	ruff check --fix .
	ruff format .
	$(if $(CXX_FILES),clang-format -i $(CXX_FILES))

.PHONY: clean
clean: ## Remove what was built, .venv too
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
