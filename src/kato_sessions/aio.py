"""Any store, manager or client of this library for async code: the same object, in threads."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

Wrapped = TypeVar("Wrapped")


class Asynchronous(Generic[Wrapped]):
    """`await Asynchronous(store).get(id)` is `store.get(id)` in a worker thread.

    One implementation for both worlds. Attributes that are no methods come as they are; `sync` is
    the object itself. `async with` closes it at the end.
    """

    def __init__(self, sync: Wrapped) -> None:
        self.sync = sync

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self.sync, "close", None)
        if close is not None:
            await asyncio.to_thread(close)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.sync, name)
        return _in_thread(value) if callable(value) else value


def _in_thread(method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(method, *args, **kwargs)

    return call
