# The first target that needs .venv creates it from requirements.lock.
#
#   make help             list the targets
#   make demo             ask the shipped model, fine-tune one yourself, write build/demo/report.html
#   make PYTHON=python3.12 demo       with another interpreter (3.11 or newer)
#   make TORCH=cpu demo   torch without CUDA; TORCH=default: pip's choice; TORCH=auto: without CUDA where there is no NVIDIA GPU

PYTHON ?= python3
TORCH ?= auto
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH_VERSION := $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements.lock)
UV_PIN := uv==0.13.9
MATHJAX_PIN := mathjax@3.2.2
REVEAL_PIN := reveal.js@6.0.2
SITE := .venv-site
NBGRADER := .venv-nbgrader
NBGRADER_PIN := nbgrader==0.9.6
PARALLEL := -n 2 --dist worksteal
LOWEST := .venv-lowest
LOWEST_TESTS := $(addprefix tests/test_,$(addsuffix .py,sync windows attention qformer losses model processor from_parts \
	features media media_sound training optimizer checkpoint evaluation compat language cli))

# Waiting threads sleep. If they spin, small tensors are a hundred times slower while another process is busy.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-fast test-lowest test-nbgrader lab notebooks results walk site slides lint \
	graph samples checkpoint bench clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(READY) ## create .venv and install the tested versions (the other targets do it, too)

