"""Every block of the guides is run by a test or stands here with the reason why it is not."""

import ast
from pathlib import Path

from scenarios.guides.blocks import BLOCKS

NOT_RUN = {
    "000/5": "a picture of the life cycle; 000/6 to 000/9 run what it shows",
    "002/17": "needs Chainlit; it makes a UUID of its own, as any client may",
    "003/7": "starts that service's own program; `kato gateway up` serves the same API here",
    "003/8": "that service's own test file, which the guide does not print",
    "004/12": "a sketch of a later version with `...` in it; the gateway's /chat does it",
}


def test_every_block_is_run_or_has_a_reason() -> None:
    run = {
        node.value
        for file in Path(__file__).parent.glob("test_guide_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in BLOCKS
    }

    assert not run & set(NOT_RUN)
    assert run | set(NOT_RUN) == set(BLOCKS)


def test_the_documents_are_whole() -> None:
    counts: dict[str, int] = {}
    for block_id in BLOCKS:
        counts[block_id[:3]] = counts.get(block_id[:3], 0) + 1

    assert counts == {"000": 26, "001": 15, "002": 19, "003": 8, "004": 19}
