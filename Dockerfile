# One image for master, worker and client: `docker run IMAGE master`, `worker`, `submit` ...
# Any base with Python 3.11 or newer will do, for example a Debian with python3 and python3-venv:
#   docker build --build-arg BASE_IMAGE=my/debian-with-python .
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
LABEL minispark.image=build
WORKDIR /build
RUN python3 -m venv /opt/minispark
# The dependencies change less often than the code, so they have a layer of their own.
COPY requirements.lock ./
RUN /opt/minispark/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/minispark/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/minispark/bin/pip uninstall --yes --quiet pip

FROM ${BASE_IMAGE}
LABEL minispark.image=final
# State lies where the Makefile has it too. The directories exist, so that volumes mounted there
# belong to this user; `data/` in a job is /srv/minispark/data.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin minispark \
 && install --directory --owner minispark --group minispark --mode 0700 \
    /tmp/minispark /tmp/minispark/state \
 && install --directory --owner minispark --group minispark /srv/minispark/data
COPY --from=build /opt/minispark /opt/minispark
ENV PATH=/opt/minispark/bin:$PATH \
    MINISPARK_STATE_DIR=/tmp/minispark/state \
    MINISPARK_HEALTH_URL=http://127.0.0.1:8080/healthz \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/minispark
USER minispark
EXPOSE 8080 9000 10000
# A worker's is MINISPARK_HEALTH_URL=http://127.0.0.1:9000/healthz.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(os.environ['MINISPARK_HEALTH_URL'], timeout=2)"]
ENTRYPOINT ["minispark"]
CMD ["--help"]
