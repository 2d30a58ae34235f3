"""The entry point: finds the module of a command, and turns errors into exit codes.

Only the module of the typed command is imported, so that a quick command stays quick however many
there are; `kato --help` imports them all.
"""

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import Annotated

import typer
from typer.exceptions import TyperException

from kato_manager import errors
from kato_manager.cli import output

EXIT_CODES: dict[type[errors.KatoError], int] = {
    errors.ConfigError: 2,
    errors.InstanceNotFound: 3,
    errors.Conflict: 4,
    errors.RuntimeUnavailable: 5,
    errors.NotReady: 6,
    errors.RegistryLocked: 7,
    errors.PartlyFailed: 8,
    errors.KatoError: 1,
}
USAGE = 2
INTERRUPTED = 130
TERMINATED = 143

# In the order of `kato --help`.
MODULES = {
    "start": "start restart",
    "stop": "stop",
    "listing": "list ls ps status inspect",
    "logs": "logs",
    "apply": "plan diff apply down",
    "config": "config schema export",
    "templates": "templates",
    "gateway": "gateway",
    "insight": "exec stats events",
    "top": "top",
    "doctor": "doctor adopt prune",
    "image": "image",
    "services": "services",
    "sessions": "sessions",
    "query": "query chat-init chat-history chat-cleanup",
    "guides": "guides",
    "demo": "demo",
    "version": "version",
}


def main() -> None:
    """Run `kato` and end the process with the documented exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    code = run(sys.argv[1:])
    # Whoever read our answer may have gone, its disk be full: no reason for a traceback at exit.
    try:
        sys.stdout.flush()
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(problem, BrokenPipeError):
            output.error(errors.KatoError(f"standard output: {_os_message(problem)}"))
            code = code or 1
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; every failure that is a user's to know becomes text and a code."""
    command = typer.main.get_command(_application_for(arguments))
    try:
        code = command.main(list(arguments), prog_name="kato", standalone_mode=False)
    except errors.KatoError as problem:
        output.error(problem)
        return next(code for kind, code in EXIT_CODES.items() if isinstance(problem, kind))
    except (typer.Abort, KeyboardInterrupt):
        output.talk("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as problem:
        output.error(errors.KatoError(_os_message(problem)))
        return 1
    except TyperException as problem:
        # Every usage error shows itself; the class that says so is private to typer.
        problem.show()  # type: ignore[attr-defined]
        return USAGE
    if code == INTERRUPTED:  # how typer tells of Ctrl-C
        output.talk("interrupted")
    return code if isinstance(code, int) else 0


def _application_for(arguments: Sequence[str]) -> typer.Typer:
    """The commands for here, or those for a gateway elsewhere: `kato --gateway URL ...`."""
    if arguments and arguments[0].partition("=")[0] == "--gateway":
        from kato_manager.cli import remote

        return remote.application()
    return application(_words(arguments))


def application(words: Iterable[str]) -> typer.Typer:
    """The commands that the words may mean; all of them when none is named."""
    app = typer.Typer(
        name="kato",
        help="Run many differently configured processors, behind one gateway.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    wanted = set(words)
    named = [module for module, commands in MODULES.items() if wanted & set(commands.split())]
    for module in named or MODULES:
        importlib.import_module(f"kato_manager.cli.{module}").register(app)
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from kato_manager.cli.version import version

        version()
        raise typer.Exit


def _global_options(
    _gateway: Annotated[
        str | None,
        typer.Option("--gateway", metavar="URL", help="Work on a gateway elsewhere."),
    ] = None,
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Run many differently configured processors, behind one gateway."""


def _words(arguments: Sequence[str]) -> Sequence[str]:
    """The command line, or the one the shell asks us to complete."""
    return os.environ.get("COMP_WORDS", "").split() or arguments[:1]


def _os_message(problem: OSError) -> str:
    where = f"{problem.filename}: " if problem.filename else ""
    return f"{where}{problem.strerror or problem}"


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
