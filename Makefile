# One virtual environment, .venv, serves every target; it is made on first use and again when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
SOURCE ?= ../shared/data/cifar100.zip
SIDE_BY_SIDE := --numprocesses auto --dist loadgroup # a worker a core

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all check docs bench growth real tables learn2learn slurm test-slurm wheel

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

demo: .venv/.installed ## install what is needed into .venv, then run the main job on embedded data (no download of data)
	$(BIN)/purer demo

test: .venv/.installed ## install what is needed into .venv, then run the tests, but for those that take long
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

test-slow: .venv/.installed ## the tests that take long: the demo, runs that are killed at any moment, Slurm
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m slow

test-all: test test-slow ## all tests

check: .venv/.installed ## formatting, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/.installed ## build the documentation into site/, to be read without a network
	$(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

bench: .venv/.installed ## time the parts of a run beside the plain reference, and the start of the command line
	$(BIN)/python benchmarks/update.py
	$(BIN)/python benchmarks/update.py --threads 2 --output benchmarks/results/update_2_threads.json
	$(BIN)/python benchmarks/inversion_step.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/evaluation.py --threads 2 --output benchmarks/results/evaluation_2_threads.json
	$(BIN)/python benchmarks/beside.py
	$(BIN)/python benchmarks/startup.py

growth: .venv/.installed ## time and memory of a meta-update against each size of the problem, with fitted exponents
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/pools.py

real: .venv/.installed ## the real CIFAR-FS experiments, hours, then their tables: make real SOURCE=cifar100.zip [ONLY="eci ei"]
	$(BIN)/python experiments/run.py --source $(SOURCE) $(if $(ONLY),--only $(ONLY))
	$(BIN)/python experiments/table.py

tables: .venv/.installed ## write the tables and the picture of experiments/README.md from the result files
	$(BIN)/python experiments/table.py

learn2learn: .venv/.installed ## build learn2learn from its source distribution into .venv, for Learn2LearnMaml (optional)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && $(BIN)/python -m venv "$$folder/venv" \
	  && "$$folder/venv/bin/pip" install --quiet 'cython<4' 'setuptools<85' \
	  && "$$folder/venv/bin/pip" wheel --quiet --no-deps --no-binary learn2learn --no-build-isolation \
	    --config-settings=--global-option=build_ext --wheel-dir "$$folder" learn2learn==0.2.0 \
	  && $(BIN)/python -m pip install --quiet --no-deps "$$folder"/learn2learn-*.whl
	$(BIN)/python -m pytest tests/learners/test_learn2learn.py

slurm: ## install Slurm for the tests under it: on Debian and its like, where root runs this
	@{ command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
	    install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge; }

test-slurm: slurm .venv/.installed ## the tests under a real Slurm of this machine alone
	$(BIN)/python -m pytest tests/slurm

wheel: .venv/.installed ## build the wheel, install it into a fresh environment, run the demo from it in an empty folder
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && $(BIN)/python -m venv "$$folder/venv" \
	  && "$$folder/venv/bin/pip" install --quiet dist/*.whl \
	  && mkdir "$$folder/empty" && cd "$$folder/empty" && ../venv/bin/purer demo

.venv/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	  || { echo "Python 3.11 or newer is needed, but there is no '$(PYTHON)'. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed,\
	 but $(PYTHON) is %d.%d. Name a newer one: make PYTHON=python3.12 ..." % (v[0], v[1]))'
	@echo "Installing into .venv (once; PyTorch is large, so this takes a minute or more)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
