"""`/internal`: what fronts and commands of the same user ask; a front never forwards it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from kato_manager.gateway.api.context import Context, context_of
from kato_manager.gateway.idle import NONE, is_quiet

router = APIRouter(prefix="/internal", include_in_schema=False)

Here = Annotated[Context, Depends(context_of)]
_POLL_S = 0.02


@router.post("/wake/{instance_id}")
async def wake(here: Here, instance_id: str) -> dict[str, Any]:
    """Answers when the instance is ready; everybody who asks meanwhile waits for the same start."""
    instance = await here.waker.wake(instance_id)
    return {"id": instance.id, "port": instance.port, "status": instance.status}


@router.post("/drain/{instance_id}")
async def drain(
    here: Here, instance_id: str, grace_s: Annotated[float, Query(ge=0, le=86_400)] = 10.0
) -> dict[str, int]:
    """Answers when nothing is in flight to the instance, or after the grace.

    It has to be recorded as `stopping`, so that fronts begin nothing new.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + grace_s
    while True:
        # First a pause: a front that has just looked up the route counts it in a moment.
        await asyncio.sleep(_POLL_S)
        counts = here.counted().get(instance_id, NONE)
        if is_quiet(counts) or loop.time() >= until_s:
            return {"in_flight": counts.in_flight, "websockets": counts.websockets}
