import json

from homes import wait_until


def start(api, **values):
    return api.post("/api/instances", json={"template": "echo", **values})


def data(lines):
    return [line[6:] for line in lines if line.startswith("data: ")]


def happened(api):
    """The numbers of what happened, once the instance runs."""
    start(api, id="a")
    events = api.context.keeper.events
    wait_until(lambda: any(one.item.kind == "running" for one in events.kept_after(0)))
    return events.last


def test_events_that_were_missed_come_again(api):
    last = happened(api)

    answer = api.get("/api/events?follow=false", headers={"Last-Event-ID": str(last - 1)})

    (found,) = [json.loads(one) for one in data(answer.text.splitlines())]
    assert (found["kind"], found["instance"], found["detail"]) == ("running", "a", "")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_an_unknown_last_event_begins_with_what_comes(api):
    last = happened(api)

    answer = api.get("/api/events?follow=false", headers={"Last-Event-ID": str(last + 99)})

    assert answer.text == ""


def test_a_log_goes_on_as_it_is_printed_and_ends_with_its_instance(api):
    start(api, id="a", env={"ECHO": "chatty"}, grace_s=0.1)

    with api.stream("GET", "/api/instances/a/logs", params={"tail": 5}) as answer:
        lines = answer.iter_lines()
        numbers = []
        while len(numbers) < 30:
            line = next(lines)
            if line.startswith("data: line "):
                numbers.append(int(line.removeprefix("data: line ")))
        api.delete("/api/instances/a")
        rest = list(lines)

    assert numbers == list(range(numbers[0], numbers[0] + 30))
    assert rest[-3:] == ["event: end", "data:", ""]


def test_many_readers_of_a_log_share_one_thread(api):
    import threading

    start(api, id="a")
    streams = [api.stream("GET", "/api/instances/a/logs") for _ in range(10)]

    try:
        for one in streams:
            lines = one.__enter__().iter_lines()
            assert next(line for line in lines if line.startswith("data")) == "data: echo a starts"

        readers = [one for one in threading.enumerate() if one.name == "log a"]
        assert len(readers) == 1
    finally:
        for one in streams:
            one.__exit__(None, None, None)


def test_a_log_as_text(api):
    start(api, id="a", env={"ECHO": "chatty"})
    log = api.context.manager.settings.home / "instances" / "kato-a" / "processor.log"
    wait_until(lambda: "line 9\n" in log.read_text())

    whole = api.get("/api/instances/a/logs", headers={"Accept": "text/plain"})
    none = api.get("/api/instances/a/logs?tail=0", headers={"Accept": "text/plain"})

    assert whole.text.startswith("echo a starts\nline 0\nline 1\n")
    assert none.text == ""


def test_a_log_of_nothing_is_404(api):
    answer = api.get("/api/instances/a/logs")

    assert (answer.status_code, answer.json()["code"]) == (404, "instance_not_found")
