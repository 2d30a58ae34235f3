#!/usr/bin/env bash
# The guide's ./start.sh: makes the .venv if need be, then `kato start` with the same options.
set -eu
exec "$(dirname "$0")/kato-manager.sh" start "$@"
