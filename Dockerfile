# docker build -t pneumonia-api .
# docker run -p 7860:7860 pneumonia-api

FROM python:3.11-slim-bookworm AS build
# PyTorch's index of CPU builds. Empty: the plain registry, which on x86-64 Linux means gigabytes of CUDA unless a
# CPU build is configured there.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# The Makefile's own set-up, in the order in which layers change: packages first, then what the archive is made of.
COPY Makefile ./
COPY requirements requirements
RUN make .venv/.serve TORCH_INDEX_URL="$TORCH_INDEX_URL"
COPY config config
COPY handler handler
COPY model_store model_store
# gpu, with an empty TORCH_INDEX_URL: for `docker run --gpus all`.
ARG DEVICE=cpu
RUN make archive DEVICE="$DEVICE"

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 screening
WORKDIR /app
COPY --from=build /app/.venv .venv
# Its own, so that `python -m proxy.manage deploy` can keep what it puts in service.
RUN mkdir model_store && chown screening model_store
COPY --from=build --chown=screening /app/model_store/pneumonia.mar model_store/
COPY config config
COPY reference reference
COPY proxy proxy
ENV HOST=0.0.0.0 PORT=7860 PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER screening
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "proxy.healthcheck"]
# No shell in between: SIGTERM reaches the supervisor, which lets films in flight finish.
CMD ["python", "-m", "proxy"]
