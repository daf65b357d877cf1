VENV := .venv
PEERS := .venv-peers
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt
SOURCES := setup.py settings.ini .ci/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint check export readme nb-open nb-close samples clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@bash .ci/venv.sh $(VENV)

$(VENV)/.run: $(SOURCES) | $(VENV)/bin/python
	@echo "installing lift_insights into $(VENV) …"
	@$(PIP) --editable '.[sandbox]'
	@touch $@

$(VENV)/.dev: $(SOURCES) | $(VENV)/bin/python
	@echo "installing lift_insights and what its tests need into $(VENV) …"
	@$(PIP) --editable '.[all,dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run ## run the main job on an embedded local AWS
	@$(VENV)/bin/lift-insights demo --out out

test: $(VENV)/.dev ## run every notebook and all tests
	@$(VENV)/bin/nbdev_test
	@$(VENV)/bin/pytest -n 2

$(PEERS)/.done: benchmarks/peers.txt | $(VENV)/bin/python
	@echo "installing what the benchmarks compare with into $(PEERS) …"
	@bash .ci/venv.sh $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt
	@touch $@

bench: $(VENV)/.dev $(PEERS)/.done ## measure speed and quality, one table
	@$(PY) -m benchmarks

lint: $(VENV)/.dev ## ruff
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

check: $(VENV)/.dev ## are notebooks clean, modules and README in step?
	@$(PY) .ci/nb.py check

export: $(VENV)/.dev ## clean all notebooks and make the modules from them
	@$(VENV)/bin/nbdev_clean
	@$(VENV)/bin/nbdev_export

readme: $(VENV)/.dev ## README.md from nbs/index.ipynb
	@$(PY) .ci/nb.py readme

nb-open: $(VENV)/.dev ## NB=nbs/00_frames.ipynb: the notebook as text, in .nb/
	@$(PY) .ci/nb.py open $(NB)

nb-close: $(VENV)/.dev ## NB=…: the text back into the notebook, run, clean, export, test
	@$(PY) .ci/nb.py close $(NB)

samples: $(VENV)/.dev ## data_samples/ anew
	@$(VENV)/bin/lift-insights simulate --out data_samples --days 14 --seed 7

clean: ## remove what was made here
	@rm -rf $(VENV) $(PEERS) out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .nb
