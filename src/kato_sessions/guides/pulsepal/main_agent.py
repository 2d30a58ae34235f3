"""`session_id, response = await run_pulsepal("...")`, answered by the gateway's `/query`.

`KATO_URL` names the gateway; http://localhost:8000 without it.
"""

import asyncio
import os

from kato_sessions.client import DEFAULT_URL, KATOClient
from kato_sessions.pulsepal import SessionManager


async def run_pulsepal(query: str, session_id: str | None = None) -> tuple[str, str]:
    """Ask in a session, a new one if none, an unknown or an expired one is given."""
    return await asyncio.to_thread(_ask, query, session_id)


def _ask(query: str, session_id: str | None) -> tuple[str, str]:
    url = os.environ.get("KATO_URL", DEFAULT_URL)
    with SessionManager() as manager, KATOClient(url) as kato:
        context = manager.get_session(session_id)
        context.add_conversation("user", query)
        response = str(kato.query(query, thread_id=context.session_id)["response"])
        context.add_conversation("assistant", response)
        return context.session_id, response
