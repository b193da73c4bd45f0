# make demo    install everything, then learn, show and measure ten paths of photographic faces
# make demo-portraits    the same with nine paths of drawn portraits
# make explore install everything, then explore photographic faces in the browser: by the demo's paths, or without any
#              by paths in closed form (PORT=7860)
# make test    install everything, then check the style and the directions of imports, and run the tests
# make hostile install everything, then read 50,000 hostile files (SECURITY.md)
# make kills   disturb the commands at 200 random moments, by kill -9 and full disks (as root), and compare the results
PYTHON ?= python3
WORKERS ?= 2
PORT ?= 7860
INPUTS ?= 50000
DISTURBANCES ?= 200
# such as LIMIT="--minutes 10": end sooner, with a table of what was tried until then
LIMIT ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo demo-portraits explore test hostile kills chromium clean

$(BIN)/python:
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/installed: requirements.txt | $(BIN)/python
	@echo "installing: this downloads PyTorch, which takes some minutes"
	$(PIP) -r requirements.txt
	touch $@

.venv/installed-for-exploring: requirements-explore.txt .venv/installed
	@echo "installing what the explorer needs"
	$(PIP) -r requirements-explore.txt
	touch $@

# All files of requirements count: requirements-dev.txt includes others.
.venv/installed-for-tests: $(wildcard requirements*.txt) .venv/installed
	$(PIP) -r requirements-dev.txt
	touch $@

demo: .venv/installed
	PYTHON=$(BIN)/python bash scripts/demo.sh faces

demo-portraits: .venv/installed
	PYTHON=$(BIN)/python bash scripts/demo.sh portraits

# The demo's experiment, if it is there.
FACES_EXP = $(wildcard experiments/complete/ContraCLIP_dcgan_faces64-Z-K10-lines-eps1.1_1.8-paired-faces)

explore: .venv/installed-for-exploring
	$(BIN)/python explore.py --port=$(PORT) $(if $(FACES_EXP),--exp=$(FACES_EXP),--gan=dcgan_faces64 --corpus=faces)

# Each worker takes whole files in their order, so that what the tests of a file share is made once.
test: .venv/installed-for-tests chromium
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations=10

hostile: .venv/installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/hostile/campaign.py --inputs $(INPUTS) --workers $(WORKERS) $(LIMIT)

kills: .venv/installed-for-tests
	$(BIN)/python tests/hostile/kills.py --disturbances $(DISTURBANCES) $(LIMIT)

# The page is tested in a real browser. Where none can be installed, those tests skip and say why.
chromium:
	@if [ -x /usr/bin/chromium ] && [ -x /usr/bin/chromedriver ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing chromium and chromium-driver with apt-get, as root: the page is tested in a browser"; \
	  apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null || \
	  echo "chromium and chromedriver could not be installed: the page will not be tested in a browser"; \
	else \
	  echo "chromium and chromedriver are not in /usr/bin, and only root can install them: the page will not be tested in a browser"; \
	fi

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .import_linter_cache
