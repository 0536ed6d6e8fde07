# make demo    environment, build, a search on real images, training of the found network, drawings
# make test    environment, build, all tests
# make check   build, lint and the quick tests: after every change
# make coverage  which lines of the package the tests run
# make lint    ruff and clang-format
# make wheel   the sdist, and the wheel made from it
# make bench   everything against plain torch: operators, cells, search step, memory
# make test-asan      the CUDA kernels on the emulator under AddressSanitizer and UBSan
# make kernel-report  compile the CUDA kernels; registers, spills, access widths, predicted times
#
# On a machine with a GPU and libraries built before, results in OUT=folder. The pieces take under
# 8 minutes each (docs/gpu.md):
# make gpu-1    the operators: right, in streams and graphs, beyond 2^31 elements, without memory
# make gpu-2    cells and whole networks: right, the same in two runs, as a graph, under autocast
# make gpu-3    a whole search step: how long, against plain torch
# make gpu-4    what each kernel takes of it, beside what was predicted
# make gpu-5    compute-sanitizer's four tools on our own kernels
# make gpu-6    every operator in CUDA graphs, and what the card can do at the most
# make gpu-7    search cells, and memory
# make gpu-8    the largest batch that fits
# make test-gpu, make bench-gpu    all of them that test; all that measure

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
VENV ?= .venv
# Threads that wait should soon sleep: on a machine with other work they otherwise take the time
# from each other, a hundredfold. On a quiet one this costs nothing.
export GOMP_SPINCOUNT ?= 10000
# Compiled Python is kept: else each process compiles it, and the asserts of the tests, anew.
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
CSRC := $(filter-out %.md,$(wildcard csrc/*.* csrc/*/*.* csrc/*/*/*.*))
NATIVE := $(CSRC) setup.py pyproject.toml

CPP := $(CSRC) $(wildcard tests/emulator/*.cpp tests/emulator/*.h tests/emulator/*.cuh) \
  $(wildcard benchmarks/kernel_versions/*.cu)
OUT ?= build/gpu
# Where the libraries were built elsewhere there is no environment of ours. What is not done after so
# many seconds is interrupted, and still says what it has.
GPU_SECONDS ?= 460
GPU_PYTHON := mkdir -p $(OUT) && PYTHONPATH=. PYTHONUNBUFFERED=1 \
  timeout --signal=INT --kill-after=15 $(GPU_SECONDS) $(PYTHON)
GPU_PYTEST := $(GPU_PYTHON) -m pytest -v --tb=short -p no:cacheprovider --device cuda -k cuda
GPU_BENCH := $(GPU_PYTHON) -m adarts_ext bench --device cuda --out $(OUT)

# A worker more than there are processors: tests of commands wait for the processes that they start.
# Tensors in tests are too small for threads.
JOBS ?= $(shell expr $$(nproc) + 1)
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

SHELL := bash
.SHELLFLAGS := -o pipefail -c
.PHONY: demo test check coverage test-asan bench kernel-report lint format wheel clean
.PHONY: gpu-1 gpu-2 gpu-3 gpu-4 gpu-5 gpu-6 gpu-7 gpu-8 test-gpu bench-gpu

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
	$(BIN)/python benchmarks/scripts/predict_step.py --out benchmarks/results/predictions.md
	$(BIN)/python benchmarks/scripts/predict_versions.py --out benchmarks/results/kernel_versions.md

gpu-1:
	$(GPU_PYTEST) tests/ops 2>&1 | tee $(OUT)/gpu-1.log

gpu-2:
	$(GPU_PYTEST) tests/nn/test_cuda_network.py tests/runs/test_search_graph.py 2>&1 | tee $(OUT)/gpu-2.log

gpu-3:
	$(GPU_BENCH) --parts step --batches 64 256 --rounds 5 --compile-seconds 0 2>&1 | tee $(OUT)/gpu-3.log

gpu-4:
	$(GPU_PYTHON) benchmarks/scripts/profile_kernels.py --out $(OUT)/kernels.md 2>&1 | tee $(OUT)/gpu-4.log

gpu-5:
	$(GPU_PYTHON) tests/sanitize.py --out $(OUT) 2>&1 | tee $(OUT)/gpu-5.log

gpu-6:
	$(GPU_BENCH) --parts ops --batches 64 256 --compile-seconds 120 2>&1 | tee $(OUT)/gpu-6.log

gpu-7:
	$(GPU_BENCH) --parts cell memory --batches 64 256 2>&1 | tee $(OUT)/gpu-7.log

gpu-8:
	$(GPU_BENCH) --fit 2>&1 | tee $(OUT)/gpu-8.log

test-gpu: gpu-1 gpu-2 gpu-5

bench-gpu: gpu-3 gpu-4 gpu-6 gpu-7 gpu-8

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
