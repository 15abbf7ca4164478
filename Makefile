# Set-up is one thing done one way: every target first makes .venv from requirements.lock, once, and then does its job.
#
#   make help             what there is
#   make demo             ask the shipped model, fine-tune one yourself, write build/demo/report.html
#   make PYTHON=python3.12 demo       with another interpreter (3.11 or newer)
#   make TORCH=cpu demo   torch without CUDA, TORCH=default what pip would take; TORCH=auto looks for an NVIDIA GPU

PYTHON ?= python3
TORCH ?= auto
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH_VERSION := $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements.lock)
UV_PIN := uv==0.13.9

# Threads that wait must sleep: spinning ones make small tensors a hundred times slower where another process is busy.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-fast lab notebooks walk lint samples checkpoint bench clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(READY) ## create .venv and install the tested versions (the others do it by themselves)

# Linux wheels of torch on the public index bring CUDA's libraries, gigabytes of no use without an NVIDIA GPU. Where pip
# is offered no CPU build, uv, which knows where PyTorch keeps them, fetches that one package. What comes after finds it
# installed and leaves it.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11, which favor-mini needs: name a newer one, as in make PYTHON=python3.12 demo"; exit 1; }
	@test -x $(RUN)/pip || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@wanted=$(TORCH); \
	if [ $$wanted = auto ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then wanted=cpu; fi; \
	if [ $$wanted = cpu ] && ! $(RUN)/python -c 'import torch; assert torch.__version__.startswith("$(TORCH_VERSION)")' 2>/dev/null \
		&& ! $(RUN)/pip index versions torch 2>/dev/null | grep -qF '$(TORCH_VERSION)+cpu'; then \
		echo "fetching the CPU build of torch==$(TORCH_VERSION)"; \
		$(RUN)/pip install --quiet $(UV_PIN) && $(RUN)/uv pip install --quiet --python $(RUN)/python --torch-backend=cpu torch==$(TORCH_VERSION) || \
		{ echo "PyTorch's CPU index could not be reached. Try again, or make TORCH=default to take the build with CUDA."; exit 1; }; \
	fi
	@echo "installing the tested versions into $(VENV) (once; some minutes)"
	@$(RUN)/pip install --quiet -r requirements.lock
	@$(RUN)/pip install --quiet --no-deps --editable '.[course,aveb,dev]'
	@touch $@

demo: $(READY) ## ask the shipped model, fine-tune one, write build/demo/report.html (5 minutes)
	$(RUN)/favor-mini demo

test: $(READY) ## every test; every notebook executed (10 minutes)
	$(RUN)/python -m pytest tests

test-all: $(READY) ## the same, and every notebook with its exercises solved (20 minutes)
	$(RUN)/python -m pytest -m "" tests

test-fast: $(READY) ## the tests that take seconds
	$(RUN)/python -m pytest -m "not slow" tests

lab: $(READY) ## open the course in JupyterLab
	$(RUN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" notebooks/00_start_here.ipynb

notebooks: $(READY) ## build notebooks/source/*.py into executed notebooks (ONLY=00 builds one)
	$(RUN)/python -m favor_mini.figures.timeline
	$(RUN)/python -m notebooks.tools.build build $(if $(ONLY),--only $(ONLY))
	$(RUN)/python -m notebooks.tools.contents

walk: $(READY) ## open every notebook in JupyterLab in a browser, run it, move its widgets; pictures in build/walk
	$(RUN)/python -m notebooks.tools.walk $(if $(ONLY),--only $(ONLY))

lint: $(READY) ## what ruff has to say
	$(RUN)/ruff check .

samples: $(READY) ## make data_samples/ anew
	$(RUN)/python -m docs.tools.samples make

checkpoint: $(READY) ## make the shipped checkpoint anew, from nothing but the mini world (hours)
	$(RUN)/favor-mini train all

bench: $(READY) ## measure this machine
	$(RUN)/favor-mini bench

clean: ## remove .venv and build/, with whatever was trained there
	rm -rf $(VENV) build
