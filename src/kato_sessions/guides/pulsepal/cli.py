"""`python -m pulsepal.cli sessions list|show|delete|export|import`."""
# ruff: noqa: T201 - a command speaks by printing

import argparse
import json
import sys

from kato_sessions.errors import SessionError
from kato_sessions.pulsepal import SessionManager


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pulsepal")
    sessions = parser.add_subparsers(required=True).add_parser("sessions")
    actions = sessions.add_subparsers(dest="action", required=True)
    actions.add_parser("list")
    for name in ("show", "delete", "export"):
        action = actions.add_parser(name)
        action.add_argument("session_id")
    action.add_argument("--output")
    actions.add_parser("import").add_argument("path")
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    try:
        with SessionManager() as manager:
            _run(manager, args)
    except (SessionError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(manager: SessionManager, args: argparse.Namespace) -> None:
    if args.action == "list":
        for session in manager.list_sessions():
            print(f"{session.id}  {session.counters.items} messages")
    elif args.action == "delete":
        manager.delete_session(args.session_id)
        print(f"Deleted session: {args.session_id}")
    elif args.action == "import":
        print(f"Imported session: {manager.import_session(args.path)}")
    else:
        output = args.output if args.action == "export" else None
        document = manager.export_session(args.session_id, output)
        print(f"Exported to {output}" if output else json.dumps(document, indent=2))


if __name__ == "__main__":
    sys.exit(main())
