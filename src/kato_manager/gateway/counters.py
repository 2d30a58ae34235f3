"""What is counted, in files that the control process reads: one per front or control, no lock.

    header   64 bytes: magic, pid of the writer, rows in use
    row     512 bytes: id (1 byte length, UTF-8), then 32 numbers of 8 bytes

A file has one writer, and a number is written in one piece, so a reader sees each number old or
new. Totals survive a restart of their front; gauges (`in_flight`, `websockets`) begin at nought.
Times are CLOCK_MONOTONIC, which all processes share. The row of id "" is the gateway itself.
"""

import mmap
import os
import struct
import time
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_MAGIC = b"KATOCNT1"
_HEADER = struct.Struct("=8sQQ")
_HEADER_BYTES, _ROW_BYTES, _ID_BYTES = 64, 512, 256
_FIRST_ROWS = 64
_WORD = 8
(_REQUESTS, _CLASS_0, _ERRORS, _IN_FLIGHT, _WEBSOCKETS, _LAST, _SENT, _TIME_US, _BUCKET_0) = (
    0, 0, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip
_NUMBERS = _BUCKET_0 + len(BUCKETS_S) + 1


class Counters:
    """One front's file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._rows: dict[str, int] = {}
        size = os.fstat(self._descriptor).st_size
        if size < _HEADER_BYTES or os.pread(self._descriptor, 8, 0) != _MAGIC:
            os.ftruncate(self._descriptor, 0)
            size = _HEADER_BYTES + _FIRST_ROWS * _ROW_BYTES
        self._map(size)
        self._take_over()

    def _map(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._memory = mmap.mmap(self._descriptor, size)
        self._numbers = memoryview(self._memory).cast("Q")

    def _take_over(self) -> None:
        _, _, used = _HEADER.unpack_from(self._memory)
        _HEADER.pack_into(self._memory, 0, _MAGIC, os.getpid(), used)
        for number in range(used):
            start = _HEADER_BYTES + number * _ROW_BYTES
            self._rows[_row_id(self._memory, start)] = row = (start + _ID_BYTES) // _WORD
            self._numbers[row + _IN_FLIGHT] = self._numbers[row + _WEBSOCKETS] = 0

    def _row(self, instance_id: str) -> int:
        row = self._rows.get(instance_id)
        return self._new_row(instance_id) if row is None else row

    def _new_row(self, instance_id: str) -> int:
        used = len(self._rows)
        start = _HEADER_BYTES + used * _ROW_BYTES
        if start + _ROW_BYTES > len(self._memory):
            self._map(len(self._memory) + used * _ROW_BYTES)
        name = instance_id.encode()
        self._memory[start : start + 1 + len(name)] = bytes([len(name)]) + name
        # Counted last: a reader never sees a row without its name.
        _HEADER.pack_into(self._memory, 0, _MAGIC, os.getpid(), used + 1)
        self._rows[instance_id] = row = (start + _ID_BYTES) // _WORD
        return row

    def in_flight(self, instance_id: str, change: int) -> None:
        """One more (1) or one less (-1) is on its way to the instance."""
        row = self._row(instance_id)
        self._numbers[row + _IN_FLIGHT] += change

    def end(self, instance_id: str, *, status: int, seconds: float, sent_bytes: int) -> None:
        """A request is over; a status outside 100-599 is counted in the total only."""
        row = self._row(instance_id)  # may map anew
        numbers = self._numbers
        numbers[row + _REQUESTS] += 1
        if 100 <= status < 600:  # noqa: PLR2004
            numbers[row + _CLASS_0 + status // 100] += 1
        numbers[row + _LAST] = time.monotonic_ns()
        numbers[row + _SENT] += sent_bytes
        numbers[row + _TIME_US] += int(seconds * 1e6)
        numbers[row + _BUCKET_0 + bisect_left(BUCKETS_S, seconds)] += 1

    def failed(self, instance_id: str) -> None:
        """The instance did not answer, or not to the end."""
        row = self._row(instance_id)
        self._numbers[row + _ERRORS] += 1

    def websocket(self, instance_id: str, change: int) -> None:
        """One more (1) or one less (-1) is open."""
        row = self._row(instance_id)
        self._numbers[row + _WEBSOCKETS] += change


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of one instance, over all fronts.

    `statuses` begins with 1xx; `latencies` has one count for each of `BUCKETS_S` and one for all
    that took longer, not added up.
    """

    requests: int = 0
    statuses: tuple[int, ...] = (0,) * 5
    upstream_errors: int = 0
    in_flight: int = 0
    websockets: int = 0
    last_activity_s: float = 0.0  # time.monotonic(); 0: none since boot
    sent_bytes: int = 0
    seconds: float = 0.0
    latencies: tuple[int, ...] = (0,) * (len(BUCKETS_S) + 1)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            requests=self.requests + other.requests,
            statuses=_sums(self.statuses, other.statuses),
            upstream_errors=self.upstream_errors + other.upstream_errors,
            in_flight=self.in_flight + other.in_flight,
            websockets=self.websockets + other.websockets,
            last_activity_s=max(self.last_activity_s, other.last_activity_s),
            sent_bytes=self.sent_bytes + other.sent_bytes,
            seconds=self.seconds + other.seconds,
            latencies=_sums(self.latencies, other.latencies),
        )


def folder(home: Path) -> Path:
    return home / "gateway" / "counters"


def read(folder: Path) -> dict[str, Counts]:
    """The counts by instance id, of all files in the folder."""
    total: dict[str, Counts] = {}
    for path in sorted(folder.glob("*.counters")):
        with suppress(FileNotFoundError):
            for instance_id, counts in _read_file(path.read_bytes()):
                total[instance_id] = total.get(instance_id, Counts()) + counts
    return total


def _read_file(content: bytes) -> list[tuple[str, Counts]]:
    if len(content) < _HEADER_BYTES or not content.startswith(_MAGIC):
        return []
    _, pid, used = _HEADER.unpack_from(content)
    # The writer may have grown the file after we read its size.
    rows = range(_HEADER_BYTES, len(content) - _ROW_BYTES + 1, _ROW_BYTES)[:used]
    is_alive = Path(f"/proc/{pid}").exists()
    return [(_row_id(content, start), _counts(content, start, is_alive)) for start in rows]


def _counts(content: bytes, start: int, is_alive: bool) -> Counts:
    numbers = struct.unpack_from(f"={_NUMBERS}Q", content, start + _ID_BYTES)
    return Counts(
        requests=numbers[_REQUESTS],
        statuses=numbers[_CLASS_0 + 1 : _CLASS_0 + 6],
        upstream_errors=numbers[_ERRORS],
        in_flight=numbers[_IN_FLIGHT] if is_alive else 0,
        websockets=numbers[_WEBSOCKETS] if is_alive else 0,
        last_activity_s=numbers[_LAST] / 1e9,
        sent_bytes=numbers[_SENT],
        seconds=numbers[_TIME_US] / 1e6,
        latencies=numbers[_BUCKET_0:_NUMBERS],
    )


def _row_id(content: bytes | mmap.mmap, start: int) -> str:
    return content[start + 1 : start + 1 + content[start]].decode()


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
