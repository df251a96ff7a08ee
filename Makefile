# A chest X-ray screening service. `make help` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# CPU-only users whose registry would give a CUDA build of torch name PyTorch's own index here (see README).
TORCH_INDEX_URL ?=
TORCH := $(shell sed -n 's/^torch==/torch==/p' requirements/serve.txt)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What is packed and served, reference films with their expected results included: a store that `make validate-site`
# wrote brings those of its own calibration.
MODEL_STORE ?= model_store
REFERENCE ?= $(firstword $(wildcard $(MODEL_STORE)/reference) reference)
# What the workers run on: cpu or gpu. For a GPU the archive has the weights for torch too, and its own model-config.
DEVICE ?= cpu
ARTEFACTS := $(MODEL_STORE)/pneumonia.onnx $(MODEL_STORE)/contract.json $(MODEL_STORE)/gate.npz \
  $(if $(filter gpu,$(DEVICE)),$(MODEL_STORE)/pneumonia.safetensors)
MODEL_CONFIG := config/model-config$(if $(filter gpu,$(DEVICE)),-gpu).yaml
PACKAGES := $(VENV)/.$(if $(filter gpu,$(DEVICE)),gpu,serve)
PROOF := $(REFERENCE)/expected.json $(wildcard $(REFERENCE)/*-224.jpeg)
# What GET /model says of the shipped model; a site's store has none.
ABOUT := $(wildcard $(MODEL_STORE)/MODEL_CARD.md $(MODEL_STORE)/report/official_test.json)
HANDLER := $(wildcard handler/*.py handler/*/*.py handler/*.npz)
ENTRY := handler/pneumonia_handler.py
MAR := $(MODEL_STORE)/pneumonia.mar
MODEL_VERSION = $(shell sed -n 's/.*"model_version": "\(.*\)".*/\1/p' $(MODEL_STORE)/contract.json)

# What the benchmark's peers need conflicts with what the service needs.
VENV_BENCH := .venv-bench
VENV_AUDIT := .venv-audit
WRK := build/wrk/.done

COMMA := ,
SPACE := $(subst ,, )

DATA ?=
FILMS ?=
OUT ?=
RECIPE ?= champion
RUN ?= runs/$(RECIPE)
WORKERS ?=
ENGINE ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- serving

.PHONY: serve
serve: $(PACKAGES) $(if $(OTEL),$(VENV)/.otel) $(MAR) ## Serve the model on port 7860 (HOST, PORT, WORKERS settable; OTEL=1: traces); Ctrl-C ends it
	@MODEL_STORE=$(MODEL_STORE) $(if $(WORKERS),WORKERS=$(WORKERS)) exec $(BIN)/python -m proxy

.PHONY: archive
archive: $(MAR) ## Rebuild MODEL_STORE/pneumonia.mar when weights, contract, handler or config changed

# There, and newer than the archive, when the service put that there (`make rollback`): not what the sources make. It is
# served on, but `make archive` and `make deploy` make it anew.
PUT_HERE := $(if $(filter serve,$(MAKECMDGOALS)),,$(wildcard $(MODEL_STORE)/.pneumonia.put-here))

# The handler is a package: the archiver flattens files, but takes a folder's contents as they are.
$(MAR): $(ARTEFACTS) $(PROOF) $(ABOUT) $(HANDLER) $(MODEL_CONFIG) requirements/handler.txt $(PUT_HERE) build/.archive-$(DEVICE) \
  | $(PACKAGES)
	@rm -rf build/archive && mkdir -p build/archive && cp --parents $(filter-out $(ENTRY),$(HANDLER)) build/archive/
	@mkdir -p build/archive/reference && cp $(PROOF) build/archive/reference/
	@mkdir -p build/archive/report && $(if $(ABOUT),cp $(ABOUT) build/archive/report/)
	$(BIN)/torch-model-archiver --force --model-name pneumonia --version $(MODEL_VERSION) \
	  --handler $(ENTRY) --requirements-file requirements/handler.txt \
	  --config-file $(MODEL_CONFIG) --export-path $(MODEL_STORE) \
	  --extra-files build/archive,$(subst $(SPACE),$(COMMA),$(strip $(ARTEFACTS)))
	@rm -f $(MODEL_STORE)/.pneumonia.put-here

# Changes, and the archive with it, when the device does.
build/.archive-$(DEVICE):
	@mkdir -p build && rm -f build/.archive-* && touch $@

.PHONY: scale
scale: $(VENV)/.serve ## Set the number of workers of the running service: make scale WORKERS=3
	@$(BIN)/python -m proxy.manage scale --workers $(or $(WORKERS),$(error say how many: make scale WORKERS=3))

.PHONY: deploy
deploy: $(VENV)/.serve $(if $(MAR_FILE),,$(MAR)) ## Put a version in service without stopping: make deploy [MAR_FILE=FILE] [CANARY=10] [SHADOW=50]
	@$(BIN)/python -m proxy.manage deploy $(or $(MAR_FILE),$(MAR)) $(if $(CANARY),--canary $(CANARY)) \
	  $(if $(SHADOW),--shadow $(SHADOW))

.PHONY: promote
promote: $(VENV)/.serve ## Put the candidate of `make deploy` with CANARY or SHADOW in service
	@$(BIN)/python -m proxy.manage $@

.PHONY: abandon
abandon: $(VENV)/.serve ## End the candidate
	@$(BIN)/python -m proxy.manage $@

.PHONY: rollback
rollback: $(VENV)/.serve ## Abandon the candidate, or go back to the version that was in service before
	@$(BIN)/python -m proxy.manage $@

.PHONY: status
status: $(VENV)/.serve ## Print what is in service, and how it is
	@$(BIN)/python -m proxy.manage $@

.PHONY: versions
versions: $(VENV)/.serve ## Print the versions in service, of the candidate, and before
	@$(BIN)/python -m proxy.manage $@

.PHONY: token
token: $(VENV)/.serve ## Print the running service's token for TorchServe's inference API
	@$(BIN)/python -m proxy.manage token

.PHONY: dicom-node
dicom-node: $(VENV)/.dicom-node ## Take films by DICOM and send results back, through the running service (docs/use/pacs.md)
	@exec $(BIN)/python -m dicom_node

# --- worklists

.PHONY: worklist
worklist: $(VENV)/.worklist$(addprefix -,$(filter ray,$(ENGINE))) ## Screen a folder, CSV or ZIP of films: make worklist IN=DIR OUT=results.csv (ENGINE=ray, SERVER=URL, POINT=NAME, GATE=reject)
	@$(BIN)/python -m batch $(call required,IN) --out $(call required,OUT) $(if $(POINT),--operating-point $(POINT)) \
	  $(if $(SERVER),--server $(SERVER),--model-store $(MODEL_STORE)) $(if $(ENGINE),--engine $(ENGINE)) \
	  $(if $(GATE),--gate $(GATE)) $(if $(WORKERS),--workers $(WORKERS))

# --- training

.PHONY: data-report
data-report: $(VENV)/.train ## Describe a folder of films: make data-report DATA=DIR OUT=DIR
	@$(BIN)/python -m training.data.report --data $(call required,DATA) --out $(or $(OUT),out/data-report)

.PHONY: train
train: $(VENV)/.train ## Train: make train DATA=DIR RECIPE=robust (goes on if it was begun; START=RUN, COPIES=DIR)
	@$(BIN)/python -m training.learn.train --data $(call required,DATA) --recipe $(RECIPE) --out $(RUN) \
	  $(if $(BACKBONE_WEIGHTS),--backbone-weights $(BACKBONE_WEIGHTS)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(START),--start-from $(START)) $(if $(COPIES),--copies $(COPIES))

.PHONY: average
average: $(VENV)/.train ## Average the weights of runs: make average DATA=DIR RUNS="runs/a runs/b" RUN=runs/average
	@$(BIN)/python -m training.learn.average --data $(call required,DATA) --runs $(call required,RUNS) --out $(RUN)

.PHONY: compare
compare: $(VENV)/.train ## Compare runs on the films they held out: make compare DATA=DIR RUNS="runs/a runs/b"
	@$(BIN)/python -m training.compare.compare --data $(call required,DATA) --runs $(or $(RUNS),$(wildcard runs/*)) \
	  $(if $(OUT),--out $(OUT)) $(if $(JSON),--json $(JSON))

.PHONY: resolution
resolution: $(VENV)/.train ## Measure what resolution is worth, and costs: make resolution DATA=DIR FILMS=DIR RUNS="runs/a runs/b"
	@$(BIN)/python -m training.compare.resolution --data $(call required,DATA) --films $(call required,FILMS) \
	  --runs $(call required,RUNS) $(if $(JSON),--json $(JSON)) $(if $(PLOT),--plot $(PLOT))

.PHONY: ablate
ablate: $(VENV)/.train ## Train and compare the variants of config/ablation.yaml: make ablate DATA=DIR SEEDS="0 1"
	@$(BIN)/python -m training.compare.ablate --data $(call required,DATA) $(if $(SEEDS),--seeds $(SEEDS)) \
	  $(if $(JSON),--json $(JSON)) $(if $(BACKBONE_WEIGHTS),--backbone-weights $(BACKBONE_WEIGHTS))

GATE_SETS = $(if $(COPIES),--copies $(COPIES)) $(if $(ADULTS),--adults $(ADULTS)) $(if $(PICTURES),--pictures $(PICTURES))
.PHONY: export
export: $(VENV)/.train ## Make a run's model the one that ships: make export DATA=DIR RUN=runs/champion VERSION=1.2.0
	@$(BIN)/python -m training.learn.export --run $(RUN)
	@$(BIN)/python -m training.evaluate.calibrate --run $(RUN) --data $(call required,DATA) $(if $(VERSION),--version $(VERSION))
	@$(BIN)/python -m training.evaluate.reference
	@$(BIN)/python -m training.gate.fit --data $(call required,DATA) --run $(RUN) $(GATE_SETS)

.PHONY: calibrate
calibrate: $(VENV)/.train ## Fit calibration and operating points of the shipped model: make calibrate DATA=DIR RUN=runs/champion
	@$(BIN)/python -m training.evaluate.calibrate --run $(RUN) --data $(call required,DATA) --model-store $(MODEL_STORE) \
	  $(if $(VERSION),--version $(VERSION))

.PHONY: report
report: $(VENV)/.train ## Measure the shipped model for its card: make report DATA=DIR RUN=runs/champion
	@$(BIN)/python -m training.report.report --data $(call required,DATA) --run $(RUN) --model-store $(MODEL_STORE)

.PHONY: card
card: $(VENV)/.train ## Render MODEL_CARD.md from the contract and the report
	@$(BIN)/python -m training.report.card --model-store $(MODEL_STORE)

# Without RECIPE on the command line it is the shipped model's, which the report names.
.PHONY: reproduce
reproduce: $(VENV)/.train ## Train the shipped recipe again and compare with the report: make reproduce DATA=DIR SEEDS="0 1"
	@$(BIN)/python -m training.compare.reproduce --data $(call required,DATA) --model-store $(MODEL_STORE) \
	  $(if $(filter-out file,$(origin RECIPE)),--recipe $(RECIPE)) $(if $(SEEDS),--seeds $(SEEDS)) \
	  $(if $(COPIES),--copies $(COPIES)) $(if $(BACKBONE_WEIGHTS),--backbone-weights $(BACKBONE_WEIGHTS))

.PHONY: evaluate
evaluate: $(VENV)/.train ## Score films with the shipped model: make evaluate DATA=DIR OUT=DIR
	@$(BIN)/python -m training.evaluate.evaluate --data $(call required,DATA) --out $(or $(OUT),out/evaluation) --model-store $(MODEL_STORE)

.PHONY: parity
parity: $(VENV)/.train ## Measure how far the server's shortcuts move the results: make parity DATA=DIR
	@$(BIN)/python -m training.evaluate.parity --data $(call required,DATA) --model-store $(MODEL_STORE)

.PHONY: invariance
invariance: $(VENV)/.train ## Measure how far bars, depth, brightness and polarity move the results: make invariance DATA=DIR (FILMS=N, JSON=FILE)
	@$(BIN)/python -m training.evaluate.invariance --data $(call required,DATA) --model-store $(MODEL_STORE) \
	  $(if $(FILMS),--films $(FILMS)) $(if $(JSON),--json $(JSON))

.PHONY: audit
audit: $(VENV)/.train ## Audit the model for shortcuts: make audit DATA=DIR OUT=DIR (MODEL=STORE_OR_RUN; COMPARE="MODEL MODEL")
	@$(BIN)/python -m training.audit.audit --data $(call required,DATA) --model $(or $(MODEL),$(MODEL_STORE)) \
	  --out $(or $(OUT),out/audit) $(if $(COMPARE),--compare $(COMPARE)) $(if $(JSON),--json $(JSON))

.PHONY: official-test
official-test: $(VENV)/.train ## Score the shipped version on the official test split, once: make official-test DATA=DIR
	@$(BIN)/python -m training.evaluate.official_test --data $(call required,DATA) --model-store $(MODEL_STORE)

.PHONY: adults
adults: $(VENV)/.train ## Measure what the model calls adults' films: make adults DATA=DIR with no_finding/ and pneumonia/
	@$(BIN)/python -m training.evaluate.adults --data $(call required,DATA) --model-store $(MODEL_STORE) \
	  $(if $(JSON),--json $(JSON))

.PHONY: gate
gate: $(VENV)/.train ## Fit and measure the input gate: make gate DATA=DIR (COPIES=DIR ADULTS=DIR PICTURES=DIR)
	@$(BIN)/python -m training.gate.fit --data $(call required,DATA) --model-store $(MODEL_STORE) $(GATE_SETS)

.PHONY: pictures
pictures: $(VENV)/.train ## Gather pictures that are no chest films, of Debian's and PyPI's packages: make pictures OUT=DIR
	@$(BIN)/python -m training.gate.gather --out $(call required,OUT)

.PHONY: presentation
presentation: $(VENV)/.train ## Learn to recognise negatives and turned films: make presentation DATA=DIR ADULTS=DIR MEASURE="DIR DIR"
	@OMP_NUM_THREADS=1 $(BIN)/python -m training.presentation.train --data $(call required,DATA) \
	  $(if $(ADULTS),--adults $(ADULTS)) $(if $(MEASURE),--measure $(MEASURE))

.PHONY: validate-site
validate-site: $(VENV)/.train ## Try the model on your films: make validate-site DATA=DIR (VERSION=X.Y.Z recalibrates it)
	@$(BIN)/python -m training.site.validate --data $(call required,DATA) --out $(or $(OUT),out/site) \
	  --model-store $(MODEL_STORE) $(if $(SENSITIVITY),--sensitivity $(SENSITIVITY)) \
	  $(if $(VERSION),--write $(or $(OUT),out/site)/model_store --version $(VERSION))

.PHONY: composites
composites: $(VENV)/.train ## Make the reference films anew, from a folder of films: make composites DATA=DIR
	@$(BIN)/python -m training.data.composites --data $(call required,DATA)

# --- measuring

.PHONY: bench
bench: $(VENV)/.bench $(VENV_BENCH)/.peers $(WRK) $(MAR) ## Measure the service beside others: make bench FILMS=DIR OUT=DIR (QUICK=1: 5 minutes)
	@$(BIN)/python -m bench $(if $(FILMS),--films $(FILMS)) --out $(or $(OUT),out/bench) $(if $(QUICK),--quick) \
	  $(if $(CONTENDERS),--contenders $(CONTENDERS)) $(if $(CORES),--cores $(CORES))

.PHONY: bench-decoding
bench-decoding: $(VENV)/.bench ## Time the decoding against Pillow's, which checks nothing: make bench-decoding FILMS=DIR
	@$(BIN)/python -m bench.decoding --films $(call required,FILMS) $(if $(JSON),--json $(JSON))

.PHONY: bench-checkouts
bench-checkouts: $(VENV)/.bench $(WRK) ## Measure two checkouts in turn: make bench-checkouts BEFORE=DIR AFTER=DIR FILMS=DIR (ROUNDS=N)
	@$(BIN)/python -m bench.checkouts $(call required,BEFORE) $(call required,AFTER) \
	  $(if $(FILMS),--films $(FILMS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON))

.PHONY: bench-uses
bench-uses: $(VENV)/.bench $(WRK) $(MAR) ## Measure detail and heatmaps against /predict alone, in turn: make bench-uses FILMS=DIR (ROUNDS=N)
	@$(BIN)/python -m bench.uses $(if $(FILMS),--films $(FILMS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(JSON),--json $(JSON))

.PHONY: bench-worklist
bench-worklist: $(VENV)/.bench $(VENV)/.worklist ## Measure worklists against the bare loop, and their memory: make bench-worklist OUT=DIR (FILMS=DIR)
	@mkdir -p $(or $(OUT),out/worklist)
	@$(BIN)/python -m bench.worklist $(if $(FILMS),--films $(FILMS)) --json $(or $(OUT),out/worklist)/speed.json
	@$(BIN)/python -m bench.worklist_memory --json $(or $(OUT),out/worklist)/memory.json

.PHONY: chaos
chaos: $(VENV)/.bench $(WRK) $(MAR) ## Break the running service in many ways: make chaos OUT=DIR (SECONDS=N, ONLY="NAME ...", HAPROXY=1)
	@$(BIN)/python -m bench.chaos $(if $(FILMS),--films $(FILMS)) --out $(or $(OUT),out/chaos) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY)) $(if $(HAPROXY),--behind-haproxy)

.PHONY: soak
soak: $(VENV)/.bench $(WRK) $(MAR) ## Load the service for long: do memory and open files stay flat? make soak OUT=DIR (SECONDS=3600)
	@$(BIN)/python -m bench.soak $(if $(FILMS),--films $(FILMS)) --out $(or $(OUT),out/soak) \
	  $(if $(SECONDS),--seconds $(SECONDS))

.PHONY: profile
profile: $(VENV)/.bench $(WRK) $(MAR) ## Measure where each millisecond of a request goes: make profile FILMS=DIR OUT=DIR (BEFORE=profile.json)
	@$(BIN)/python -m bench.profile $(if $(FILMS),--films $(FILMS)) --out $(or $(OUT),out/profile) \
	  $(if $(BEFORE),--before $(BEFORE)) $(if $(CORES),--cores $(CORES))

# --- development

.PHONY: test
# Two processes share the files of tests, the slowest first; services are tried one at a time.
test: lint types $(MAR) $(WRK) ## Lint, check types, and run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/integration tests/unit
	$(BIN)/python -m pytest tests/e2e

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Fuzz the decoding of films, guided by coverage: make fuzz SECONDS=60
	@$(BIN)/python -m tests.fuzz -max_total_time=$(or $(SECONDS),60)

DECODING := formats imaging bars exposure presentation
.PHONY: coverage
coverage: $(VENV)/.dev ## Measure what the tests cover of the decoding, lines and branches: 97 % at least
	@$(BIN)/python -m pytest -q tests/unit/handler --cov-branch --cov-fail-under=97 $(DECODING:%=--cov=handler.%)

# What is pinned, asked of PyPI's advisories and, where those cannot be had, of OSV's. No answer, about one package even, is
# no pass (--strict): a registry that only mirrors the packages has no advisories.
PINNED := $(filter-out requirements/peers%.txt requirements/audit.txt,$(wildcard requirements/*.txt))
.PHONY: audit-packages
audit-packages: $(VENV_AUDIT)/.audit ## Look up known vulnerabilities of the pinned packages (wants the internet)
	@mkdir -p build && sed -n 's/^\([A-Za-z0-9._-]*==[^ ;#]*\).*/\1/p' $(PINNED) | sort -uf >build/pinned.txt
	@for service in pypi osv; do \
	  timeout 300 $(VENV_AUDIT)/bin/pip-audit --progress-spinner off --strict --disable-pip --no-deps --timeout 10 \
	    --vulnerability-service $$service --requirement build/pinned.txt >build/audit.log 2>&1 && status=0 || status=$$?; \
	  grep -qE '^Name +Version|^No known' build/audit.log && { cat build/audit.log; exit $$status; }; \
	done; \
	echo "audit-packages: nothing was checked: neither PyPI nor OSV gave advisories for the $$(wc -l <build/pinned.txt) pinned" \
	  "packages (see build/audit.log)" >&2; exit 2

.PHONY: lint
lint: $(VENV)/.dev ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

.PHONY: clean
clean: ## Remove what was built, but not the virtual environments, runs and results
	rm -rf build $(MAR) .mypy_cache .ruff_cache .pytest_cache

# --- set-up: one virtual environment, filled as far as a target needs it

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch alone first: an index of CPU builds has not what the rest needs.
$(VENV)/.torch: requirements/serve.txt | $(BIN)/python
	$(PIP_INSTALL) $(TORCH) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))
	@touch $@

$(VENV)/.serve: requirements/serve.txt requirements/handler.txt requirements/constraints.txt | $(VENV)/.torch
	$(PIP_INSTALL) -r requirements/serve.txt
	@touch $@

$(VENV)/.worklist: requirements/worklist.txt $(VENV)/.serve
	$(PIP_INSTALL) -r requirements/worklist.txt
	@touch $@

$(VENV)/.worklist-ray: requirements/worklist-ray.txt $(VENV)/.worklist
	$(PIP_INSTALL) -r requirements/worklist-ray.txt
	@touch $@

$(VENV)/.gpu: requirements/gpu.txt $(VENV)/.serve
	$(PIP_INSTALL) -r requirements/gpu.txt
	@touch $@

$(VENV)/.train: requirements/train.txt $(VENV)/.gpu
	$(PIP_INSTALL) -r requirements/train.txt
	@touch $@

$(VENV)/.otel: requirements/otel.txt $(VENV)/.serve
	$(PIP_INSTALL) -r requirements/otel.txt
	@touch $@

# On its own: the node may run on another machine than the service.
$(VENV)/.dicom-node: requirements/dicom-node.txt requirements/constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -r requirements/dicom-node.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/otel.txt requirements/dicom-node.txt $(VENV)/.train
	$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.train
	$(PIP_INSTALL) -r requirements/bench.txt
	@touch $@

$(VENV_BENCH)/.peers: requirements/peers.txt requirements/peers-constraints.txt requirements/handler.txt
	$(PYTHON) -m venv $(VENV_BENCH)
	$(VENV_BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/peers.txt
	@touch $@

$(VENV_AUDIT)/.audit: requirements/audit.txt
	$(PYTHON) -m venv $(VENV_AUDIT)
	$(VENV_AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/audit.txt
	@touch $@

# The load generator: from the PATH, or else Debian's package unpacked here, which needs no root. Package lists that are
# missing or out of date are fetched into the same folder. Where neither works, `make bench` says so, and the tests that
# want it are skipped.
APT_HERE := -o Dir::State::lists=$(CURDIR)/build/wrk/lists -o Dir::Cache=$(CURDIR)/build/wrk/cache
$(WRK):
	@mkdir -p $(@D)/lists/partial $(@D)/cache/archives/partial
	@cd $(@D) && command -v wrk || { \
	  packages="wrk libluajit-5.1-2"; \
	  { apt-get download $$packages || { apt-get $(APT_HERE) update && apt-get $(APT_HERE) download $$packages; }; } \
	    >log 2>&1 && for package in *.deb; do dpkg -x $$package . || exit 1; done; } && touch $(@F) || \
	  echo "wrk cannot be had: install it, the benchmark needs it (see $(@D)/log)"

required = $(or $($(1)),$(error $(1) is not set: see make help))
