"""A client of KATO's session API, for a gateway or a processor; standard library only."""

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from kato_sessions.client_connections import Connections
from kato_sessions.model import Json, merged

DEFAULT_URL = "http://localhost:8000"
_IDEMPOTENT = {"GET", "HEAD", "PUT", "DELETE"}
_SESSION_CODES = {
    "session_not_found",
    "session_unknown",
    "session_expired",
    "session_deleted",
    "session_archived",
}


class KATOError(Exception):
    """The server refused or did not answer; `status` is its HTTP status, 0 = no answer."""

    def __init__(self, message: str, *, status: int = 0, code: str = "", body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = body


class KATOSessionError(KATOError):
    """There is no such session (any more): its text contains "not found"."""


class KATOClient:
    """One session at a time, made by `create_session`; keeps connections, safe between threads.

    It remembers with what the session was made, so that `reconnect` makes one just like it.
    A request is repeated on a broken connection only if it is idempotent.
    """

    def __init__(self, base_url: str = DEFAULT_URL, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"base_url {base_url!r}: use http://HOST:PORT")
        self.base_url = base_url.rstrip("/")
        self.session_id: str | None = None
        self._wanted: Json = {}
        self._connections = Connections(base_url, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; the session lives on until it expires."""
        self._connections.close()

    # The session

    def create_session(
        self,
        node_id: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        ttl: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: str | None = None,
    ) -> str:
        """Make a session and use it from now on; `ttl` in seconds. Gives its id."""
        wanted = {
            "node_id": node_id,
            "user_id": user_id,
            "config": dict(config) if config else None,
            "ttl": ttl,
            "metadata": dict(metadata) if metadata else None,
        }
        return self._open({name: value for name, value in wanted.items() if value is not None})

    def use_session(self, session_id: str) -> None:
        """Go on with a session made elsewhere."""
        self.session_id = session_id

    def reconnect(self) -> str:
        """Make a session like the last one: same node, config as changed since, TTL, metadata."""
        return self._open(self._wanted)

    def get_session_info(self) -> Json:
        return self._session("GET", "")

    def update_config(self, config: Mapping[str, Any] | None = None, **settings: Any) -> Json:
        """Change settings of this session: `update_config({"recall_threshold": 0.5})`."""
        changes = {**(config or {}), **settings}
        answer = self._session("PUT", "/config", {"config": changes})
        self._wanted = {**self._wanted, "config": merged(self._wanted.get("config"), changes)}
        return answer

    def extend_session(self, ttl: int) -> Json:
        """`ttl` seconds from now on."""
        return self._session("POST", f"/extend?{urlencode({'ttl_seconds': ttl})}")

    def delete_session(self) -> Json:
        answer = self._session("DELETE", "")
        self.session_id = None
        return answer

    def list_sessions(self) -> Any:
        return self.request("GET", "/sessions")

    # What is done in it

    def observe(
        self,
        strings: Sequence[str] = (),
        vectors: Sequence[Sequence[float]] = (),
        emotives: Mapping[str, float] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Json:
        """One event: its symbols, vectors and emotive values."""
        observation = _observation(strings, vectors, emotives, metadata)
        return self._session("POST", "/observe", observation)

    def observe_sequence(
        self, observations: Sequence[Sequence[str] | Mapping[str, Any]], **options: Any
    ) -> Json:
        """Many events in one request; each a list of strings, or an object as for `observe`."""
        events = [
            dict(event) if isinstance(event, Mapping) else _observation(event, (), None, None)
            for event in observations
        ]
        return self._session("POST", "/observe-sequence", {"observations": events, **options})

    def get_predictions(self) -> Json:
        return self._session("GET", "/predictions")

    def learn(self) -> Json:
        """Make a pattern of the short-term memory."""
        return self._session("POST", "/learn")

    def get_stm(self) -> Json:
        """`stm`, a list of events, and its `length`."""
        answer = self._session("GET", "/stm")
        return {**answer, "length": answer.get("length", len(answer.get("stm", ())))}

    def clear_stm(self) -> Json:
        return self._session("POST", "/clear-stm")

    def clear_all(self) -> Json:
        """Forget short-term memory and all patterns of the node."""
        return self._session("POST", "/clear-all")

    def query(self, query: str, *, thread_id: str | None = None, **fields: Any) -> Json:
        """Ask the gateway; without `thread_id` in this client's session."""
        body = {"query": query, "thread_id": thread_id or self.session_id, **fields}
        body = {name: value for name, value in body.items() if value is not None}
        return self._object("POST", "/query", body)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any request below the base URL; JSON in and out, KATOError for a status of 400 or more.

        A dead connection is noticed before it is used; one that breaks in the middle is tried once
        more for idempotent methods only, since the server may have done its work.
        """
        for attempt in (1, 2):
            try:
                return self._exchange(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                if attempt == 1 and method in _IDEMPOTENT and not isinstance(error, TimeoutError):
                    continue
                raise KATOError(f"{self.base_url} did not answer: {error!r}") from error
        raise AssertionError(path)

    # Steps

    def _open(self, wanted: Json) -> str:
        answer = self._object("POST", "/sessions", wanted)
        self._wanted = wanted
        self.session_id = str(answer["session_id"])
        return self.session_id

    def _session(self, method: str, path: str, body: Any = None) -> Json:
        if self.session_id is None:
            raise KATOSessionError("Session not found: call create_session first")
        return self._object(method, f"/sessions/{quote(self.session_id, safe='')}{path}", body)

    def _object(self, method: str, path: str, body: Any = None) -> Json:
        answer = self.request(method, path, body)
        return answer if isinstance(answer, dict) else {"value": answer}

    def _exchange(self, method: str, path: str, body: Any) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        with self._connections.one() as connection:
            connection.request(method, self._connections.prefix + path, content, headers)
            response = connection.getresponse()
            answer = _parsed(response.read())
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise _refusal(response.status, answer)
        return answer


class ResilientKATOClient(KATOClient):
    """Makes the session anew when it has expired, and repeats the call.

    That is safe for every call: a session that was not found has done nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._renewing = threading.Lock()

    @property
    def last_node_id(self) -> str | None:
        return self._wanted.get("node_id")

    def _session(self, method: str, path: str, body: Any = None) -> Json:
        used = self.session_id
        try:
            return super()._session(method, path, body)
        except KATOSessionError:
            if used is None or not self._wanted:
                raise
        if method == "DELETE":
            self.session_id = None
            return {"status": "deleted", "session_id": used}
        with self._renewing:
            if self.session_id == used:
                self.reconnect()
        return super()._session(method, path, body)


def _observation(
    strings: Sequence[str],
    vectors: Sequence[Sequence[float]],
    emotives: Mapping[str, float] | None,
    metadata: Mapping[str, Any] | None,
) -> Json:
    if isinstance(strings, str):
        raise TypeError(f'strings: use a list, ["{strings}"]')
    observation: Json = {
        "strings": list(strings),
        "vectors": [list(vector) for vector in vectors],
        "emotives": dict(emotives or {}),
    }
    return {**observation, "metadata": dict(metadata)} if metadata else observation


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return {"detail": content.decode(errors="replace")}


def _refusal(status: int, body: Any) -> KATOError:
    answer = body if isinstance(body, dict) else {}
    nested = answer.get("error")
    error = nested if isinstance(nested, dict) else {}
    code = str(answer.get("code") or error.get("code") or "")
    text = str(answer.get("detail") or error.get("message") or answer.get("title") or body)
    missing = status == http.HTTPStatus.NOT_FOUND
    if missing and (code.lower() in _SESSION_CODES or text.lower().startswith("session")):
        text = text if "not found" in text else f"Session not found: {text}"
        return KATOSessionError(text, status=status, code=code, body=body)
    return KATOError(f"{status}: {text}", status=status, code=code, body=body)
