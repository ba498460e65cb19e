# Two commands set up a fresh machine: `make demo` and `make test`. They need Python 3.11, make and git.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RELEASE := build/release

.PHONY: demo test soak lint types bench docs tools audit release-check clean options

demo: $(READY)
	$(BIN)/pipeline demo --force -o demo-output

test: $(READY) lint types
	@$(MAKE) --no-print-directory tools || echo 'some tools are missing: tests that need one fail if CI is set, and are skipped otherwise'
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not soak'

# The tests that take long and seldom break, and a longer fuzzing.
soak: $(READY)
	@$(MAKE) --no-print-directory tools || echo 'some tools are missing: tests that need one are skipped'
	$(BIN)/python -m pytest --timeout 1800 -m soak
	FUZZ_SECONDS=600 $(BIN)/python -m pytest --timeout 1800 tests/pipeline/media/test_damaged_files.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# Writes what is generated from the table of options: RunOptions and the table in docs/.
options: $(READY)
	$(BIN)/python -m pipeline.schema.generate

bench: $(READY)
	$(BIN)/python -m jobs.bench.pipeline

# Builds a site under build/site; `zensical serve` shows it while you write.
docs: $(READY)
	$(BIN)/zensical build --strict

# Installs programs that some tests need (Debian, as root), and builds VapourSynth for this Python under build/. Tests
# for which something is missing are skipped, or fail if CI is set.
tools: $(READY)
	@{ command -v chromium || command -v google-chrome; } > /dev/null && command -v ffprobe > /dev/null && command -v strace > /dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium ffmpeg strace > /dev/null 2>&1; }
	@{ command -v gcc > /dev/null && test -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"; } || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev python3-dev > /dev/null 2>&1; }
	@$(BIN)/python -m tests.support.build_vapoursynth

# Asks PyPI's JSON interface for known vulnerabilities of every pinned version. Without --strict pip-audit
# reports a package that it could not look up as safe. Not part of `make test`, which needs no such access.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt \
		|| { echo 'audit: a pinned version is vulnerable or could not be looked up, see above'; exit 1; }

# Builds sdist and wheel from the last commit, and looks into the wheel. Then installs the wheel alone into an
# empty environment and runs the demo there, with an empty home and outside the checkout.
release-check: $(READY)
	rm -rf $(RELEASE) && mkdir -p $(RELEASE)/source
	git archive HEAD | tar -x -C $(RELEASE)/source
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build setuptools
	$(RELEASE)/tools/bin/python -m build --no-isolation --outdir $(RELEASE)/dist $(RELEASE)/source > $(RELEASE)/build.log 2>&1 \
		|| { tail -n 20 $(RELEASE)/build.log; exit 1; }
	RELEASE_WHEEL=$$(ls $(CURDIR)/$(RELEASE)/dist/*.whl) $(BIN)/python -m pytest -q tests/test_release.py
	$(PYTHON) -m venv $(RELEASE)/env
	$(RELEASE)/env/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(RELEASE)/dist/*.whl
	home=$$(mktemp -d) && cd $$home && clean="env -i HOME=$$home PATH=$(CURDIR)/$(RELEASE)/env/bin:/usr/bin:/bin" && \
		$$clean pipeline --version && $$clean pipeline doctor && $$clean pipeline demo --quiet && cd / && rm -rf $$home
	@echo 'release-check: the wheel works alone'; ls -l $(RELEASE)/dist

$(READY): pyproject.toml constraints.txt VERSION
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo-output example-output
