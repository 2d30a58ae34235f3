"""A file of instances, or several on top of each other, resolved into specs.

    include: [base.yaml]                      files below this one, relative to it
    shared: {max_predictions: 50}             below every instance
    groups:
      nlp: {labels: {team: text}}             below every instance with `group: nlp`
      fast: [a, b]                            or just who belongs to it
    templates:
      search: {extends: http-service, image: search:2}
    instances:                                a list, or a mapping by id
      - id: a
        extends: base                         another entry, or {file: base.yaml, instance: base}
        profiles: [dev]                       only with --profile dev
        depends_on: [b]
        env_file: own.env                     below `env`; see `env_files`
        replicas: 3                           and `matrix`: see `expand`
    x-anything: ignored

Later layers win: shared, group, extended entry, the entry itself, its variant. Of several files
the later one wins, instance by instance and key by key.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kato_manager.config.checks import check_together
from kato_manager.config.env_files import variables_of
from kato_manager.config.interpolate import interpolate
from kato_manager.config.node import Node, Place, Source
from kato_manager.config.problems import Problem, Problems
from kato_manager.config.resolve import Resolved, Resolver
from kato_manager.config.sections import Sections
from kato_manager.config.source import read_bytes, read_file
from kato_manager.config.template import Template
from kato_manager.errors import ConfigError
from kato_manager.model import InstanceSpec

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`instances` are those of the active profiles.

    `origin` is what `--prune` goes by; empty for standard input.
    """

    name: str
    origin: str
    instances: tuple[Resolved, ...]
    named: frozenset[str]  # every id in the files, of inactive profiles too
    warnings: tuple[Problem, ...] = ()

    @property
    def specs(self) -> tuple[InstanceSpec, ...]:
        return tuple(one.spec for one in self.instances)


def load(
    files: Sequence[str],
    *,
    template: Callable[[str], Template],
    environ: Mapping[str, str],
    stdin: Callable[[], bytes],
    profiles: Collection[str] = (),
    env_file: str = "",
) -> Document:
    """Read and resolve; raises one `ConfigError` with every mistake. `-` is standard input.

    `template` loads one by name or path; those the document defines itself come first.
    """
    problems = Problems()
    folder = Path.cwd() if files[0] == STDIN else Path(files[0]).absolute().parent
    variables = _variables(env_file or str(folder / ".env"), bool(env_file), environ, problems)
    reader = _Reader(variables, stdin, problems)
    sections = Sections(problems)
    for name in files:
        for root in reader.read(name):
            sections.add(root)
    resolver = Resolver(
        sections,
        folder,
        template=template,
        read=reader.read,
        variables=variables,
        problems=problems,
    )
    found = resolver.all()
    active = check_together(found, profiles, problems)
    reader.warn_of_unset(files[0])
    problems.raise_if_any()
    return Document(
        name=files[0],
        origin="" if files[0] == STDIN else str(Path(files[0]).resolve()),
        instances=tuple(_placed(one, folder) for one in active),
        named=frozenset(one.spec.id for one in found),
        warnings=problems.warnings,
    )


class _Reader:
    """Reads files with the variables filled in, and remembers which had no value."""

    def __init__(
        self, variables: Mapping[str, str], stdin: Callable[[], bytes], problems: Problems
    ) -> None:
        self._variables = variables
        self._stdin = stdin
        self._problems = problems
        self._unset: dict[str, None] = {}

    def read(self, name: str) -> Iterator[Node]:
        """The roots of a file and of those it includes, lowest first, each file once."""
        yield from self._layers(name, {}, ())

    def _layers(self, name: str, seen: dict[Path, None], above: Sequence[Path]) -> Iterator[Node]:
        path = Path(name).resolve()
        seen[path] = None
        root = self._root(name)
        for node in self._included(root):
            other = str(Path(name).parent / str(node.value))
            if Path(other).resolve() in (*above, path):
                self._problems.add(node, "the files include one another")
            elif Path(other).resolve() not in seen:
                yield from self._layers(other, seen, (*above, path))
        if root:
            yield root

    def _included(self, root: Node | None) -> Sequence[Node]:
        node = root.items.get("include") if root else None
        if node is None or node.value is None:
            return ()
        nodes = [node] if isinstance(node.value, str) else node.value
        if isinstance(nodes, Mapping) or not all(isinstance(one.value, str) for one in nodes):
            self._problems.add(node, "expected a list of files")
            return ()
        return nodes

    def _root(self, name: str) -> Node | None:
        if name == STDIN:
            return read_bytes(self._stdin(), "stdin", self._problems, self._expand)
        return read_file(Path(name), name, self._problems, self._expand)

    def warn_of_unset(self, name: str) -> None:
        for variable in self._unset:
            node = Node(None, "", Place(Source(name)))
            self._problems.warn(node, f"the variable {variable} is not set, it counts as empty")

    def _expand(self, text: str) -> str:
        return interpolate(text, self._variables, self._unset.setdefault)


def _variables(
    path: str, is_required: bool, environ: Mapping[str, str], problems: Problems
) -> Mapping[str, str]:
    """The environment over the `.env` file."""
    if not is_required and not Path(path).exists():
        return environ
    try:
        return {**variables_of(Path(path), environ), **environ}
    except ConfigError as error:
        problems.at(Place(Source("")), "", error.message)
    return environ


def _placed(one: Resolved, folder: Path) -> Resolved:
    """Relative sources of volumes are relative to the file, whatever the current folder is."""
    volumes = tuple(
        str((folder / source).resolve()) + colon + rest if source.startswith(".") else volume
        for volume in one.spec.volumes
        for source, colon, rest in [volume.partition(":")]
    )
    return dataclasses.replace(one, spec=dataclasses.replace(one.spec, volumes=volumes))
