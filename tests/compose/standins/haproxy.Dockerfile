# Debian's HAProxy where haproxy:*-alpine would be: the same user, paths and command.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends haproxy netcat-openbsd wget && rm -rf /var/lib/apt/lists/* \
    && usermod -u 99 haproxy && groupmod -g 99 haproxy
STOPSIGNAL SIGUSR1
USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
