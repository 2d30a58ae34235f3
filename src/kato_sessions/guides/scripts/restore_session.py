"""Bring an archived session back: `--session-id ID [--date 2025-01-18]`."""
# ruff: noqa: T201 - a command speaks by printing

import argparse
import sys

from kato_sessions.errors import SessionError
from kato_sessions.pulsepal import SessionManager


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session-id", required=True)
    parser.add_argument("--date", help="the archive's day; the newest without it")
    args = parser.parse_args(arguments)
    try:
        with SessionManager() as manager:
            print(f"Restored session: {manager.restore_session(args.session_id, args.date)}")
    except (SessionError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
