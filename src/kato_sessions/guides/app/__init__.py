"""The chat guide's module names over kato_sessions."""
