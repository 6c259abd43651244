# syntax=docker/dockerfile:1
# Training on a CPU: the `train` extra at the pins of constraints.txt.
#   docker build -f deploy/images/training.Dockerfile -t holdfast-training .
#   docker run --rm -v "$PWD/work:/work" holdfast-training training.train data=streaming
# TORCH_INDEX names an index with CPU builds of torch; without it pip takes the default build, with gigabytes of
# CUDA libraries on Linux.
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
ARG TORCH_INDEX=
WORKDIR /build
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
# As in the Makefile: torch first and by its exact pin, so that nothing that follows pulls another build.
RUN python -m venv --without-pip /opt/holdfast/venv && \
    python -m pip --python /opt/holdfast/venv/bin/python install --no-compile \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY holdfast holdfast
RUN python -m pip --python /opt/holdfast/venv/bin/python install --no-compile '.[train,sweep]'
COPY training /opt/holdfast/app/training
COPY conf /opt/holdfast/app/conf
RUN /opt/holdfast/venv/bin/python -m compileall -qq -j 0 -x '/tests/' /opt/holdfast || true

FROM ${PYTHON}
# LightGBM needs OpenMP of the system.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/holdfast /opt/holdfast
# Everything is written below it: outputs/, stores/, data/, and what libraries keep.
RUN install -d -o 10001 -g 10001 /work
WORKDIR /work
USER 10001:10001
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/holdfast/app \
    HOME=/work \
    NUMBA_CACHE_DIR=/work/.cache/numba \
    MPLCONFIGDIR=/work/.cache/matplotlib
VOLUME ["/work"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/holdfast/venv/bin/python", "-m"]
CMD ["training.train", "--help"]
