"""One JSON object a line for each request, appended by all fronts, rotated by size."""

import fcntl
import os
import time
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
KEPT = 4
_BUFFERED_LINES = 512


class AccessLog:
    """Lines wait here until `flush`, some hundred at most, and are written whole."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._lines: list[str] = []
        self._second = 0
        self._second_text = ""

    def add(
        self,
        *,
        client: bytes,
        method: bytes,
        target: bytes,
        instance: str,
        status: int,
        sent_bytes: int,
        seconds: float,
        request_id: bytes,
        trouble: str = "",
    ) -> None:
        """Note one request that is over. Method, client and request id need no escapes."""
        problem = f', "error": {quoted(trouble)}' if trouble else ""
        self._lines.append(
            f'{{"time": "{self._moment()}", "client": "{client.decode()}",'
            f' "method": "{method.decode()}", "target": {quoted(target.decode("latin-1"))},'
            f' "instance": {quoted(instance)}, "status": {status}, "bytes": {sent_bytes},'
            f' "ms": {seconds * 1e3:.3f}, "request_id": "{request_id.decode()}"{problem}}}\n'
        )
        if len(self._lines) >= _BUFFERED_LINES:
            self.flush()

    def _moment(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        """Append what waits. A disk that is full costs lines of the log, never an answer."""
        if not self._lines:
            return
        data = "".join(self._lines).encode()
        self._lines.clear()
        try:
            # Opened anew each time: another front may have rotated the file away.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, data)
                if os.fstat(descriptor).st_size > self._max_bytes:
                    self._rotate(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return

    def _rotate(self, descriptor: int) -> None:
        """Move the files on by one, unless another front just does or did."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_ino != self._path.stat().st_ino:
            return
        for number in range(self._kept - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
