# The commands of the README. Each prints what it runs, so that a reader learns the programs behind it.
#
#   make demo        a predicted future frame and a table, from nothing, on a laptop
#   make test        the test suite
#   make demo-model  makes the bundled model anew: hours on a CPU, minutes on a GPU; interrupt and repeat at will
#   make demo-policy a policy that also imagines what it will see, from the simulator to its success table: hours on a CPU
#   make joint-ablations  what each part of that policy gives: a training and a row of success for each, days on a CPU
#   make bundled-model  makes a model of any horizon, in three looks (configs/bundled.yaml), and its tables, in bundled/
#   make gpu-check   what only a GPU shows, in ten minutes on any CUDA machine; repeat it until nothing is missing
#   make lint        ruff

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
PY := .venv/bin/python

# Large allocations stay in the process instead of being returned and faulted in again at every step.
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 17179869184
export MALLOC_TOP_PAD_ := 67108864
export WANDB_MODE ?= offline

DEMO := demo
BUNDLED := bundled_model
TRAIN := configs/train.yaml configs/cpu_tiny.yaml
EPISODES := 120
HORIZON := 20
UNSEEN := 1000
TEST_SEEDS := 100

.PHONY: demo test gpu-check lint demo-model demo-policy joint-ablations bundled-model demo-clean install

install: .venv/.installed

.venv/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --disable-pip-version-check --quiet -r requirements.txt
	touch $@

demo: install
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} bash scripts/demo.sh $(DEMO) $(BUNDLED) $(UNSEEN) $(HORIZON)

test: install
	OMP_NUM_THREADS=1 $(PY) -m pytest -q

gpu-check: # takes this machine's own Python where there is no .venv: see scripts/pack_wheels.sh
	$$(test -x $(PY) && echo $(PY) || echo $(PYTHON)) -m benchmark gpu_check

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

demo-model: install
	@bash scripts/demo_model.sh $(BUNDLED) $(EPISODES) $(HORIZON)

demo-policy: install
	@bash scripts/demo_policy.sh $(TEST_SEEDS)

joint-ablations: install
	@bash scripts/joint_ablations.sh $(TEST_SEEDS)

bundled-model: install
	@bash scripts/bundled_model.sh bundled

demo-clean:
	rm -rf $(DEMO)
