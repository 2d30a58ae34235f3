"""`from scripts.chat.models import ChatResponse, ChatSession, Message`."""

from kato_sessions.chat import ChatResponse, ChatSession, Message

__all__ = ["ChatResponse", "ChatSession", "Message"]
