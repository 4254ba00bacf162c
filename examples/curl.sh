#!/usr/bin/env bash
# Classifies with curl and the frontend: a URL as JSON, a file as a form, and an answer line by line.
#
# examples/curl.sh photo.jpg https://example.org/parrot.jpg
set -euo pipefail
frontend="${BIRDS_URL:-http://127.0.0.1:8000}"
file="$1" url="$2"

echo "A URL:"
curl --silent --fail-with-body "$frontend/" \
  --header 'Content-Type: application/json' \
  --data "{\"images\": [\"$url\"], \"k\": 3}"

echo -e "\nA file:"
curl --silent --fail-with-body "$frontend/files?k=3" --form "files=@$file"

echo -e "\nThe files of a form, each as soon as it is done:"
curl --silent --fail-with-body --no-buffer "$frontend/files?k=1" \
  --header 'Accept: application/x-ndjson' \
  --form "files=@$file" --form "files=@$file"
