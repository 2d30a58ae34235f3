"""Which way imports go; `src/ARCHITECTURE.md` says why."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

# Part -> what of ours it may import besides itself; a part is a module or package of kato_manager.
# Each line may name only parts that stand above it, so that there are no circles.
TABLE: dict[str, str] = {
    "kato_sessions": "",
    "kato_processor": "kato_sessions",
    "errors": "",
    "crash_points": "",
    "files": "",
    "process": "",
    "wheel": "",
    "names": "errors",
    "ports": "errors",
    "settings": "errors names",
    "model": "names",
    "interrupts": "",
    "lock": "errors model",
    "liveness": "model ports process",
    "registry_file": "errors model",
    "registry": "errors files interrupts lock model registry_file",
    "selection": "errors model names",
    "view": "model settings",
    "config": "errors model names",
    "templates": "config errors names",
    "runtimes": "errors files model names process",
    "readiness": "errors model runtimes",
    "images": "errors runtimes wheel",
    "services": "config errors images names runtimes",
    "engines": "errors images model runtimes services",
    "plan": "errors model names",
    "observation": "engines errors model runtimes",
    "recovery": "engines errors model registry runtimes",
    "reservation": "engines errors model names ports process registry registry_file settings",
    "launcher": "crash_points engines errors model readiness registry reservation runtimes",
    "manager": (
        "crash_points engines errors files launcher lock model names observation recovery registry"
        " registry_file reservation settings"
    ),
    "apply": "errors manager model plan",
    "doctor": "errors manager model recovery registry runtimes",
    "events": "errors liveness manager model runtimes",
    "export": "config errors model runtimes",
    "experiments": "config errors kato_sessions manager model",
    "demo": "ports",
    "gateway": (
        "apply config doctor errors events experiments files kato_sessions liveness lock manager"
        " model names plan ports process readiness recovery registry registry_file runtimes"
        " selection settings templates view"
    ),
    "remote": "errors gateway model",
    "cli": "*",
    "": "",
    "__main__": "cli",
}


def part_of(module: str) -> str:
    """`kato_manager.runtimes.docker` -> `runtimes`; the other packages are one part each."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "kato_manager" else package


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SRC.rglob("*.py")):
        words = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(word for word in words if word != "__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module of ours that is imported anywhere in a file, lazily too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0].startswith("kato_"))


def may_import(part: str, other: str) -> bool:
    return part == other or TABLE[part] == "*" or other in TABLE[part].split()


def violations() -> list[str]:
    return [
        f"{module} imports {name}"
        for module, tree in modules()
        for name in imported(tree)
        if not may_import(part_of(module), part_of(name))
    ]


def test_imports_follow_the_table() -> None:
    assert violations() == []


def test_the_table_has_no_circles() -> None:
    order = list(TABLE)

    assert [
        f"{part} stands above {other}"
        for part, others in TABLE.items()
        for other in others.replace("*", "").split()
        if order.index(other) > order.index(part)
    ] == []


def test_every_part_is_in_the_table() -> None:
    assert sorted({part_of(module) for module, _ in modules()} - set(TABLE)) == []


def test_imports_are_absolute() -> None:
    relative = [
        module
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert relative == []


def test_the_environment_is_read_in_few_places() -> None:
    """Elsewhere it is passed in, so that a test or a gateway may have another one."""
    may = {"kato_manager.settings", "kato_manager.crash_points"}
    found = {
        module
        for module, tree in modules()
        if part_of(module) not in {"cli", "kato_processor", "kato_sessions", "demo"}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Subscript) and "os.environ" in head(node)
    }

    assert sorted(found - may) == []


def head(node: ast.Call | ast.Subscript) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node.value)


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "constants", "types", "core"])
def test_no_module_is_a_drawer(word: str) -> None:
    assert [module for module, _ in modules() if module.rpartition(".")[2] == word] == []
