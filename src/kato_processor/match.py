"""A pattern lined up with the short-term memory: what the metrics are told."""

from typing import NamedTuple

from kato_processor.fuzzy import Reading
from kato_processor.index import Pattern
from kato_processor.matching import Alignment, Cut

FutureKey = tuple[object, ...]
TIE_DIGITS = 12


class Match(NamedTuple):
    """One candidate lined up with the memory, as read in the pattern's own symbols."""

    pattern: Pattern
    similarity: float
    reading: Reading
    alignment: Alignment
    cut: Cut

    @property
    def matched(self) -> int:
        """Number of matched symbols."""
        return len(self.alignment.places)

    @property
    def unmatched(self) -> int:
        """Number of observed symbols without a match."""
        return len(self.reading.state) - self.matched

    @property
    def frequency(self) -> int:
        """The pattern's frequency, at least 1."""
        return max(1, self.pattern.frequency)

    def matches(self) -> list[str]:
        """The pattern's symbols that matched."""
        return [self.reading.state[place] for place in self.alignment.places]

    def present(self) -> tuple[str, ...]:
        """The symbols of the present events."""
        return self.pattern.symbols(self.cut.present, self.cut.future)

    def future_key(self) -> FutureKey:
        """Futures are the same whatever the order of symbols inside an event.

        An event of one symbol is the symbol itself, so that patterns of such events need no work.
        """
        pattern, first = self.pattern, self.cut.future
        if pattern.has_single_symbols:
            return pattern.tokens[first:]
        return tuple(
            event[0] if len(event) == 1 else tuple(sorted(event))
            for event in pattern.events()[first:]
        )
