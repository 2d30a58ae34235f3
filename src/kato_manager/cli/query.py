"""`query`: ask the gateway in words; `chat-init`, `chat-history`, `chat-cleanup` of its guide."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kato_manager import errors
from kato_manager.cli import output
from kato_manager.cli.options import As, Format
from kato_manager.cli.sessions import told
from kato_manager.settings import Settings

if TYPE_CHECKING:
    from kato_sessions.chat import SessionStore

_NOT_FOUND = 404


def register(app: typer.Typer) -> None:
    app.command("query")(query)
    app.command("chat-init")(chat_init)
    app.command("chat-history")(chat_history)
    app.command("chat-cleanup")(chat_cleanup)


def query(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you ask.")],
    session_id: Annotated[
        str | None, typer.Option("--session-id", help="Go on with this session.")
    ] = None,
    user_id: Annotated[str | None, typer.Option("--user-id", help="Who asks.")] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", help="Instance, group or template to ask.")
    ] = None,
    *,
    format_: As = Format.table,
) -> None:
    """Ask the gateway in words.

    A session of `chat-init` keeps question and answer too.
    """
    answer = _ask(text, thread_id=session_id, user_id=user_id, agent_type=agent)
    if session_id:
        _keep(session_id, text, answer)
    if format_ is Format.json:
        output.document("answer", answer)
        return
    output.talk(f"Session: {answer['session_id']}")
    output.data(str(answer["response"]))


def chat_init(
    user_id: Annotated[str | None, typer.Option("--user-id", help="Whose it is.")] = None,
) -> None:
    """Create a chat session.

    It is kept in data/chat/sessions.db below this folder.
    """
    with _chats() as store:
        session = store.create_session(user_id=user_id)
    output.data(f"Created session: {session.session_id}")
    output.data(f"User: {session.user_id or 'anonymous'}")
    output.data(f"Database: {store.path}")


def chat_history(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")],
) -> None:
    """Show the messages of a chat session."""
    with _chats() as store:
        session = store.get_history(session_id)
    if session is None:
        raise errors.InstanceNotFound(
            f"there is no chat session {session_id!r} in {store.path}", hint="kato chat-init"
        )
    for message in session.messages:
        output.data(f"[{message.role}] {message.content}")


def chat_cleanup(
    max_age_hours: Annotated[
        float, typer.Option("--max-age-hours", min=0, help="End what is idle so long.")
    ] = 24,
) -> None:
    """End chat sessions that nobody used for long.

    Their rows stay.
    """
    with _chats() as store:
        ended = store.expire_old_sessions(max_age_hours=max_age_hours)
    output.data(f"Expired sessions: {ended}")


def _ask(text: str, **fields: Any) -> dict[str, Any]:
    from kato_manager.gateway import lifecycle
    from kato_sessions.client import KATOClient, KATOError

    settings = Settings.load(os.environ)
    running = lifecycle.status(settings)
    if running is None:
        raise errors.RuntimeUnavailable("the gateway is not up", hint="kato gateway up")
    try:
        with KATOClient(running.url) as client:
            return client.query(text, **fields)
    except KATOError as error:
        kind = errors.InstanceNotFound if error.status == _NOT_FOUND else errors.RuntimeUnavailable
        hint = error.body.get("hint", "") if isinstance(error.body, dict) else ""
        raise kind(str(error), hint=hint) from error


def _keep(session_id: str, text: str, answer: dict[str, Any]) -> None:
    """In the chat guide's store, if this session is one of it."""
    from kato_sessions.chat import DEFAULT_PATH, Message

    if not DEFAULT_PATH.exists():
        return
    with _chats() as store:
        if store.get_session(session_id) is None:
            return
        store.add_message(session_id, Message(role="user", content=text))
        predicted = answer["predictions"]
        said = Message(role="assistant", content=answer["response"], candidate_set=predicted)
        store.add_message(session_id, said)


@contextmanager
def _chats() -> Iterator["SessionStore"]:
    from kato_sessions.chat import SessionStore

    with told(), SessionStore() as store:
        yield store
