# `make help` lists the targets. Everything lives in .venv and .state; `make clean` removes both.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# named by the lock's content: a cache or a fresh clone changes times, not what is installed
INSTALLED := $(VENV)/installed-$(word 1,$(shell cksum < requirements.lock))
ENGINE ?= docker
IMAGE ?= face-emotion
STORE := $(if $(MLFLOW_TRACKING_URI),$(MLFLOW_TRACKING_URI),sqlite:///$(CURDIR)/.state/mlflow/mlflow.db)
PORT ?= 5000
DURATIONS = $(shell grep -rl "pytest.mark.duration" --include="test_*.py" tests)
BENCHMARKS := loading growth streaming training_speed throughput overhead inference serving imbalance time_to_accuracy

.DEFAULT_GOAL := help
.PHONY: help setup setup-servers train average compare doctor serve image test test-serving test-servers test-containers test-ray coverage faults fuzz load bench check docs audit ui tidy clean lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv and install the locked dependencies

# pip would compile what it installs on one core; a template that is not Python does not compile
$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version); set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock --no-compile
	@$(RUN) -m compileall -qq -j 0 $(VENV)/lib || echo "not every package was compiled: Python does that when it imports them"
	@rm -f $(VENV)/installed-*
	@touch $(INSTALLED)

setup-servers: setup ## add what S3, PostgreSQL, Kubernetes, Ray and their tests need (Linux; 250 MB)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-servers.lock
	$(PYTHON) -m venv $(VENV)-zenml-server
	$(VENV)-zenml-server/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/servers/zenml-server.lock

train: setup ## train on data/, or on drawn faces if that is empty (ARGS="--dataset.path PATH")
	@$(RUN) run.py --pipeline training $(ARGS) || { code=$$?; [ $$code -eq 3 ] || exit $$code; echo "(exit code 3: held; see docs/lifecycle.md)"; }

serve: setup ## answer pictures over HTTP with the champion, and show a page for it (ARGS="--serving.port 8001")
	@$(RUN) run.py --serve $(ARGS)

image: ## build the container image (ENGINE=podman IMAGE=registry/name:tag ARGS="--build-arg BASE=...")
	$(ENGINE) build --tag $(IMAGE) $(ARGS) .

average: setup ## make one classifier out of several (ARGS="MEAN.keras A.keras B.keras")
	@$(RUN) -m commands.average $(ARGS)

compare: setup ## champion, challenger and the last runs as a table
	@$(RUN) run.py --compare $(ARGS)

doctor: setup ## look over this machine and say what to fix
	@$(RUN) run.py --doctor $(ARGS)

test: setup ## run the tests, two at a time, then those of durations (no network needed; ARGS="tests/vision -k VGG")
	$(RUN) -m pytest $(ARGS)
	$(if $(ARGS),,$(RUN) -m pytest -n 0 -m duration $(DURATIONS))

test-serving: setup ## start the service for real, swap its model under load and fuzz it (under five minutes)
	$(RUN) -m pytest -n 0 -m serving tests/serving tests/stack $(ARGS)

test-servers: setup ## train on PostgreSQL, S3, MLflow and ZenML servers, and kill each (needs make setup-servers; half an hour)
	$(RUN) -m pytest -n 0 -m servers tests/servers tests/elsewhere $(ARGS)

test-containers: setup ## train in containers, and check what a cluster would get (needs make setup-servers, Podman and an image; twenty minutes)
	$(RUN) -m pytest -n 0 -m containers tests/containers $(ARGS)

test-ray: setup ## batch inference on a Ray cluster whose parts are killed (Linux, root and make setup-servers; twenty minutes)
	$(RUN) -m pytest -n 0 -m ray tests/ray $(ARGS)

coverage: setup ## run the tests, and print which lines they miss
	$(RUN) -m pytest --cov --cov-report=term $(ARGS)

fuzz: setup ## alter files at random and read them for a minute (SECONDS=3600: an hour)
	FUZZ_SECONDS=$(or $(SECONDS),60) $(RUN) -m pytest -n 0 tests/hostile/test_fuzz.py $(ARGS)

load: setup ## trainings, promotions and readers at once, for minutes; prints figures
	$(RUN) -m pytest -n 0 tests/load -m load -s $(ARGS)

faults: setup ## kill runs, fill disks and take servers away, for real (under ten minutes)
	$(RUN) -m pytest -m faults tests/faults $(ARGS)

bench: setup ## print the benchmarks' tables (NAME=loading ARGS="--dataset PATH"; see benchmarks/README.md)
	@code=0; for name in $(or $(NAME),$(BENCHMARKS)); do $(RUN) -m benchmarks.$$name $(ARGS) || code=$$?; done; exit $$code

check: setup ## ruff, mypy and import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: setup ## build the pages of docs/ into site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

audit: ## look the locked packages up in a database of known vulnerabilities (network; else it says that it skipped)
	@PYTHON=$(PYTHON) .ci/audit

ui: setup ## open the MLflow UI on this project's runs (PORT=5000)
	@case "$(STORE)" in \
		http*) echo "Runs are tracked by the server that MLFLOW_TRACKING_URI names; open it there";; \
		*) $(RUN) -m commands.port "$(PORT)" && mkdir -p .state/mlflow && $(VENV)/bin/mlflow ui --backend-store-uri "$(STORE)" --host 127.0.0.1 --port $(PORT);; \
	esac

tidy: setup ## show what of .state can be deleted without loss (ARGS=--yes: delete it)
	@$(RUN) run.py --tidy $(ARGS)

clean: ## remove the environment, all runs, reports and built pages (not data/)
	rm -rf $(VENV) $(VENV)-zenml-server .state reports site

lock: setup ## resolve pyproject.toml into requirements.lock
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --extra docs --extra kaggle --extra onnx --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file requirements.lock
	$(VENV)/bin/uv pip compile pyproject.toml --extra s3 --extra kubernetes --extra ray --extra postgresql --extra shards --extra servers \
		-c requirements.lock --python-platform linux --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		--output-file requirements-servers.lock
	$(VENV)/bin/uv pip compile pyproject.toml --extra onnx --extra kaggle --extra s3 --extra kubernetes --extra ray --extra postgresql --extra shards \
		-c requirements.lock -c requirements-servers.lock --python-platform linux --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --quiet --output-file requirements-image.lock
	$(VENV)/bin/uv pip compile tests/servers/zenml-server.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--quiet --output-file tests/servers/zenml-server.lock
	$(VENV)/bin/uv pip compile .ci/audit.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		--output-file .ci/audit.lock
