"""The folder of one local instance.

KATO_HOME/instances/<container>/
instance.json     the instance as started and, once known, its handle
processor.log     what it prints; the one before as processor.log.1
data/             its working folder; survives everything but --purge
"""

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from kato_manager.files import make_private, write_atomically
from kato_manager.model import Handle, Instance, Json, instance_from_json, to_json

LOG_LIMIT_BYTES = 10 * 1024 * 1024
_FOLLOW_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "processor.log"

    def prepare(self, instance: Instance) -> None:
        """Make it ready for a start; before that, what is found by its mark is known by it."""
        make_private(self.data)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.path / "processor.log.1")
        self.record(instance, None)

    def record(self, instance: Instance, handle: Handle | None) -> None:
        document = {"instance": to_json(instance), "handle": handle}
        write_atomically(self.path / "instance.json", json.dumps(document, indent=1))

    def recorded(self) -> tuple[Instance, Handle | None] | None:
        """The instance as started last, and its handle; None where it is damaged or not ours."""
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            document: Json = json.loads((self.path / "instance.json").read_text(encoding="utf-8"))
            return instance_from_json(document["instance"]), document["handle"]
        return None

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def lines(self, tail: int | None, *, until: Callable[[], bool] | None) -> Iterator[str]:
        """The last lines of the log, and with `until` those to come, as long as it is false."""
        if not self.log.exists():
            return
        with self.log.open(encoding="utf-8", errors="replace") as file:
            lines = deque(file, maxlen=tail)
            begun = lines.pop() if until and lines and not lines[-1].endswith("\n") else ""
            yield from (line.rstrip("\n") for line in lines)
            if until:
                yield from _followed(file, begun, until)


def _followed(file: TextIO, begun: str, until: Callable[[], bool]) -> Iterator[str]:
    """Whole lines; what was printed before the end is read once more."""
    has_ended = False
    while True:
        begun += (piece := file.readline())
        if begun.endswith("\n"):
            yield begun.rstrip("\n")
            begun = ""
        elif has_ended and not piece:
            yield from filter(None, [begun])
            return
        elif not piece:
            has_ended = until()
            time.sleep(0 if has_ended else _FOLLOW_POLL_S)
