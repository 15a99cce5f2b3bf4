# make demo    the whole loop on the shipped example: check, train, prove, call   (sets itself up)
# make test    the tests                                                          (sets itself up)
# make check   format, lint, types, architecture laws
# make serve   the server on this machine
# Longer programmes: make test-slow, make faults, make bench

PYTHON  ?= python3
BIN     := .venv/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
SUITE   := .cache/openai-3.51.0

# The shells of some machines forbid bytecode; then every start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check serve setup test-slow faults bench lock clean

demo: .venv/.runtime
	$(BIN)/python examples/emails/demo.py

serve: .venv/.runtime
	$(BIN)/tailor serve

test: .venv/.dev $(SUITE)
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: .venv/.dev $(SUITE)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

faults: .venv/.dev
	$(BIN)/python -m tests.faults.run --kills 30

# Against pinned opponents, which the rows install by themselves; an hour and a half on two quiet cores.
# Exactness alone, in minutes: make bench BENCH=--smoke
bench: .venv/.dev
	set -e; for row in sft_lora sft_full dpo_lora grpo_lora utilisation start serving serving_llama_cpp; do \
		$(BIN)/python -W ignore benchmarks/$$row.py $(BENCH); done

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

setup: .venv/.dev

# torch first and alone: asked for by another package, pip would take a build with gigabytes of CUDA.
.venv/.runtime: requirements/runtime.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install --quiet torch==2.13.0
	$(PIP) install --quiet --requirement requirements/runtime.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	$(PIP) install --quiet --requirement requirements/dev.txt
	@touch $@

# The official client's own tests: fetched from the package index, never committed.
$(SUITE): | .venv/.runtime
	mkdir -p .cache
	$(PIP) download --quiet --no-deps --no-binary openai --dest .cache openai==3.51.0
	tar -xzf .cache/openai-3.51.0.tar.gz -C .cache
	rm .cache/openai-3.51.0.tar.gz

lock: .venv/.dev
	$(BIN)/python scripts/lock.py

clean:
	rm -rf .venv .cache .demo
