"""What the gateway says when it has no answer of an instance to pass on.

One JSON object: the fields of RFC 9457, `code` for programs, and the `error` object that clients of
the processor know. Browsers get the same as a page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import Any


@dataclass(eq=False, kw_only=True)
class Problem(Exception):
    """A refusal in the user's words; `members` are extra keys of the JSON object."""

    status: int
    code: str
    detail: str
    hint: str = ""
    retry_after_s: int | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)  # over the `error` object's own keys
    location: bytes = b""
    allow: bytes = b""  # the methods that would do
    closes: bool = False  # what follows on this connection cannot be trusted

    def __str__(self) -> str:
        return self.detail

    @property
    def headers(self) -> bytes:
        retry = b"" if self.retry_after_s is None else b"Retry-After: %d\r\n" % self.retry_after_s
        allow = b"Allow: %b\r\n" % self.allow if self.allow else b""
        return retry + allow + (b"Location: %b\r\n" % self.location if self.location else b"")


def bad_request(detail: str, *, status: int = 400, code: str = "bad_request") -> Problem:
    """A request that cannot be understood one way only; its connection ends."""
    return Problem(status=status, code=code, detail=detail, closes=True)


def as_json(problem: Problem) -> bytes:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        **({"hint": problem.hint} if problem.hint else {}),
        **problem.members,
        "error": {"code": problem.code.upper(), "message": problem.detail, **problem.error},
    }
    return json.dumps(body, ensure_ascii=False).encode() + b"\n"


def as_html(problem: Problem) -> bytes:
    title = f"{problem.status} {HTTPStatus(problem.status).phrase}"
    hint = f"<p><code>{escape(problem.hint)}</code></p>" if problem.hint else ""
    return page(title, f"<p>{escape(problem.detail)}</p>{hint}")


def page(title: str, body: str) -> bytes:
    """A whole HTML page; `body` is markup, `title` is text."""
    return _PAGE.format(title=escape(title), body=body).encode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 45em; margin: 3em auto; }}
td, th {{ text-align: left; padding-right: 1.5em; }}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""
