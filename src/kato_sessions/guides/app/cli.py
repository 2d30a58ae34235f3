"""`python -m app.cli chat-init|chat-history|chat-cleanup|query`, on data/chat/sessions.db.

Queries are answered by the gateway's `/query`; `KATO_URL` names it.
"""
# ruff: noqa: T201 - a command speaks by printing

import argparse
import os
import sys

from kato_sessions.chat import DEFAULT_PATH, Message, SessionStore
from kato_sessions.client import DEFAULT_URL, KATOClient, KATOError
from kato_sessions.errors import SessionError, SessionNotFound


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="app.cli")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("chat-init").add_argument("--user-id")
    actions.add_parser("chat-history").add_argument("session_id")
    cleanup = actions.add_parser("chat-cleanup")
    cleanup.add_argument("--max-age-hours", type=float, default=24)
    query = actions.add_parser("query")
    query.add_argument("query")
    query.add_argument("--session-id")
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    try:
        with SessionStore(DEFAULT_PATH) as store:
            _ACTIONS[args.action](store, args)
    except (SessionError, KATOError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _init(store: SessionStore, args: argparse.Namespace) -> None:
    session = store.create_session(user_id=args.user_id)
    print(f"Created session: {session.session_id}")
    print(f"User: {session.user_id or 'anonymous'}")
    print(f"Database: {store.path}")


def _history(store: SessionStore, args: argparse.Namespace) -> None:
    session = store.get_history(args.session_id)
    if session is None:
        raise SessionNotFound(args.session_id)
    for message in session.messages:
        print(f"[{message.role}] {message.content}")


def _cleanup(store: SessionStore, args: argparse.Namespace) -> None:
    print(f"Expired sessions: {store.expire_old_sessions(max_age_hours=args.max_age_hours)}")


def _query(store: SessionStore, args: argparse.Namespace) -> None:
    if args.session_id and store.get_session(args.session_id) is None:
        raise SessionNotFound(args.session_id)
    with KATOClient(os.environ.get("KATO_URL", DEFAULT_URL)) as kato:
        answer = kato.query(args.query, thread_id=args.session_id)
    if args.session_id:
        store.add_message(args.session_id, Message(role="user", content=args.query))
        store.add_message(
            args.session_id,
            Message(
                role="assistant",
                content=answer["response"],
                candidate_set=answer.get("predictions"),
            ),
        )
    print(answer["response"])


_ACTIONS = {
    "chat-init": _init,
    "chat-history": _history,
    "chat-cleanup": _cleanup,
    "query": _query,
}

if __name__ == "__main__":
    sys.exit(main())
