"""The PulsePal guide's module names over kato_sessions."""
