"""Archive what has expired and remove archives older than `--days` (default: the settings', 7).

`--dry-run` only tells. `--force --all` deletes every active session and every archive.
"""
# ruff: noqa: T201 - a command speaks by printing

import argparse
import sys
from dataclasses import replace

from kato_sessions.errors import SessionError
from kato_sessions.pulsepal import SessionManager, Settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--force", action="store_true", help="do not ask")
    parser.add_argument("--all", action="store_true", help="every session, with --force")
    args = parser.parse_args(arguments)
    if args.all and not (args.force or args.dry_run):
        parser.error("--all deletes every session: give --force too")
    try:
        settings = Settings()
        if args.days is not None:
            settings = replace(settings, session_archive_days=args.days)
        with SessionManager(settings) as manager:
            _clean(manager, everything=args.all, dry_run=args.dry_run)
    except SessionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _clean(manager: SessionManager, *, everything: bool, dry_run: bool) -> None:
    word = "would be " if dry_run else ""
    if everything:
        gone = manager.remove_all(dry_run=dry_run)
        print(f"{gone} sessions and archives {word}removed")
        return
    swept = manager.cleanup(dry_run=dry_run)
    for session_id in swept.session_ids:
        print(session_id)
    print(
        f"{swept.archived} {word}archived, {swept.purged} records and "
        f"{swept.archives_removed} archives {word}removed"
    )


if __name__ == "__main__":
    sys.exit(main())
