"""The fenced blocks of the five guides, in order, each with its number: `000/3` is the third."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

DOCUMENTS = sorted((Path(__file__).parent / "documents").glob("*.md"))
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    id: str
    language: str
    text: str


def of(document: Path) -> list[Block]:
    guide = document.name[:3]
    found = _FENCE.finditer(document.read_text(encoding="utf-8"))
    return [
        Block(f"{guide}/{number}", one["language"], textwrap.dedent(one["text"]))
        for number, one in enumerate(found, 1)
    ]


BLOCKS = {block.id: block for document in DOCUMENTS for block in of(document)}
