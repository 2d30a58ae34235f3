"""The asking side of one exchange with an instance: its answer is read as fast as it is taken."""

import asyncio
from typing import Protocol

from kato_manager.gateway.requests import Request
from kato_manager.gateway.responses import Response
from kato_manager.gateway.upstream import Upstream

HELD_BYTES = 256 * 1024  # of an answer that nobody takes


class Unanswered(Exception):
    """Why there is no answer, and whether the instance may have done what was asked."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class Upload(Protocol):
    """A body that comes in parts; `length` None: it is chunked."""

    @property
    def length(self) -> int | None: ...
    async def into(self, asking: "Asking") -> None:
        """Send it, and tell `asking` when nobody wants the answer any more."""


class Asking:
    """One exchange. `sent` is the head, with the body or with what an upload adds to."""

    takes_chunks = False

    def __init__(self, request: Request, sent: bytes, upload: Upload | None) -> None:
        self.request = request
        self.sent_completely = upload is None or not request.has_body
        self.received_bytes = 0
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._sent = sent
        self._upload = upload
        self._uploading: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._is_complete = False
        self._trouble: Exception | None = None
        self._arrived = asyncio.Event()
        self._may_send = asyncio.Event()

    # For who asks

    async def part(self) -> bytes:
        """What of the body has come; nothing at its end. Raises `Unanswered` if it broke off."""
        while not self._parts:
            if self._trouble:
                raise self._trouble
            if self._is_complete:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        came = b"".join(self._parts)
        self._parts.clear()
        self._held_bytes = 0
        if self._upstream:
            self._upstream.resume_reading()
        return came

    async def whole(self) -> bytes:
        """All of the body; raises `Unanswered`."""
        parts = []
        while part := await self.part():
            parts.append(part)
        return b"".join(parts)

    @property
    def is_taken(self) -> bool:
        """The whole body came and was read."""
        return self._is_complete and not self._parts

    async def send(self, part: bytes) -> None:
        """Add to the body, when there is room; an instance that has answered takes no more."""
        await self._may_send.wait()
        if self._upstream and part:
            framed = b"%x\r\n%b\r\n" % (len(part), part) if self.request.chunked else part
            self._upstream.transport.write(framed)

    def end(self) -> None:
        """The body is complete."""
        if self._upstream and self.request.chunked and not self.sent_completely:
            self._upstream.transport.write(b"0\r\n\r\n")
        self.sent_completely = True

    def give_up(self, why: Exception) -> None:
        """Nobody wants the answer any more: whoever waits for it gets the reason."""
        self._cancel()
        self._trouble = why
        if not self.response.done():
            self.response.set_exception(why)
        self._arrived.set()

    def leave(self) -> None:
        """What is unfinished ends."""
        if self._uploading:
            self._uploading.cancel()
        self._cancel()
        if not self.response.cancel() and not self.response.cancelled():
            self.response.exception()  # somebody has heard of it

    def _cancel(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream:
            upstream.cancel()

    # For the connection

    def connected(self, upstream: Upstream) -> None:
        if self.response.done():
            upstream.pool.release(upstream)  # nobody waits any more
            return
        self._upstream = upstream
        upstream.send(self, self._sent)
        self._may_send.set()
        if self._upload:
            self._uploading = asyncio.create_task(self._upload.into(self))

    def responded(self, response: Response, length: int, first: bytes) -> None:  # noqa: ARG002
        self.response.set_result(response)
        self.passed(first)

    def passed(self, part: bytes) -> None:
        self.received_bytes += len(part)
        if part:
            self._parts.append(part)
            self._held_bytes += len(part)
            self._arrived.set()
        if self._held_bytes > HELD_BYTES and self._upstream:
            self._upstream.pause_reading()

    def interim(self, head: bytes) -> None:
        """100 and the like: the body is under way already."""

    def switched(self, response: Response, first: bytes) -> None:  # noqa: ARG002
        self._cancel()
        self.broke_off("it switches protocols unasked")

    def ended_by_upstream(self) -> None:
        self.broke_off("it closed the connection")

    def finished(self) -> None:
        self._is_complete = True
        self._over()

    def failed(self, detail: str, *, sent: bool) -> None:
        self._trouble = Unanswered(detail, sent=sent)
        if not self.response.done():
            self.response.set_exception(self._trouble)
        self._over()

    def broke_off(self, detail: str) -> None:
        self.failed(detail, sent=True)

    def _over(self) -> None:
        self._upstream = None
        self._arrived.set()
        self._may_send.set()

    def pause_reading(self) -> None:
        self._may_send.clear()

    def resume_reading(self) -> None:
        self._may_send.set()
