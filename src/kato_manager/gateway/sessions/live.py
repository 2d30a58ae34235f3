"""All that the session routes work with, open as long as the application runs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import FastAPI

from kato_manager.gateway import counters
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.sessions.attached import Attaching
from kato_manager.gateway.sessions.bindings import Bindings
from kato_manager.gateway.sessions.calls import Caller
from kato_manager.gateway.sessions.conversation import Conversation
from kato_manager.gateway.sessions.instances import Instances, Wake
from kato_manager.gateway.sessions.places import Places, places_of
from kato_manager.gateway.sessions.service import Sessions
from kato_manager.gateway.sessions.sweeping import Sweeper
from kato_manager.registry import Registry
from kato_sessions.janitor import Janitor
from kato_sessions.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the routes work with while the application runs."""

    sessions: Sessions
    conversation: Conversation
    store: Store
    sweeper: Sweeper
    places: Places


@asynccontextmanager
async def serving(places: Places, registry: Registry, *, wake: Wake) -> AsyncIterator[Live]:
    """Open the store and run the janitor; both end with it."""
    instances = Instances(registry, wake)
    caller = Caller(Counters(counters.folder(registry.home) / "control.counters"), instances.check)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(places.open_store())
        stack.callback(caller.close)
        bindings = Bindings(places.bindings)
        stack.callback(bindings.close)
        attaching = Attaching(store, bindings, instances, caller)
        sessions = Sessions(store, attaching, caller)
        sweeper = Sweeper(Janitor(store, places.open_archive()), registry.home)
        timer = asyncio.create_task(sweeper.forever())
        try:
            yield Live(
                sessions=sessions,
                conversation=Conversation(store, sessions, attaching),
                store=store,
                sweeper=sweeper,
                places=places,
            )
        finally:
            timer.cancel()
            with suppress(asyncio.CancelledError):
                await timer


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """Sessions of the application's `KATO_HOME`, as long as it runs."""
    manager, waker = app.state.context.manager, app.state.context.waker
    places = places_of(manager.settings, os.environ)
    async with serving(places, manager.registry, wake=waker.wake) as live:
        app.state.sessions = live
        yield
