"""From active to purged: sweeping, archiving, restoring, moving, rebuilding, examining."""

import gzip
import json
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from kato_sessions.archive import Archive
from kato_sessions.audit import AuditLog
from kato_sessions.cipher import Cipher
from kato_sessions.connect import archive_folder, open_store
from kato_sessions.doctor import examine
from kato_sessions.errors import InvalidSession, RecordCorrupt, SessionExists, SessionNotFound
from kato_sessions.janitor import Janitor, Swept
from kato_sessions.model import Affinity, Item, State
from kato_sessions.profile import CHAT, KATO, PULSEPAL
from kato_sessions.rebuild import rebuild_sessions
from kato_sessions.transfer import export_session, import_session, migrate, to_text

HOUR = 3_600_000
DAY = 24 * HOUR


def filled(store, session_id="s", **options):
    store.create(session_id, user_id="u", config={"a": 0.1}, **options)
    store.append(session_id, [Item(content={"é": [1, 2.5, None]})], idempotency_key="k")
    store.put_workspace(session_id, '[["a"]]')
    store.set_affinity_if_absent(session_id, Affinity(instance_id="i", bucket=3))
    return store


def test_a_purging_profile_frees_what_has_expired(make, clock):
    store = filled(make(KATO))
    store.create("young", ttl_ms=10 * HOUR)
    clock.advance(2 * HOUR)
    janitor = Janitor(store)

    assert janitor.sweep(dry_run=True) == Swept(purged=1, session_ids=("s",))
    assert store.peek("s") is not None
    assert janitor.sweep() == Swept(purged=1, session_ids=("s",))
    assert janitor.sweep() == Swept()
    assert (store.peek("s"), store.items("s"), store.count(live=False)) == (None, [], 1)


def test_a_soft_profile_marks_and_keeps(make, clock):
    store = filled(make(CHAT))
    deadline = store.get("s").expires_at
    clock.advance(30 * HOUR)

    assert Janitor(store).sweep() == Swept(expired=1, session_ids=("s",))
    kept = store.peek("s")
    assert (kept.state, kept.expired_at, len(store.items("s"))) == (State.EXPIRED, deadline, 1)
    assert Janitor(store).sweep() == Swept()


def test_tombstones_go_after_their_time(make, clock):
    store = filled(make(KATO))
    store.delete("s")
    assert Janitor(store).sweep() == Swept()
    clock.advance(DAY)
    assert Janitor(store).sweep().purged == 1
    assert store.count(live=False) == 0


def test_only_one_janitor_works_at_a_time(make, clock):
    store = make(KATO)
    store.lease("janitor", "another process", 1000)
    assert Janitor(store).sweep() == Swept(skipped=True)
    clock.advance(1000)
    assert Janitor(store).sweep() == Swept()


def test_an_expired_session_is_archived_by_the_day_it_ended_and_can_come_back(
    make, clock, tmp_path
):
    store = filled(make(PULSEPAL))
    archive = Archive(tmp_path / "archive")
    before = store.record("s")
    clock.advance(3 * HOUR)

    assert Janitor(store, archive).sweep() == Swept(archived=1, session_ids=("s",))
    path = tmp_path / "archive/2023-11-15/session_s.json.gz"
    assert json.loads(gzip.decompress(path.read_bytes()))["workspace"] == '[["a"]]'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SessionNotFound) as caught:
        store.get("s")
    assert caught.value.code == "session_archived"
    assert caught.value.hint == "kato sessions restore s"

    restored = archive.restore(store, "s")
    assert store.get("s") == restored
    assert restored.expires_at == clock.now + 2 * HOUR + 60_000
    after = store.record("s")
    assert (after.items, after.workspace) == (before.items, before.workspace)
    with pytest.raises(SessionExists):
        archive.restore(store, "s")


def test_a_crash_between_ending_and_archiving_is_made_good(make, clock, tmp_path):
    store = filled(make(PULSEPAL))
    clock.advance(3 * HOUR)
    assert store.end("s", how="soft")

    assert Janitor(store, Archive(tmp_path / "a")).sweep().archived == 1


def test_archives_go_after_their_days(make, clock, tmp_path):
    store = filled(make(PULSEPAL))
    archive = Archive(tmp_path / "a", compress=False)
    archive.put(store, "s")
    assert [one.path.name for one in archive.list()] == ["session_s.json"]
    clock.advance(7 * DAY)
    assert Janitor(store, archive).sweep().archives_removed == 0
    clock.advance(DAY)
    assert Janitor(store, archive).sweep(dry_run=True).archives_removed == 1
    assert Janitor(store, archive).sweep().archives_removed == 1
    assert (archive.count(), list((tmp_path / "a").iterdir())) == (0, [])


def test_archives_may_be_kept_longer_than_dates_reach_back(make, tmp_path):
    store = filled(make(replace(PULSEPAL, archive_keep_ms=1 << 52)))
    archive = Archive(tmp_path / "a")
    archive.put(store, "s")

    assert Janitor(store, archive).sweep().archives_removed == 0


