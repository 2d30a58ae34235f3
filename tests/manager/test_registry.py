"""The file: what is kept, what is refused, and that a reader never changes anything."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kato_manager import lock, registry_file
from kato_manager.errors import RegistryCorrupt, RegistryReadOnly
from kato_manager.model import Instance, InstanceSpec, Operation, Status
from kato_manager.registry import Registry
from kato_manager.registry_file import STICKY_PORTS_KEPT

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
# As printed in the guide "KATO Session Management", section "Instance Registry".
GUIDE = """\
{
  "instances": {
    "processor-1": {
      "name": "Main Processor",
      "container": "kato-processor-1",
      "api_port": 8001,
      "status": "running",
      "updated": "2024-01-01T12:00:00"
    },
    "processor-2": {
      "name": "Secondary",
      "container": "kato-processor-2",
      "api_port": 8002,
      "status": "running",
      "updated": "2024-01-01T12:05:00"
    }
  }
}
"""


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def registry(tmp_path: Path, notes: list[str]) -> Registry:
    return Registry(tmp_path, lock_timeout_s=5, on_note=notes.append)


@pytest.fixture
def local_time_is_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def instance(instance_id: str = "a", port: int = 8001, **values: object) -> Instance:
    spec = InstanceSpec(id=instance_id, name="Ä name", settings={"recall_threshold": 0.3})
    given = {"status": Status.RUNNING, "runtime": "local", "created_at": AT, "updated_at": AT}
    return Instance(spec=spec, port=port, **{**given, **values})


def record(registry: Registry, *instances: Instance) -> None:
    with registry.edit() as edited:
        for one in instances:
            edited[one.id] = one


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Nothing below the folder is created, removed or written, not even with the same bytes."""

    def state() -> dict[Path, tuple[int, int, bytes]]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {
            path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files
        }

    before = state()
    yield
    assert state() == before


def test_what_is_recorded_is_read_back(registry: Registry) -> None:
    operation = Operation(
        id="op", verb="restart", pid=7, started="1@boot", since=AT, replaces={"pid": 3}
    )
    one = instance(
        handle={"kind": "local", "pid": 4, "deep": {"kept": [1, None]}},
        operation=operation,
        origin="/home/me/multi.yaml",
        reason="said so",
    )

    record(registry, one, instance("b", 8002))

    assert dict(registry.read()) == {"a": one, "b": instance("b", 8002)}


def test_the_file_has_the_guide_s_keys_and_a_version(registry: Registry) -> None:
    record(registry, instance())

    document = json.loads(registry.path.read_text())
    entry = document["instances"]["a"]
    assert document["version"] == 1
    assert document["ports"] == {"a": 8001}
    assert {key: entry[key] for key in ("name", "container", "api_port", "status", "updated")} == {
        "name": "Ä name",
        "container": "kato-a",
        "api_port": 8001,
        "status": "running",
        "updated": "2026-01-02T03:04:05.678Z",
    }


def test_the_file_has_one_line_an_instance(registry: Registry) -> None:
    record(registry, instance(), instance("b", 8002))

    lines = registry.path.read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "{",
        '  "version"',
        '  "registry"',
        '  "ports"',
        '  "instances"',
        '    "a"',
        '    "b"',
        "  }",
        "}",
    ]


@pytest.mark.usefixtures("local_time_is_utc")
def test_a_file_as_in_the_guide_loads(registry: Registry) -> None:
    registry.path.write_text(GUIDE)

    found = registry.read()

    noon = datetime(2024, 1, 1, 12, 0, tzinfo=UTC)
    assert found["processor-1"] == Instance(
        spec=InstanceSpec(id="processor-1", name="Main Processor"),
        port=8001,
        status=Status.RUNNING,
        runtime="docker",
        created_at=noon,
        updated_at=noon,
    )
    assert list(found) == ["processor-1", "processor-2"]
    assert found.taken_ports == {8001, 8002}


def test_an_edit_keeps_every_entry_of_the_guide_s_file_as_it_is(registry: Registry) -> None:
    registry.path.write_text(GUIDE)

    record(registry, instance("c", 8003))

    document = json.loads(registry.path.read_text())
    assert document["instances"].pop("c")["api_port"] == 8003
    assert document["instances"] == json.loads(GUIDE)["instances"]


