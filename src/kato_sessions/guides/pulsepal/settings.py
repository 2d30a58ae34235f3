"""`from pulsepal.settings import Settings`."""

from kato_sessions.pulsepal import Settings

__all__ = ["Settings"]
