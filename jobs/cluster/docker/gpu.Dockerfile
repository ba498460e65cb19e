# docker build -f jobs/cluster/docker/gpu.Dockerfile -t crossnetpp-pipeline:gpu .
# The GPU driver comes from the host. Each node builds its own engines and stores them below /cache.
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu22.04

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3.11 python3.11-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3.11 -m venv /opt/venv \
    && useradd --create-home --uid 1000 ray \
    && install -d -o ray /cache
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /app
COPY pyproject.toml VERSION constraints.txt README.md LICENSE ./
COPY crossnetpp crossnetpp
COPY deploy deploy
COPY pipeline pipeline
RUN pip install --no-cache-dir -c constraints.txt '.[s3,tensorrt]'

USER ray
ENV RAY_USAGE_STATS_ENABLED=0 \
    RAY_AUTH_MODE=token \
    PIPELINE_CACHE=/cache/files \
    NVIDIA_DRIVER_CAPABILITIES=compute,video,utility
CMD ["pipeline", "--help"]
