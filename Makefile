# make demo   the paper's effect on real data: tables and figures below results/demo/
# make test   all tests
# make gpu    what only a GPU decides: tests and speeds, in eight minutes, as docs/cluster.md says
# make docs   the site, below site/: pages, gallery, reference of the library
# make lint   style and workflow checks
# make clean  remove the environment, caches, the site and smoke results; what took time stays

PYTHON ?= python3
BIN := .venv/bin
SITE := site

.PHONY: demo test gpu docs lint clean

demo: .venv/installed
	@$(BIN)/snakemake demo --config scale=demo --quiet host rules reason
	@$(BIN)/dansm summary digits_demo --scale demo
	@echo "At full size, with diffusion, latents and all couplings: snakemake digits"

test: .venv/installed
	@$(BIN)/pytest --numprocesses 2 --dist loadfile

# Installs nothing but WHEELS, and these for itself: the machine may have no internet.
gpu:
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu.py $(if $(WHEELS),--wheels $(WHEELS)) $(if $(FOLDER),--folder $(FOLDER)) $(if $(COMMIT),--commit $(COMMIT))

docs: .venv/installed
	@SITE=$(SITE) NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "$(SITE)/index.html"

lint: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check workflow
	@$(BIN)/snakemake --lint
	@$(BIN)/dansm schema --check

clean:
	rm -rf .venv .pytest_cache .ruff_cache site results/smoke
	@echo "results/ is kept; git clean -fdx results .snakemake removes it too"

# An environment knows where it was made, so a copied one is made anew.
ifneq ($(shell cat .venv/installed 2>/dev/null),$(CURDIR))
.PHONY: .venv/installed
endif

# Settings of the user's pip and uv for other folders, or for other ways to install, are not for
# this one; those for proxies and mirrors are.
.venv/installed: export PIP_REQUIRE_HASHES = 0
.venv/installed: export UV_REQUIRE_HASHES = 0
.venv/installed: export UV_SYSTEM_PYTHON = 0
unexport PIP_PYTHON
.venv/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, found {v[0]}.{v[1]}; set PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv --clear .venv
# pip has no way to overrule a folder that its configuration names, so that it is told to read none.
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest .venv/wheels uv
	@PIP_CONFIG_FILE=/dev/null $(BIN)/python -m pip --isolated install --quiet --no-deps --no-index --find-links .venv/wheels uv
# Compiled here once: where PYTHONDONTWRITEBYTECODE is set, every process would do it anew.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@echo "$(CURDIR)" > $@
