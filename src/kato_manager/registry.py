"""The registry: `$KATO_HOME/instances.json`, the one thing that is remembered.

Readers never lock and never write: a write puts a whole new file in place, so a reader sees the old
or the new one. `instances.json.bak` equals the last good write.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from kato_manager import interrupts, lock
from kato_manager.errors import RegistryCorrupt, RegistryReadOnly
from kato_manager.files import make_private, write_atomically
from kato_manager.model import (
    Instance,
)
from kato_manager.registry_file import DAMAGED, VERSION, Instances, major, parse


class Registry:
    """The locked file below one `KATO_HOME`.

    `survivors` finds what runs without us (instance folders, engine labels); it is asked only when
    the file is missing or beyond repair.
    """

    def __init__(
        self,
        home: Path,
        *,
        lock_timeout_s: float = 30.0,
        survivors: Callable[[str | None], Iterable[Instance]] = lambda _registry_id: (),
        on_note: Callable[[str], None] = lambda _note: None,
    ) -> None:
        self.home = home
        self.path = home / "instances.json"
        self.backup = home / "instances.json.bak"
        self._lock = home / "instances.json.lock"
        self._lock_timeout_s = lock_timeout_s
        self._survivors = survivors
        self._on_note = on_note

    def read(self) -> Instances:
        """The instances as last written; a broken or missing file is worked around in memory.

        Raises `RegistryCorrupt` when nothing restores it.
        """
        return self._load()[1]

    def ensure_id(self) -> str:
        """Who this registry is; writes the file in a new home."""
        with self.edit() as instances:
            return instances.registry_id

    def record(self, instance: Instance) -> Instance:
        """Write one instance down as it is now; for who holds that instance's own lock."""
        with self.edit() as instances:
            instances[instance.id] = instance
        return instance

    @contextmanager
    def edit(self) -> Iterator[Instances]:
        """The only door to a change: read, decide and write under the lock.

        Leaving normally writes what changed; an exception writes nothing. Keep slow work outside.
        A Ctrl-C strikes afterwards, or while it waits for the lock: between here and the file it
        could leave the lock held by us, and what cleans up after it needs the lock.
        Raises `RegistryLocked`, `RegistryCorrupt`, `RegistryReadOnly`.
        """
        make_private(self.home)
        with (
            interrupts.deferred() as interrupted,
            lock.held(
                self._lock,
                what="the registry",
                timeout_s=self._lock_timeout_s,
                on_wait=self._on_note,
                give_up=interrupted,
            ),
        ):
            before, instances, intact = self._load()
            for note in instances.notes:
                self._on_note(note)
            self._refuse_newer(instances)
            yield instances
            text = instances.text()
            if text == before:
                return
            if not intact:
                self._quarantine()
            write_atomically(self.path, text, copy=self.backup)

    def _load(self) -> tuple[str, Instances, bool]:
        """The file's text ("" when missing), the instances, and whether the file is intact."""
        text = ""
        try:
            text = self.path.read_text(encoding="utf-8")
            return text, parse(text), True
        except FileNotFoundError:
            instances = self._without_file()
            # Written for the first time while we looked around: then it is not missing.
            return self._load() if self.path.exists() else (text, instances, True)
        except DAMAGED as error:
            return text, self._from_backup(f"{self.path} is damaged ({error})"), False

    def _without_file(self) -> Instances:
        """What runs, if the file was removed; empty in a new home."""
        last = self._read_backup()
        instances = Instances({"registry": last.registry_id if last else None})
        instances.ports.update(last.ports if last else {})
        self._add_survivors(instances)
        if last or instances:
            found = ", ".join(instances) or "nothing that runs"
            instances.notes.append(f"{self.path} is missing; found {found}")
        return instances

    def _from_backup(self, trouble: str) -> Instances:
        instances = self._read_backup()
        if instances is not None:
            instances.notes.append(f"{trouble}; using {self.backup}")
            return instances
        instances = Instances()
        self._add_survivors(instances)
        if not instances:
            raise RegistryCorrupt(
                f"{trouble}, and neither a backup nor a running instance restores it",
                hint=f"mend the file by hand, or set it aside: mv {self.path} {self.path}.broken",
            )
        instances.notes.append(f"{trouble}; found running: {', '.join(instances)}")
        return instances

    def _read_backup(self) -> Instances | None:
        with suppress(FileNotFoundError, *DAMAGED):
            return parse(self.backup.read_text(encoding="utf-8"))
        return None

    def _add_survivors(self, instances: Instances) -> None:
        for instance in self._survivors(instances.registry_id):
            instances[instance.id] = instance

    def _refuse_newer(self, instances: Instances) -> None:
        version = instances.version
        if major(version) > VERSION:
            raise RegistryReadOnly(
                f"{self.path} has version {version}, this kato writes version {VERSION}",
                hint="upgrade kato-manager; listing and reaching instances still works",
            )

    def _quarantine(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        # A copy: should the disk be full now, the damaged file still says what there was.
        shutil.copy2(self.path, aside)
        self._on_note(f"the damaged registry is kept as {aside}")
