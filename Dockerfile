# Every image of ours, one stage per job: docker build --target serving .   (training-python, serving, drift, platform)
# PYTHON_IMAGE: pin it by digest where an image is kept, as .github/workflows/images.yml does.
# EXTRA_INDEX:  a further package index, such as one with torch for a processor or for a GPU; none by default.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
COPY pyproject.toml constraints.txt .ci/requirements ./
ARG EXTRA_INDEX=""

FROM builder AS training-packages
RUN python requirements training networks features iceberg kafka retrieval > wanted.txt \
    && pip install --constraint constraints.txt ${EXTRA_INDEX:+--extra-index-url "${EXTRA_INDEX}"} --requirement wanted.txt

FROM builder AS serving-packages
RUN python requirements serving retrieval collections reviews > wanted.txt \
    && pip install --constraint constraints.txt ${EXTRA_INDEX:+--extra-index-url "${EXTRA_INDEX}"} --requirement wanted.txt

FROM builder AS drift-packages
RUN python requirements drift > wanted.txt \
    && pip install --constraint constraints.txt ${EXTRA_INDEX:+--extra-index-url "${EXTRA_INDEX}"} --requirement wanted.txt

# The watch asks MLflow, and MLflow's server and the feature stream run from this image too.
FROM builder AS platform-packages
RUN python requirements platform tracking features kafka > wanted.txt \
    && pip install --constraint constraints.txt ${EXTRA_INDEX:+--extra-index-url "${EXTRA_INDEX}"} --requirement wanted.txt

# A user by number, since Pod Security wants to see that it is not root; by name too, since some libraries ask who they are.
# Nothing is written but in /tmp, where a pod mounts an emptyDir: the root file system may be read-only.
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --gid 10001 hallmark \
    && useradd --no-log-init --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin hallmark
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    HALLMARK_ROOT=/app \
    HALLMARK_STATE=/tmp/hallmark \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=1
WORKDIR /app
ARG GIT_SHA=""
ARG VERSION=""
ENV HALLMARK_GIT_SHA=${GIT_SHA}
LABEL org.opencontainers.image.vendor="Hallmark" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${GIT_SHA}"

# The steps of a pipeline. What Kubeflow starts in it calls kfp's executor itself, by sh and python3.
FROM base AS training-python
LABEL org.opencontainers.image.title="hallmark/training-python" \
      org.opencontainers.image.description="The steps of every domain's training"
# LightGBM's libgomp; a version would have to follow each of Debian's fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=training-packages /opt/venv /opt/venv
COPY hallmark hallmark
COPY components components
COPY pipelines pipelines
COPY domains domains
COPY features features
COPY contracts contracts
COPY synthetic synthetic
USER 10001:10001
ENTRYPOINT ["python", "-m", "kfp.dsl.executor_main"]

# The model server; the model, its feature code and its feature views come with the model.
FROM base AS serving
LABEL org.opencontainers.image.title="hallmark/serving" \
      org.opencontainers.image.description="The model server: Open Inference Protocol over REST and gRPC"
COPY --from=serving-packages /opt/venv /opt/venv
COPY hallmark hallmark
COPY inference_services/__init__.py inference_services/process.py inference_services/crops.py inference_services/
COPY inference_services/runtime inference_services/runtime
COPY inference_services/protocol inference_services/protocol
COPY inference_services/transport inference_services/transport
COPY inference_services/capture inference_services/capture
COPY inference_services/decision inference_services/decision
COPY inference_services/reviewer inference_services/reviewer
USER 10001:10001
ENTRYPOINT ["python", "-m", "inference_services.runtime"]

# The sidecar that judges requests and answers: the drift monitor.
FROM base AS drift
LABEL org.opencontainers.image.title="hallmark/drift" \
      org.opencontainers.image.description="The drift monitor beside a model server"
COPY --from=drift-packages /opt/venv /opt/venv
COPY hallmark hallmark
COPY inference_services/__init__.py inference_services/process.py inference_services/
COPY inference_services/capture inference_services/capture
COPY inference_services/drift_monitor inference_services/drift_monitor
USER 10001:10001
ENTRYPOINT ["python", "-m", "inference_services.drift_monitor"]

# The command line: the watch, the page and the feature stream on a cluster, and MLflow's server.
FROM base AS platform
LABEL org.opencontainers.image.title="hallmark/platform" \
      org.opencontainers.image.description="Hallmark's command line: the watch over every domain's rollouts, the page, the stream of feature views"
# Git, by which `hallmark watch --commit-to` pushes release.yaml; a version would have to follow each of Debian's fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
COPY --from=platform-packages /opt/venv /opt/venv
COPY hallmark hallmark
COPY domains domains
COPY features features
COPY contracts contracts
COPY prompts prompts
COPY inference_services inference_services
# What `hallmark ui` tells costs from.
COPY docs/performance.json docs/performance.json
COPY terraform/environments terraform/environments
COPY terraform/foundation/variables.tf terraform/foundation/variables.tf
COPY terraform/modules/network/variables.tf terraform/modules/network/variables.tf
USER 10001:10001
ENTRYPOINT ["python", "-m", "hallmark.cli"]
