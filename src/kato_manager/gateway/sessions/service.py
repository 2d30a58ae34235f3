"""What the gateway does with sessions.

It keeps who, whose and when; memory, TTL and config are the instance's. Every operation ends up in
the session's history with latency, status and instance.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from kato_manager.gateway.problems import Problem
from kato_manager.gateway.sessions import answers, shown
from kato_manager.gateway.sessions.asking import Unanswered
from kato_manager.gateway.sessions.attached import Attached, Attaching, InstanceRefused
from kato_manager.gateway.sessions.bodies import NewSession
from kato_manager.gateway.sessions.calls import Answer, Caller, Headers
from kato_manager.gateway.sessions.passing import ClientGone, Entry, Incoming, Passage
from kato_manager.model import Instance
from kato_sessions.aio import Asynchronous
from kato_sessions.errors import SessionError, SessionNotFound
from kato_sessions.model import DEFAULT_ID, SECOND_MS, Session
from kato_sessions.store import FROM_PROFILE, Store

Json = dict[str, Any]
_CLIENT_GONE = 499  # nginx's word for it
_BROKEN_OFF = 502


class Sessions:
    """The operations behind the routes. Belongs to one event loop."""

    def __init__(self, store: Store, attaching: Attaching, caller: Caller) -> None:
        self.store = Asynchronous(store)
        self._sync = store
        self._attaching = attaching
        self._caller = caller

    # Making and ending

    async def create(self, wanted: NewSession) -> Json:
        """Make a session, at its instance too unless nothing asked for needs one.

        Raises SessionExists, SessionLimit, `Problem`, InstanceRefused.
        """
        wanted = self._of_user(wanted)
        instance = await self._instance_for(wanted) if wanted.node_id else None
        if instance is None or wanted.session_id is not None:
            session = await asyncio.to_thread(self._record, wanted, wanted.session_id)
            told = await self._told(await self._attaching.to(session.id)) if instance else None
        else:
            session, told = await self._create_there(wanted, instance)
        return shown.session(session, self._sync.clock(), told)

    def _of_user(self, wanted: NewSession) -> NewSession:
        """Who names only a user gets the user's node, and lives as long as our profile says."""
        if wanted.node_id is not None or not wanted.user_id:
            return wanted
        idle_ms = self._sync.profile.idle_ttl_ms
        ttl_s = wanted.ttl_s or (idle_ms and idle_ms // SECOND_MS)
        return replace(wanted, node_id=f"user_{wanted.user_id}", ttl_s=ttl_s)

    async def _instance_for(self, wanted: NewSession) -> Instance | None:
        """None: no instance runs, and none is needed as long as only a user is known."""
        try:
            return await self._attaching.bound(str(wanted.node_id))
        except Problem:
            if wanted.user_id is None or wanted.config:
                raise
            return None

    async def _create_there(self, wanted: NewSession, instance: Instance) -> tuple[Session, Json]:
        body = {
            "node_id": wanted.node_id,
            "user_id": wanted.user_id,
            "config": wanted.config,
            "metadata": wanted.metadata or None,
            "ttl": wanted.ttl_s,
            "ttl_seconds": wanted.ttl_s,
        }
        told = await self._attaching.open(instance, body)
        session_id = str(told["session_id"])
        try:
            return await asyncio.to_thread(self._keep, wanted, instance, told), told
        except SessionError:
            await self._attaching.close(instance, session_id)
            raise

    def _keep(self, wanted: NewSession, instance: Instance, told: Mapping[str, Any]) -> Session:
        session_id = str(told["session_id"])
        ttl_s = told.get("ttl", told.get("ttl_seconds"))
        slides = told.get("auto_extend", True)
        ttl_ms = None if ttl_s is None else int(ttl_s) * SECOND_MS
        life_ms = wanted.max_life_s and wanted.max_life_s * SECOND_MS
        self._sync.create(
            session_id,
            node_id=wanted.node_id,
            user_id=wanted.user_id,
            idle_ttl_ms=ttl_ms if slides else None,
            max_life_ms=life_ms if slides else ttl_ms,
            config=wanted.config,
            metadata=wanted.metadata,
        )
        self._attaching.note(session_id, instance)
        return self._sync.put_workspace(session_id, json.dumps({instance.id: session_id}))

    def _record(self, wanted: NewSession, session_id: str | None = None) -> Session:
        """A session that only the gateway knows so far."""
        life_s = wanted.max_life_s
        return self._sync.create(
            session_id,
            node_id=wanted.node_id,
            user_id=wanted.user_id,
            ttl_ms=wanted.ttl_s * SECOND_MS if wanted.ttl_s else FROM_PROFILE,
            max_life_ms=life_s * SECOND_MS if life_s else FROM_PROFILE,
            config=wanted.config,
            metadata=wanted.metadata,
        )

    async def delete(self, session_id: str) -> None:
        """End it here and at its instance; one that does not answer forgets it by its TTL."""
        session = await self.found(session_id)
        attached = await self._attaching.known(session)
        if attached:
            with suppress(Problem):
                await self._attaching.close(attached.instance, attached.session_id)
        await self.store.delete(session_id)

    # Reading

    async def found(self, session_id: str) -> Session:
        """The live session; refreshes nothing."""
        if session_id == DEFAULT_ID:
            return await asyncio.to_thread(self._sync.default)
        session: Session = await self.store.get(session_id)
        return session

    async def info(self, session_id: str) -> Json:
        """All that is known: what the instance says, if it runs, over what the gateway keeps."""
        session = await self.found(session_id)
        attached = await self._attaching.known(session)
        told = await self._told(attached) if attached else None
        return shown.session(session, self._sync.clock(), told)

    async def _told(self, attached: Attached) -> Json | None:
        try:
            answer = await self._call(attached, "GET", "")
        except Problem:
            return None
        if answers.is_lost(answer):
            raise await self._expired(attached)
        return answer.json if isinstance(answer.json, dict) else None

    # Passing on

    @asynccontextmanager
    async def passing(
        self,
        session_id: str,
        method: str,
        rest: str,
        content: bytes | Incoming,
        headers: Headers = (),
    ) -> AsyncIterator[Answer | Passage]:
        """Let the instance do it; `rest` is the raw path behind the session, with its query.

        A passage is an answer that nobody here needs to read. Raises `Problem`, SessionNotFound,
        and inside what ends an answer before its time: `Unanswered`, ClientGone.
        """
        if session_id == DEFAULT_ID:
            await self.found(session_id)
        attached = await self._attaching.to(session_id)
        entry = Entry(self._sync, attached, method, rest, content)
        target = f"/sessions/{attached.session_id}/{rest}"
        exchange = self._caller.exchange(
            attached.instance, method, target, content, headers=headers
        )
        try:
            async with exchange as asking:
                passage = Passage(asking, attached, entry)
                yield await passage.read() if passage.is_to_be_read else passage
        except LookupError:
            raise await self._expired(attached) from None
        except (Problem, Unanswered, ClientGone) as error:
            await entry.write(_status_of(error))
            raise

    async def forward(
        self, session_id: str, method: str, rest: str, body: bytes, headers: Headers = ()
    ) -> Answer:
        """The same, read to its end."""
        async with self.passing(session_id, method, rest, body, headers) as answer:
            return await answer.read() if isinstance(answer, Passage) else answer

    async def configure(
        self, session_id: str, changes: Json, expected_version: int | None
    ) -> tuple[Json, Session]:
        """Merge settings at the instance; its effective ones, and our record of the change."""
        await self.found(session_id)
        if expected_version is not None:
            await self.store.patch(session_id, {}, expected_version=expected_version)
        content = json.dumps({"config": changes}).encode()
        headers = (("content-type", "application/json"),)
        answer = await self.forward(session_id, "POST", "config", content, headers)
        if not answer.is_ok:
            raise answers.config_refused(answer)
        session = await self.store.patch(
            session_id, {"config": changes}, expected_version=expected_version
        )
        now = await self.forward(session_id, "GET", "config", b"")
        effective = now.json.get("config", {}) if now.is_ok and now.json else {}
        return effective, session

    async def extend(self, session_id: str, ttl_s: int) -> Answer:
        """`ttl_s` from now on, here and there."""
        rest = f"extend?ttl_seconds={ttl_s}"
        answer = await self.forward(session_id, "POST", rest, b"")
        if answer.is_ok and ttl_s > 0:
            await self.store.extend(session_id, ttl_s * SECOND_MS)
        elif answer.is_ok:
            await self.store.expire(session_id)
        return answer

    async def ask(self, attached: Attached, method: str, path: str, body: Any = None) -> Any:
        """The JSON of one call that has to succeed; raises InstanceRefused and LookupError.

        LookupError: the instance has lost the session.
        """
        content = b"" if body is None else json.dumps(body).encode()
        headers = (("content-type", "application/json"),) if content else ()
        answer = await self._call(attached, method, path, content, headers)
        if answers.is_lost(answer):
            raise LookupError(attached.session_id)
        if not answer.is_ok:
            raise InstanceRefused(answer)
        return answer.json

    async def _call(
        self,
        attached: Attached,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers = (),
    ) -> Answer:
        target = f"/sessions/{attached.session_id}{path}"
        return await self._caller.call(attached.instance, method, target, body, headers=headers)

    async def _expired(self, attached: Attached) -> SessionNotFound:
        """The instance decides how long a session lives."""
        session_id = attached.session.id
        with suppress(SessionNotFound):
            await self.store.expire(session_id)
        return SessionNotFound(session_id, code="session_expired")


def _status_of(error: Exception) -> int:
    """What the history says of a call that came to no end."""
    if isinstance(error, Problem):
        return error.status
    return _CLIENT_GONE if isinstance(error, ClientGone) else _BROKEN_OFF
