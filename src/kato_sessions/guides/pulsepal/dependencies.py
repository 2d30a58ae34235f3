"""`from pulsepal.dependencies import SessionManager`."""

from kato_sessions.pulsepal import ConversationContext, SessionManager

__all__ = ["ConversationContext", "SessionManager"]
