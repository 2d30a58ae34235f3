"""Session events over WebSocket. Source: KATO contract 1.7."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

Json = dict[str, Any]
PATIENCE_S = 1.0


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


class Events:
    """The clients of this process; one that cannot be reached or does not read is dropped."""

    def __init__(self) -> None:
        self._clients: set[WebSocket] = set()

    async def attend(self, socket: WebSocket, active_sessions: int) -> None:
        """Greet a client and answer its pings until it leaves; a binary frame ends it."""
        await socket.accept()
        snapshot = {"active_sessions": active_sessions, "system_status": "healthy"}
        await socket.send_text(_event("state.snapshot", snapshot, datetime.now()))  # noqa: DTZ005
        self._clients.add(socket)
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("text") is None:
                    await socket.close(1000)
                    return
                if message["text"] == "ping":
                    await socket.send_text("pong")
        finally:
            self._clients.discard(socket)

    async def tell(self, event_type: str, data: Json) -> None:
        """Send an event to every client, none waiting for another."""
        text = _event(event_type, data, datetime.now(UTC))
        await asyncio.gather(*(self._send(client, text) for client in self._clients))

    async def _send(self, client: WebSocket, text: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await client.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError):  # TimeoutError is an OSError
            self._clients.discard(client)


def _event(event_type: str, data: Json, at: datetime) -> str:
    return json.dumps({"event_type": event_type, "timestamp": at.isoformat(), "data": data})
