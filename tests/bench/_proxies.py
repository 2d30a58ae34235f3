"""Starts the proxies that are compared, each with one worker and before the same upstream."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from kato_manager.gateway import lifecycle
from kato_manager.gateway.lifecycle import Options
from kato_manager.model import Instance, InstanceSpec, Status
from kato_manager.registry import Registry
from kato_manager.settings import Settings

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kato-bench"
BIG_BYTES = 100 * 1024 * 1024
START_S = 20.0

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 10000000; client_max_body_size 0;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {body}
}}
"""
UPSTREAM = """
  default_type application/json;
  server {{ listen 127.0.0.1:{port} backlog=4096; sendfile on;
    location / {{ return 200 '{{"status": "ok"}}'; }}
    location ~ big$ {{ root {folder}; try_files /big =404; }} }}
"""
PROXY = """
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering on; proxy_max_temp_file_size 0; }} }}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 3s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  http-reuse always
  server s 127.0.0.1:{upstream}
"""
CADDY = """
{{
  admin off
  auto_https off
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{port} {{
  reverse_proxy 127.0.0.1:{upstream}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(*command: str, port: int, **environ: str) -> Iterator[int]:
    """A program that listens on `port`; its pid."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env={**os.environ, **environ}, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        _wait_for(port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(START_S)


def _wait_for(port: int) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


class Proxies:
    """Ports by name; `missing` says why one is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.missing: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with (self.folder / "big").open("wb") as file:
            file.truncate(BIG_BYTES)
        self.upstream = free_port()
        self._nginx("upstream", self.upstream, UPSTREAM)
        for name, start in (
            ("nginx", self._nginx_proxy),
            ("haproxy", self._haproxy),
            ("caddy", self._caddy),
            ("chp", self._chp),
            ("aiohttp", self._aiohttp),
        ):
            start(name, free_port())
        self.kato("kato", Options(access_log=False))
        self.kato("kato, log", Options())
        self.kato("kato, 2 workers", Options(access_log=False, workers=2))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _nginx(self, name: str, port: int, body: str) -> None:
        folder = self.folder
        body = body.format(port=port, folder=folder, upstream=self.upstream)
        own = folder / name
        own.mkdir()
        conf = written(own / "conf", NGINX.format(folder=own, body=body))
        self._start(name, port, "nginx", "-c", conf, "-e", str(own / "error.log"))

    def _nginx_proxy(self, name: str, port: int) -> None:
        self._nginx(name, port, PROXY)

    def _haproxy(self, name: str, port: int) -> None:
        text = HAPROXY.format(port=port, upstream=self.upstream)
        self._start(name, port, "haproxy", "-f", written(self.folder / "haproxy.cfg", text))

    def _caddy(self, name: str, port: int) -> None:
        conf = written(self.folder / "Caddyfile", CADDY.format(port=port, upstream=self.upstream))
        words = ("caddy", "run", "--adapter", "caddyfile", "--config", conf)
        home = str(self.folder)
        self._start(name, port, *words, GOMAXPROCS="1", HOME=home, XDG_DATA_HOME=home)

    def _chp(self, name: str, port: int) -> None:
        program = CACHE / "node_modules" / ".bin" / "configurable-http-proxy"
        if not program.exists() and shutil.which("npm"):
            CACHE.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix"]
            subprocess.run([*command, str(CACHE), "configurable-http-proxy"], check=False)
        target = f"http://127.0.0.1:{self.upstream}"
        words = [str(program), "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"]
        words += ["--default-target", target, "--api-port", str(free_port())]
        self._start(name, port, *words, CONFIGPROXY_AUTH_TOKEN="bench")

    def _aiohttp(self, name: str, port: int) -> None:
        program = str(HERE / "_aiohttp_proxy.py")
        self._start(name, port, sys.executable, program, str(port), str(self.upstream))

    def _start(self, name: str, port: int, program: str, *words: str, **environ: str) -> None:
        if not shutil.which(program):
            self.missing[name] = f"{program} is not installed"
            return
        self._stack.enter_context(running(program, *words, port=port, **environ))
        if name != "upstream":
            self.ports[name] = port

    def kato(
        self, name: str, options: Options, instances: dict[str, int] | None = None
    ) -> Settings:
        """A gateway with instance `a`, and others if given."""
        home = self.folder / name.replace(", ", "-").replace(" ", "-")
        settings = Settings(home=home, gateway_port=free_port())
        now = datetime.now(UTC)
        with Registry(home).edit() as recorded:
            for one, port in {"a": self.upstream, **(instances or {})}.items():
                recorded[one] = Instance(
                    spec=InstanceSpec(id=one),
                    port=port,
                    status=Status.RUNNING,
                    created_at=now,
                    updated_at=now,
                )
        lifecycle.up(settings, options)
        self._stack.callback(lifecycle.down, settings)
        self.ports[name] = settings.gateway_port
        return settings