def test_keys_that_we_do_not_know_are_kept_at_every_level(registry: Registry) -> None:
    record(registry, instance(), instance("b", 8002))
    document = json.loads(registry.path.read_text())
    document["colour"] = {"of": "the file"}
    document["instances"]["a"]["note"] = "mine"
    document["instances"]["b"]["note"] = "also mine"
    registry.path.write_text(json.dumps(document))

    record(registry, instance(reason="edited"))

    after = json.loads(registry.path.read_text())
    assert after["colour"] == {"of": "the file"}
    assert after["instances"]["a"] == {**document["instances"]["a"], "reason": "edited"}
    assert after["instances"]["b"] == document["instances"]["b"]


def test_unknown_keys_of_the_spec_and_its_launch_are_kept(registry: Registry) -> None:
    record(registry, instance())
    document = json.loads(registry.path.read_text())
    document["instances"]["a"]["spec"]["from_the_future"] = 1
    document["instances"]["a"]["spec"]["launch"] = {"warp": 9}
    registry.path.write_text(json.dumps(document))

    record(registry, replace(registry.read()["a"], reason="edited"))

    spec = json.loads(registry.path.read_text())["instances"]["a"]["spec"]
    assert spec["from_the_future"] == 1
    assert spec["launch"] == {"warp": 9}


def test_a_setting_that_was_taken_back_is_not_kept(registry: Registry) -> None:
    record(registry, instance())

    record(registry, replace(instance(), spec=InstanceSpec(id="a", name="Ä name")))

    assert "settings" not in json.loads(registry.path.read_text())["instances"]["a"]["spec"]


def test_a_word_for_a_status_from_another_version_does_not_hide_the_instance(
    registry: Registry,
) -> None:
    registry.path.write_text(GUIDE.replace("running", "hibernating"))

    assert registry.read()["processor-1"].status == Status.STOPPED


@pytest.mark.parametrize("version", ["1", '"1.7"', "1.9"])
def test_a_newer_minor_version_is_written(registry: Registry, version: str) -> None:
    registry.path.write_text(GUIDE.replace("{", f'{{"version": {version},', 1))

    record(registry, instance("c", 8003))

    assert "c" in registry.read()


@pytest.mark.parametrize("version", ["2", '"2.0"', '"17.3"'])
def test_a_newer_major_version_is_read_and_never_written(registry: Registry, version: str) -> None:
    registry.path.write_text(GUIDE.replace("{", f'{{"version": {version},', 1))
    shown = version.strip('"')

    assert list(registry.read()) == ["processor-1", "processor-2"]
    with unchanged_registry(registry), pytest.raises(RegistryReadOnly) as caught:
        record(registry, instance())

    assert caught.value.message == (
        f"{registry.path} has version {shown}, this kato writes version 1"
    )


@contextmanager
def unchanged_registry(registry: Registry) -> Iterator[None]:
    before = registry.path.read_bytes(), registry.path.stat().st_mtime_ns
    yield
    assert (registry.path.read_bytes(), registry.path.stat().st_mtime_ns) == before
    assert not registry.backup.exists()


def test_the_backup_equals_the_last_write(registry: Registry) -> None:
    record(registry, instance())
    record(registry, instance("b", 8002))

    assert registry.backup.read_bytes() == registry.path.read_bytes()


def test_an_edit_that_changes_nothing_writes_nothing(registry: Registry) -> None:
    record(registry, instance())
    before = registry.path.stat()

    record(registry, instance())

    assert registry.path.stat() == before


def test_a_large_file_is_read_again_by_its_changed_lines_alone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(registry, *(instance(f"i{number}", 8001 + number) for number in range(3000)))
    registry.read()
    decoded: list[str] = []
    decode = registry_file._decode_line
    monkeypatch.setattr(
        registry_file, "_decode_line", lambda line: decoded.append(line) or decode(line)
    )

    registry.record(instance("i7", 8008, reason="new"))
    found = registry.read()

    assert (len(found), found["i7"].reason, len(decoded)) == (3000, "new", 1)


def test_an_edit_that_raises_writes_nothing(registry: Registry) -> None:
    record(registry, instance())
    before = registry.path.read_bytes()

    def fail_halfway() -> None:
        with registry.edit() as instances:
            instances["b"] = instance("b", 8002)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()

    assert registry.path.read_bytes() == before


