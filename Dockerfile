# One image for worker, callback worker, beat, Flower and the `refreshd` command. It is configured by REFRESHD_*
# alone, runs as an unprivileged user, and works on a read-only root file system with a tmpfs for REFRESHD_DATA_DIR.
# Health checks depend on what runs in it: they stand in compose.yaml.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Without pip in it: what runs can't install. This pip, outside of it, fills it.
RUN python -m venv --without-pip /opt/refreshd
COPY requirements-build.lock requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-build.lock \
    && pip --python /opt/refreshd/bin/python install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY reader/ reader/
COPY models/ models/
COPY worker/ worker/
COPY tasks/ tasks/
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels ./reader . \
    && pip --python /opt/refreshd/bin/python install --no-index --no-deps /wheels/*.whl

FROM python:${PYTHON_VERSION}-slim
# What a release says of itself; `make image` fills the last two in from the commit.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="refreshd" \
      org.opencontainers.image.description="Keeps OAuth 2.0 access tokens fresh for many accounts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
RUN groupadd --gid 10001 refreshd \
    && useradd --uid 10001 --gid refreshd --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin refreshd \
    && install --directory --owner refreshd --group refreshd --mode 0700 /var/lib/refreshd
COPY --from=build /opt/refreshd /opt/refreshd
ENV PATH=/opt/refreshd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    REFRESHD_DATA_DIR=/var/lib/refreshd
WORKDIR /var/lib/refreshd
USER 10001:10001
CMD ["refreshd", "--help"]
