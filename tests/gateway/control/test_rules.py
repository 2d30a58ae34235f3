"""The rules of the timers, without time passing."""

import asyncio
from datetime import UTC, datetime

import pytest

from kato_manager.errors import ConfigError
from kato_manager.gateway import token
from kato_manager.gateway.counters import Counts
from kato_manager.gateway.health import Health, Unhealthy
from kato_manager.gateway.idle import Activity, least_recently_used, overdue
from kato_manager.gateway.lifecycle import Options
from kato_manager.gateway.restarts import Policy, Trouble, wants_restart
from kato_manager.gateway.stream import Stream
from kato_manager.gateway.tuning import Tuning, tuning_of
from kato_manager.gateway.unit import place, text
from kato_manager.model import Instance, InstanceSpec, Status
from kato_manager.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(instance_id, **values):
    return Instance(
        spec=InstanceSpec(id=instance_id, **values),
        port=8001,
        status=Status.RUNNING,
        created_at=NOW,
        updated_at=NOW,
    )


def test_pauses_double_with_jitter_up_to_the_longest():
    policy = Policy(attempts=9, first_pause_s=1, longest_pause_s=10)
    longest, shortest, trouble = [], [], None
    for _ in range(6):
        shortest.append(policy.crashed(trouble, 100, lambda: 0).due_s - 100)
        trouble = policy.crashed(trouble, 100, lambda: 1)
        longest.append(trouble.due_s - 100)

    assert longest == [1, 2, 4, 8, 10, 10]
    assert shortest == [0.5, 1, 2, 4, 5, 5]


def test_the_last_of_several_crashes_in_a_row_is_final():
    policy = Policy(attempts=3)
    trouble = policy.crashed(policy.crashed(None, 0), 1)

    assert policy.crashed(trouble, 2) == Trouble(crashes=3, due_s=None)


def test_who_was_steady_begins_anew():
    policy = Policy(attempts=3, steady_s=60)
    trouble = policy.started(policy.crashed(policy.crashed(None, 0), 1), 10)

    assert policy.crashed(trouble, 69).crashes == 3
    assert policy.crashed(trouble, 70).crashes == 1


@pytest.mark.parametrize(
    ("restart", "exit_code", "wanted"),
    [
        ("no", 1, False),
        ("on-failure", 1, True),
        ("on-failure", None, True),
        ("on-failure", 0, False),
        ("always", 0, True),
        ("unless-stopped", 0, True),
    ],
)
def test_the_restart_policy_decides(restart, exit_code, wanted):
    assert wants_restart(InstanceSpec(id="a", restart=restart), exit_code) is wanted


def test_idle_counts_from_the_last_request_or_the_first_look():
    activity = Activity()
    activity.look(["a", "b"], {"b": Counts(last_activity_s=50.0)}, 100.0)

    activity.look(["a", "b"], {"b": Counts(last_activity_s=130.0)}, 140.0)

    assert (activity.idle_s("a", 150.0), activity.idle_s("b", 150.0)) == (50.0, 20.0)


def test_a_start_seen_late_does_not_hide_that_another_was_used_since():
    activity = Activity()
    activity.look(["a"], {"a": Counts(last_activity_s=20.0)}, 20.0)

    activity.touch("b", 10.0)
    activity.touch("a", 5.0)

    assert (activity.idle_s("a", 30.0), activity.idle_s("b", 30.0)) == (10.0, 20.0)


def test_work_that_lasts_is_activity():
    activity = Activity()
    for now_s in (100.0, 200.0):
        activity.look(["a", "b"], {"a": Counts(in_flight=1), "b": Counts(websockets=1)}, now_s)

    assert (activity.idle_s("a", 201.0), activity.idle_s("b", 201.0)) == (1.0, 1.0)


def test_only_those_with_a_limit_become_overdue():
    activity = Activity()
    activity.look(["a", "b"], {}, 0.0)
    limited, free = recorded("a", idle_timeout_s=10), recorded("b")

    assert overdue([limited, free], activity, 9.9) == []
    assert overdue([limited, free], activity, 10.0) == [limited]


