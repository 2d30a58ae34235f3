"""The module names of the guides (`pulsepal`, `app.cli`, `scripts`) as data, for PYTHONPATH."""

from pathlib import Path


def path() -> Path:
    """The folder for PYTHONPATH."""
    return Path(__file__).parent
