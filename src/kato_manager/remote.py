"""A gateway somewhere else, spoken to over its control API."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from kato_manager import errors
from kato_manager.errors import ConfigError, KatoError, RuntimeUnavailable
from kato_manager.model import Json

CONNECT_S = 10.0
ANSWER_S = 600.0  # a start waits for readiness
TOKEN_VARIABLE = "KATO_TOKEN"  # noqa: S105 - where the token is
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PROBLEM = 400


class Remote:
    """One gateway. Methods raise what the command line raises: the gateway's own errors.

    `RuntimeUnavailable` means that the gateway itself did not answer.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"--gateway {url!r} is not an address", hint="--gateway http://localhost:8000"
            )
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._address = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._token = token
        self.url = url

    @classmethod
    def of(cls, url: str, environ: Mapping[str, str], home: Path) -> "Remote":
        """With the token of `KATO_TOKEN`; for this machine's gateway else that of `home`."""
        remote = cls(url, environ.get(TOKEN_VARIABLE, ""))
        if not remote._token and remote._address[0] in _LOCAL:
            from kato_manager.gateway import token

            remote._token = token.read(home)
        return remote

    def ask(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Json] | bytes | None = None,
        timeout_s: float = ANSWER_S,
        **query: Any,
    ) -> dict[str, Json]:
        """One request below `/api`; the JSON object that answers it."""
        with self._answered(method, path, query, body, "application/json", timeout_s) as response:
            content: dict[str, Json] = json.loads(response.read() or b"{}")
            return content

    def lines(self, *path: str, **query: Any) -> Iterator[str]:
        """The data of each server-sent event, as they come."""
        accept = "text/event-stream"
        with self._answered("GET", path, query, None, accept, None) as response:
            data: list[str] = []
            for raw in response:
                line = raw.decode().rstrip("\r\n")
                if line == "event: end":
                    return
                if line.startswith("data:"):
                    data.append(line.removeprefix("data:").removeprefix(" "))
                elif not line and data:
                    yield "\n".join(data)
                    data = []

    @contextmanager
    def _answered(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, Any],
        body: Mapping[str, Json] | bytes | None,
        accept: str,
        timeout_s: float | None,
    ) -> Iterator[http.client.HTTPResponse]:
        given = {key: _worded(value) for key, value in query.items() if value is not None}
        target = "/".join([f"{self._base}/api", *(quote(one, safe="") for one in path)])
        target += f"?{urlencode(given, doseq=True)}" if given else ""
        headers = {"Accept": accept}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = self._kind(*self._address, timeout=CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(timeout_s)
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            if response.status >= _PROBLEM:
                raise _error(response.status, response.read())
            yield response
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RuntimeUnavailable(
                f"the gateway at {self.url} does not answer: {error}",
                hint="on its machine: kato gateway status",
            ) from error
        finally:
            connection.close()


def _worded(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _error(status: int, content: bytes) -> KatoError:
    """The error that the gateway met, as the class that the command line knows."""
    try:
        said = json.loads(content)
        code, detail, hint = said["code"], said["detail"], said.get("hint", "")
    except (ValueError, KeyError, TypeError):
        return KatoError(f"the gateway answered {status}: {content[:200].decode(errors='replace')}")
    if status == 401:  # noqa: PLR2004
        return KatoError(detail, hint=f"{TOKEN_VARIABLE}=... kato --gateway URL ...; {hint}")
    kind = getattr(errors, "".join(word.title() for word in code.split("_")), KatoError)
    if kind is ConfigError:
        return ConfigError(detail, hint=hint, problems=said.get("problems", ()))
    if isinstance(kind, type) and issubclass(kind, KatoError):
        return kind(detail, hint=hint)
    return KatoError(detail, hint=hint)
