"""A node's memory stays at one instance, whatever starts, stops or restarts."""

from homes import wait_until


def test_sessions_of_a_node_meet_the_same_memory(gate) -> None:
    first, second = (gate.create(node_id="library") for _ in range(2))
    for word in ("once", "upon"):
        gate.json("POST", f"/sessions/{first}/observe", {"strings": [word]})
    gate.json("POST", f"/sessions/{first}/learn")
    gate.json("POST", f"/sessions/{second}/observe", {"strings": ["once"]})

    (prediction,) = gate.json("GET", f"/sessions/{second}/predictions")["predictions"]

    assert prediction["future"] == [["upon"]]
    assert gate.instance(first) == gate.instance(second)


def test_nodes_are_spread_over_the_instances(gate) -> None:
    found = {gate.instance(gate.create(node_id=f"node_{number}")) for number in range(12)}

    assert found == {"a", "b"}


def test_a_binding_outlives_its_instance_and_the_gateway(gate) -> None:
    session_id = gate.create(node_id="faithful")
    bound = gate.instance(session_id)
    gate.json("POST", f"/sessions/{session_id}/observe", {"strings": ["kept"]})

    assert gate.home.kato("stop", bound).code == 0
    refused = gate.ask("POST", "/sessions", {"node_id": "faithful"})
    shown = gate.json("GET", f"/sessions/{session_id}")
    assert gate.home.kato("start", "--id", bound, "--group", "pair").code == 0
    assert gate.home.kato("gateway", "down").code == 0
    assert gate.home.kato("gateway", "up").code == 0
    wait_until(lambda: gate.ask("GET", f"/sessions/{session_id}/stm").is_success)

    assert (refused.status_code, refused.json()["code"]) == (503, "instance_not_running")
    assert refused.headers["retry-after"] == "30"
    assert shown["node_id"] == "faithful"
    assert gate.json("GET", f"/sessions/{session_id}/stm")["stm"] == [["kept"]]
    assert gate.instance(gate.create(node_id="faithful")) == bound


def test_a_binding_changes_by_command_only(gate) -> None:
    session_id = gate.create(node_id="moved")
    bound = gate.instance(session_id)
    other = {"a": "b", "b": "a"}[bound]

    done = gate.home.kato("sessions", "bind", "moved", other)
    gate.json("POST", f"/sessions/{session_id}/observe", {"strings": ["here"]})

    assert done.out == f"moved  {other}  (was {bound})\n"
    assert gate.history(session_id)[-1]["instance_id"] == other
    assert gate.instance(gate.create(node_id="moved")) == other
