"""What guards a store's content, from the keys of a `sessions:` block.

sessions:
  redact: [email, credentials, {pattern: 'ACME-[0-9]+', name: ticket}]    # see redaction.py
  audit: true                             # or a path; true = sessions-audit.jsonl
  encryption: {key_file: sessions.key}    # see cipher.py; `enabled: false` opens, seals no more
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kato_sessions.audit import AuditLog
from kato_sessions.cipher import Cipher
from kato_sessions.errors import InvalidSession, SettingInvalid
from kato_sessions.redaction import Redaction, Rule, rules_of

KEYS = ("redact", "audit", "encryption")
_AUDIT_FILE = "sessions-audit.jsonl"
_KEY_FILE = "sessions.encryption.key_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Rules of redaction, where the audit log is, where the keys are; None = not wanted."""

    rules: tuple[Rule, ...] = ()
    audit: Path | None = None
    key_file: Path | None = None
    seals: bool = True

    def options(self, *, by: str = "") -> dict[str, Any]:
        """What `open_store` wants of it. Raises SettingInvalid for a key file without keys."""
        return {
            "redact": Redaction(self.rules) if self.rules else None,
            "audit": AuditLog(self.audit, by=by) if self.audit else None,
            "cipher": self._cipher() if self.key_file else None,
        }

    def _cipher(self) -> Cipher:
        try:
            return Cipher.from_file(self.key_file or Path(), seals=self.seals)
        except InvalidSession as error:
            raise SettingInvalid(_KEY_FILE, str(error), hint=error.hint) from error


def protection_of(block: Mapping[str, Any], folder: Path) -> Protection:
    """Relative paths begin at `folder`; an empty value is a mistake, never "off"."""
    encryption = _encryption(block.get("encryption", False))
    key_file = encryption.get("key_file")
    return Protection(
        rules=rules_of(block.get("redact", []), "sessions.redact"),
        audit=_audit(block.get("audit", False), folder),
        key_file=folder / Path(key_file).expanduser() if key_file else None,
        seals=encryption.get("enabled", True),
    )


def _audit(given: Any, folder: Path) -> Path | None:
    if isinstance(given, bool):
        return folder / _AUDIT_FILE if given else None
    if not isinstance(given, str) or not given:
        raise SettingInvalid("sessions.audit", f"{given!r} is neither true, false nor a path")
    return folder / Path(given).expanduser()


def _encryption(given: Any) -> Mapping[str, Any]:
    path = "sessions.encryption"
    if given is False:
        return {}
    if not isinstance(given, Mapping):
        raise SettingInvalid(
            path, "does not say which key file", hint="encryption: {key_file: PATH}"
        )
    for key in given:
        if key not in {"key_file", "enabled"}:
            raise SettingInvalid.unknown(f"{path}.{key}", str(key), ("key_file", "enabled"))
    key_file, enabled = given.get("key_file"), given.get("enabled", True)
    if not isinstance(key_file, str) or not key_file:
        place = f"{path}.key_file" if "key_file" in given else path
        raise SettingInvalid(place, f"{key_file!r} is not a path", hint="kato sessions new-key")
    if not isinstance(enabled, bool):
        raise SettingInvalid(f"{path}.enabled", f"{enabled!r} is neither true nor false")
    return given
