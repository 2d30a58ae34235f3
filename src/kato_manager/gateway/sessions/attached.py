"""The session that an instance keeps for one of ours: made when first needed, found again later.

Our record's workspace holds `{"<instance id>": "<session id there>"}`: normally one entry with the
same id on both sides, more after `kato sessions bind` or a query to another agent.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kato_manager.gateway.sessions.bindings import Bindings
from kato_manager.gateway.sessions.calls import Answer, Caller
from kato_manager.gateway.sessions.instances import Instances
from kato_manager.model import Instance
from kato_sessions.errors import VersionConflict
from kato_sessions.model import SECOND_MS, Affinity, Session, now_ms
from kato_sessions.store import Store

_NEVER_S = 10 * 365 * 86_400  # the longest that a processor takes
_JSON = (("content-type", "application/json"),)


class InstanceRefused(Exception):
    """The instance answered with an error, which is the user's to see as it is."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Where one of our sessions lives; `session_id` is its name there."""

    session: Session
    instance: Instance
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is known of a session: `kept` by instance, `settled` = the instance of its memory."""

    session: Session
    kept: Mapping[str, str]
    settled: str | None


class Attaching:
    """Finds or makes the instance's side of sessions."""

    def __init__(
        self, store: Store, bindings: Bindings, instances: Instances, caller: Caller
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._instances = instances
        self._caller = caller

    async def bound(self, node_id: str) -> Instance:
        """The instance of a node, bound now if it was not; raises `Problem` if none serves."""
        binding = await asyncio.to_thread(self._bindings.get, node_id)
        if binding is None:
            chosen = self._instances.choose(node_id)
            binding = await asyncio.to_thread(self._bindings.bind_if_absent, node_id, chosen)
        return await self._instances.ready(binding.instance)

    async def to(self, session_id: str, agent_type: str | None = None) -> Attached:
        """Where the session lives; this counts as using it. Raises SessionNotFound, `Problem`."""
        while True:
            found = await asyncio.to_thread(self._look, session_id, touch=True)
            instance = await self._instance_of(found, agent_type)
            if name := found.kept.get(instance.id):
                return Attached(session=found.session, instance=instance, session_id=name)
            if made := await self._attach(found, instance):
                return made

    async def known(self, session: Session) -> Attached | None:
        """Where it lives, if that is settled and runs; makes, starts and touches nothing."""
        found = await asyncio.to_thread(self._look, session.id, touch=False)
        instance = self._instances.recorded.get(found.settled or "")
        if instance is None or instance.id not in found.kept or not instance.is_live:
            return None
        name = found.kept[instance.id]
        return Attached(session=session, instance=instance, session_id=name)

    async def forget(self, gone: Attached) -> None:
        """The instance has lost it: the next use makes it anew."""
        found = await asyncio.to_thread(self._look, gone.session.id, touch=False)
        if found.kept.get(gone.instance.id) == gone.session_id:
            kept = {one: name for one, name in found.kept.items() if one != gone.instance.id}
            await self._put(found.session, kept)

    async def open(self, instance: Instance, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a session there; what it says about it. Raises InstanceRefused, `Problem`."""
        said = {name: value for name, value in body.items() if value is not None}
        answer = await self._caller.call(
            instance, "POST", "/sessions", json.dumps(said).encode(), headers=_JSON
        )
        document = answer.json
        if not answer.is_ok or not isinstance(document, dict) or "session_id" not in document:
            raise InstanceRefused(answer)
        return document

    async def close(self, instance: Instance, session_id: str) -> None:
        await self._caller.call(instance, "DELETE", f"/sessions/{session_id}")

    def _look(self, session_id: str, *, touch: bool) -> _Found:
        session, text = self._store.workspace(session_id, touch=touch)
        if session.node_id is not None:
            binding = self._bindings.get(session.node_id)
            settled = binding.instance if binding else None
        else:
            settled = session.affinity.instance_id if session.affinity else None
        return _Found(session=session, kept=json.loads(text or "{}"), settled=settled)

    async def _instance_of(self, found: _Found, agent_type: str | None) -> Instance:
        session = found.session
        if self._instances.named(agent_type):
            owner = session.node_id or session.id
            return await self._instances.ready(self._instances.choose(owner, agent_type))
        if found.settled:
            return await self._instances.ready(found.settled)
        if session.node_id is not None:
            return await self.bound(session.node_id)
        return await self._instances.ready(self._instances.choose(session.id))

    async def _attach(self, found: _Found, instance: Instance) -> Attached | None:
        """Make the other side; None when somebody else did at the same moment."""
        session = found.session
        ttl_ms = session.ttl_ms()
        ttl_s = _NEVER_S if ttl_ms is None else max(1, ttl_ms // SECOND_MS)
        told = await self.open(
            instance,
            {
                "node_id": session.node_id or session.id,
                "user_id": session.user_id,
                "ttl": ttl_s,
                "ttl_seconds": ttl_s,
                "config": session.config_overrides or None,
                "metadata": session.metadata or None,
            },
        )
        session_id = str(told["session_id"])
        if not await self._put(session, {**found.kept, instance.id: session_id}):
            await self.close(instance, session_id)
            return None
        await asyncio.to_thread(self.note, session.id, instance)
        return Attached(session=session, instance=instance, session_id=session_id)

    async def _put(self, session: Session, kept: Mapping[str, str]) -> bool:
        try:
            await asyncio.to_thread(
                self._store.put_workspace,
                session.id,
                json.dumps(kept),
                expected_rev=session.workspace_rev,
            )
        except VersionConflict:
            return False
        return True

    def note(self, session_id: str, instance: Instance) -> None:
        """Write into the record where the session first lived, and under which settings."""
        self._store.set_affinity_if_absent(
            session_id,
            Affinity(
                instance_id=instance.id,
                config_hash=instance.spec.fingerprint,
                assigned_at=now_ms(),
                how="hash",
            ),
        )
