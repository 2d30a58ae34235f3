"""A home whose instances are containers of the tests' engine, worked on by real commands."""

import secrets
from typing import Any

from engines import echo_image, endpoint, engine
from homes import Home, get
from kato_manager.runtimes import container

TEMPLATE = """\
image: {image}
args: ["--id", "{{id}}", "--host", "{{host}}", "--port", "{{port}}"]
data_path: /data
health: {{path: /health, identity: instance_id}}
settings:
  recall_threshold:
    {{type: number, minimum: 0, maximum: 1, default: 0.1, env: ECHO_RECALL_THRESHOLD, help: r}}
"""


class Contained:
    """A home whose instances run on the tests' Docker engine, under ids no other test uses."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.api: Any = engine("docker").api
        self.suffix = secrets.token_hex(3)
        home.environ |= {"DOCKER_HOST": endpoint("docker"), "KATO_RUNTIME": "docker"}
        text = TEMPLATE.format(image=echo_image("docker"))
        (home.path / "templates" / "contained.yaml").write_text(text)

    def id(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def start(self, name: str, *words: str, **how: Any) -> Any:
        words = ("--id", self.id(name), "--template", "contained", "--no-gateway", *words)
        return self.home.kato("start", *words, **how)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Everything of this home on the engine, by the name of its container."""
        listed = self.api.containers(all=True, filters={"label": container.ID})
        mine = [
            one for one in listed if one["Labels"][container.HOME].endswith(f":{self.home.path}")
        ]
        return {one["Names"][0].lstrip("/"): one for one in mine}

    def entries(self) -> dict[str, dict[str, Any]]:
        return self.home.document["instances"] if self.home.registry.exists() else {}

    def is_consistent(self) -> bool:
        """Every container of ours is recorded, every entry has its container, nobody is at work."""
        entries, containers = self.entries(), self.containers()
        assert [one["operation"] for one in entries.values()] == [None] * len(entries)
        assert {one["container"] for one in entries.values()} == set(containers)
        assert {one["State"] for one in containers.values()} <= {"running"}
        for instance_id, entry in entries.items():
            assert get(entry["api_port"])["instance_id"] == instance_id
        assert sorted(self.home.listening()) == sorted(one["api_port"] for one in entries.values())
        return True

    def close(self) -> None:
        for one in self.containers().values():
            self.api.remove_container(one["Id"], force=True, v=True)
        for volume in self.api.volumes({"label": container.HOME})["Volumes"] or []:
            if volume["Labels"][container.HOME].endswith(f":{self.home.path}"):
                self.api.remove_volume(volume["Name"], force=True)
