# make demo: install, train SADCL on scenes of handwritten digits, evaluate, draw
# make test: the test suite        make lint: ruff        make bench: speed and memory, as ratios
# make gpu: what needs a GPU, the tests and then the speed
# make docs: the documents as a site, in work_dirs/site        make clean-venv: start afresh
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# any Python from 3.10 on; tried: 3.10 to 3.13
PYTHON ?= python3
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or later is needed, \
and $(PYTHON) is ' + sys.version.split()[0] + ': make PYTHON=python3.11')
BIN := .venv/bin
RUFF := $(shell sed -n 's/.*"\(ruff==[0-9.]*\)".*/\1/p' pyproject.toml)
DEMO := work_dirs/demo
CONFIG := configs/sadcl/sadcl_efficientnet-lite0_digits128.py

.PHONY: bench demo docs gpu test lint install clean-venv

install: .venv/installed

.venv/installed: pyproject.toml setup.py
	@$(PYTHON) -c "$(NEW_ENOUGH)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev,pretrained,deploy]'
	@touch $@

demo: .venv/installed
	@rm -f $(DEMO)/*.pth
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(DEMO)
	$(BIN)/python tools/analysis_tools/show_attention.py $(CONFIG) $(DEMO) --out $(DEMO)/predictions.png
	$(BIN)/python tools/test.py $(CONFIG) $(DEMO) --work-dir $(DEMO)/test
	@echo 'next, a page of its scores, thresholds and mistakes:'
	@echo '  $(BIN)/python tools/analysis_tools/report.py $(CONFIG) $(DEMO) --out $(DEMO)/report.html'
	@echo 'or a model of your own photographs: docs/tutorial.md'

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

bench: .venv/installed
	$(BIN)/python tools/benchmark/run.py --out work_dirs/bench.json

gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python tools/benchmark/run.py --device cuda --only step inference

docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site: work_dirs/site/index.html"

# ruff alone, without what the library needs
lint: .venv-lint/$(RUFF)
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .

.venv-lint/$(RUFF):
	@$(PYTHON) -c "$(NEW_ENOUGH)"
	$(PYTHON) -m venv .venv-lint
	.venv-lint/bin/python -m pip install --quiet $(RUFF)
	@touch $@

clean-venv:
	rm -rf .venv .venv-lint
