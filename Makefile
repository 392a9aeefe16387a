# make demo     fit a schedule to the tiny checkpoint, sample with everything, write demo/report.html
# make test     lint, types, tests
# make dev      only install what the tests need, into .venv
# make compatibility  run the ComfyUI tests in every ComfyUI of COMFYUI_PATHS, write docs/compatibility.md
# make versions  the tests in other Pythons, torches and numpys, write docs/versions.md (some rows: ONLY=py3.10,torch2.6)
# make comfyui  start ComfyUI with this pack and the tiny checkpoints
# make bench-samplers  run the sampler benchmark, write docs/samplers-benchmark.md and .png
# make bench-schedules  run the schedule benchmark, write docs/schedules-benchmark.md and .png (15 minutes)
# make bench-reach  search on the held-out trajectories where bench-schedules missed a limit, write docs/data/reach.json (about an hour)
# make bench-claims  small runs for the papers' claims that the two benchmarks leave out, write docs/data/claims.json (a minute)
# make results  docs/results.md and .png from the records in docs/data: claims, targets, negative results, reliability
# make bench-gpu  run the GPU benchmark, write docs/gpu-benchmark.md; without a GPU say what it would run
# make test-faults  fuzzing, kills, full disks, neighbour, soak: every input, record docs/data/faults.json (30 minutes; make test: the short part)
# make scaling  count rounds, messages and bytes of fits, simulate more devices: docs/scaling.md and .png (some minutes)
# make gallery  equal budgets, stock schedule against learned: docs/gallery.md and its pictures
# make help     this list
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
TYPED := -m restart_art -m restart_art.__main__ -p restart_art.samplers -p restart_art.schedules \
	-p restart_art.nodes -p restart_art.cli -p restart_art.tiny

.PHONY: help demo dev test test-faults bench-samplers bench-schedules bench-reach bench-claims results bench-gpu scaling gallery compatibility versions comfyui clean
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/restart-art demo

dev: $(VENV)/.dev

test: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@cd $(VENV)/src && ../bin/mypy --config-file ../../pyproject.toml --cache-dir ../mypy $(TYPED)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: $(VENV)/.dev
	@RESTART_ART_FAULTS=full $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout=1500 \
		tests/faults

bench-samplers: $(VENV)/.demo
	@$(BIN)/python tests/benchmarks/samplers.py

bench-schedules: $(VENV)/.demo
	@$(BIN)/python tests/benchmarks/schedules.py

bench-reach: $(VENV)/.dev
	@$(BIN)/python tests/benchmarks/reach.py

bench-claims: $(VENV)/.demo
	@$(BIN)/python tests/benchmarks/claims.py

results: $(VENV)/.demo
	@$(BIN)/python tests/benchmarks/results.py

# ARGS: options of the script, such as ARGS="--parts b,c".
bench-gpu: $(VENV)/.bench
	@$(BIN)/python tests/benchmarks/gpu_bench.py $(ARGS)

scaling: $(VENV)/.demo
	@$(BIN)/python tests/benchmarks/scaling.py $(if $(MODEL),--model '$(MODEL)')

gallery: $(VENV)/.demo
	@$(BIN)/python tests/benchmarks/gallery.py

compatibility: $(VENV)/.dev
	@RESTART_ART_WRITE_COMPATIBILITY=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/comfyui tests/browser

versions:
	@$(PYTHON) tests/versions/version_run.py --only "$(ONLY)"

comfyui: $(VENV)/.demo
	@$(BIN)/python tests/comfyui/launch.py

clean:
	rm -rf $(VENV) demo build *.egg-info

# torch comes first and alone: an already installed (CPU) build then satisfies everything after it.
$(VENV)/.torch:
	@echo "creating $(VENV) and installing torch (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install torch==2.13.0
	@touch $@

$(VENV)/.demo: $(VENV)/.torch requirements/demo.txt pyproject.toml
	@echo "installing pinned requirements (once)"
	@$(PIP) install --no-deps -r requirements/demo.txt
	@$(PIP) install --no-deps -e .
	@touch $@

# diffusers for ComfyUI's own Python, beside it. Where it cannot be had, the benchmark says so and does without.
$(VENV)/.bench: $(VENV)/.demo requirements/bench.txt
	@$(PIP) install --no-deps --upgrade --target $(VENV)/bench -r requirements/bench.txt && touch $@ \
		|| echo "diffusers could not be installed"

# The checkout under its import name, for the type checker.
$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt
	@$(PIP) install --no-deps -r requirements/dev.txt
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/restart_art
	@touch $@
