"""Finds templates: a path, `$KATO_HOME/templates`, then those that come with kato-manager.

Flags of `kato start`: the guide's own are static options of the command; every other setting of the
chosen template is taken from the arguments the command line parser left over. No YAML is read for
completion or for `--help` of other commands.

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def start(context: typer.Context, ...):
        template = templates.load(name, home=settings.home)
        raw |= templates.read_flags(template, context.args)     # {"recall_threshold": "0.3"}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kato_manager.config.node import Node
from kato_manager.config.problems import Problems
from kato_manager.config.source import read_file
from kato_manager.config.template import Template, from_node
from kato_manager.errors import ConfigError
from kato_manager.names import closest

SUFFIX = ".yaml"
DEFAULT = "kato"
MAX_EXTENDS = 10


def folders(home: Path) -> tuple[Path, ...]:
    """Where templates are looked for by name, in this order."""
    package = Path(__file__).parent
    shipped = (package / "templates", package.parents[1] / "templates")  # wheel, then checkout
    return (home / "templates", *(one for one in shipped if one.is_dir()))


def available(home: Path) -> Mapping[str, Path]:
    """Every template by name; the user's own hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in folders(home):
        for path in folder.glob("*" + SUFFIX):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find(name: str, home: Path) -> Path:
    """The file of a template given by name or path; raises `ConfigError` with what there is."""
    if "/" in name or name.endswith((SUFFIX, ".yml")):
        return Path(name).expanduser()
    for folder in folders(home):
        if (path := folder / (name + SUFFIX)).is_file():
            return path
    known = available(home)
    meant = closest(name, known)
    raise ConfigError(
        f"no template {name!r}" + (f', did you mean "{meant}"?' if meant else ""),
        hint=f"there are: {', '.join(known)}; or give a path: ./{name}{SUFFIX}",
    )


def load(name: str = DEFAULT, *, home: Path) -> Template:
    """Read a template; raises `ConfigError` with every mistake in it."""
    problems = Problems()
    template = _load(find(name, home), home, problems, MAX_EXTENDS)
    problems.raise_if_any()
    return template


def _load(path: Path, home: Path, problems: Problems, depth: int) -> Template:
    node = read_file(path, str(path), problems)
    problems.raise_if_any()
    if node is None or not isinstance(node.value, Mapping):
        raise ConfigError(f"{path}: is empty", hint="kato templates show kato")
    return extended(path.stem, node, home, problems, depth)


def extended(
    name: str, node: Node, home: Path, problems: Problems, depth: int = MAX_EXTENDS
) -> Template:
    """A template from its node, on top of the one it `extends`."""
    extends = node.items.get("extends")
    if extends is None or not isinstance(extends.value, str):
        return from_node(name, node, problems)
    if not depth:
        problems.add(extends, f"more than {MAX_EXTENDS} templates extend one another")
        return from_node(name, node, problems)
    base = _load(find(extends.value, home), home, problems, depth - 1)
    return from_node(name, node, problems, base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option of `kato start`; `value` is what it stands for when it takes none."""

    name: str
    setting: str
    metavar: str
    help: str
    value: str | None = None


def flags(template: Template) -> tuple[Flag, ...]:
    """The per-setting options, booleans with their `--no-` form, aliases too."""
    return tuple(_flags(template))


def _flags(template: Template) -> Iterator[Flag]:
    for spelling, name in template.spelled.items():
        setting = template.settings[name]
        word = spelling.replace("_", "-")
        metavar = "|".join(setting.choices) or setting.type.upper()
        if setting.type != "boolean":
            yield Flag(name=f"--{word}", setting=name, metavar=metavar, help=setting.help)
            continue
        yield Flag(name=f"--{word}", setting=name, metavar="", help=setting.help, value="true")
        yield Flag(name=f"--no-{word}", setting=name, metavar="", help="", value="false")


def read_flags(template: Template, arguments: Sequence[str]) -> dict[str, str]:
    """Setting -> text from `--flag VALUE`, `--flag=VALUE` and `--[no-]flag`.

    Raises `ConfigError` for anything that is no option of this template.
    """
    known = {one.name: one for one in flags(template)}
    found: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, given, text = argument.partition("=")
        flag = known.get(name.replace("_", "-"))
        if flag is None:
            raise _unknown(name, known, template)
        value = text if given else flag.value if flag.value is not None else next(rest, None)
        if value is None:
            raise ConfigError(f"{name} needs a value: {flag.metavar}", hint=flag.help)
        if flag.value == "false" and given:
            raise ConfigError(f"{name} takes no value", hint=f"--{name[5:]}={text}")
        found[flag.setting] = value
    return found


def _unknown(name: str, known: Mapping[str, Flag], template: Template) -> ConfigError:
    if not name.startswith("-"):
        return ConfigError(f"unexpected word {name!r}", hint=f"an id is given so: --id {name}")
    meant = closest(name, known)
    return ConfigError(
        f"no such option: {name}" + (f", did you mean {meant}?" if meant else ""),
        hint=f"kato templates show {template.name} lists every setting",
    )
