# make help lists the targets; each builds .venv from requirements.lock when it is missing.
# CPU=1 builds .venv with the CPU builds of torch and torchvision and without CUDA packages (6 GB less).

PYTHON ?= python3.11
CORES ?= all
WORKERS ?= 2
RESULTS ?= results/full
BIN := .venv/bin
STAMP := .venv/.installed
# The CPU-only installation: PyTorch's own index of such builds, the packages of the lock that only CUDA
# needs, and the file by which .venv keeps the choice.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
CUDA_ONLY := ^(nvidia-|cuda-|triton)
CHOSEN := .venv/.cpu
# The environment of the documentation site
SITE := .venv-docs
TARGETS := all install test slow bench check docs lint lock help

.PHONY: $(TARGETS)
.DEFAULT_GOAL := all

# `tests` is a folder, which make would call up to date: unknown targets end here, before anything runs.
UNKNOWN := $(firstword $(filter-out $(TARGETS) $(STAMP),$(MAKECMDGOALS)))
ifdef UNKNOWN
NEAREST := $(shell $(firstword $(wildcard $(BIN)/python) python3) -c "import difflib, sys; \
  print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1, 0.5))" '$(UNKNOWN)' $(TARGETS) 2>/dev/null)
$(error there is no target '$(UNKNOWN)'; $(if $(NEAREST),did you mean '$(NEAREST)'?,known: $(TARGETS)))
endif

# CPU=1 on the command line, or the choice that .venv keeps
WANTED := $(filter-out 0 no,$(CPU))
ifneq ($(wildcard $(STAMP)),)
ifneq ($(WANTED),)
ifeq ($(wildcard $(CHOSEN)),)
$(error .venv has the CUDA builds; remove it (rm -r .venv) to install the CPU builds)
endif
endif
endif
CPU_ONLY := $(WANTED)$(wildcard $(CHOSEN))

all: $(STAMP) ## install, and run the default benchmark into results/mini/
	$(BIN)/snakemake all --cores $(CORES)

install: $(STAMP) ## make .venv alone; CPU=1: without CUDA

# one thread for each worker: two that share two cores would wait for each other
test: $(STAMP) ## run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

slow: $(STAMP) ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

bench: $(STAMP) ## measure the speed ratios
	$(BIN)/python -m pytest -o python_files='bench_*.py' tests

check: $(STAMP) ## compare RESULTS (default: results/full) with the published results
	$(BIN)/python -m workflow.check --results $(RESULTS)

docs: $(SITE)/.installed ## build the documentation site into site/, with every link checked
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/python -m mkdocs build --strict

lint: $(STAMP) ## check the style
	$(BIN)/ruff check .

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

# The lock first, then the project without its dependencies: so bin/snakemake becomes ours.
# On the CPU the two builds come first: `torch==2.15.0` of the lock then means 2.15.0+cpu, which is there.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 is needed, but '$(PYTHON)' is missing or another version;" \
	    "install Python 3.11, or name yours: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
ifneq ($(CPU_ONLY),)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --index-url $(CPU_INDEX) \
	  $(shell grep -iE '^(torch|torchvision)==' requirements.lock)
	@touch $(CHOSEN)
	grep -viE '$(CUDA_ONLY)' requirements.lock > .venv/requirements.cpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r .venv/requirements.cpu
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

# The site has an environment of its own: its packages are not among the benchmark's.
$(SITE)/.installed: pyproject.toml
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check $$($(PYTHON) -c 'import tomllib; \
	  print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@touch $@

lock: ## renew requirements.lock from pyproject.toml (needs an index; review the difference)
	rm -rf .venv.lock
	$(PYTHON) -m venv .venv.lock
	.venv.lock/bin/python -m pip install --quiet '.[dev]' 'numpy<2'
	sed -n '/^#/p' requirements.lock > .venv.lock/requirements.lock
	.venv.lock/bin/python -m pip freeze --exclude stylegan-nada-benchmark >> .venv.lock/requirements.lock
	mv .venv.lock/requirements.lock requirements.lock
	rm -rf .venv.lock
