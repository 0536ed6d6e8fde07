# make demo    environment, build, a search on real images, training of the found network, drawings
# make test    environment, build, all tests
# make lint    ruff and clang-format
# make wheel   the sdist, and the wheel made from it
# make bench   the operators against plain torch

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
VENV ?= .venv
# Threads that wait should sleep: the machine may have other work.
export OMP_WAIT_POLICY ?= PASSIVE

BIN := $(VENV)/bin
NATIVE := $(wildcard csrc/*/*.* csrc/*/*/*.*) setup.py pyproject.toml

.PHONY: demo test lint format wheel bench clean

# The environment: torch first, so that nothing else decides which torch there is.
$(VENV)/.packages: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch, torchvision" 2>/dev/null || $(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q "setuptools>=77" wheel ninja numpy
	touch $@

# The package in place, its libraries beside its sources.
$(VENV)/.installed: $(VENV)/.packages $(NATIVE)
	$(BIN)/pip install -q --no-build-isolation -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python benchmarks/demo/run.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -q

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(wildcard csrc/*/*.cpp csrc/*/*.h csrc/*/*.cu csrc/*/*/*.cpp csrc/*/*/*.h)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(wildcard csrc/*/*.cpp csrc/*/*.h csrc/*/*.cu csrc/*/*/*.cpp csrc/*/*/*.h)

wheel: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build -q --no-isolation --sdist
	$(BIN)/pip wheel -q --no-build-isolation --no-deps -w dist dist/*.tar.gz

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_ops.py

clean:
	rm -rf build dist *.egg-info adarts_ext/*.so
