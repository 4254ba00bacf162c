# Thin front doors: what each target does is plain Python under tools/ and tests/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n auto --dist worksteal
LOCKS := requirements/serve.txt requirements/tritonserver.txt pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help serve test test-unit test-setup test-slow test-fresh test-chart test-compose images chart-package bench fuzz check format lock clean

help: ## list the targets
	@sed -n 's/^VERSION = "\(.*\)"/birds \1/p' frontend/__init__.py
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST) | awk -F': ' '{printf "  make %-13s %s\n", $$1, $$2}'

ifneq ($(filter -h --help,$(ARGS)),)
serve: # help installs nothing
	@echo "make serve installs what is needed into $(VENV), then runs birds serve"
	@echo "until Ctrl-C. To use other ports:"
	@echo '  BIRDS_PORT=9000 make serve ARGS="--triton-http-port 9010 \'
	@echo '    --triton-grpc-port 9011 --triton-metrics-port 9012"'
	@echo "Everything else is set by BIRDS_* environment variables: docs/settings.md"
else
serve: $(VENV)/.serve ## install, build the classifier, run Triton and the frontend until Ctrl-C (ARGS="--help")
	@exec $(BIN)/birds serve $(ARGS)
endif

# Unit tests run in parallel. Live and system tests share one Triton and are sensitive to load, so they run one by one.
test: test-setup ## install what the tests need, run unit, live (a real Triton) and system tests (ARGS="tests/live/cli")
ifdef ARGS
	@$(PYTEST) $(ARGS)
else
	@$(PYTEST) tests/unit $(PARALLEL)
	@$(PYTEST) tests/live tests/system
endif

test-unit: $(VENV)/.dev ## the unit tests alone, in parallel: no Triton
	@$(PYTEST) tests/unit $(PARALLEL) $(ARGS)

test-setup: $(VENV)/.dev ## install the programs that the tests use
	@$(BIN)/python -m tests.setup

test-slow: test-setup ## the long tests that make test leaves out
	@$(PYTEST) -m slow $(ARGS)

test-fresh: test-setup ## make serve on a bare Debian 12 and 13, as root; keeps packages in .cache/fresh
	@$(PYTEST) tests/fresh -m fresh

test-chart: $(VENV)/.dev ## the Helm chart, rendered and validated for every supported Kubernetes
	@$(PYTEST) tests/chart -m chart $(PARALLEL)

test-compose: $(VENV)/.dev ## build the images, bring docker-compose.yml up, break it; starts a Docker engine if there is none
	@$(PYTEST) tests/compose -m compose

images: $(VENV)/.serve ## build the container images of a release, labelled and tagged (ARGS="--registry … --gpu --push")
	@$(BIN)/python -m tools.release.images $(ARGS)

chart-package: $(VENV)/.dev ## pack the Helm chart into dist/
	@$(BIN)/python -m tests.chart.helm package deploy/chart --destination dist

bench: $(VENV)/.dev ## compare the service with the design it replaced and the machine's limit (ARGS="--help")
	@[ -d model_repository/classifier/1 ] || $(BIN)/birds models build
	@exec $(BIN)/birds bench $(ARGS)

fuzz: $(VENV)/.dev ## fuzz everything that reads untrusted bytes and URLs (MINUTES=10)
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

check: $(VENV)/.dev ## lint, formatting, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy backends/tensorflow
	@$(BIN)/mypy model_repository/preprocess/1
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## apply the formatter and the linter's safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

lock: $(VENV)/.dev ## bring the lock files up to date with pyproject.toml
	$(UV_COMPILE) pyproject.toml --group triton --group dev -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml --group triton -c requirements/dev.txt -o requirements/serve.txt
	$(UV_COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/frontend.txt
	$(UV_COMPILE) --group serving -c requirements/dev.txt -o requirements/serving-cpu.txt
	$(UV_COMPILE) --group serving-gpu -c requirements/dev.txt -o requirements/serving-gpu.txt
	@$(PYTEST) -m slow tests/system/test_lock_files.py

clean: ## remove everything that was installed, downloaded or built
	rm -rf $(VENV) dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info tests/system/browser/node_modules
	rm -rf model_repository/classifier/[0-9]* model_repository/*/configs model_repository/birds_v*
	rm -rf model_repository/.lock model_repository/.publishing
	find backends client frontend model_repository tests tools -name __pycache__ -exec rm -rf {} +

# The last file overrides settings of the user's pip.conf that install elsewhere; its package indexes stay in use.
$(VENV)/.created:
	@$(PYTHON) -m tools.serve.preflight
	@$(PYTHON) -m venv --clear $(VENV)
	@for section in global install; do printf '[%s]\nuser =\ntarget =\nprefix =\nroot =\n' $$section; done > $(VENV)/pip.conf
	@touch $@

PIP := env -u PIP_USER -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT $(BIN)/python -m pip --disable-pip-version-check

# nvidia-pytriton is installed for its server binary alone; its own dependencies would pin numpy below 2.
$(VENV)/.serve: $(LOCKS) | $(VENV)/.created
	@echo "Installing the locked dependencies (700 MB to download, a minute or two) …"
	@$(PIP) install --require-hashes -r requirements/serve.txt
	@$(PIP) install --require-hashes --no-deps -r requirements/tritonserver.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable client --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.serve
	@echo "Installing the development tools …"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
