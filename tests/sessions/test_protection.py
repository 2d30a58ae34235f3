"""Redaction, the audit log and encryption at rest: what each keeps out of which place."""

import base64
import gzip
import json
import stat
import threading
from dataclasses import replace

import pytest

from kato_sessions.archive import Archive
from kato_sessions.audit import AuditLog
from kato_sessions.cipher import Cipher, add_key, name_of
from kato_sessions.config import from_block
from kato_sessions.connect import open_store
from kato_sessions.doctor import examine
from kato_sessions.errors import (
    InvalidSession,
    RecordCorrupt,
    SessionSealed,
    SettingInvalid,
    StoreUnavailable,
)
from kato_sessions.janitor import Janitor
from kato_sessions.model import Item
from kato_sessions.profile import CHAT, KATO, PULSEPAL
from kato_sessions.redaction import Redaction, rules_of
from kato_sessions.store import Store
from kato_sessions.transfer import export_session, import_session, migrate, to_document, to_text

DAY = 24 * 3_600_000
OLD, NEW = b"o" * 32, b"n" * 32
CIPHER = Cipher({"old": OLD}, sealing="old")
ROTATED = Cipher({"old": OLD, "new": NEW}, sealing="new")
STRANGER = Cipher({"new": NEW}, sealing="new")


@pytest.fixture
def again(clock):
    """The same place, opened with other options."""

    def open_again(store, **options):
        backend = getattr(store.backend, "_backend", store.backend)
        return Store(backend, store.profile, clock=clock, **options)

    return open_again


def filled(store, session_id="s"):
    store.create(session_id, metadata={"m": "secret"}, context={"c": "secret"})
    store.append(session_id, [Item(content="secret", data={"d": "secret"})], idempotency_key="k")
    store.put_workspace(session_id, "secret")
    return store


def kept(store, session_id="s") -> str:
    """What stands in the place itself."""
    return to_text(to_document(store.backend.read_record(session_id)))


# Encryption


def test_a_lost_key_loses_nothing_and_nothing_falls_back_to_plain_text(make, again, clock):
    store = filled(make(KATO, cipher=CIPHER))
    before = kept(again(store))
    for blind in (again(store), again(store, cipher=STRANGER)):
        for act in (
            lambda one: one.get("s"),
            lambda one: one.append("s", [Item(content="more")]),
            lambda one: one.patch("s", {"metadata": {"m": "more"}}),
            lambda one: one.put_workspace("s", "more"),
            lambda one: one.workspace("s"),
            lambda one: one.items("s"),
            lambda one: export_session(one, "s"),
            lambda one: one.rewrite("s"),
        ):
            with pytest.raises(SessionSealed) as told:
                act(blind)
            assert (told.value.key, told.value.code) == ("old", "session_sealed")
        assert [one.id for one in blind.list().sessions] == ["s"]
        assert examine(blind).warnings == (
            "1 sessions or archives are sealed with a key that is not given",
        )

    assert kept(again(store)) == before
    assert store.items("s")[0].data == {"d": "secret"}


def test_who_lacks_the_key_can_still_delete(make, again):
    store = filled(make(KATO, cipher=CIPHER))

    again(store, cipher=STRANGER).delete("s")

    assert not store.exists("s")


def test_encryption_can_begin_turn_its_key_and_end(make, again):
    store = filled(make(KATO))
    document = export_session(store, "s")
    sealed = again(store, cipher=CIPHER)
    sealed.append("s", [Item(content="then")])
    assert [one.content for one in sealed.items("s")] == ["secret", "then"]
    assert "secret" in kept(again(store))

    assert sealed.rewrite("s")
    assert "secret" not in kept(again(store))
    assert again(store, cipher=ROTATED).rewrite("s")
    assert [one.content for one in again(store, cipher=STRANGER).items("s")] == ["secret", "then"]
    ending = again(store, cipher=Cipher({"new": NEW}, sealing=None))
    assert ending.rewrite("s")
    assert export_session(again(store), "s")["items"][:1] == document["items"]
    (first,) = again(store).append("s", [Item(content="twice")], idempotency_key="k")
    assert first.content == "secret"


