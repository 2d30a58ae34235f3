"""`/internal`: what fronts and commands of the same user ask; a front never forwards it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from kato_manager.gateway.api.context import Context, context_of
from kato_manager.gateway.drain import wait_until_quiet

router = APIRouter(prefix="/internal", include_in_schema=False)

Here = Annotated[Context, Depends(context_of)]


@router.post("/wake/{instance_id}")
async def wake(here: Here, instance_id: str) -> dict[str, Any]:
    """Answers when the instance is ready; everybody who asks meanwhile waits for the same start."""
    instance = await here.waker.wake(instance_id)
    return {"id": instance.id, "port": instance.port, "status": instance.status}


@router.post("/drain/{instance_id}")
def drain(
    here: Here, instance_id: str, grace_s: Annotated[float, Query(ge=0, le=86_400)] = 10.0
) -> dict[str, int]:
    """Answers when nothing is in flight to the instance, or after the grace.

    It has to be recorded as `stopping`, so that fronts begin nothing new.
    """
    counts = wait_until_quiet(here.counted, instance_id, grace_s)
    return {"in_flight": counts.in_flight, "websockets": counts.websockets}
