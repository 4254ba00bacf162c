#!/usr/bin/env bash
# What the tests of deploy/ need beside the Python packages: HAProxy and Prometheus (Debian, Ubuntu), neither started
# as a service. Run as root, or with both installed already.
set -euo pipefail

missing=()
command -v haproxy >/dev/null || missing+=(haproxy)
command -v promtool >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -gt 0 ] || exit 0

# A policy-rc.d that answers 101 keeps a package from starting its service.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