def test_what_is_appended_while_a_session_is_rewritten_is_kept(make, again):
    store = again(filled(make(KATO)), cipher=CIPHER)

    def append() -> None:
        for number in range(20):
            store.append("s", [Item(content=number)])

    thread = threading.Thread(target=append)
    thread.start()
    while thread.is_alive():
        store.rewrite("s")
    thread.join()

    assert [one.content for one in store.items("s")] == ["secret", *range(20)]


def test_a_session_that_does_not_open_hides_no_other(make, again, tmp_path, clock):
    store = filled(make(PULSEPAL, cipher=CIPHER), "mine")
    both = again(store, cipher=STRANGER)
    both.create("theirs", metadata={"m": 1})

    assert [one.id for one in both.list().sessions] == ["theirs", "mine"]
    clock.advance(2 * DAY)
    swept = Janitor(both, Archive(tmp_path / "archive")).sweep()
    assert (swept.archived, swept.session_ids) == (1, ("theirs",))
    assert store.items("mine")[0].content == "secret"


def test_archives_are_sealed_too(make, again, tmp_path, clock):
    store = filled(make(PULSEPAL, cipher=CIPHER))
    archive = Archive(tmp_path / "archive")
    items = store.items("s")
    path = archive.put(store, "s")

    assert "secret" not in gzip.decompress(path.read_bytes()).decode()
    assert examine(again(store), archive=archive).sealed == 1
    with pytest.raises(SessionSealed):
        archive.restore(again(store), "s")
    rotated = again(store, cipher=ROTATED)
    archive.restore(rotated, "s")
    assert (rotated.items("s"), rotated.workspace("s")[1]) == (items, "secret")


def test_archives_follow_a_new_key(make, again, tmp_path):
    store = filled(make(PULSEPAL))
    archive = Archive(tmp_path / "archive")
    path = archive.put(store, "s")
    assert "secret" in gzip.decompress(path.read_bytes()).decode()

    archive.rewrite(again(store, cipher=CIPHER), next(archive.list()))

    assert "secret" not in gzip.decompress(path.read_bytes()).decode()
    archive.restore(again(store, cipher=CIPHER), "s")
    assert "secret" not in kept(again(store))


def test_what_moves_is_sealed_anew(make, again, clock, tmp_path):
    store = filled(make(CHAT, cipher=CIPHER))
    with open_store(f"sqlite:{tmp_path}/b.db", clock=clock, cipher=STRANGER) as target:
        migrate(store, target)

        assert target.record("s") == store.record("s")
        assert "secret" not in kept(again(target))
        assert '"sealed":"new"' in kept(again(target))


def test_text_that_looks_sealed_is_text(make):
    forged = Item(content="sealed:old:gAAAAABk", data={"sealed": "old"})
    store = filled(make(KATO, cipher=CIPHER))
    store.append("s", [forged])
    assert [one.content for one in store.items("s")] == ["secret", forged.content]
    import_session(store, export_session(store, "s"), overwrite=True)
    assert store.items("s")[1].data == forged.data


def test_a_token_that_was_changed_is_told(make, again):
    store = filled(make(KATO, cipher=CIPHER))
    blind = Cipher({"old": NEW}, sealing="old")
    with pytest.raises(RecordCorrupt):
        again(store, cipher=blind).get("s")


# Keys


def test_a_key_file_grows_and_the_newest_key_seals(tmp_path):
    path = tmp_path / "keys/sessions.key"
    first, second = add_key(path), add_key(path)
    path.write_text(path.read_text().rstrip() + "\n# by hand, without a newline at the end")
    third = add_key(path)

    cipher = Cipher.from_file(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({first, second, third}) == 3
    assert cipher.seal("s", "x").startswith(f"sealed:{third}:")
    key = base64.b64decode(path.read_text().splitlines()[0])
    assert Cipher({name_of(key): key}, sealing=first).open("s", "plain") == "plain"


def test_a_key_that_was_added_is_found_without_a_restart(tmp_path):
    path = tmp_path / "sessions.key"
    first = add_key(path)
    running = Cipher.from_file(path)
    add_key(path)

    sealed = Cipher.from_file(path).seal("s", "x")

    assert running.open("s", sealed) == "x"
    assert running.seal("s", "x").startswith(f"sealed:{first}:")
    with pytest.raises(SessionSealed):
        running.open("s", STRANGER.seal("s", "x"))


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0o600, "is not there"),
        ("", 0o600, "holds no key"),
        ("# only this\n\n", 0o600, "holds no key"),
        (base64.b64encode(OLD).decode(), 0o640, "is open to others"),
        ("c2hvcnQ=", 0o600, "line 1 is not 32 bytes in base64"),
        (f"{base64.b64encode(OLD).decode()}\nno key", 0o600, "line 2 is not 32 bytes"),
    ],
)
def test_a_key_file_that_cannot_be_used_says_why(tmp_path, text, mode, said):
    path = tmp_path / "sessions.key"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)

    with pytest.raises(InvalidSession, match=said):
        Cipher.from_file(path)


