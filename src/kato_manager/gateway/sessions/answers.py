"""What instances answer, understood and put into our words."""

import json
from dataclasses import replace
from typing import Any

from kato_manager.gateway.problems import Problem
from kato_manager.gateway.sessions.attached import Attached, InstanceRefused
from kato_manager.gateway.sessions.calls import Answer, Headers


def is_lost(answer: Answer) -> bool:
    """The instance knows no such session; other things may be missing too."""
    if answer.status != 404:  # noqa: PLR2004
        return False
    document = answer.json
    said = document if isinstance(document, dict) else {}
    error = said.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    detail = str(said.get("detail", ""))
    return code == "SESSION_NOT_FOUND" or detail.startswith("Session ")


def config_refused(answer: Answer) -> Exception:
    """Which settings cannot be, one by one, where the instance says so."""
    document = answer.json
    detail = document.get("detail") if isinstance(document, dict) else None
    wrong = detail.get("validation_errors") if isinstance(detail, dict) else None
    if not isinstance(wrong, dict):
        return InstanceRefused(answer)
    problems = [f"{name}: {why}" for name, why in wrong.items()]
    return Problem(
        status=400,
        code="config_invalid",
        detail="\n".join(problems),
        members={"problems": problems, "validation_errors": wrong},
    )


def renamed(answer: Answer, attached: Attached) -> Answer:
    """The answer under our name of the session, where the instance calls it otherwise."""
    ours, theirs = attached.session.id, attached.session_id
    if ours == theirs:
        return answer
    headers = renamed_headers(answer.headers, attached)
    document = answer.json
    if isinstance(document, dict) and document.get("session_id") == theirs:
        body = json.dumps({**document, "session_id": ours}, ensure_ascii=False).encode()
        return replace(answer, headers=headers, body=body)
    return replace(answer, headers=headers)


def renamed_headers(headers: Headers, attached: Attached) -> Headers:
    ours, theirs = attached.session.id, attached.session_id
    return tuple((name, ours if value == theirs else value) for name, value in headers)


def content(body: bytes) -> Any:
    """What was sent as history keeps it: JSON as such, anything else as text."""
    try:
        return json.loads(body, parse_constant=_refuse) if body else None
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
