"""What goes on without end: events and logs, as server-sent events."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from kato_manager.errors import KatoError
from kato_manager.gateway.api.context import Context, context_of
from kato_manager.gateway.api.instances import one
from kato_manager.gateway.keeper import say
from kato_manager.gateway.stream import Stream

router = APIRouter(prefix="/api", tags=["streams"])

Opened = Callable[[int], Iterable[str]]
Here = Annotated[Context, Depends(context_of)]
Tail = Annotated[int, Query(ge=0, le=1000, description="How many of the last lines come first.")]
_PAUSE_S = 1.0
_PAUSES_TO_SAY_SO = 15
KEPT_LINES = 1000
_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_SSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/events", responses=_SSE, response_class=StreamingResponse)
def events(
    here: Here,
    last_event_id: Annotated[str, Header()] = "",
    *,
    follow: bool = True,
) -> StreamingResponse:
    """What happens to instances, each an object `{kind, instance, detail, at}`.

    `Last-Event-ID` brings what was missed, as far as it is kept.
    """
    stream = here.keeper.events
    last = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else None
    begin = stream.last if last is None or last > stream.last else last
    lines = _numbered(stream, begin, here.is_closing, lambda event: json.dumps(event.document()))
    return _answer(lines if follow else _kept(stream, begin))


@router.get("/instances/{word}/logs", responses=_SSE, response_class=StreamingResponse)
def logs(
    here: Here,
    request: Request,
    word: str,
    tail: Tail = 100,
    *,
    follow: bool | None = None,
) -> Response:
    """What it printed: events with a line each, then as it prints; `Accept: text/plain` as text.

    Ends with the event `end` when the instance ends.
    """
    instance = one(here.manager, word)
    wants_text = request.headers.get("accept", "").startswith("text/plain")
    if not (not wants_text if follow is None else follow):
        lines = list(here.manager.logs(instance.id, tail=tail, follow=False))
        if wants_text:
            return PlainTextResponse("".join(f"{line}\n" for line in lines))
        return _answer(_finite(lines))
    followers: Followers = request.app.state.followers

    def opened(count: int) -> Iterable[str]:
        return here.manager.logs(instance.id, tail=count, follow=True)

    return _answer(followers.lines(instance.id, opened, tail, here.is_closing))


class Followers:
    """One thread for each log that is followed, however many follow it."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream[str]] = {}

    async def lines(
        self, instance_id: str, opened: Opened, tail: int, is_closing: Callable[[], bool]
    ) -> AsyncIterator[str]:
        """The last lines and those to come, as events.

        Who joins others sees at most the last lines that they saw.
        """
        stream = self._streams.get(instance_id)
        if stream is None:
            stream = self._streams[instance_id] = Stream(KEPT_LINES)
            stream.readers += 1
            self._begin(instance_id, stream, lambda: opened(tail))
            begin = 0
        else:
            stream.readers += 1
            begin = max(0, stream.last - tail)
        try:
            async for text in _numbered(stream, begin, is_closing, str):
                yield text
        finally:
            stream.readers -= 1
        yield "event: end\ndata:\n\n"

    def _begin(
        self, instance_id: str, stream: Stream[str], opened: Callable[[], Iterable[str]]
    ) -> None:
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                for line in opened():
                    if stream.is_over or not _tell(loop, self._take, instance_id, stream, line):
                        break
            except (KatoError, OSError) as error:
                say(f"log of {instance_id}: {error}")
            finally:
                _tell(loop, self._end, instance_id, stream)

        threading.Thread(target=read, name=f"log {instance_id}", daemon=True).start()

    def _take(self, instance_id: str, stream: Stream[str], line: str) -> None:
        """A log that nobody reads any more is let go of with its next line."""
        if stream.readers:
            stream.post(line)
        else:
            self._end(instance_id, stream)

    def _end(self, instance_id: str, stream: Stream[str]) -> None:
        stream.end()
        if self._streams.get(instance_id) is stream:
            del self._streams[instance_id]


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *values: Any) -> bool:
    """Have the loop's thread call it; False when the loop is over."""
    try:
        loop.call_soon_threadsafe(function, *values)
    except RuntimeError:
        return False
    return True


async def _numbered(
    stream: Stream[Any],
    after: int,
    is_closing: Callable[[], bool],
    shown: Callable[[Any], str],
) -> AsyncIterator[str]:
    """The items as events; a comment now and then, so that both sides notice a lost connection."""
    pauses = 0
    yield ": here\n\n"
    async for item in stream.after(after, pause_s=_PAUSE_S):
        if is_closing():
            return
        if item:
            yield _event(shown(item.item), item.number)
            continue
        pauses += 1
        if pauses % _PAUSES_TO_SAY_SO == 0:
            yield ": still here\n\n"


async def _kept(stream: Stream[Any], after: int) -> AsyncIterator[str]:
    for event in stream.kept_after(after):
        yield _event(json.dumps(event.item.document()), event.number)


async def _finite(lines: Iterable[str]) -> AsyncIterator[str]:
    for number, line in enumerate(lines, start=1):
        yield _event(line, number)
    yield "event: end\ndata:\n\n"


def _event(text: str, number: int) -> str:
    data = "".join(f"data: {line}\n" for line in _LINE_ENDS.split(text))
    return f"id: {number}\n{data}\n"


def _answer(lines: AsyncIterator[str]) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)