def test_without_the_extra_encryption_says_what_to_install(monkeypatch):
    monkeypatch.setattr("kato_sessions.cipher.find_spec", lambda _name: None)

    with pytest.raises(InvalidSession) as told:
        Cipher({"k": OLD}, sealing="k")

    assert told.value.hint == "pip install 'kato-manager[encrypt]'"


def test_without_the_extra_redis_says_what_to_install(monkeypatch):
    monkeypatch.setattr("kato_sessions.connect.find_spec", lambda _name: None)

    with pytest.raises(InvalidSession) as told:
        open_store("redis://localhost:6379/0")

    assert told.value.hint == "pip install 'kato-manager[redis]'"


# Redaction

RULES = ["email", "credit_card", "ip_address", "credentials"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("mail ann.b+c@example.co.uk now", "mail [email] now"),
        ("müller@example.org,a@b.de", "[email],[email]"),
        ("4111 1111 1111 1111 and 4111111111111112", "[credit_card] and 4111111111111112"),
        ("from 10.0.0.1, ::1 and fe80::1.", "from [ip_address], [ip_address] and [ip_address]."),
        ("at 12:30:45 v1.2.3 999.1.1.1", "at 12:30:45 v1.2.3 999.1.1.1"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: [credentials]"),
        ("key sk-abcdefghijklmnop1234", "key [credentials]"),
        ("plain text @ home, no. 12", "plain text @ home, no. 12"),
    ],
)
def test_the_known_rules_take_out_what_they_name(text, left):
    redact = Redaction(rules_of(RULES, "redact"))

    done = redact(Item(content=text))

    assert (done.content, done.redacted) == (left, left != text)


def test_rules_of_ones_own_go_by_pattern_or_by_key():
    given = [{"pattern": "ACME-[0-9]+", "name": "ticket"}, {"key": "Pin"}]
    redact = Redaction(rules_of(given, "redact"))

    done = redact(Item(content=["ACME-12", 7], data={"pin": {"a": 1}, "x": [{"PIN": "1"}]}))

    assert done.content == ["[ticket]", 7]
    assert done.data == {"pin": "[redacted]", "x": [{"PIN": "[redacted]"}]}


def test_a_long_text_is_searched_in_proportion_to_its_length():
    redact = Redaction(rules_of(RULES, "redact"))
    for text in ("a" * 300_000, "a.b-" * 75_000, "1 " * 150_000, "f:" * 150_000, "eyJ" * 100_000):
        assert redact(Item(content=text)).content == text


def test_nothing_is_written_or_archived_before_it_is_redacted(make, again, tmp_path):
    redact = Redaction(rules_of([{"pattern": "secret"}], "redact"))
    early = filled(make(PULSEPAL), "early")
    document = export_session(early, "early")
    archive = Archive(tmp_path / "archive")
    store = filled(again(early, redact=redact))
    store.patch("s", {"context": {"c": "a secret"}})
    store.append("s", [], patch={"metadata": {"n": "a secret"}})

    assert "secret" not in kept(again(store)).replace('"workspace":"secret"', "")
    assert store.get("s").context == {"c": "a [redacted]"}
    path = archive.put(store, "early")
    text = gzip.decompress(path.read_bytes()).decode()
    assert "secret" not in text.replace('"workspace":"secret"', "")
    import_session(store, document)
    assert [one.content for one in store.items("early")] == ["[redacted]"]


