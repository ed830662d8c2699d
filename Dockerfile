# The server in a container: builds the kernels, then keeps only what runs. docs/guides/server.md has the commands.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN python -m venv /opt/ouvert && /opt/ouvert/bin/pip install --no-cache-dir /source

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 ouvert && mkdir /data && chown ouvert:ouvert /data
COPY --from=build /opt/ouvert /opt/ouvert
ENV PATH=/opt/ouvert/bin:$PATH OUVERT_HOME=/data XDG_CONFIG_HOME=/data/config
USER ouvert
VOLUME /data
EXPOSE 11435
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:11435/health', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["ouvert"]
CMD ["serve", "--host", "0.0.0.0"]
