# Everything from nothing but Python 3.10 or newer; `make test` is what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The instruct pack lies here for tests and benchmarks, where it is at hand; they skip without it.
export DIDS_DATA ?= $(abspath $(CURDIR)/../shared/data)

.PHONY: help install demo instruct contest test lint types unit quantization docs clean
.PHONY: lowest benchmark-gradients benchmark-clustering benchmark-domains benchmark-fidelity
.PHONY: benchmark-worlds benchmark-sampling benchmark-guard benchmark-alignment
.PHONY: benchmark-plan benchmark-growth benchmark-own-trainer

help:
	@echo "make demo      the main job on the text that Python itself carries, in a few minutes"
	@echo "make test      lint, types, tests (those that need bitsandbytes too), documentation"
	@echo "make lowest    the demo with the oldest libraries that may be installed"
	@echo "make instruct  the 19 instruction sources and nine tasks in DIDS_DATA"
	@echo "make contest   every policy, three settings, five seeds, one table; hours, and it resumes"
	@echo "make benchmark-gradients   what gradients cost and keep, in about a quarter of an hour"
	@echo "make benchmark-clustering  a million features into 256 domains, beside faiss and scikit-learn"
	@echo "make benchmark-domains     what a share of the features costs, on the instruct example"
	@echo "make benchmark-worlds      how near policies come to optima that are known, in minutes"
	@echo "make benchmark-fidelity    what impact foretells, beside what training really does; over an hour"
	@echo "make benchmark-sampling    how fast and how closely mixtures are drawn, beside other loaders"
	@echo "make benchmark-alignment   whether domains follow content or format, in minutes"
	@echo "make benchmark-guard       how fast data is checked, in how much memory, and what is found"
	@echo "make benchmark-plan        what a dry run foretells of three runs, beside what they take; half an hour"
	@echo "make benchmark-growth      every stage's time and memory, to a million samples and 1,000 domains"
	@echo "make benchmark-own-trainer what PolicyMixture is worth in a plain Trainer, beside uniform; hours"
	@echo "make clean     remove what make has made, runs/ excepted"

# pip would compile 26,000 files for two minutes, most of which nobody imports; Python compiles the rest.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,docs,lm-eval]'
	@touch $(INSTALLED)

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/dids run examples/demo.yaml

instruct: $(INSTALLED)
	$(BIN)/dids run examples/instruct.yaml

# CONTEST_OPTIONS="--out FOLDER --seeds 0-1 --policies uniform,dids" changes what it runs, and where.
contest: $(INSTALLED)
	$(BIN)/python -m benchmarks.contest $(CONTEST_OPTIONS)

# Other libraries are rows where they are installed: benchmarks/gradients/requirements.txt says how.
benchmark-gradients: $(INSTALLED)
	$(BIN)/python -m benchmarks.gradients --work runs/benchmarks --out runs/benchmarks

test: lint
	$(MAKE) -j 2 types docs  # a core each
	$(MAKE) unit
	$(MAKE) quantization

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED)
	$(BIN)/mypy

unit: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadfile  # what a file's tests share is made once

# With bitsandbytes every process that trains starts a second later, so it lies apart from the rest.
BITSANDBYTES := $(abspath $(VENV))/bitsandbytes

quantization: $(BITSANDBYTES)
	PYTHONPATH=$(BITSANDBYTES) PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 -m bitsandbytes tests/impact tests/training tests/run/test_run_on_several_ranks.py

$(BITSANDBYTES): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --constraint constraints.txt --target $@ --upgrade bitsandbytes

# The demo with the oldest libraries that pyproject.toml allows, but for PyTorch, whose old wheels bring CUDA.
LOWEST := $(abspath $(VENV))/lowest

lowest: $(INSTALLED)
	$(PYTHON) -m venv $(LOWEST)
	sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)",$$/\1==\2/p' pyproject.toml | grep -v '^torch=' > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(LOWEST)/bin/python -m pip install --quiet --no-compile --requirement $(LOWEST)/lowest.txt
	sed 's|^run: .*|run: runs/lowest|' examples/demo.yaml > $(LOWEST)/demo.yaml
	PYTHONPATH=src $(LOWEST)/bin/python -m dids run $(LOWEST)/demo.yaml

docs: $(INSTALLED)
	rm -rf docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

benchmark-clustering: $(INSTALLED)
	$(BIN)/python -m benchmarks.clustering --num 1000000 --dim 1024 --domains 256

benchmark-fidelity: $(INSTALLED)
	$(BIN)/python -m benchmarks.fidelity --work runs/benchmark-fidelity

benchmark-domains: $(INSTALLED)
	$(BIN)/python -m benchmarks.domains examples/instruct.yaml --run runs/benchmark-domains

benchmark-worlds: $(INSTALLED)
	$(BIN)/python -m benchmarks.worlds

# Other loaders are rows where they are installed: benchmarks/sampling/requirements.txt says how.
benchmark-sampling: $(INSTALLED)
	OMP_NUM_THREADS=1 PYTHONPATH=runs/rivals $(BIN)/python -m benchmarks.sampling

benchmark-alignment: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.alignment

benchmark-guard: $(INSTALLED)
	$(BIN)/python -m benchmarks.guard

benchmark-plan: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.plan

benchmark-growth: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.growth

benchmark-own-trainer: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.own_trainer

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
