"""`from scripts.chat.session_store import SessionStore`."""

from kato_sessions.chat import SessionStore

__all__ = ["SessionStore"]
