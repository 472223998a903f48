# make demo   set up and run the main job on a built-in sample volume
# make test   set up and run all tests and checks
# make help   the rest

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORE := .venv-core

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-headless test-fast lint format docs screenshots clean

help:
	@echo "make demo         run the main job on a built-in sample volume (opens napari where there is a screen)"
	@echo "make test         checks, the documentation and all tests"
	@echo "make test-fast    checks and the tests that take seconds, no windows"
	@echo "make test-headless  engine and command line in an environment without napari and Qt"
	@echo "make lint         ruff, mypy, import-linter, typos"
	@echo "make format       put the code in shape"
	@echo "make docs         build the documentation into site/, strictly"
	@echo "make screenshots  make the pictures of the documentation anew from the phantoms"
	@echo "make clean        remove everything that make created"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "napari-semiseg needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; run: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (this downloads PyTorch and napari; a few minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[gui,test,dev,docs]'
	@touch $@

demo: setup
	tools/with-display $(BIN)/python -m napari_semiseg.gui.demo --out demo

# Two processes run tests side by side, one thread each; those that watch the clock are marked so and run alone.
BESIDE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal
COMPUTING := tests/benchmark tests/data tests/docs tests/io tests/losses tests/methods tests/networks tests/regions \
	tests/registration
# The kills are in tests/gui; they come first, as they take longest.
SESSIONS := tests/gui tests/session
# The engine's tests run in the core environment, where these are skipped.
WITH_MONAI := tests/engine/test_evaluate.py::test_distances_agree_with_monai \
	tests/engine/test_windows.py::test_monai_computes_the_same

test:
	@$(MAKE) --no-print-directory -j 2 --output-sync=target lint docs $(CORE)/.ready
	@$(MAKE) --no-print-directory test-headless
	$(BESIDE) $(COMPUTING) $(WITH_MONAI)
	$(BESIDE) -m "not gui and not clock" $(SESSIONS)
	$(BIN)/python -m pytest -q -m "not gui and clock" $(SESSIONS)
	$(BIN)/python tools/gui_tests.py

# The core install alone: no napari, no Qt, and the package as a wheel instead of the source folder.
test-headless: $(CORE)/.ready
	$(CORE)/bin/python -c 'import importlib.util, sys; found = [n for n in ("napari", "qtpy", "PyQt6", "magicgui", "superqt") if importlib.util.find_spec(n)]; sys.exit(f"not headless: {found}" if found else 0)'
	$(CORE)/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall .
	OMP_NUM_THREADS=1 $(CORE)/bin/python -m pytest -q -n 2 --dist worksteal tests/engine
	$(CORE)/bin/python -m pytest -q -n 2 --dist worksteal tests/cli

$(CORE)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(CORE) (the engine without napari and Qt) ..."
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt '.[test-core]'
	@touch $@

test-fast: lint
	$(BESIDE) -m "not slow" $(COMPUTING) tests/engine
	$(BESIDE) -m "not gui and not slow and not clock" $(SESSIONS)
	$(BIN)/python -m pytest -q -m "not gui and not slow and clock" $(SESSIONS)

lint: setup
	$(BIN)/ruff check src tests benchmarks docs tools
	$(BIN)/ruff format --check src tests benchmarks docs tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos src tests benchmarks docs README.md CONTRIBUTING.md CHANGELOG.md

format: setup
	$(BIN)/ruff check --fix src tests benchmarks docs tools
	$(BIN)/ruff format src tests benchmarks docs tools

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The documentation is in site/index.html"

screenshots: setup
	SEMISEG_VIRTUAL_DISPLAY=1 SEMISEG_SCREEN=2000x1200 tools/with-display $(BIN)/python docs/screenshots.py

clean:
	rm -rf $(VENV) $(CORE) demo site dist build .pytest_cache .mypy_cache .ruff_cache
