"""`doctor`, `adopt` and `prune`: registry and world brought together again."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, DryRun, Format, Yes

if TYPE_CHECKING:
    from kato_manager.doctor import Finding
    from kato_manager.manager import Manager


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)
    app.command("adopt")(adopt)
    app.command("prune")(prune)


def doctor(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is found.")] = False,
    format_: As = Format.table,
) -> None:
    """Say what is wrong and what mends it; --fix does.

    Exit code 1 when something is (still) wrong.
    """
    from kato_manager import doctor as examination

    manager = _manager()
    outcomes: list[tuple[Finding, str]] = []
    if fix:
        with output.progress("mending"):
            left = examination.mend_all(manager, lambda one, done: outcomes.append((one, done)))
        _gateway_again(manager)
    else:
        left = examination.diagnose(manager)
        outcomes = [(one, "") for one in left]
    if format_ is Format.json:
        output.document("findings", [_as_json(one, outcome) for one, outcome in outcomes])
    else:
        for one, outcome in outcomes:
            _print(one, outcome)
        if not left:
            output.talk("all is well")
    if [one for one in left if one.trouble != "young"]:
        raise typer.Exit(1)


def adopt(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which; all if left out.")
    ] = None,
    *,
    dry_run: DryRun = False,
    format_: As = Format.table,
) -> None:
    """Record instances that run unrecorded."""
    from kato_manager import doctor as examination
    from kato_manager.errors import InstanceNotFound

    manager = _manager()
    findings = examination.diagnose(manager)
    strays = [one for one in findings if one.trouble in {"orphan", "young"} and one.found]
    chosen = [one for one in strays if not words or one.instance_id in words]
    if missing := set(words or ()) - {one.instance_id for one in chosen}:
        _refuse_if_silent(findings)
        raise InstanceNotFound(
            f"nothing of {', '.join(sorted(missing))} runs unrecorded", hint="kato doctor"
        )
    for one in chosen:
        if not dry_run:
            examination.adopt(manager, one)
    _answer([one.instance_id for one in chosen], "adopted", dry_run=dry_run, format_=format_)
    _refuse_if_silent(findings)


def prune(*, dry_run: DryRun = False, yes: Yes = False, format_: As = Format.table) -> None:
    """Remove what is left of unrecorded instances.

    Entries of what is gone are removed too. Data stays. What is younger than half a minute is left
    alone.
    """
    from kato_manager import doctor as examination

    manager = _manager()
    findings = examination.diagnose(manager)
    strays = [one for one in findings if one.trouble in {"orphan", "remains"}]
    gone = [one for one in findings if one.trouble == "gone"]
    if not dry_run and any(one.trouble == "orphan" for one in strays):
        _agree([one.instance_id for one in strays if one.trouble == "orphan"], yes=yes)
    for one in strays if not dry_run else ():
        examination.remove(manager, one)
    for one in gone if not dry_run else ():
        manager.stop(one.instance_id)
    pruned = [one.instance_id for one in (*strays, *gone)]
    _answer(pruned, "removed", dry_run=dry_run, format_=format_)
    _refuse_if_silent(findings)


def _manager() -> "Manager":
    from kato_manager.cli.opening import open_manager

    return open_manager(settle=False)


def _refuse_if_silent(findings: "list[Finding]") -> None:
    """What an engine that does not answer holds is not known: that is not the same as nothing."""
    from kato_manager.errors import RuntimeUnavailable

    for one in findings:
        if one.trouble == "unreachable" and not one.instance_id:
            raise RuntimeUnavailable(one.text, hint="kato doctor")


def _gateway_again(manager: "Manager") -> None:
    """Bring the gateway back where it was up before the machine went down."""
    from kato_manager.errors import PortTaken
    from kato_manager.gateway import lifecycle

    if lifecycle.was_up(manager.settings):
        try:
            lifecycle.ensure(manager.settings)
        except PortTaken as problem:
            output.talk(f"no gateway: {problem}")


def _agree(ids: list[str], *, yes: bool) -> None:
    from kato_manager.errors import ConfigError

    if yes:
        return
    if not output.interactive():
        raise ConfigError(
            f"{', '.join(ids)} still run", hint="kato adopt records them; kato prune -y ends them"
        )
    output.agree(f"End {', '.join(ids)}, which run unrecorded?")


def _answer(ids: list[str], done: str, *, dry_run: bool, format_: Format) -> None:
    if format_ is Format.json:
        output.document(done, {"ids": ids, "dry_run": dry_run})
        return
    for one in ids:
        output.data(f"{one}  {'would be ' if dry_run else ''}{done}")
    if not ids:
        output.talk(f"nothing to be {done}")


def _as_json(finding: "Finding", outcome: str) -> dict[str, Any]:
    return {
        "trouble": finding.trouble,
        "id": finding.instance_id,
        "text": finding.text,
        "command": finding.command,
        "outcome": outcome,
    }


def _print(finding: "Finding", outcome: str) -> None:
    output.data(f"{finding.instance_id or finding.runtime or finding.trouble}: {finding.text}")
    if outcome:
        output.data(f"  {outcome}")
    elif finding.command:
        output.data(f"  mend it with: {finding.command}")
