# make run     everything on this machine: from videos to a report
# make claims  the claims about features from motion, on the drawn world; QUICK=1 in minutes; on real videos with
#              VIDEOS=folder FRAMES=folder VOC=folder
# make test    all tests that this machine can run; TESTS=path runs some
# make gpu-check   what has a path on a GPU, compared with the CPU, as a table for the docs, in 8 minutes; RAFT=weights
#              compares RAFT too, DEVICE=cpu tries it without a GPU
# make fuzz    damaged inputs of every reader for an hour; MINUTES=5 for less, FORMAT=name SEED=number for one again
# make lint    style, types and the order of the rooms
# make hooks   the same checks before each commit, with pre-commit
# make docs    the docs as a site in out/docs
# make release     manifests, Helm chart, SBOMs and checksums of this version in dist; IMAGES="watchmove=… watchmove-slim=…"
#                  names them by digest; make sbom, make chart: these alone
# make kind-test   the tests of the cluster, on a throw-away kind cluster
# make chaos   faults in each phase of runs in the cluster of KUBECONFIG, for about an hour; IMAGE=name of the image there,
#              SEED=number for other moments, CASES="round-3 or two-runs" for some

PYTHON ?= python3
KIND_CLUSTER ?= watchmove-test
IMAGE ?= docker.io/library/watchmove:dev
ARGO_VERSION ?= v3.7.14
ARGO_INSTALL ?= https://github.com/argoproj/argo-workflows/releases/download/$(ARGO_VERSION)/install.yaml

INSTALL := .venv/bin/pip install --quiet --disable-pip-version-check --no-deps
RUN := .venv/bin/watchmove run \
	$(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(VIDEOS),--videos "$(VIDEOS)") $(if $(VOC),--voc "$(VOC)") \
	$(if $(STORE),--store "$(STORE)")

# A worker for each core, so each gets one thread for its arithmetic; at most four, as each of them loads PyTorch.
# Files are in the order of tests/conftest.py: by their number of tests, those of few long tests would come last.
PYTEST := .venv/bin/pytest --durations=10
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

.PHONY: run claims test gpu-check fuzz chaos lint hooks docs release sbom chart kind-test clean

run: .venv/run-ready
	$(RUN)

claims: .venv/run-ready
	.venv/bin/watchmove claims $(if $(QUICK),--quick) \
		$(if $(VIDEOS),--videos "$(VIDEOS)") $(if $(FRAMES),--frames "$(FRAMES)") $(if $(VOC),--voc "$(VOC)")

# The cluster's tests mostly wait for pods, so they run one at a time during the parallel tests; their output is printed
# when both have ended. Tests marked `serial` use all cores themselves, or measure time: they run one at a time after the
# others, even where one of the others failed. Tests that are named run one at a time too.
test: .venv/test-ready
ifdef TESTS
	$(PYTEST) $(TESTS)
else
	@status=0; log=$$(mktemp); trap 'exit 130' INT TERM; trap 'kill $$cluster 2>/dev/null; rm -f "$$log"' EXIT; \
	$(PYTEST) tests/cluster >"$$log" 2>&1 & cluster=$$!; \
	$(ONE_THREAD) $(PYTEST) -m "not serial" --ignore=tests/cluster $(PARALLEL) || status=$$?; \
	wait $$cluster || status=$$?; cluster=; cat "$$log"; \
	$(PYTEST) -m serial || status=$$?; \
	exit $$status
endif

gpu-check: .venv/test-ready
	.venv/bin/python -m tests.bench.gpu_check $(if $(DEVICE),--device $(DEVICE)) $(if $(RAFT),--raft-weights "$(RAFT)")

# One decoder and one reader run on each core; OpenCV's messages about damaged images would hide the finds.
fuzz: .venv/test-ready
	OPENCV_LOG_LEVEL=OFF $(ONE_THREAD) nice .venv/bin/python -W ignore -m tests.fuzz.run --minutes $(or $(MINUTES),60) \
		$(if $(FORMAT),--format $(FORMAT)) $(if $(SEED),--seed $(SEED))

lint: .venv/test-ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

hooks: .venv/test-ready
	.venv/bin/pre-commit install

.venv/run-ready: requirements.txt requirements-build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 65; }
	$(PYTHON) -m venv .venv
	@echo "installing dependencies into .venv (PyTorch is large: a few minutes, once)"
	$(INSTALL) --require-hashes -r requirements.txt
	$(INSTALL) --require-hashes -r requirements-build.txt
	$(INSTALL) --no-build-isolation --editable .
	touch $@

.venv/test-ready: .venv/run-ready requirements-dev.txt
	$(INSTALL) --require-hashes -r requirements-dev.txt
	touch $@

docs: .venv/test-ready
	.venv/bin/mkdocs build --strict --quiet

release sbom chart: .venv/test-ready
	@.venv/bin/python -m release $(if $(filter release,$@),all,$@) $(if $(IMAGES),--images "$(IMAGES)")

kind-test: .venv/test-ready
	kind create cluster --name $(KIND_CLUSTER)
	docker build --tag $(IMAGE) .
	kind load docker-image --name $(KIND_CLUSTER) $(IMAGE)
	kubectl create namespace argo
	kubectl apply --server-side --namespace argo --filename $(ARGO_INSTALL)
	kubectl --namespace argo rollout status deployment/workflow-controller --timeout=300s
	WATCHMOVE_IMAGE=$(IMAGE) .venv/bin/pytest tests/cluster
	kind delete cluster --name $(KIND_CLUSTER)

chaos: .venv/test-ready
	WATCHMOVE_IMAGE=$(IMAGE) .venv/bin/pytest tests/cluster/chaos.py --capture=no $(if $(SEED),--seed $(SEED)) \
		$(if $(CASES),-k "$(CASES)")

clean:
	rm -rf out dist .venv
