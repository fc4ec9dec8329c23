# syntax=docker/dockerfile:1
# Two stages: build needs compilers and an index, the result needs neither.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/sluice
COPY requirements.lock pyproject.toml README.md ./
RUN /opt/sluice/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY gateway ./gateway
RUN /opt/sluice/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/sluice --create-home sluice
COPY --from=build /opt/sluice /opt/sluice
COPY policies /etc/sluice/policies
WORKDIR /etc/sluice
ENV PATH=/opt/sluice/bin:$PATH \
    SLUICE_STATE_DIR=/var/lib/sluice/state \
    SLUICE_POLICY__DIRECTORY=/etc/sluice/policies \
    SLUICE_HTTP__HOST=0.0.0.0 \
    SLUICE_LOG_FORMAT=json
USER 10001:10001
VOLUME ["/var/lib/sluice"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["sluice"]
CMD ["serve"]
