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
from kato_sessions.model import Affinity, Session, now_ms
from kato_sessions.store import Store

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
            session, text = await asyncio.to_thread(self._store.workspace, session_id)
            kept: dict[str, str] = json.loads(text or "{}")
            instance = await self._instance_of(session, agent_type)
            if instance.id in kept:
                return Attached(session=session, instance=instance, session_id=kept[instance.id])
            if made := await self._attach(session, instance, kept):
                return made

    async def known(self, session: Session) -> Attached | None:
        """Where it lives, if that is settled and runs; makes, starts and touches nothing."""
        _, text = await asyncio.to_thread(self._store.workspace, session.id, touch=False)
        kept: dict[str, str] = json.loads(text or "{}")
        instance_id = await self._settled(session)
        instance = self._instances.recorded.get(instance_id or "")
        if instance is None or instance.id not in kept or not instance.is_live:
            return None
        return Attached(session=session, instance=instance, session_id=kept[instance.id])

    async def forget(self, gone: Attached) -> None:
        """The instance has lost it: the next use makes it anew."""
        session, text = await asyncio.to_thread(self._store.workspace, gone.session.id, touch=False)
        kept: dict[str, str] = json.loads(text or "{}")
        if kept.get(gone.instance.id) == gone.session_id:
            del kept[gone.instance.id]
            await self._put(session, kept)

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

    async def _instance_of(self, session: Session, agent_type: str | None) -> Instance:
        if self._instances.named(agent_type):
            owner = session.node_id or session.id
            return await self._instances.ready(self._instances.choose(owner, agent_type))
        if session.node_id is not None:
            return await self.bound(session.node_id)
        settled = await self._settled(session)
        return await self._instances.ready(settled or self._instances.choose(session.id))

    async def _settled(self, session: Session) -> str | None:
        """The instance of the session's memory: of its node's, else its own."""
        if session.node_id is not None:
            binding = await asyncio.to_thread(self._bindings.get, session.node_id)
            return binding.instance if binding else None
        return session.affinity.instance_id if session.affinity else None

    async def _attach(
        self, session: Session, instance: Instance, kept: Mapping[str, str]
    ) -> Attached | None:
        """Make the other side; None when somebody else did at the same moment."""
        remaining_ms = session.remaining_ms(now_ms())
        ttl_s = None if remaining_ms is None else max(1, (session.ttl_ms() or 0) // 1000)
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
        if not await self._put(session, {**kept, instance.id: session_id}):
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
