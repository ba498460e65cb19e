# Two commands set a fresh machine up: `make demo` and `make test`. Needs Python 3.11 and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types bench docs tools audit clean

demo: $(READY)
	$(BIN)/pipeline demo --force -o demo-output

test: $(READY) lint types
	@$(MAKE) --no-print-directory tools || echo 'not all tools: where CI is set the tests that need one fail, else they are skipped'
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m jobs.bench.pipeline

# A site under build/site; `zensical serve` shows it while you write.
docs: $(READY)
	$(BIN)/zensical build --strict

# Programs that tests look with: without one they are skipped, and fail where CI is set. Debian, as root.
tools:
	@{ command -v chromium || command -v google-chrome; } > /dev/null && command -v ffprobe > /dev/null && command -v strace > /dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium ffmpeg strace > /dev/null 2>&1; }

# Asks PyPI for known vulnerabilities of every pinned version, which needs its JSON interface. --strict:
# by itself pip-audit calls a package that it could not ask about no problem. No part of `make test`.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt 	|| { echo 'audit: a pin is vulnerable, or could not be asked about: see above'; exit 1; }

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo-output example-output