# torch's Linux wheels on the public index depend on CUDA's libraries, gigabytes that are useless without an NVIDIA GPU.
# If pip finds no CPU build, uv installs torch from PyTorch's own index. The next step keeps the installed torch.
# $(1): the environment's folder of programs
define install_torch
	@wanted=$(TORCH); \
	if [ $$wanted = auto ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then wanted=cpu; fi; \
	if [ $$wanted = cpu ] && ! $(1)/python -c 'import torch; assert torch.__version__.startswith("$(TORCH_VERSION)")' 2>/dev/null \
		&& ! $(1)/pip index versions torch 2>/dev/null | grep -qF '$(TORCH_VERSION)+cpu'; then \
		echo "fetching the CPU build of torch==$(TORCH_VERSION)"; \
		$(1)/pip install --quiet $(UV_PIN) && $(1)/uv pip install --quiet --python $(1)/python --torch-backend=cpu torch==$(TORCH_VERSION) || \
		{ echo "PyTorch's CPU index could not be reached. Try again, or make TORCH=default to install the build with CUDA."; exit 1; }; \
	fi
endef

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11, which favor-mini needs: name a newer one, as in make PYTHON=python3.12 demo"; exit 1; }
	@test -x $(RUN)/pip || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	$(call install_torch,$(RUN))
	@echo "installing the tested versions into $(VENV) (once; some minutes)"
	@$(RUN)/pip install --quiet -r requirements.lock
	@$(RUN)/pip install --quiet --no-deps --editable '.[course,aveb,dev]'
	@touch $@

demo: $(READY) ## ask the shipped model, fine-tune one, write build/demo/report.html (5 minutes)
	$(RUN)/favor-mini demo

test: $(READY) ## all tests, each notebook executed once
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest $(PARALLEL) tests

test-all: $(READY) ## also each notebook with its exercises solved, and notebook 09 with its whole training
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest $(PARALLEL) -m "" tests

test-fast: $(READY) ## the tests that take seconds
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest $(PARALLEL) -m "not slow" tests

# The lowest versions that pyproject.toml allows, except torch, whose old builds without CUDA are only on PyTorch's own
# index: torch has the version of requirements.lock here, too. uv chooses the versions, pip installs them.
$(LOWEST)/.ready: pyproject.toml requirements.lock
	@rm -rf $(LOWEST) && $(PYTHON) -m venv $(LOWEST)
	$(call install_torch,$(LOWEST)/bin)
	@echo "installing the lowest allowed versions into $(LOWEST) (once; some minutes)"
	@$(LOWEST)/bin/pip install --quiet $(UV_PIN) torch==$(TORCH_VERSION)
	@sed -n '/^torch==/p' requirements.lock > $(LOWEST)/torch.txt
	@$(LOWEST)/bin/uv pip compile --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --no-annotate \
		--constraint $(LOWEST)/torch.txt --extra aveb pyproject.toml -o $(LOWEST)/lowest.txt
	@grep -vE '^(torch==|triton|cuda-|nvidia-)' $(LOWEST)/lowest.txt > $(LOWEST)/without_torch.txt
	@$(LOWEST)/bin/pip install --quiet -r $(LOWEST)/without_torch.txt pytest pytest-xdist hypothesis PyYAML
	@$(LOWEST)/bin/pip install --quiet --no-deps --editable .
	@touch $@

test-lowest: $(LOWEST)/.ready ## the fast tests of the mechanism, with the lowest allowed versions of the libraries
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(PARALLEL) -m "not slow" $(LOWEST_TESTS)

# nbgrader puts menus into JupyterLab, which learners need not see. Its environment adds it to that of the course.
$(NBGRADER)/.ready: $(READY)
	@rm -rf $(NBGRADER) && $(RUN)/python -m venv $(NBGRADER)
	@$(RUN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(NBGRADER)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/course.pth"
	@echo "installing $(NBGRADER_PIN) into $(NBGRADER) (once; a minute)"
	@$(NBGRADER)/bin/pip install --quiet --constraint requirements.lock $(NBGRADER_PIN)
	@touch $@

test-nbgrader: $(NBGRADER)/.ready ## hand out, mark and export with nbgrader itself (minutes)
	OMP_NUM_THREADS=1 $(NBGRADER)/bin/python -m pytest tests/test_nbgrader.py

lab: $(READY) ## open the course in JupyterLab
	$(RUN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" notebooks/00_start_here.ipynb

notebooks: $(READY) ## build notebooks/source/*.py into executed notebooks (ONLY=00 builds one)
	$(RUN)/python -m notebooks.tools.picture
	$(RUN)/python -m notebooks.tools.build build $(if $(ONLY),--only $(ONLY))
	$(RUN)/python -m notebooks.tools.contents

results: $(READY) ## write docs/results.md from the measurements in docs/results/
	$(RUN)/python -m docs.tools.results

walk: $(READY) ## open every notebook in JupyterLab in a browser, run it, move its widgets; pictures in build/walk
	$(RUN)/python -m notebooks.tools.walk $(if $(ONLY),--only $(ONLY))

# Files of packages that come from npm, once. They lie next to the pages, which load nothing from elsewhere.
# $(1): name@version. $(2): folder in build/. $(3): files of the package, without its first folder
define from_npm
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js (Debian and Ubuntu: the package npm). It is needed once, for $(1)"; exit 1; }
	@mkdir -p build/$(2)
	@echo "fetching $(1) (once)"
	@npm pack --silent --pack-destination build $(1) >/dev/null
	@tar -xzf build/$(subst @,-,$(1)).tgz -C build/$(2) --strip-components=2 $(addprefix package/,$(3))
endef

# MathJax draws the formulas, reveal.js shows the slides.
build/mathjax/tex-svg.js:
	$(call from_npm,$(MATHJAX_PIN),mathjax,es5/tex-svg.js)

build/reveal/reveal.js:
	$(call from_npm,$(REVEAL_PIN),reveal,dist/reveal.js dist/reveal.css dist/plugin/notes.js)

$(SITE)/.ready: docs/site/requirements.txt
	@rm -rf $(SITE) && $(PYTHON) -m venv $(SITE)
	@echo "installing Sphinx into $(SITE) (once; a minute)"
	@$(SITE)/bin/pip install --quiet -r docs/site/requirements.txt
	@touch $@

site: $(SITE)/.ready build/mathjax/tex-svg.js ## the course as a website, build/site/index.html (STUDENT=1: without answers)
	@rm -rf build/site build/site-doctrees
	$(SITE)/bin/python -m docs.tools.site $(if $(STUDENT),--student)
	$(SITE)/bin/sphinx-build -q -W --keep-going -c docs/site -d build/site-doctrees build/site-source build/site
	$(SITE)/bin/python -m docs.tools.site_check build/site

slides: $(READY) build/reveal/reveal.js build/mathjax/tex-svg.js ## three decks for lectures, build/slides/*.html, and PDF where Chromium is installed
	$(RUN)/python -m docs.tools.slides $(if $(ONLY),--only $(ONLY))
	$(RUN)/python -m docs.tools.slides_check build/slides

lint: $(READY) ## check the code with ruff, and the imports between the wings
	$(RUN)/ruff check .
	$(RUN)/lint-imports --no-cache

graph: $(READY) ## print which wing imports which
	$(RUN)/python -m docs.tools.graph

samples: $(READY) ## make data_samples/
	$(RUN)/python -m docs.tools.samples make

checkpoint: $(READY) ## train the checkpoint from scratch, on the mini world alone (hours)
	$(RUN)/favor-mini train all --workers 1

bench: $(READY) ## measure this machine
	$(RUN)/favor-mini bench

clean: ## remove the environments and build/, with all that was trained there
	rm -rf $(VENV) $(LOWEST) $(SITE) $(NBGRADER) build
