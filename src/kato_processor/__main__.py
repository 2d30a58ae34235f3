"""`kato-processor`: serve one processor, or look after the memory it keeps."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kato_processor import admin
from kato_processor.environment import ProcessSettings, from_environment
from kato_processor.settings import InvalidSettings

EXIT_USAGE = 2
EXIT_CONFLICT = 4
EXIT_UNAVAILABLE = 5
MAX_WORKERS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 2 = wrong setting, 4 = port taken, 5 = no session store."""
    arguments = _parser(os.environ).parse_args(argv)
    try:
        settings = from_environment(os.environ)
        if arguments.data_dir is not None:
            settings = replace(settings, data_dir=arguments.data_dir)
        run = arguments.run or _serve
        code: int = run(arguments, settings)
    except InvalidSettings as error:
        for name, problem in error.problems.items():
            print(f"kato-processor: {name}: {problem}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    return code


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kato-processor", description="Serve one processor (without a command)."
    )
    parser.set_defaults(run=None)
    parser.add_argument("--host", default=environ.get("KATO_HOST") or "127.0.0.1")
    port = environ.get("KATO_PORT") or environ.get("PORT") or "8000"
    parser.add_argument(
        "--port", type=_whole(0, 65535), default=port, help="default: KATO_PORT, PORT or 8000"
    )
    listener = environ.get("KATO_LISTEN_FD") or None
    parser.add_argument("--fd", type=int, default=listener, help="inherited listening socket")
    workers = environ.get("KATO_WORKERS") or "1"
    parser.add_argument("--workers", type=_whole(1, MAX_WORKERS), default=workers)
    parser.add_argument("--data-dir", type=Path, help="default: KATO_DATA_DIR or ./data")
    admin.add_commands(parser)
    return parser


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}: use {low} to {high}")

    return parse


def _serve(arguments: argparse.Namespace, settings: ProcessSettings) -> int:
    from kato_processor import serve

    if arguments.workers > 1 and settings.session_store.startswith("memory:"):
        raise InvalidSettings({"KATO_SESSION_STORE": "memory: cannot be shared by several workers"})
    settings = replace(settings, workers=arguments.workers)
    serve.start_logging(settings.log_level)
    try:
        listener = serve.listening_socket(host=arguments.host, port=arguments.port, fd=arguments.fd)
    except OSError as error:
        print(f"kato-processor: {error.strerror}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFLICT

    def work() -> int:
        from kato_processor.api.app import create_app
        from kato_sessions.errors import InvalidSession, SessionError

        try:
            app = create_app(settings)
        except SessionError as error:
            print(f"kato-processor: KATO_SESSION_STORE: {error}", file=sys.stderr)  # noqa: T201
            return EXIT_USAGE if isinstance(error, InvalidSession) else EXIT_UNAVAILABLE
        data = settings.data_dir.absolute()
        serve.LOG.info("listening on %s, data in %s", serve.address(listener), data)
        serve.serve(app, listener, log_level=settings.log_level)
        return 0

    return serve.serve_many(work, settings.workers) if settings.workers > 1 else work()


if __name__ == "__main__":
    sys.exit(main())
