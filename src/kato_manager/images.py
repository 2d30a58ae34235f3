"""The images that instances run from: our own is built, every other is pulled."""

import io
import re
import tarfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kato_manager import wheel
from kato_manager.errors import ConfigError, ImageNotFound, KatoError
from kato_manager.runtimes.container import moment
from kato_manager.runtimes.engine import Engine

PROCESSOR = "kato-processor"
DEFAULT_TAG = "latest"
EXTRAS = "redis"  # sessions may be shared over machines
_NOT_IN_PROCESSOR = frozenset(
    {"docker", "fastapi", "filelock", "prometheus-client", "rich", "typer"}
)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image on the engine; without an id it is not there."""

    name: str
    id: str = ""
    size_bytes: int = 0
    created_at: datetime | None = None


class Images:
    """Images of one engine; `on_progress` gets a line of text for every step."""

    def __init__(self, engine: Engine, on_progress: Progress = lambda _line: None) -> None:
        self._engine = engine
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def exists(self, name: str) -> bool:
        return bool(self.find(name).id)

    def find(self, name: str) -> Image:
        from docker.errors import ImageNotFound as NoImage

        with self._engine.answering():
            try:
                details = self._engine.api.inspect_image(name)  # type: ignore[no-untyped-call]
            except NoImage:
                return Image(name=name)
        return Image(
            name=name,
            id=details["Id"],
            size_bytes=details["Size"],
            created_at=moment(details["Created"]),
        )

    def list(self, names: Iterable[str]) -> list[Image]:
        """What the engine holds of these."""
        return [self.find(name) for name in dict.fromkeys(names)]

    def provide(self, name: str, policy: str) -> None:
        """Make the image be there by policy: always, missing or never.

        Our own is built where it is missing; others are pulled. Threads that want the same image
        wait for the first. Raises `ImageNotFound` with the command that helps.
        """
        with self._lock:
            if self.exists(name) and (policy != "always" or is_ours(name)):
                return
            if policy == "never":
                raise ImageNotFound(
                    f"image {name} is not on {self._engine.endpoint}, and pull is `never`",
                    hint="kato image build" if is_ours(name) else f"kato image pull {name}",
                )
            if is_ours(name):
                self.build(name)
            else:
                self.pull(name)

    def pull(self, name: str) -> None:
        from docker.errors import APIError
        from docker.utils import parse_repository_tag

        repository, tag = parse_repository_tag(name)
        self._on_progress(f"pulling {name}")
        with self._engine.answering():
            try:
                steps = self._engine.api.pull(
                    repository, tag=tag or DEFAULT_TAG, stream=True, decode=True
                )
                self._report(steps)
            except (APIError, _Failed) as error:
                raise ImageNotFound(
                    f"image {name} cannot be pulled: {_reason(error)}",
                    hint=f"see if the name is right: docker pull {name}",
                ) from error

    def build(self, tag: str = PROCESSOR, *, build_args: Mapping[str, str] | None = None) -> Image:
        """Build our own image.

        `build_args` are those of `compose/processor.Dockerfile`; WHEELS is a folder of this
        machine, and with it nothing is fetched from an index. EXTRAS are ours to be installed.
        """
        from docker.errors import APIError

        arguments = dict(build_args or {})
        wheels = arguments.pop("WHEELS", "")
        extras = _known(arguments.pop("EXTRAS", EXTRAS))
        context = build_context(Path(wheels) if wheels else None, extras)
        if wheels:
            arguments["PIP_NO_INDEX"] = "1"
        self._on_progress(f"building {tag}")
        with self._engine.answering():
            try:
                steps = self._engine.api.build(
                    fileobj=io.BytesIO(context),
                    custom_context=True,
                    dockerfile="processor.Dockerfile",
                    tag=tag,
                    buildargs=arguments,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
                self._report(steps)
            except (APIError, _Failed) as error:
                raise KatoError(
                    f"image {tag} was not built: {_reason(error)}",
                    hint="without a network: kato image build --build-arg BASE_IMAGE=NAME"
                    " --build-arg WHEELS=FOLDER",
                ) from error
        return self.find(tag)

    def _report(self, steps: Iterator[Mapping[str, Any]]) -> None:
        """Tell every step once; the bytes of a layer are not steps.

        Heard to its end also after an error: what is cut off half-way leaves a connection open.
        """
        told, error = "", ""
        for step in steps:
            error = error or str(step.get("error", "")).strip()
            line = str(step.get("stream") or step.get("status") or "").strip()
            if line and line != told and not step.get("progressDetail"):
                self._on_progress(f"{step['id']}: {line}" if step.get("id") else line)
                told = line
        if error:
            raise _Failed(error)


class _Failed(Exception):
    """The engine's report of a failure, inside a stream that began well."""


def is_ours(name: str) -> bool:
    return name.partition(":")[0] == PROCESSOR


def folder() -> Path:
    """`compose/`, in an installation or in a checkout."""
    package = Path(__file__).parent
    installed = package / "compose"
    return installed if installed.is_dir() else package.parents[1] / "compose"


def requirements(extras: Collection[str]) -> list[str]:
    """What the processor needs from others."""
    return wheel.requirements(extras=extras, without=_NOT_IN_PROCESSOR)


def _known(text: str) -> list[str]:
    chosen = [name for name in re.split(r"[, ]+", text) if name]
    if unknown := set(chosen) - set(wheel.extras()):
        raise ConfigError(
            f"EXTRAS: {', '.join(sorted(unknown))}: no such extra",
            hint=f"there are {', '.join(sorted(wheel.extras()))}",
        )
    return chosen


def build_context(wheels: Path | None, extras: Collection[str] = (EXTRAS,)) -> bytes:
    """A tar of what `processor.Dockerfile` copies; equal content gives equal bytes."""
    if wheels is not None and not wheels.is_dir():
        raise ConfigError(f"WHEELS: {wheels} is not a folder")
    needed = "\n".join(requirements(extras)) + "\n"
    files = {
        "processor.Dockerfile": (folder() / "processor.Dockerfile").read_bytes(),
        "requirements.txt": needed.encode(),
        "wheels/.keep": b"",
        f"dist/{wheel.file_name()}": wheel.content(),
    }
    for path in sorted(wheels.glob("*.whl")) if wheels else ():
        files[f"wheels/{path.name}"] = path.read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)
