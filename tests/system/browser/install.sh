#!/usr/bin/env bash
# What the browser tests need beside the Python packages: Chromium (Debian, Ubuntu) and axe-core. Run as root, or
# with Chromium installed already.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
fi
npm ci --silent --no-audit --no-fund
