"""How a pattern and the short-term memory line up; pure functions on symbol sequences.

Source of every rule: KATO contract 2.6.2 and 2.6.3. `tokens` is the flattened pattern, `state`
the flattened short-term memory.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

Event = list[str]
Events = list[Event]


class Block(NamedTuple):
    """`size` symbols equal at `tokens[at]` and `state[state_at]`."""

    at: int
    state_at: int
    size: int


class Alignment(NamedTuple):
    """The blocks' outcome: which places of the state matched, and the pattern's matched range."""

    places: list[int]
    blocks: int
    start: int
    end: int


class Cut(NamedTuple):
    """Indices of the events where the present begins and where the future begins."""

    present: int
    future: int


def flat(events: Sequence[Sequence[str]]) -> list[str]:
    return [symbol for event in events for symbol in event]


def positions(state: Sequence[str]) -> dict[str, list[int]]:
    """Where each symbol occurs in the state: made once, used for every candidate."""
    found: dict[str, list[int]] = {}
    for place, symbol in enumerate(state):
        found.setdefault(symbol, []).append(place)
    return found


def blocks(tokens: Sequence[str], where: Mapping[str, Sequence[int]], length: int) -> list[Block]:
    """Ratcliff/Obershelp blocks as `difflib.SequenceMatcher` finds them, without junk rules.

    The longest block first, the earliest in the pattern then in the state on ties, the same to its
    left and right; adjacent blocks are merged. `where` is `positions(state)`.
    """
    shared = [(place, where[token]) for place, token in enumerate(tokens) if token in where]
    if len(shared) == 1:
        place, state_places = shared[0]
        return [Block(at=place, state_at=state_places[0], size=1)]
    found = []
    waiting = [(0, len(tokens), 0, length)]
    while waiting:
        low, high, state_low, state_high = waiting.pop()
        block = _longest(shared, low, high, state_low, state_high)
        if block is None:
            continue
        found.append(block)
        waiting.append((low, block.at, state_low, block.state_at))
        waiting.append((block.at + block.size, high, block.state_at + block.size, state_high))
    return _merged(sorted(found, key=lambda block: block.at))


def _longest(
    shared: Sequence[tuple[int, Sequence[int]]],
    low: int,
    high: int,
    state_low: int,
    state_high: int,
) -> Block | None:
    best_at, best_state_at, best_size = 0, 0, 0
    before: dict[int, int] = {}
    last_place = -1
    for place, state_places in shared:
        if place < low:
            continue
        if place >= high:
            break
        runs: dict[int, int] = {}
        if place != last_place + 1:
            before = {}
        for state_place in state_places:
            if state_place < state_low:
                continue
            if state_place >= state_high:
                break
            size = runs[state_place] = before.get(state_place - 1, 0) + 1
            if size > best_size:
                best_at, best_state_at = place - size + 1, state_place - size + 1
                best_size = size
        before, last_place = runs, place
    return Block(at=best_at, state_at=best_state_at, size=best_size) if best_size else None


def _merged(found: Sequence[Block]) -> list[Block]:
    whole: list[Block] = []
    for block in found:
        last = whole[-1] if whole else None
        if last and last.at + last.size == block.at and last.state_at + last.size == block.state_at:
            whole[-1] = Block(at=last.at, state_at=last.state_at, size=last.size + block.size)
        else:
            whole.append(block)
    return whole


def align(tokens: Sequence[str], where: Mapping[str, Sequence[int]], length: int) -> Alignment:
    """Without a block the whole pattern counts as the present. Arguments as for `blocks`."""
    found = blocks(tokens, where, length)
    if not found:
        return Alignment(places=[], blocks=0, start=0, end=len(tokens))
    places = [
        place for block in found for place in range(block.state_at, block.state_at + block.size)
    ]
    last = found[-1]
    return Alignment(places=places, blocks=len(found), start=found[0].at, end=last.at + last.size)


def cut(tokens: Sequence[str], sizes: Sequence[int], alignment: Alignment, first: str) -> Cut:
    """Whole events only; an event that the match cuts belongs to the present.

    A past event that merely contains the `first` matched symbol moves too, as in KATO.
    """
    if len(sizes) == len(tokens):  # one symbol each: places are events
        present = seen = alignment.start
        future = alignment.end
    else:
        present, seen = _advance(sizes, 0, 0, alignment.start)
        future, _ = _advance(sizes, present, seen, alignment.end)
    if present and alignment.blocks and first in tokens[seen - sizes[present - 1] : seen]:
        present -= 1
    return Cut(present=present, future=future)


def _advance(sizes: Sequence[int], index: int, seen: int, wanted: int) -> tuple[int, int]:
    while index < len(sizes) and seen < wanted:
        seen += sizes[index]
        index += 1
    return index, seen


def missing(present: Events, matches: Collection[str]) -> Events:
    """Per present event its symbols that did not match."""
    matched = frozenset(matches)
    return [[symbol for symbol in event if symbol not in matched] for event in present]


def extras(memory: Events, present: Events, readings: Events) -> Events:
    """Per event of the short-term memory its symbols whose reading the present does not hold.

    `readings` is the memory itself, unless symbols stand for similar ones.
    """
    expected = frozenset(flat(present))
    return [
        [symbol for symbol, read in zip(event, reading, strict=True) if read not in expected]
        for event, reading in zip(memory, readings, strict=True)
    ]
