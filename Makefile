# make all · test · slow · bench · lint: each builds .venv from requirements.lock when it is missing.
# make lock: renew requirements.lock from pyproject.toml (needs an index; review the difference).

PYTHON ?= python3.11
CORES ?= all
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: all test slow bench lint lock
.DEFAULT_GOAL := all

all: $(STAMP)
	$(BIN)/snakemake all --cores $(CORES)

# one thread for each worker: two that share two cores would wait for each other
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

bench: $(STAMP)
	$(BIN)/python -m pytest -o python_files='bench_*.py' tests

lint: $(STAMP)
	$(BIN)/ruff check .

# The lock first, then the project without its dependencies: so bin/snakemake becomes ours.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 is needed, but '$(PYTHON)' is missing or another version;" \
	    "install Python 3.11, or name yours: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

lock:
	rm -rf .venv.lock
	$(PYTHON) -m venv .venv.lock
	.venv.lock/bin/python -m pip install --quiet '.[dev]' 'numpy<2'
	sed -n '/^#/p' requirements.lock > .venv.lock/requirements.lock
	.venv.lock/bin/python -m pip freeze --exclude stylegan-nada-benchmark >> .venv.lock/requirements.lock
	mv .venv.lock/requirements.lock requirements.lock
	rm -rf .venv.lock
