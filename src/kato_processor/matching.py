"""How a pattern and the short-term memory line up; pure functions on symbol sequences.

Source of every rule: KATO contract 2.6.2 and 2.6.3. The flattened pattern and the state, the
flattened short-term memory, are compared as texts of one character a symbol, which Python searches
at the speed of C.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

Event = list[str]
Events = list[Event]


_FOREIGN = "\0"
_PROBE_SIZE = 16


class Alphabet:
    """A character for each symbol of a state, and one for all others."""

    def __init__(self, state: Iterable[str]) -> None:
        distinct = dict.fromkeys(state)
        self._characters = {symbol: chr(code) for code, symbol in enumerate(distinct, start=1)}

    def text(self, symbols: Iterable[str]) -> str:
        characters = self._characters
        return "".join([characters.get(symbol, _FOREIGN) for symbol in symbols])


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


def blocks(tokens: str, state: str) -> list[Block]:
    """Ratcliff/Obershelp blocks as `difflib.SequenceMatcher` finds them, without junk rules.

    The longest block first, the earliest in the pattern then in the state on ties, the same to its
    left and right; adjacent blocks are merged.
    """
    found = []
    first, last = len(tokens) - len(tokens.lstrip(_FOREIGN)), len(tokens.rstrip(_FOREIGN))
    waiting = [(first, last, 0, len(state))]
    while waiting:
        low, high, state_low, state_high = waiting.pop()
        block = _longest(tokens, low, high, state, state_low, state_high)
        if block is None:
            continue
        at, state_at, size = block
        found.append(block)
        if low < at and state_low < state_at:
            waiting.append((low, at, state_low, state_at))
        if at + size < high and state_at + size < state_high:
            waiting.append((at + size, high, state_at + size, state_high))
    return _merged(sorted(found)) if len(found) > 1 else found


def _longest(
    tokens: str, low: int, high: int, state: str, state_low: int, state_high: int
) -> Block | None:
    best_at, best_state_at, best_size = 0, 0, 0
    at = low
    while at + best_size < high:
        end = at + best_size + 1
        if tokens[end - 1] == _FOREIGN:
            at = end
            continue
        tail = max(at, end - _PROBE_SIZE)
        state_at = state.find(tokens[tail:end], state_low, state_high)
        if state_at < 0:
            at = tail + 1  # nothing that holds this tail is in the state
            continue
        if tail > at:
            state_at = state.find(tokens[at:end], state_low, state_high)
            if state_at < 0:
                at += 1
                continue
        size = best_size + 1
        while (
            at + size < high
            and state_at + size < state_high
            and tokens[at + size] == state[state_at + size]
        ):
            size += 1
        best_at, best_state_at, best_size = at, state_at, size
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


def align(tokens: str, state: str) -> Alignment:
    """Without a block the whole pattern counts as the present."""
    found = blocks(tokens, state)
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