def test_an_archiving_profile_needs_an_archive(make):
    with pytest.raises(InvalidSession):
        Janitor(make(PULSEPAL))


def test_archives_sit_beside_their_store(tmp_path):
    assert archive_folder(f"sqlite:{tmp_path}/x.db") == tmp_path / "x-archive"
    assert archive_folder(f"files:{tmp_path}") == tmp_path / "archive"
    assert archive_folder("memory:") is None


def test_an_export_is_the_same_to_the_byte_after_a_round_through_every_store(
    url_of, clock, redis_url
):
    stores = [open_store(url_of(k), clock=clock) for k in ("memory", "sqlite", "files", "redis")]
    filled(stores[0], "Über.s".replace("Ü", "U"))
    first = to_text(export_session(stores[0], "Uber.s"))

    document = json.loads(first)
    for store in [*stores[1:], stores[0]]:
        import_session(store, document, overwrite=True)
        document = export_session(store, "Uber.s")
        assert to_text(document) == first
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"format": "other"},
        {"session": {"id": "s"}},
        {"session": 3},
        {"schema": 99, "session": {}},
    ],
)
def test_what_export_did_not_write_is_not_imported(store, wrong):
    with pytest.raises(InvalidSession):
        import_session(store, wrong)


def test_an_archived_session_moves_as_what_it_is(make, clock, tmp_path):
    source = filled(open_store("memory:", profile=PULSEPAL, clock=clock))
    Archive(tmp_path / "archive").put(source, "s")
    target = make(PULSEPAL)

    migrate(source, target)

    assert (target.peek("s").state, target.exists("s")) == (State.ARCHIVED, False)


def test_a_document_replaces_all_that_was_there(make):
    store = filled(make(KATO))
    document = export_session(store, "s")
    store.append("s", [Item(content="later")], idempotency_key="later")

    import_session(store, document, overwrite=True)

    assert [item.seq for item in store.items("s")] == [1]
    (again,) = store.append("s", [Item(content="anew")], idempotency_key="later")
    assert (again.seq, again.content) == (2, "anew")


def test_a_whole_store_moves_with_progress(make, tmp_path, clock):
    source = make(KATO)
    for number in range(5):
        filled(source, f"s{number}")
    source.delete("s0")
    target = open_store(f"sqlite:{tmp_path}/target.db", clock=clock)
    steps = []

    assert migrate(source, target, progress=lambda done, all_: steps.append((done, all_))) == 4
    assert target.record("s3") == source.record("s3")
    assert steps[-1] == (4, 5)
    target.close()


def test_lost_sessions_are_rebuilt_from_logs(make, tmp_path, clock):
    store = make(PULSEPAL)
    filled(store, "here")
    lines = [
        {"session_id": "a", "ts": "2025-01-18T10:00:01Z", "role": "assistant", "content": "2"},
        {"session_id": "a", "timestamp": 1737194400, "role": "user", "content": "1"},
        {"session_id": "here", "ts": 1, "role": "user", "content": "x"},
    ]
    text = "\n".join([*map(json.dumps, lines), "{torn", '{"session_id": "../x"}'])
    (tmp_path / "log.jsonl").write_text(text)

    result = rebuild_sessions(store, tmp_path / "log.jsonl")

    assert (result.session_ids, result.present, len(result.unreadable)) == (["a"], ["here"], 2)
    assert [item.content for item in store.items("a")] == ["1", "2"]
    assert store.get("a").is_live(clock.now)
    with pytest.raises(InvalidSession):
        rebuild_sessions(store, tmp_path / "nowhere")


def test_the_audit_log_tells_every_change(make, tmp_path):
    store = make(audit=AuditLog(tmp_path / "audit.jsonl"))
    store.create("s")
    store.patch("s", {"config": {"a": 1}})
    store.delete("s")

    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [line["action"] for line in lines] == ["create", "patch", "delete"]
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_with_a_cipher_nothing_said_is_readable_in_the_store(make):
    old, new = b"o" * 32, b"n" * 32
    sealed = make(cipher=Cipher({"2024": old}, sealing="2024"))
    sealed.create("s", metadata={"m": "secret"}, context={"c": "secret"})
    sealed.append("s", [Item(content="secret", data={"d": "secret"})], idempotency_key="k")
    sealed.append("s", [Item(content="secret")], idempotency_key="k")
    sealed.put_workspace("s", "secret")
    plain = sealed.backend._backend

    assert "secret" not in repr(plain.read_record("s"))
    turned = make(cipher=Cipher({"2024": old, "2025": new}, sealing="2025"))
    if plain.info()["type"] == "memory":
        turned.backend._backend = plain
    assert turned.record("s").items[0].data == {"d": "secret"}
    assert turned.get("s").metadata == {"m": "secret"}
    assert turned.workspace("s")[1] == "secret"
    assert len(turned.items("s")) == 1
    stranger = make(cipher=Cipher({"2025": new}, sealing="2025"))
    if plain.info()["type"] == "memory":
        stranger.backend._backend = plain
    with pytest.raises(RecordCorrupt):
        stranger.workspace("s")


