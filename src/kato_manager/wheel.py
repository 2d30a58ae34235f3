"""Our own distribution as a wheel file, made from what is imported: an installation or a checkout.

An image gets it copied in, so that it runs the very code that made it. Equal code gives equal
bytes, which is what an engine's build cache goes by.
"""

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Collection, Iterator
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "kato-manager"
PACKAGES = ("kato_manager", "kato_processor", "kato_sessions")
_OLDEST = (1980, 1, 1, 0, 0, 0)  # zip knows no earlier time
_TAG = "Wheel-Version: 1.0\nGenerator: kato-manager\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def file_name() -> str:
    return f"kato_manager-{metadata.version(DISTRIBUTION)}-py3-none-any.whl"


def content() -> bytes:
    """The bytes of the wheel (PEP 427)."""
    buffer = io.BytesIO()
    record: list[str] = []
    info = f"kato_manager-{metadata.version(DISTRIBUTION)}.dist-info"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _files(info):
            archive.writestr(_member(name), data)
            record.append(f"{name},sha256={_digest(data)},{len(data)}")
        record.append(f"{info}/RECORD,,")
        archive.writestr(_member(f"{info}/RECORD"), "\n".join(record) + "\n")
    return buffer.getvalue()


def extras() -> list[str]:
    """The names of our extras for users."""
    named = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return [name for name in named if name != "dev"]


def requirements(
    *, extras: Collection[str] = (), without: Collection[str] = frozenset()
) -> list[str]:
    """What we need from others, with these extras, except the distributions named."""
    found = []
    for one in metadata.requires(DISTRIBUTION) or ():
        wanted, _, marker = one.partition(";")
        extra = re.search(r"extra == .(\w+)", marker)
        name = re.split(r"[^A-Za-z0-9_.-]", wanted)[0]
        if name not in without and (extra is None or extra[1] in extras):
            found.append(wanted.strip())
    return found


def _files(info: str) -> Iterator[tuple[str, bytes]]:
    root = Path(__file__).parents[1]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix(), path.read_bytes()
    distribution = metadata.distribution(DISTRIBUTION)
    for name in ("METADATA", "entry_points.txt"):
        yield f"{info}/{name}", (distribution.read_text(name) or "").encode()
    yield f"{info}/WHEEL", _TAG.encode()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _OLDEST)
    member.external_attr = 0o644 << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
