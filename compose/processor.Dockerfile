# The image of the reference processor; `kato image build` gives it this context:
#   requirements.txt   what the processor needs from others
#   wheels/            their wheels, and pip's where the base has none; may be empty
#   dist/              our own wheel: nothing of ours is installed from an index by name
#
# Offline: --build-arg BASE_IMAGE=<local image with python3> --build-arg WHEELS=<folder>
# Our extras: --build-arg EXTRAS=redis,vectors (redis if left out)
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG WHEELS=wheels
ARG PIP_NO_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY ${WHEELS}/ /wheels/
COPY requirements.txt /
RUN PYTHONPATH=$(echo /wheels/pip-*.whl) python3 -m pip install --find-links /wheels \
        --target /opt/kato --requirement /requirements.txt \
    && rm -r /opt/kato/bin \
    && find /opt/kato -type d -name tests -prune -exec rm -r {} + \
    && install --directory --owner 10001 --group 10001 /data
COPY dist/ /dist/
RUN PYTHONPATH=$(echo /wheels/pip-*.whl) python3 -m pip install --no-deps --no-index \
        --target /opt/kato /dist/*.whl

FROM ${BASE_IMAGE}
LABEL io.kato.image=processor
ENV PYTHONPATH=/opt/kato PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data KATO_HOST=0.0.0.0 KATO_PORT=8000 KATO_DATA_DIR=/data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["python3", "-m", "kato_processor"]
COPY --from=build --chown=10001:10001 /data /data
WORKDIR /data
USER 10001:10001
COPY --from=build /opt/kato /opt/kato
