#!/usr/bin/env bash
# The guide's ./kato-manager.sh: makes the .venv if need be, then `kato` with the same words.
set -eu
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
make --quiet --no-print-directory -C "$root" .venv/.installed >&2
exec "$root/.venv/bin/kato" "$@"