def test_a_new_home_is_private(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "deep" / "home")

    record(registry, instance())

    assert registry.home.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in registry.home.iterdir()}
    assert set(modes.values()) == {0o600}


DAMAGE = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "not JSON": lambda _text: "instances: none",
    "a list": lambda _text: "[]",
    "instances of a wrong kind": lambda _text: '{"instances": []}',
    "an entry of a wrong kind": lambda _text: '{"instances": {"a": 1}}',
    "ports of a wrong kind": lambda _text: '{"ports": [8001], "instances": {}}',
    "a version of a wrong kind": lambda _text: '{"version": "new", "instances": {}}',
    "zeros, as after a power cut": lambda text: "\0" * len(text),
    "a spec of a wrong kind": lambda _text: '{"instances": {"a": {"spec": 3}}}',
    "a port of a wrong kind": lambda _text: '{"instances": {"a": {"api_port": "eighty"}}}',
    "a sticky port of a wrong kind": lambda _text: '{"ports": {"a": "eighty"}, "instances": {}}',
    "an operation of a wrong kind": lambda _text: '{"instances": {"a": {"operation": {}}}}',
    "deep nesting": lambda _text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_read_from_the_backup_and_nothing_is_written(
    registry: Registry, damage
) -> None:
    record(registry, instance())
    registry.path.write_text(damage(registry.path.read_text()))

    with unchanged(registry.home):
        found = registry.read()

    assert dict(found) == {"a": instance()}
    assert found.notes[0].startswith(f"{registry.path} is damaged (")
    assert found.notes[0].endswith(f"); using {registry.backup}")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_the_next_edit_quarantines_and_repairs(
    registry: Registry, notes: list[str], damage
) -> None:
    record(registry, instance())
    damaged = damage(registry.path.read_text())
    registry.path.write_text(damaged)

    record(registry, instance("b", 8002))

    (aside,) = registry.home.glob("instances.json.corrupt-*")
    assert aside.read_text() == damaged
    assert list(registry.read()) == ["a", "b"]
    assert registry.read().notes == []
    assert notes[1] == f"the damaged registry is kept as {aside}"


def test_an_edit_that_changes_nothing_repairs_all_the_same(registry: Registry) -> None:
    record(registry, instance())
    good = registry.path.read_text()
    registry.path.write_text(good[:-20])

    with registry.edit():
        pass

    assert registry.path.read_text() == good


def test_damage_that_nothing_restores_is_an_error_and_never_an_empty_registry(
    registry: Registry,
) -> None:
    registry.path.write_text('{"instances": {')

    with unchanged(registry.home), pytest.raises(RegistryCorrupt) as caught:
        registry.read()
    with pytest.raises(RegistryCorrupt):
        record(registry, instance())

    assert registry.path.read_text() == '{"instances": {'
    assert caught.value.hint == (
        f"mend the file by hand, or set it aside: mv {registry.path} {registry.path}.broken"
    )


def test_damage_without_a_backup_is_rebuilt_from_what_runs(tmp_path: Path) -> None:
    registry = Registry(tmp_path, survivors=lambda _registry_id: [instance("b", 8002)])
    registry.path.write_text('{"instances": {')

    assert dict(registry.read()) == {"b": instance("b", 8002)}


def test_a_missing_file_in_a_new_home_is_empty_and_stays_missing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "home")

    assert dict(registry.read()) == {}
    assert not registry.home.exists()


def test_a_missing_file_is_rebuilt_from_what_runs_with_ports_and_identity(tmp_path: Path) -> None:
    record(Registry(tmp_path), instance(), instance("b", 8002))
    old = Registry(tmp_path).read()
    asked: list[str | None] = []

    def survivors(registry_id: str | None) -> list[Instance]:
        asked.append(registry_id)
        return [instance("b", 8002)]

    registry = Registry(tmp_path, survivors=survivors)
    registry.path.unlink()
    with unchanged(tmp_path):
        found = registry.read()

    assert dict(found) == {"b": instance("b", 8002)}
    assert found.notes == [f"{registry.path} is missing; found b"]
    assert found.ports == {"a": 8001, "b": 8002}
    assert (found.registry_id, asked) == (old.registry_id, [old.registry_id])
    record(registry, instance("c", 8003))
    assert list(Registry(tmp_path).read()) == ["b", "c"]