def _break_sqlite(store):
    with store.backend.connections.writing() as db:
        db.execute("UPDATE sessions SET doc = '{torn' WHERE id = 'bad'")


def _break_files(store):
    (store.backend.active / "session_bad.jsonl").unlink()
    (store.backend.active / "session_bad.json").write_text('{"session": {torn')


def _break_redis(store):
    store.backend._redis.set("session:bad", "{torn")


@pytest.mark.parametrize(
    "kind", ["sqlite", "files", pytest.param("redis", marks=pytest.mark.redis)]
)
def test_a_corrupt_record_is_set_aside_and_hides_no_other(kind, url_of, clock):
    store = open_store(url_of(kind), profile=KATO, clock=clock)
    filled(store, "good")
    filled(store, "bad")
    {"sqlite": _break_sqlite, "files": _break_files, "redis": _break_redis}[kind](store)

    with pytest.raises(RecordCorrupt):
        store.get("bad")
    assert store.get("good").id == "good"
    found = examine(store)
    assert (len(found.corrupt), len(found.warnings)) == (1, 1)
    examine(store, quarantine=True)
    healthy = examine(store)
    assert (healthy.corrupt, healthy.live, healthy.warnings) == ((), 1, ())
    assert [one.id for one in store.list().sessions] == ["good"]
    store.close()


def _break_item_sqlite(store):
    with store.backend.connections.writing() as db:
        db.execute("UPDATE items SET doc = '{torn' WHERE seq = 2")


def _break_item_redis(store):
    store.backend._redis.lset("session-items:s", 1, "{torn")


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def test_a_corrupt_item_is_set_aside_and_hides_no_other(kind, url_of, clock):
    store = open_store(url_of(kind), profile=KATO, clock=clock)
    store.create("s")
    store.append("s", [Item(content=number) for number in (1, 2, 3)])
    {"sqlite": _break_item_sqlite, "redis": _break_item_redis}[kind](store)

    with pytest.raises(RecordCorrupt):
        store.items("s")
    with pytest.raises(RecordCorrupt):
        export_session(store, "s")
    assert [place for place, _ in examine(store, quarantine=True).corrupt] == ["s, item 2"]
    assert examine(store).corrupt == ()
    assert [(one.seq, one.kind, one.content) for one in store.items("s")] == [
        (1, "note", 1),
        (2, "corrupt", None),
        (3, "note", 3),
    ]
    import_session(store, export_session(store, "s"), overwrite=True)
    store.close()


def test_a_corrupt_journal_is_told_as_such(url_of, clock):
    store = open_store(url_of("files"), profile=KATO, clock=clock)
    store.create("s")
    for number in range(3):
        store.append("s", [Item(content=number)])
    journal = store.backend.active / "session_s.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    journal.write_text(first[:20] + "\n" + "".join(rest))

    with pytest.raises(RecordCorrupt):
        store.items("s")
    assert len(examine(store).corrupt) == 1
    store.close()


def test_one_session_that_cannot_be_archived_hinders_no_other(make, clock, tmp_path, monkeypatch):
    store = filled(filled(make(PULSEPAL), "bad"), "good")
    clock.advance(3 * HOUR)
    record = store.record

    def broken(session_id):
        if session_id == "bad":
            raise RecordCorrupt("torn")
        return record(session_id)

    monkeypatch.setattr(store, "record", broken)

    assert Janitor(store, Archive(tmp_path / "a")).sweep().session_ids == ("good",)


def test_the_doctor_warns_of_limits_and_of_work_left(make, clock, tmp_path):
    store = make(replace(PULSEPAL, max_sessions=10))
    for number in range(10):
        store.create(f"s{number}")
    found = examine(store, archive=Archive(tmp_path / "none"), max_bytes=10)
    assert found.warnings[0] == "10 live sessions of at most 10"
    assert found.warnings[1].endswith("bytes stored, more than 10")
    clock.advance(DAY)
    assert examine(store).warnings == ("10 sessions wait to be cleaned up: kato sessions cleanup",)


def test_a_backup_of_a_live_database_has_every_row(tmp_path):
    store = open_store(f"sqlite:{tmp_path}/a.db")
    filled(store)
    store.backend.backup(tmp_path / "copy/b.db")
    copy = open_store(f"sqlite:{tmp_path}/copy/b.db")
    assert copy.record("s") == store.record("s")
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600
    store.close()
    copy.close()


def test_the_library_imports_only_the_standard_library():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import kato_sessions.connect, kato_sessions.files, kato_sessions.sqlite\n"
        "import kato_sessions.memory, kato_sessions.chat, kato_sessions.pulsepal\n"
        "import kato_sessions.client, kato_sessions.doctor, kato_sessions.rebuild\n"
        "import kato_sessions.sealed, kato_sessions.aio, kato_sessions.transfer\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names - {'kato_sessions'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.decode().strip() == "[]"


def test_every_public_name_can_be_had():
    import kato_sessions

    assert all(getattr(kato_sessions, name) for name in dir(kato_sessions))
    assert not hasattr(kato_sessions, "nothing")
