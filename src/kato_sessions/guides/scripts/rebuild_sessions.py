"""Rebuild lost sessions: `--from-logs conversationLogs/`; the log format is in kato_sessions."""
# ruff: noqa: T201 - a command speaks by printing

import argparse
import sys
from pathlib import Path

from kato_sessions.errors import SessionError
from kato_sessions.pulsepal import SessionManager
from kato_sessions.rebuild import rebuild_sessions


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from-logs", type=Path, required=True)
    parser.add_argument("--overwrite", action="store_true", help="also sessions that exist")
    args = parser.parse_args(arguments)
    try:
        with SessionManager() as manager:
            result = rebuild_sessions(manager.store, args.from_logs, overwrite=args.overwrite)
    except SessionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for session_id in result.session_ids:
        print(f"Rebuilt session: {session_id}")
    print(f"{len(result.session_ids)} rebuilt, {len(result.present)} present already")
    for place in result.unreadable:
        print(f"unreadable: {place}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
