#!/bin/sh
# Reloads HAProxy's configuration without refusing a request. Run it with the environment of the running HAProxy, as a user
# that may signal it:
#
#   docker compose exec haproxy sh /etc/birds/reload.sh
#   BIRDS_PROXY_STATE=/run/haproxy/servers deploy/haproxy/reload.sh "$(pidof -s haproxy)"
#
# A new process does not know where the frontends are until the name server has answered. It reads the addresses that the old
# process knew from BIRDS_PROXY_STATE.
set -eu
master=${1:-1} # process 1 of a container
admin=${BIRDS_PROXY_ADMIN:-127.0.0.1:8406}
state=${BIRDS_PROXY_STATE:?must name the file that HAProxy reads its servers from}

echo "show servers state" | nc -w 2 "${admin%:*}" "${admin##*:}" >"$state.new" || true
if ! grep -q srv_addr "$state.new"; then
    echo "reload.sh: HAProxy did not list its servers at $admin" >&2
    exit 1
fi
mv "$state.new" "$state"
kill -USR2 "$master"
