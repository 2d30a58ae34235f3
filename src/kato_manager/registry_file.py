"""What the registry file says: its text, and the instances in it.

    {"version": 1,
     "registry": "<uuid>",              who we are, for the labels of engines
     "instances": {"<id>": {"name", "container", "api_port", "status", "updated",   as in the guide
                            "runtime", "handle", "operation", "origin", "reason", "created",
                            "spec": {...}}},
     "ports": {"<id>": 8001}}           sticky ports; they outlive the entry

Keys that we do not know are kept, at every level.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from kato_manager.errors import RegistryCorrupt
from kato_manager.model import (
    Instance,
    InstanceSpec,
    Json,
    Launch,
    Status,
    moment,
    operation_from_json,
    spec_from_json,
    timestamp,
    to_json,
)

VERSION = 1
STICKY_PORTS_KEPT = 1000  # of instances that were stopped; automatic ids never come back


class Instances(MutableMapping[str, Instance]):
    """The recorded instances by id, and the sticky ports; decoded when looked at.

    Entries that nobody assigns keep their text, with every key that we do not know.
    """

    def __init__(
        self,
        document: Mapping[str, Json] | None = None,
        entries: Mapping[str, Mapping[str, Json]] | None = None,
        lines: Mapping[str, str] | None = None,
    ) -> None:
        document = dict(document or {})
        self.registry_id: str = document.get("registry") or str(uuid.uuid4())
        self.ports: dict[str, int] = dict(document.get("ports", {}))
        self.notes: list[str] = []  # what a reader had to work around, in the user's words
        self._document = document
        self._entries: dict[str, Mapping[str, Json]] = dict(entries or {})
        self._lines = dict(lines or {})  # as they were read, to be written back as they are
        self._decoded: dict[str, Instance] = {}

    def __getitem__(self, instance_id: str) -> Instance:
        if instance_id not in self._decoded:
            entry = self._entries[instance_id]
            try:
                self._decoded[instance_id] = _decode(instance_id, entry)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise RegistryCorrupt(
                    f"the entry of instance {instance_id!r} in the registry is damaged ({error})",
                    hint="mend it by hand in instances.json, or remove it there",
                ) from error
        return self._decoded[instance_id]

    def __setitem__(self, instance_id: str, instance: Instance) -> None:
        self._entries[instance_id] = _encode(instance, self._entries.get(instance_id, {}))
        self._decoded[instance_id] = instance
        self._lines.pop(instance_id, None)
        if instance.port:
            self._remember_port(instance_id, instance.port)

    def _remember_port(self, instance_id: str, port: int) -> None:
        self.ports.pop(instance_id, None)
        self.ports[instance_id] = port
        forgotten = [one for one in self.ports if one not in self._entries]
        for one in forgotten[:-STICKY_PORTS_KEPT]:
            del self.ports[one]

    def __delitem__(self, instance_id: str) -> None:
        del self._entries[instance_id]
        self._decoded.pop(instance_id, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, instance_id: object) -> bool:
        return instance_id in self._entries

    @property
    def version(self) -> Json:
        """Of the document as read; a newer major one must not be written."""
        return self._document.get("version", VERSION)

    @property
    def taken_ports(self) -> set[int]:
        """Ports that belong to an entry, running or not."""
        return {int(entry.get("api_port") or 0) for entry in self._entries.values()}

    def text(self) -> str:
        """The file's content, one line an instance: easy to read, compare and grep."""
        head = {"version": VERSION, **self._document, "registry": self.registry_id}
        head["version"] = VERSION
        head["ports"] = self.ports
        head.pop("instances", None)
        top = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        entries = [
            self._lines.get(key) or f"    {_dumps(key)}: {_dumps(entry)}"
            for key, entry in self._entries.items()
        ]
        top.append("\n".join([_INSTANCES, ",\n".join(entries), "  }"]))
        return "{\n" + ",\n".join(top) + "\n}\n"


_INSTANCES = '  "instances": {'
_dumps = json.JSONEncoder(ensure_ascii=False).encode


def parse(text: str) -> Instances:
    """The instances of a file's text; raises one of `DAMAGED` when it is no registry."""
    document, entries, lines = _parse_lines(text) or _parse_any(text)
    ports = document.get("ports", {})
    _check(isinstance(ports, dict), "ports is not an object")
    for instance_id, port in ports.items():
        _check(isinstance(port, int), f"the port of {instance_id!r} is not a number")
    major(document.get("version", VERSION))
    return Instances(document, entries, lines)


_Parsed = tuple[dict[str, Json], dict[str, Mapping[str, Json]], dict[str, str]]


def _parse_any(text: str) -> _Parsed:
    document = json.loads(text)
    _check(isinstance(document, dict), "not an object")
    entries = document.get("instances", {})
    _check(isinstance(entries, dict), "instances is not an object")
    for instance_id, entry in entries.items():
        _check_entry(instance_id, entry)
    return document, entries, {}


