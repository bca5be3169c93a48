# One image for every step. The dependencies are one large layer that only requirements.txt can change (PyTorch brings
# CUDA: the same image runs on nodes with and without a GPU); the code is one small layer above it.

FROM python:3.11-slim-bookworm AS python
# A virtual environment of our own, so that it does not matter whose Python the base image carries.
RUN python3 -m venv /opt/watchmove
ENV PATH=/opt/watchmove/bin:$PATH

FROM python AS wheel
# The build tool is pinned by hash like everything else, and stays in this stage.
COPY requirements-build.txt /build/
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: --requirement /build/requirements-build.txt
COPY pyproject.toml README.md /build/
COPY watchmove /build/watchmove
RUN pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /wheels /build

FROM python
# Pods must name a user that is not root by number; the name keeps libraries happy that ask who they are.
RUN groupadd --gid 65532 watchmove && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp watchmove
# Dependencies before code: a change of code does not fetch three gigabytes again. ffmpeg comes in imageio-ffmpeg's wheel.
COPY requirements.txt /opt/watchmove/
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: --requirement /opt/watchmove/requirements.txt
# The wheel is read from its stage, so no copy of it stays in a layer.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
# /tmp is the one place that pods can write to; output appears as it is written.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["watchmove"]
