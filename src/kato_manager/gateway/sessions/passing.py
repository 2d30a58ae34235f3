"""A session's call that control only passes on: the request as it comes, the answer as it comes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kato_manager.gateway.sessions import answers
from kato_manager.gateway.sessions.asking import Asking, Unanswered
from kato_manager.gateway.sessions.attached import Attached
from kato_manager.gateway.sessions.calls import Answer, Headers, header_pairs, whole
from kato_sessions.errors import SessionNotFound
from kato_sessions.model import Item
from kato_sessions.store import Store

KEPT_BYTES = 4 << 20  # of a request's body, in the history
READ_ONLY = frozenset({"", "stm", "percept-data", "cognition-data", "config", "exists"})
_GIVEN_BACK = frozenset(
    {"content-type", "content-encoding", "x-trace-id", "x-session-id", "retry-after"}
)


class ClientGone(Exception):
    """Nobody is there any more who would hear the answer."""


class Incoming:
    """The body as the client sends it, and the client's leaving; an `Upload`."""

    def __init__(self, receive: Receive, headers: Mapping[str, str]) -> None:
        is_chunked = "transfer-encoding" in headers
        self.length = None if is_chunked else int(headers.get("content-length", 0))
        self._receive = receive
        self._kept = bytearray()
        self._is_read = False
        self.size_bytes = 0

    @property
    def kept(self) -> bytes | None:
        """All that has come, unless it is too much to keep."""
        return bytes(self._kept) if self.size_bytes <= KEPT_BYTES else None

    async def into(self, asking: Asking) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                asking.give_up(ClientGone())
                return
            if not self._is_read:
                await self._pass(message, asking)

    async def _pass(self, message: MutableMapping[str, Any], asking: Asking) -> None:
        part = message.get("body", b"")
        self.size_bytes += len(part)
        if self.size_bytes <= KEPT_BYTES:
            self._kept += part
        await asking.send(part)
        if not message.get("more_body"):
            self._is_read = True
            asking.end()


class Entry:
    """What the history will say of a call. It is written once; reading leaves none."""

    def __init__(
        self, store: Store, attached: Attached, method: str, rest: str, content: bytes | Incoming
    ) -> None:
        self._store = store
        self._attached = attached
        self._method = method
        self._operation = rest.partition("?")[0]
        self._content = content
        self._began_s = time.perf_counter()
        self._is_written = method == "GET" and self._operation in READ_ONLY

    async def write(self, status: int) -> None:
        if self._is_written:
            return
        self._is_written = True
        latency_ms = round((time.perf_counter() - self._began_s) * 1000, 3)
        await asyncio.to_thread(self._append, status, latency_ms)

    def _append(self, status: int, latency_ms: float) -> None:
        sent = self._content if isinstance(self._content, bytes) else self._content.kept
        data: dict[str, Any] = {"operation": self._operation, "method": self._method}
        if isinstance(self._content, Incoming) and sent is None:
            data["size_bytes"] = self._content.size_bytes
        item = Item(
            kind="error" if status >= 400 else self._operation,  # noqa: PLR2004
            content=answers.content(sent or b""),
            data=data,
            latency_ms=latency_ms,
            status=status,
            instance_id=self._attached.instance.id,
        )
        with suppress(SessionNotFound):  # deleted meanwhile: it has no history any more
            self._store.append(self._attached.session.id, [item])


class Passage:
    """An answer whose head has come; the entry is in the history before a client has its end."""

    def __init__(self, asking: Asking, attached: Attached, entry: Entry) -> None:
        response = asking.response.result()
        self.status = response.status
        self._length = response.declared_length
        self._headers = header_pairs(response)
        self._asking = asking
        self._attached = attached
        self._entry = entry

    @property
    def is_to_be_read(self) -> bool:
        """It may say that the session is lost, or call it by a name that is not ours."""
        kind = dict(self._headers).get("content-type", "")
        names = self._attached.session.id != self._attached.session_id and "json" in kind
        return names or self.status == 404  # noqa: PLR2004

    async def read(self) -> Answer:
        """All of it, under our name of the session; raises LookupError if the session is lost."""
        answer = await whole(self._asking)
        if answers.is_lost(answer):
            raise LookupError(self._attached.session_id)
        await self._entry.write(answer.status)
        return answers.renamed(answer, self._attached)

    async def give(self, send: Send) -> None:
        """Hand it on, part by part; raises `Unanswered` where it breaks off."""
        headers = _given_back(answers.renamed_headers(self._headers, self._attached))
        if self._length:
            headers["content-length"] = self._length.decode()
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        async for part in self._parts():
            more = not self._asking.is_taken
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def _parts(self) -> AsyncIterator[bytes]:
        """At least one, and the last one when the entry is written."""
        is_over = False
        while not is_over:
            part = await self._asking.part()
            is_over = self._asking.is_taken
            if is_over:
                await self._entry.write(self.status)
            yield part


class Passed(Response):
    """The answer that `passing` brings to a request, as it comes."""

    def __init__(
        self,
        passing: Callable[[Incoming], AbstractAsyncContextManager[Answer | Passage]],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._passing = passing
        self._given = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # An answer without its end: the server closes the connection then, which tells the client.
        with suppress(ClientGone, Unanswered):
            async with self._passing(Incoming(receive, self._given)) as answer:
                if isinstance(answer, Passage):
                    await answer.give(send)
                else:
                    await given(answer)(scope, receive, send)


def given(answer: Answer) -> Response:
    """An answer that was read, for the client."""
    return Response(answer.body, answer.status, headers=_given_back(answer.headers))


def _given_back(headers: Headers) -> dict[str, str]:
    return {name: value for name, value in headers if name in _GIVEN_BACK}
