"""Queries in words: a text becomes observations, the first prediction's future the answer."""

import asyncio
import re
import time
from contextlib import suppress
from typing import Any

from kato_manager.gateway.problems import Problem
from kato_manager.gateway.sessions.attached import Attached, Attaching, InstanceRefused
from kato_manager.gateway.sessions.bodies import Question
from kato_manager.gateway.sessions.service import Sessions
from kato_sessions.errors import SessionExists, SessionNotFound
from kato_sessions.model import Item, Session
from kato_sessions.store import Store

Json = dict[str, Any]
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_SHOWN_CHARS = 500
_OTHER_USER_CHARS = 8


class Conversation:
    """`/query` and `/chat`: find or make the session, ask its instance, keep both sides."""

    def __init__(self, store: Store, sessions: Sessions, attaching: Attaching) -> None:
        self._store = store
        self._sessions = sessions
        self._attaching = attaching

    async def query(self, asked: Question) -> Json:
        """Raises `Problem` and InstanceRefused; the failure is in the history then."""
        session = await asyncio.to_thread(self._session, asked)
        began_s = time.perf_counter()
        try:
            attached, predictions = await self._predicted(session, asked)
        except (Problem, InstanceRefused) as error:
            await asyncio.to_thread(self._keep_failure, session, asked, error, began_s)
            raise
        duration_s = time.perf_counter() - began_s
        text = answer_of(predictions)
        kept = await asyncio.to_thread(
            self._keep, session, asked, attached.instance.id, text, duration_s
        )
        return {
            "response": text,
            "predictions": predictions,
            "session_id": session.id,
            "metadata": {
                **kept.metadata,
                "thread_id": session.id,
                "session_id": session.id,
                "user_id": session.user_id,
                "query_count": kept.counters.queries,
                "agent_type": asked.agent_type,
                "agent_used": attached.instance.id,
                "execution_time": round(duration_s, 6),
            },
        }

    async def chat(self, asked: Question) -> Json:
        """As a query, and where no instance runs the message is kept and the answer says so."""
        session = await asyncio.to_thread(self._session, asked)
        asked = Question(text=asked.text, session_id=session.id, agent_type=asked.agent_type)
        try:
            answer = await self.query(asked)
        except Problem as problem:
            said = f"{problem.detail}; your message is kept"
            return {"message": said, "candidate_set": None, "session_id": session.id}
        return {
            "message": answer["response"],
            "candidate_set": answer["predictions"],
            "session_id": session.id,
        }

    async def _predicted(self, session: Session, asked: Question) -> tuple[Attached, list[Json]]:
        attached = await self._attaching.to(session.id, asked.agent_type)
        try:
            return attached, await self._asked(attached, asked.text)
        except LookupError:
            # It expired there; here the conversation goes on, in a new memory.
            await self._attaching.forget(attached)
            attached = await self._attaching.to(session.id, asked.agent_type)
            return attached, await self._asked(attached, asked.text)

    async def _asked(self, attached: Attached, text: str) -> list[Json]:
        events = [{"strings": [word], "vectors": [], "emotives": {}} for word in words(text)]
        if events:
            body = {"observations": events}
            await self._sessions.ask(attached, "POST", "/observe-sequence", body)
        answer = await self._sessions.ask(attached, "GET", "/predictions")
        found: list[Json] = answer.get("predictions") or []
        return found

    def _session(self, asked: Question) -> Session:
        """The live one of that name and user, made if there is none."""
        session_id = asked.session_id
        while session_id is not None:
            try:
                session = self._store.get(session_id)
            except SessionNotFound:
                with suppress(SessionExists):
                    return self._made(session_id, asked)
                continue
            if asked.user_id is None or session.user_id in {None, asked.user_id}:
                return session
            # Nobody gets into a session by knowing another user's name for it.
            session_id = own_id(session_id, asked.user_id)
        return self._made(None, asked)

    def _made(self, session_id: str | None, asked: Question) -> Session:
        return self._store.create(
            session_id,
            user_id=asked.user_id,
            node_id=f"user_{asked.user_id}" if asked.user_id else None,
            metadata={"created_from": "query"},
        )

    def _keep(
        self, session: Session, asked: Question, instance_id: str, text: str, duration_s: float
    ) -> Session:
        went: Json = {
            "latency_ms": round(duration_s * 1000, 3),
            "status": 200,
            "instance_id": instance_id,
        }
        context = {
            "last_query": asked.text,
            "last_response": text[:_SHOWN_CHARS],
            "last_execution_time": round(duration_s, 6),
            "last_agent_used": instance_id,
        }
        items = [
            _query_item(asked, **went),
            Item(role="assistant", kind="response", content=text, **went),
        ]
        return self._append(session, items, asked, context)

    def _keep_failure(
        self, session: Session, asked: Question, error: Problem | InstanceRefused, began_s: float
    ) -> None:
        latency_ms = round((time.perf_counter() - began_s) * 1000, 3)
        if isinstance(error, InstanceRefused):
            status, said = error.answer.status, error.answer.body.decode(errors="replace")
        else:
            status, said = error.status, error.detail
        items = [
            _query_item(asked, latency_ms=latency_ms, status=status),
            Item(role="system", kind="error", content=said, status=status),
        ]
        self._append(session, items, asked, {"last_query": asked.text, "last_error": said})

    def _append(
        self, session: Session, items: list[Item], asked: Question, context: Json
    ) -> Session:
        metadata = {"last_query": asked.text[:_SHOWN_CHARS], "last_agent_type": asked.agent_type}
        patch = {"metadata": metadata, "context": context}
        self._store.append(session.id, items, patch=patch)
        return self._store.get(session.id)


def words(text: str) -> list[str]:
    """The words of a text, in lower case: the symbols that a processor learns and observes."""
    return _WORD.findall(text.lower())


def answer_of(predictions: list[Json]) -> str:
    """What the best prediction expects next, as text."""
    future = predictions[0].get("future", []) if predictions else []
    return " ".join(word for event in future for word in event)


def own_id(session_id: str, user_id: str) -> str:
    """What this user's session of that name is called where another user has the name."""
    import hashlib

    mark = hashlib.sha256(user_id.encode()).hexdigest()[:_OTHER_USER_CHARS]
    return f"{session_id[: 127 - _OTHER_USER_CHARS]}:{mark}"


def _query_item(asked: Question, **went: Any) -> Item:
    data = {"agent_type": asked.agent_type, "parameters": asked.parameters}
    return Item(kind="query", content=asked.text, data=data, **went)