def test_an_unreadable_file_is_an_error_and_not_an_empty_registry(registry: Registry) -> None:
    registry.path.mkdir()

    with pytest.raises(IsADirectoryError):
        registry.read()


def test_a_port_outlives_its_entry(registry: Registry) -> None:
    record(registry, instance())

    with registry.edit() as instances:
        del instances["a"]

    assert registry.read().ports == {"a": 8001}
    assert registry.read().taken_ports == set()


def test_only_so_many_ports_outlive_their_entries(registry: Registry) -> None:
    with registry.edit() as instances:
        for number in range(STICKY_PORTS_KEPT + 5):
            instances[f"i{number}"] = instance(f"i{number}", 10_000 + number)
            del instances[f"i{number}"]
        instances["last"] = instance("last", 9000)

    ports = registry.read().ports
    assert len(ports) == STICKY_PORTS_KEPT + 1
    assert next(iter(ports)) == "i5"
    assert list(ports)[-1] == "last"


def test_times_are_utc_whatever_the_zone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for zone in ("Asia/Kolkata", "America/New_York", "UTC"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        record(registry, instance(reason=zone))

        assert registry.read()["a"].updated_at == AT
        assert '"2026-01-02T03:04:05.678Z"' in registry.path.read_text()
    monkeypatch.undo()
    time.tzset()


def test_text_that_is_no_unicode_is_refused_before_anything_is_written(
    registry: Registry,
) -> None:
    record(registry, instance())
    before = registry.path.read_bytes()

    with pytest.raises(UnicodeEncodeError):
        record(registry, instance(reason="\udcff"))

    assert registry.path.read_bytes() == before
    assert not [path for path in registry.home.iterdir() if path.name.endswith(".tmp")]


def test_a_link_to_a_file_elsewhere_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "synced").mkdir()
    (tmp_path / "home").mkdir()
    target = tmp_path / "synced" / "instances.json"
    target.write_text(GUIDE)
    registry = Registry(tmp_path / "home")
    registry.path.symlink_to(target)

    record(registry, instance("c", 8003))

    assert registry.path.is_symlink()
    assert list(json.loads(target.read_text())["instances"]) == ["processor-1", "processor-2", "c"]


def test_the_folder_is_named_when_it_cannot_be_written() -> None:
    home = Path("/sys/kato")  # where not even root may make a folder

    with pytest.raises(PermissionError) as caught:
        record(Registry(home), instance())

    assert str(home) in str(caught.value)


def test_a_file_written_while_the_reader_looks_for_survivors_is_read(tmp_path: Path) -> None:
    def look(_registry_id: str | None) -> list[Instance]:
        record(Registry(tmp_path), instance("a"))
        return []

    instances = Registry(tmp_path, survivors=look).read()

    assert (list(instances), instances.notes) == (["a"], [])


class Struck(BaseException):
    pass


@pytest.fixture
def striking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM raises, as the command has it."""

    def strike(_number: int, _frame: object) -> None:
        raise Struck

    before = signal.signal(signal.SIGTERM, strike)
    yield
    signal.signal(signal.SIGTERM, before)


def edit_struck(registry: Registry, times: int) -> None:
    with registry.edit() as instances:
        for _ in range(times):
            signal.raise_signal(signal.SIGTERM)
        instances.ports["a"] = 8001


def test_an_edit_is_finished_before_an_interrupt_strikes(registry: Registry, striking) -> None:
    with pytest.raises(Struck):
        edit_struck(registry, 1)

    assert registry.read().ports == {"a": 8001}
    with registry.edit() as instances:  # the lock is free
        instances.ports["b"] = 8002


def test_a_second_interrupt_strikes_at_once(registry: Registry, striking) -> None:
    with pytest.raises(Struck):
        edit_struck(registry, 2)

    assert registry.read().ports == {}


def test_an_interrupt_ends_the_wait_for_the_lock(registry: Registry, striking) -> None:
    told = Registry(
        registry.home, lock_timeout_s=60, on_note=lambda _: signal.raise_signal(signal.SIGTERM)
    )

    with (
        lock.held(registry._lock, what="the registry", timeout_s=0),
        pytest.raises(Struck),
        told.edit(),
    ):
        pytest.fail("the lock is another's")
