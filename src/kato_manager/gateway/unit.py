"""The systemd user unit that keeps a gateway up."""

import sys
from collections.abc import Mapping
from pathlib import Path

from kato_manager.files import write_atomically
from kato_manager.gateway import lifecycle
from kato_manager.gateway.lifecycle import Options
from kato_manager.settings import Settings

_UNIT = """\
[Unit]
Description=kato gateway of {home}

[Service]
Type=exec
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Environment={environment}
Restart=on-failure
RestartSec=1
# Only the gateway itself ends: instances that it started go on.
KillMode=process

[Install]
WantedBy=default.target
"""


def install(settings: Settings, environ: Mapping[str, str], options: Options | None = None) -> Path:
    """Write the unit, over an older one; where it is."""
    path = place(settings.home, environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text(settings, options or Options()))
    return path


def place(home: Path, environ: Mapping[str, str]) -> Path:
    """Where systemd looks for it; another home than `~/.kato` has a unit of its own."""
    config = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    is_usual = home == Path.home() / ".kato"
    name = "kato-gateway" if is_usual else f"kato-gateway-{lifecycle.identity(home)[:8]}"
    return Path(config) / "systemd" / "user" / f"{name}.service"


def text(settings: Settings, options: Options) -> str:
    words = [sys.executable, *lifecycle.arguments(settings.home, options)]
    words += ["--port", str(settings.gateway_port)]
    return _UNIT.format(
        home=_escaped(str(settings.home)),
        command=" ".join(_quoted(word).replace("$", "$$") for word in words),
        environment=_quoted(f"KATO_HOME={settings.home}"),
    )


def _quoted(word: str) -> str:
    """One word for systemd (systemd.syntax(7)); `$` means something in commands only."""
    safe = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(safe)}"' if safe != word or not word or " " in word else _escaped(safe)


def _escaped(word: str) -> str:
    return word.replace("%", "%%")
