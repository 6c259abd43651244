# syntax=docker/dockerfile:1
# The server: the `serve` extra at the pins of constraints.txt, without torch and without pip.
#   docker build -f deploy/images/serving.Dockerfile -t holdfast-serving .
# For a build that is the same every time, give PYTHON by digest.
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
# With traces: serve,tracing.
ARG EXTRAS=serve
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY holdfast holdfast
# The variable, not -c: it also holds for what builds the wheel.
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/holdfast/venv && \
    python -m pip --python /opt/holdfast/venv/bin/python install --no-compile ".[$EXTRAS]"
COPY serving /opt/holdfast/app/serving
# Some packages ship templates, which do not compile: that is no failure.
RUN /opt/holdfast/venv/bin/python -m compileall -qq -j 0 -x '/tests/' /opt/holdfast || true

FROM ${PYTHON}
COPY --from=build /opt/holdfast /opt/holdfast
# The one place that the server writes to: machine code that Numba compiled at the first start. Without it
# everything works, and every start compiles for some ten seconds.
RUN install -d -o 10001 -g 10001 /var/cache/holdfast
WORKDIR /opt/holdfast/app
USER 10001:10001
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/holdfast \
    HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_METRICS_HOST=0.0.0.0 \
    HOLDFAST_METRICS_PORT=9090 \
    HOLDFAST_ARTIFACT=/models/current
EXPOSE 50051 9090
VOLUME ["/models", "/var/cache/holdfast"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/holdfast/venv/bin/python", "-m", "serving"]
