"""Which instances a command means: by id, name, glob, group or label."""

from collections.abc import Iterable, Mapping, Sequence

from kato_manager import names
from kato_manager.errors import Conflict, InstanceNotFound
from kato_manager.model import Instance


def select(
    instances: Mapping[str, Instance],
    words: Sequence[str] = (),
    *,
    groups: Iterable[str] = (),
    labels: Iterable[str] = (),
) -> list[Instance]:
    """The instances named by any word that also are in a group and bear every label, if asked.

    No word is every instance. A label is `key` or `key=value`. Raises `InstanceNotFound` for a word
    that selects nothing, `Conflict` for a name that several instances share.
    """
    chosen = (
        set(instances) if not words else {one for word in words for one in _of(word, instances)}
    )
    wanted, marks = set(groups), [label.partition("=") for label in labels]
    return [
        instance
        for instance_id, instance in instances.items()
        if instance_id in chosen
        and (not wanted or instance.spec.group in wanted)
        and all(_bears(instance, key, value if equals else None) for key, equals, value in marks)
    ]


def _of(word: str, instances: Mapping[str, Instance]) -> list[str]:
    """An id beats a name, a name beats a glob."""
    if word in instances:
        return [word]
    named = [one for one, instance in instances.items() if instance.spec.name == word]
    if len(named) > 1:
        raise Conflict(f"name {word!r} means {', '.join(named)}", hint="say which by its id")
    found = named or (names.matching(word, instances) if names.is_pattern(word) else [])
    if not found:
        meant = names.closest(word, [*instances, *(i.spec.name for i in instances.values())])
        hint = f"did you mean {meant!r}?" if meant else "kato list shows them all"
        raise InstanceNotFound(f"there is no instance {word!r}", hint=hint)
    return found


def _bears(instance: Instance, key: str, value: str | None) -> bool:
    labels = instance.spec.labels
    return key in labels and value in {None, labels[key]}