def _parse_lines(text: str) -> _Parsed | None:
    """The head, the entries and their lines, of a file that we laid out ourselves; else None."""
    head, found, body = text.partition(f"\n{_INSTANCES}\n")
    if not found or not body.endswith("\n  }\n}\n"):
        return None
    lines = [line.removesuffix(",") for line in body.split("\n")[:-3] if line]
    try:
        entries = dict(_decoded(lines))
        document = json.loads(f"{head.removesuffix(',')}\n}}")
    except DAMAGED:
        return None
    if len(entries) != len(lines):
        return None
    return document, entries, dict(zip(entries, lines, strict=True))


_Member = tuple[str, Mapping[str, Json]]


def _decoded(lines: Sequence[str]) -> Iterable[_Member]:
    """Who reads again and again (the gateway, a benchmark) decodes only the lines that changed."""
    global _last_decoded  # noqa: PLW0603 - put in place whole, so that threads may share it
    known = _last_decoded
    decoded = {line: known.get(line) or _decode_line(line) for line in lines}
    _last_decoded = decoded
    return decoded.values()


_last_decoded: Mapping[str, _Member] = {}


def _decode_line(line: str) -> _Member:
    """One `"id": {...}`; nobody changes the entry, an assignment makes a new one."""
    ((instance_id, entry),) = json.loads(f"{{{line}}}").items()
    _check_entry(instance_id, entry)
    return instance_id, entry


def _check(claim: bool, problem: str) -> None:
    if not claim:
        raise TypeError(problem)


def _check_entry(instance_id: str, entry: Json) -> None:
    if problem := _entry_problem(entry):
        raise TypeError(f"{instance_id!r}: {problem}")


def _entry_problem(entry: Json) -> str:
    """Why this cannot be an entry; to decode every one would double the time of an edit."""
    if not isinstance(entry, dict):
        return "the entry is not an object"
    for key in ("spec", "handle", "operation"):
        if not isinstance(entry.get(key), _OBJECT):
            return f"{key} is not an object"
    if not isinstance(entry.get("api_port"), _NUMBER):
        return "api_port is not a number"
    operation = entry.get("operation")
    if operation is not None and not operation.keys() >= _OPERATION:
        return "operation lacks a key"
    return ""


_OBJECT = (dict, type(None))
_NUMBER = (int, type(None))
_OPERATION = {"id", "verb", "pid", "started", "since"}
DAMAGED = (ValueError, TypeError, RecursionError)


def major(version: Json) -> int:
    return int(str(version).partition(".")[0])


def _encode(instance: Instance, old: Mapping[str, Json]) -> dict[str, Json]:
    old_spec = old.get("spec") or {}
    launch = {**_unknown(Launch, old_spec.get("launch", {})), **to_json(instance.spec.launch)}
    spec = {**_unknown(InstanceSpec, old_spec), **to_json(instance.spec)}
    if launch:
        spec["launch"] = launch
    operation = instance.operation
    return {
        **old,
        "name": spec.pop("name", instance.spec.name),
        "container": instance.spec.container,
        "api_port": instance.port,
        "status": instance.status,
        "updated": timestamp(instance.updated_at),
        "created": timestamp(instance.created_at),
        "runtime": instance.runtime,
        "handle": instance.handle,
        "operation": operation and to_json(operation),
        "origin": instance.origin,
        "reason": instance.reason,
        "spec": {key: value for key, value in spec.items() if key != "id"},
    }


def _unknown(kind: type, old: Mapping[str, Json]) -> dict[str, Json]:
    """What another version wrote beside the fields of ours."""
    known = {one.name for one in fields(kind)}
    return {key: value for key, value in old.items() if key not in known}


def _decode(instance_id: str, entry: Mapping[str, Any]) -> Instance:
    """An entry as a value; one from the guide's own file lacks all but five keys."""
    updated = _moment(entry.get("updated"))
    operation = entry.get("operation")
    name = {"name": entry["name"]} if "name" in entry else {}
    return Instance(
        spec=spec_from_json(entry.get("spec", {}), id=instance_id, **name),
        port=int(entry.get("api_port") or 0),
        status=_status(entry.get("status")),
        runtime=entry.get("runtime") or ("" if "spec" in entry else "docker"),
        handle=entry.get("handle"),
        operation=operation and operation_from_json(operation),
        origin=entry.get("origin", ""),
        reason=entry.get("reason", ""),
        created_at=_moment(entry.get("created")) if "created" in entry else updated,
        updated_at=updated,
    )


def _status(text: Json) -> Status:
    # A word from another version must not hide the instance: what runs is observed anyway.
    return Status(text) if text in set(Status) else Status.STOPPED


def _moment(text: Json) -> datetime:
    with suppress(ValueError, TypeError):
        return moment(text)
    return datetime.fromtimestamp(0, UTC)
