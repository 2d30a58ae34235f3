"""The guides' script names over kato_sessions."""