def test_room_is_made_by_the_longest_idle_that_requests_can_bring_back():
    activity = Activity()
    busy, late, early = (recorded(one, start="on-demand") for one in ("busy", "late", "early"))
    eager = recorded("eager")
    for number, one in enumerate((eager, busy, early, late)):
        activity.touch(one.id, float(number))

    chosen = least_recently_used(
        [busy, late, early, eager], activity, {"busy": Counts(in_flight=1)}, 100.0
    )

    assert chosen is early


def test_one_missed_check_is_not_told(tmp_path):
    (tmp_path / "gateway").mkdir()
    told = []
    health = Health(tmp_path, on_change=lambda *change: told.append(change))
    published = Unhealthy(tmp_path)

    health.note({"a": "no answer", "b": ""})
    assert (told, published.ids) == ([], frozenset())
    health.note({"a": "no answer", "b": ""})
    assert (told, published.ids) == ([("a", "no answer")], {"a"})
    health.note({"a": "", "b": "no answer"})
    assert (told, published.ids) == ([("a", "no answer"), ("a", "")], frozenset())


def test_what_is_gone_is_not_ill(tmp_path):
    (tmp_path / "gateway").mkdir()
    health = Health(tmp_path, on_change=lambda *_: None)
    health.note({"a": "no answer"})
    health.note({"a": "no answer"})

    health.note({})

    assert Unhealthy(tmp_path).ids == frozenset()


def test_a_stream_gives_everybody_every_item_and_ends():
    async def play():
        stream = Stream()

        async def read(after):
            return [one.item async for one in stream.after(after, pause_s=10) if one]

        readers = [asyncio.create_task(read(0)), asyncio.create_task(read(1))]
        for item in "abc":
            stream.post(item)
            await asyncio.sleep(0)
        stream.end()
        return await asyncio.gather(*readers)

    assert asyncio.run(play()) == [["a", "b", "c"], ["b", "c"]]


def test_a_late_reader_misses_what_is_no_longer_kept():
    async def play():
        stream = Stream(2)
        for item in "abc":
            stream.post(item)
        stream.end()
        return [(one.number, one.item) async for one in stream.after(0, pause_s=1) if one]

    assert asyncio.run(play()) == [(2, "b"), (3, "c")]


def test_the_token_is_made_once(tmp_path):
    first, second = token.ensure(tmp_path), token.ensure(tmp_path)

    assert first == second == token.read(tmp_path)
    assert len(first) >= 43
    assert token.path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in token.path(tmp_path).parent.iterdir()] == ["token"]


def test_an_empty_token_lets_nobody_in(tmp_path):
    token.ensure(tmp_path)
    token.path(tmp_path).write_text("")

    assert not token.is_right("", token.read(tmp_path))
    assert token.ensure(tmp_path)


def test_tuning_comes_from_the_users_configuration():
    assert tuning_of({"max_running": 3, "port_range": "1-2"}) == Tuning(max_running=3)
    assert tuning_of({"max_running": 0}) == Tuning()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("max_running", "many", "'many' is not a whole number above 0"),
        ("max_running", 1.5, "1.5 is not a whole number above 0"),
        ("health_interval_s", 0, "0 is not a number above 0"),
        ("restart_steady_s", True, "True is not a number above 0"),
        ("restart_first_pause_s", float("nan"), "nan is not a number above 0"),
    ],
)
def test_a_wrong_value_is_named(key, value, said):
    with pytest.raises(ConfigError) as told:
        tuning_of({key: value})

    assert told.value.message == f"config.yaml: {key}: {said}"


def test_the_unit_ends_the_gateway_only_and_quotes_its_words(tmp_path):
    home = tmp_path / "my $home 100%"
    settings = Settings(home=home, gateway_port=8123)

    lines = text(settings, Options(workers=2)).splitlines()

    command = next(one for one in lines if one.startswith("ExecStart="))
    assert f'--home "{tmp_path}/my $$home 100%%" --host 127.0.0.1 --workers 2' in command
    assert command.endswith(" --port 8123")
    assert f'Environment="KATO_HOME={tmp_path}/my $home 100%%"' in lines
    assert "KillMode=process" in lines
    found = place(home, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert found.parent == tmp_path / "systemd" / "user"
    assert found.name.startswith("kato-gateway-")
