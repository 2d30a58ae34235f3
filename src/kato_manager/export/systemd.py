"""User units: a service per instance and, where the program takes a socket, that socket too.

With a socket unit systemd listens and hands the descriptor over, just as kato-manager does.
"""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from kato_manager.export import container, environment, with_ports
from kato_manager.model import Instance, InstanceSpec, Json

FIRST_FD = 3  # sd_listen_fds(3)
RESTARTS = {"no": "no", "on-failure": "on-failure"}


def systemd(specs: Sequence[InstanceSpec]) -> dict[str, str]:
    """File name -> text, for ~/.config/systemd/user."""
    return {name: text for one in with_ports(specs) for name, text in _units(one, specs)}


def _units(instance: Instance, specs: Sequence[InstanceSpec]) -> Iterator[tuple[str, str]]:
    spec = instance.spec
    unit = unit_name(spec)
    takes_socket = bool(spec.launch.command) and spec.launch.listen == "fd"
    needed = [f"{unit_name(one)}.service" for one in specs if one.id in spec.depends_on]
    if takes_socket:
        yield (
            f"{unit}.socket",
            _text(
                ("[Unit]", f"Description=Port of {_specifier(spec.id)}"),
                ("[Socket]", f"ListenStream=127.0.0.1:{instance.port}"),
                ("[Install]", "WantedBy=sockets.target"),
            ),
        )
    yield (
        f"{unit}.service",
        _text(
            (
                "[Unit]",
                f"Description={_specifier(spec.name)} ({_specifier(spec.id)})",
                *(f"{word}={' '.join(needed)}" for word in ("Requires", "After") if needed),
                *([f"Requires={unit}.socket"] if takes_socket else []),
            ),
            ("[Service]", *_service(instance, unit)),
            ("[Install]", "WantedBy=default.target"),
        ),
    )


def unit_name(spec: InstanceSpec) -> str:
    return spec.container


def _service(instance: Instance, unit: str) -> Iterator[str]:
    spec = instance.spec
    if spec.launch.command:
        values = _values(instance, unit)
        command = [_filled(word, values) for word in spec.launch.command]
        yield f"StateDirectory={unit}"
        for name, text in {**spec.launch.environment, **spec.env}.items():
            yield f"Environment={_quoted(f'{name}={_filled(text, values)}')}"
        if spec.limits.memory_bytes is not None:
            yield f"MemoryMax={spec.limits.memory_bytes}"
        if spec.limits.cpus is not None:
            yield f"CPUQuota={spec.limits.cpus * 100:g}%"
        if spec.limits.pids is not None:
            yield f"TasksMax={spec.limits.pids}"
    else:
        command = _engine_command(instance)
    yield f"ExecStart={' '.join(_quoted(word, is_command=True) for word in command)}"
    yield f"Restart={RESTARTS.get(spec.restart, 'always')}"
    yield f"TimeoutStopSec={spec.grace_s:g}"


def _values(instance: Instance, unit: str) -> Mapping[str, str]:
    return {
        "{id}": instance.spec.id,
        "{port}": str(instance.port),
        "{fd}": str(FIRST_FD),
        "{host}": "127.0.0.1",
        "{data}": f"\0S/{unit}",  # the specifier of the state folder, kept from being escaped
        "{python}": sys.executable,
    }


def _filled(text: str, values: Mapping[str, str]) -> str:
    for place, value in values.items():
        text = text.replace(place, value)
    return text


def _engine_command(instance: Instance) -> list[str]:
    """`docker run` for what has no command of its own."""
    spec, body = instance.spec, container(instance)
    host: Mapping[str, Json] = body["HostConfig"]
    words = ["docker", "run", "--rm", "--name", spec.container, "--network", host["NetworkMode"]]
    words += ["--publish", f"127.0.0.1:{instance.port}:{spec.launch.container_port}"]
    for name, value in environment(body).items():
        words += ["--env", f"{name}={value}"]
    for volume in host["Binds"]:
        words += ["--volume", volume]
    return [*words, spec.launch.image, *body.get("Cmd", [])]


def _quoted(text: str, *, is_command: bool = False) -> str:
    """One word of a unit file: percent signs doubled, in commands dollar signs too."""
    text = _specifier(text.replace("\\", "\\\\").replace('"', '\\"')).replace("\n", "\\n")
    text = text.replace("$", "$$") if is_command else text
    plain = shlex.quote(text) == text and "%" not in text
    return text if plain else f'"{text}"'


def _specifier(text: str) -> str:
    return text.replace("%", "%%").replace("\0", "%")


def _text(*sections: Sequence[str]) -> str:
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"
