"""Writes files of instances and reads them as the commands do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kato_manager import templates
from kato_manager.config.document import Document, load
from kato_manager.errors import ConfigError

Read = Callable[..., Document]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, so that messages name files as a user types them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(folder: Path) -> Read:
    """Read a text as `multi.yaml`; further texts are put above it, as `second.yaml` and so on."""

    def reading(text: str, *more: str, environ=None, name="multi.yaml", **given) -> Document:
        names = [name, "second.yaml", "third.yaml"][: 1 + len(more)]
        for file, content in zip(names, (text, *more), strict=True):
            (folder / file).write_text(content, encoding="utf-8")
        return load(
            names,
            template=lambda one: templates.load(one, home=folder / "home"),
            environ=environ or {},
            stdin=lambda: b"",
            **given,
        )

    return reading


@pytest.fixture
def mistakes(read: Read) -> Callable[..., str]:
    """The whole message that a wrong text gives."""

    def reading(text: str, *more: str, **given) -> str:
        with pytest.raises(ConfigError) as error:
            read(text, *more, **given)
        return error.value.message

    return reading
