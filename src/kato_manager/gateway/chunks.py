"""Where a chunked body ends, and what is in it; httptools reads the framing, strictly."""

import httptools

from kato_manager.gateway.grammar import HEAD_END

_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
_FORBIDDEN_TRAILERS = frozenset(
    b"content-length transfer-encoding host connection trailer authorization set-cookie"
    b" content-encoding content-type content-range te upgrade keep-alive".split()
)


_BARREN_BYTES = 32 * 1024  # of extensions and trailers, which are kept until their end


class BadChunks(Exception):
    """The framing is broken; the message says how."""


class Chunks:
    """One chunked body. `feed` gives the bytes used; the parts wait in `parts`, trailers too."""

    __slots__ = ("_barren_bytes", "_parser", "_tail", "is_complete", "parts", "trailers")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.is_complete = False
        self._tail = b""
        self._barren_bytes = 0
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_HEAD)
        self.trailers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.trailers.append((name, value))

    def on_body(self, part: bytes) -> None:
        self._barren_bytes = 0
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.is_complete = True

    def feed(self, data: bytes) -> int:
        """Read on, up to the end of the body; raises `BadChunks`.

        httptools does not say where a message ends. It ends at an empty line, so it is fed from
        one empty line to the next.
        """
        self._barren_bytes += len(data)
        start, overlap = 0, len(self._tail)
        seen = self._tail + data
        try:
            while not self.is_complete and start < len(data):
                found = seen.find(HEAD_END, max(0, start + overlap - 3))
                end = len(data) if found < 0 else found + len(HEAD_END) - overlap
                self._parser.feed_data(data[start:end] if start or end < len(data) else data)
                start = end
        except httptools.HttpParserError as error:
            raise BadChunks(f"a chunk is broken: {error}") from error
        if self._barren_bytes > _BARREN_BYTES and not self.is_complete:
            raise BadChunks("the trailers are too large")
        self._tail = seen[-3:]
        return start

    def take(self) -> bytes:
        """What came since the last time, framed anew; with the end, if that is known."""
        framed = b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in self.parts])
        self.parts.clear()
        if not self.is_complete:
            return framed
        trailers = b"".join(
            b"%b: %b\r\n" % field
            for field in self.trailers
            if field[0].lower() not in _FORBIDDEN_TRAILERS
        )
        return framed + b"0\r\n" + trailers + b"\r\n"

    def take_plain(self) -> bytes:
        """What came since the last time, without framing."""
        plain = b"".join(self.parts)
        self.parts.clear()
        return plain
