# make demo    install everything, then learn and show nine paths on drawn portraits
# make test    install everything, then check the style and run the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test chromium clean

.venv/requirements.txt: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	cp requirements.txt $@

.venv/requirements-dev.txt: requirements-dev.txt requirements-open-clip.txt .venv/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	cp requirements-dev.txt $@

demo: .venv/requirements.txt
	PYTHON=$(BIN)/python bash scripts/demo.sh

test: .venv/requirements-dev.txt chromium
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

# The page is tested in a real browser. Where none can be installed, those tests skip and say why.
chromium:
	@command -v chromium chromedriver >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; } || \
	  echo "chromium and chromedriver could not be installed: the page will not be tested in a browser"

clean:
	rm -rf .venv build .pytest_cache .ruff_cache
