# docker build -f jobs/cluster/docker/cpu.Dockerfile -t crossnetpp-pipeline:cpu .
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 1000 ray \
    && install -d -o ray /cache
WORKDIR /app
COPY pyproject.toml VERSION constraints.txt README.md LICENSE ./
COPY crossnetpp crossnetpp
COPY deploy deploy
COPY pipeline pipeline
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c constraints.txt '.[s3]'

USER ray
ENV RAY_USAGE_STATS_ENABLED=0 \
    RAY_AUTH_MODE=token \
    PIPELINE_CACHE=/cache/files
CMD ["pipeline", "--help"]
