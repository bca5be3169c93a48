# Two images. The last stage is the full one, for every step: its dependencies are one large layer that only requirements.txt
# can change (PyTorch brings CUDA: the same image runs on nodes with and without a GPU), and the code is one small layer
# above it. The target `slim` is for the commands that need no PyTorch: plan, gather, report, exporter and those of a user.

FROM python:3.11-slim-bookworm AS python
# A virtual environment of our own, so that it does not matter whose Python the base image carries. The base's pip fills it.
RUN python3 -m venv --without-pip /opt/watchmove
ENV PATH=/opt/watchmove/bin:$PATH PIP_PYTHON=/opt/watchmove/bin/python
# Pods must name a user that is not root by number; the name keeps libraries happy that ask who they are.
RUN groupadd --gid 65532 watchmove && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp watchmove
# /tmp is the one place that pods can write to; output appears as it is written.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
WORKDIR /tmp
ENTRYPOINT ["watchmove"]

FROM python AS wheel
# The build tool is pinned by hash like everything else, and stays in this stage.
COPY requirements-build.txt /build/
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: --requirement /build/requirements-build.txt
COPY pyproject.toml README.md /build/
COPY watchmove /build/watchmove
RUN pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /wheels /build

FROM python AS slim
COPY requirements-slim.txt /opt/watchmove/
# Without what no command uses: tests of libraries, the asynchronous half of the Kubernetes client, and the AWS services other
# than S3 and those of credentials. Byte code of the clients of Kubernetes and Argo is as large as they are, and saves only
# `submit` and its kind a second.
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: --requirement /opt/watchmove/requirements-slim.txt \
    && cd /opt/watchmove/lib/python3*/site-packages && rm -r kubernetes/aio && find . -name tests -prune -exec rm -r {} + \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name "sso*" ! -name signin -exec rm -r {} + \
    && find kubernetes argo_workflows -name __pycache__ -prune -exec rm -r {} +
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 65532:65532

FROM python AS full
# Dependencies before code: a change of code does not fetch three gigabytes again. ffmpeg comes in imageio-ffmpeg's wheel.
COPY requirements.txt /opt/watchmove/
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: --requirement /opt/watchmove/requirements.txt
# The wheel is read from its stage, so no copy of it stays in a layer.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 65532:65532
