# make demo    environment, build, a search on real images, training of the found network, drawings
# make test    environment, build, all tests
# make check   build, lint and the quick tests: after every change
# make coverage  which lines of the package the tests run
# make lint    ruff and clang-format
# make wheel   the sdist, and the wheel made from it
# make bench   everything against plain torch: operators, cells, search step, memory
# make test-asan      the CUDA kernels on the emulator under AddressSanitizer and UBSan
# make kernel-report  compile the CUDA kernels; registers, spills, access widths, predicted times
# make test-gpu, make bench-gpu OUT=folder    on a machine with a GPU, with libraries built before

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
VENV ?= .venv
# Threads that wait should soon sleep: on a machine with other work they otherwise take the time
# from each other, a hundredfold. On a quiet one this costs nothing.
export GOMP_SPINCOUNT ?= 10000

BIN := $(VENV)/bin
CSRC := $(filter-out %.md,$(wildcard csrc/*.* csrc/*/*.* csrc/*/*/*.*))
NATIVE := $(CSRC) setup.py pyproject.toml

CPP := $(CSRC) $(wildcard tests/emulator/*.cpp tests/emulator/*.h tests/emulator/*.cuh)
OUT ?= build/gpu
# Where the libraries were built elsewhere there is no environment of ours.
GPU_PYTHON := PYTHONPATH=. $(PYTHON)
SANITIZE := PYTORCH_NO_CUDA_MEMORY_CACHING=1 PYTHONPATH=. compute-sanitizer --error-exitcode 1

# One worker for each processor; tensors in tests are too small for threads.
JOBS ?= $(shell nproc)
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

SHELL := bash
.SHELLFLAGS := -o pipefail -c
.PHONY: demo test check coverage test-asan test-gpu bench bench-gpu kernel-report lint format wheel clean

# The environment: torch first, so that nothing else decides which torch there is.
$(VENV)/.packages: pyproject.toml
	@echo "Environment in $(VENV): torch and what the build needs (2 minutes and more, by the network)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch, torchvision" 2>/dev/null || $(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q "setuptools>=77" wheel ninja numpy
	touch $@

# The package in place, its libraries beside its sources.
$(VENV)/.installed: $(VENV)/.packages $(NATIVE)
	@echo "Build: the CPU's kernels, and CUDA's for the GPU that is here (2 to 6 minutes on two cores)"
	$(BIN)/pip install -q --no-build-isolation -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python benchmarks/demo/run.py

test: $(VENV)/.installed
	$(PYTEST)

check: lint
	$(PYTEST) -m "not slow" --device cpu

coverage: $(VENV)/.installed
	$(PYTEST) --device cpu --cov=adarts_ext --cov-report=term-missing:skip-covered

test-asan: $(VENV)/.installed
	$(PYTEST) tests/emulator

kernel-report: $(VENV)/.installed
	$(BIN)/python benchmarks/scripts/kernel_report.py --out benchmarks/results/kernels.md
	$(BIN)/python benchmarks/scripts/predict_cell.py --out benchmarks/results/predictions_cell.md

test-gpu:
	mkdir -p $(OUT)
	$(GPU_PYTHON) -m pytest -q --device cuda tests/ops | tee $(OUT)/tests.log
	$(SANITIZE) --tool memcheck $(PYTHON) -m pytest -q tests/ops/test_cuda.py -k bit_identical \
	  | tee $(OUT)/memcheck.log
	$(SANITIZE) --tool racecheck $(PYTHON) -m pytest -q tests/ops/test_cuda.py -k bit_identical \
	  | tee $(OUT)/racecheck.log

bench-gpu:
	$(GPU_PYTHON) -m adarts_ext bench --out $(OUT)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

wheel: $(VENV)/.installed
	rm -rf dist
	@echo "CUDA's kernels for all architectures: ADARTS_CUDA=0 leaves them out"
	$(BIN)/python -m build -q --no-isolation --sdist
	ADARTS_CUDA=$${ADARTS_CUDA:-1} $(BIN)/pip wheel -q --no-build-isolation --no-deps -w dist dist/*.tar.gz

bench: $(VENV)/.installed
	$(BIN)/adarts bench --out benchmarks/results

clean:
	rm -rf build dist *.egg-info adarts_ext/*.so
