"""The session-less API of the instance guide: one reserved session that never expires.

The paths of the older per-instance gateway answer too. Source: KATO contract 6.4, instance guide.
"""

from starlette.requests import Request

from kato_processor.api import memory
from kato_processor.api.replies import Reply
from kato_processor.api.sessions import Handler
from kato_sessions.model import DEFAULT_ID


def on_default(handler: Handler) -> Handler:
    """The same handler on the default session."""

    async def direct(request: Request) -> Reply:
        request.path_params["session_id"] = DEFAULT_ID
        return await handler(request)

    direct.__doc__ = handler.__doc__
    direct.__name__ = f"default_{handler.__name__}"
    return direct


async def clear_short_term_memory(request: Request) -> Reply:
    await on_default(memory.clear_stm)(request)
    return Reply({"status": "cleared", "message": "stm-cleared", "session_id": DEFAULT_ID})


async def clear_all_memory(request: Request) -> Reply:
    await on_default(memory.clear_all)(request)
    cleared = {"status": "cleared", "session_id": DEFAULT_ID, "scope": "all"}
    return Reply(cleared | {"message": "all-cleared"})
