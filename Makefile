# make app: the web app on the embedded default. make test: install what tests need, then pass them.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: app test train-deps lint clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: requirements.txt requirements-no-deps.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-no-deps.txt
	$(PIP) --no-deps -e .
	touch $@

$(VENV)/.train: $(VENV)/.app requirements-train.txt requirements-train-no-deps.txt
	$(PIP) -r requirements-train.txt
	$(PIP) --no-deps -r requirements-train-no-deps.txt
	touch $@

$(VENV)/.dev: $(VENV)/.train requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	touch $@

train-deps: $(VENV)/.train

app: $(VENV)/.app
	$(VENV)/bin/python -m app --host 127.0.0.1 --port 7860

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
