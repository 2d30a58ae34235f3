"""`/api/plan` and `/api/apply`: a file of instances as the body, YAML or JSON."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from kato_manager import plan as planning
from kato_manager import templates
from kato_manager.apply import DEFAULT_PARALLEL, Outcome, Result, execute, observed, verified
from kato_manager.config.document import STDIN, load
from kato_manager.gateway.api.bodies import read
from kato_manager.gateway.api.context import Context, context_of

router = APIRouter(prefix="/api", tags=["plan and apply"])

Here = Annotated[Context, Depends(context_of)]
Content = Annotated[bytes, Depends(read)]
Name = Annotated[
    str,
    Query(
        max_length=200,
        description="What the file is called; `prune` goes by what the same name made.",
    ),
]
Profiles = Annotated[list[str], Query(description="Also the instances of these profiles.")]
_FILE = {
    "requestBody": {
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {
                "schema": {"type": "object"},
                "example": {"instances": [{"id": "a", "recall_threshold": 0.3}]},
            },
        }
    }
}


@router.post("/plan", openapi_extra=_FILE)
def plan(
    here: Here,
    content: Content,
    name: Name = "",
    profile: Profiles = [],  # noqa: B006 - FastAPI copies it
    *,
    prune: bool = False,
) -> dict[str, Any]:
    """What apply would do, and why; changes nothing."""
    return planning.to_document(_planned(here, content, name, profile, prune=prune))


@router.post("/apply", openapi_extra=_FILE)
def apply(
    here: Here,
    response: Response,
    content: Content,
    name: Name = "",
    profile: Profiles = [],  # noqa: B006 - FastAPI copies it
    *,
    prune: bool = False,
    parallel: Annotated[int, Query(ge=1, le=64)] = DEFAULT_PARALLEL,
    timeout_s: Annotated[float | None, Query(ge=0, le=86_400)] = None,
) -> dict[str, Any]:
    """Make it so. 207 when some steps were not done; the same request continues then."""
    made = _planned(here, content, name, profile, prune=prune)
    outcomes = execute(made, here.manager, parallel=parallel, timeout_s=timeout_s)
    outcomes = verified(outcomes, here.manager)
    if any(one.result is not Result.DONE for one in outcomes):
        response.status_code = 207
    return {"version": 1, "steps": [_shown(one) for one in outcomes]}


def _planned(
    here: Context, content: bytes, name: str, profiles: list[str], *, prune: bool
) -> planning.Plan:
    """As the command plans a file; no variable of this process and no `.env` is filled in."""
    document = load(
        [STDIN],
        template=lambda kind: templates.load(kind, home=here.manager.settings.home),
        environ={},
        stdin=lambda: content,
        profiles=profiles,
    )
    recorded, words = observed(here.manager, here.manager.registry.read())
    return planning.diff(
        document.specs,
        recorded,
        words,
        file=name or "the request",
        origin=f"api:{name}" if name else "",
        named=document.named,
        prune=prune and bool(name),
    )


def _shown(outcome: Outcome) -> dict[str, Any]:
    return {
        "action": outcome.step.action,
        "id": outcome.step.id,
        "cause": outcome.step.cause,
        "result": outcome.result,
        "reason": outcome.reason,
        "hint": outcome.hint,
        "duration_s": round(outcome.duration_s, 3),
        "url": outcome.instance.url if outcome.instance else None,
    }