# Audit


def test_the_audit_log_tells_access_and_change(make, tmp_path):
    path = tmp_path / "log/audit.jsonl"
    store = make(CHAT, audit=AuditLog(path, by="ann"))
    filled(store)
    store.get("s")
    store.items("s")
    store.list(user_id="u")
    export_session(store, "s")
    store.peek("nobody")
    store.delete("s")

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["action"] for line in lines] == [
        *("create", "append", "workspace", "read", "history", "list", "export", "delete")
    ]
    assert {line["by"] for line in lines} == {"ann"}
    assert "secret" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_ends_by_itself_is_in_the_audit_log(make, tmp_path, clock):
    path = tmp_path / "audit.jsonl"
    soft = replace(CHAT, keep_expired_ms=DAY)
    store = filled(make(soft, audit=AuditLog(path)))
    clock.advance(2 * DAY)
    Janitor(store).sweep()
    clock.advance(2 * DAY)
    Janitor(store).sweep()

    actions = [json.loads(line)["action"] for line in path.read_text().splitlines()]
    assert actions[-2:] == ["expire", "purge"]


def test_an_audit_log_that_cannot_be_written_stops_what_it_should_tell(make, tmp_path):
    store = make(KATO, audit=AuditLog(tmp_path))

    with pytest.raises(StoreUnavailable, match=r"audit log .* cannot be written"):
        store.create("s")


# Settings


def test_a_block_says_what_guards_the_sessions(tmp_path):
    add_key(tmp_path / "my.key")
    block = {
        "redact": ["email"],
        "audit": True,
        "encryption": {"key_file": "my.key", "enabled": False},
    }

    guard = from_block(block, folder=tmp_path).protection

    assert [rule.name for rule in guard.rules] == ["email"]
    assert guard.audit == tmp_path / "sessions-audit.jsonl"
    assert (guard.key_file, guard.seals) == (tmp_path / "my.key", False)
    assert set(guard.options()) == {"redact", "audit", "cipher"}
    assert set(from_block({}).protection.options().values()) == {None}


def test_a_block_says_what_happens_at_a_limit():
    assert from_block({"on_limit": "reject"}).profile.on_limit == "reject"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"on_limit": "never"}, "sessions.on_limit: 'never' is none of evict_oldest_idle, reject"),
        ({"redact": None}, "sessions.redact: None is not a list"),
        ({"redact": ["emial"]}, 'sessions.redact[0]: unknown rule, did you mean "email"?'),
        ({"redact": [{"pattern": "("}]}, "sessions.redact[0].pattern: '(' is not a regular"),
        ({"redact": [{"pattern": "a*"}]}, "sessions.redact[0].pattern: 'a*' matches the empty"),
        ({"redact": [{"patern": "a"}]}, "sessions.redact[0].patern: unknown setting, did you mean"),
        ({"redact": [{"name": "a"}]}, "sessions.redact[0]: a rule has either a pattern or a key"),
        ({"redact": [3]}, "sessions.redact[0]: 3 is no rule"),
        ({"redact": [{"key": 3}]}, "sessions.redact[0].key: 3 is not a text"),
        ({"audit": None}, "sessions.audit: None is neither true, false nor a path"),
        ({"encryption": None}, "sessions.encryption: does not say which key file"),
        ({"encryption": True}, "sessions.encryption: does not say which key file"),
        ({"encryption": {}}, "sessions.encryption: None is not a path"),
        ({"encryption": {"key_file": ""}}, "sessions.encryption.key_file: '' is not a path"),
        ({"encryption": {"keyfile": "x"}}, "sessions.encryption.keyfile: unknown setting"),
        (
            {"encryption": {"key_file": "x", "enabled": "no"}},
            "sessions.encryption.enabled: 'no' is neither true nor false",
        ),
        ({"encrypton": {"key_file": "x"}}, "sessions.encrypton: unknown setting, did you mean"),
    ],
)
def test_a_mistake_in_a_block_is_never_taken_as_off(block, said):
    with pytest.raises(SettingInvalid) as told:
        from_block(block)
    assert str(told.value).startswith(said)
