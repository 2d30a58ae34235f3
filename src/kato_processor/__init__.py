"""The reference processor: a memory and prediction service that speaks the KATO HTTP API."""
