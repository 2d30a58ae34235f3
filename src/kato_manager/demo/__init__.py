"""The guide's A/B example, played for real: two processors, one text, two lists of predictions.

The text is Abraham Lincoln's Gettysburg Address of 1863, in the public domain.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from itertools import zip_longest
from typing import Any

from kato_manager import ports

VARIANTS = {"version-a": "0.1", "version-b": "0.2"}
QUESTION = "we can not forget"
COLUMN = 46

Say = Callable[[str], None]


def play(say: Say) -> None:
    """Start, teach, ask, list and stop, by the commands a user types; leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="kato-demo-") as home:
        port = _gateway_port()
        environ = {**os.environ, "KATO_HOME": home, "KATO_GATEWAY_PORT": str(port)}
        try:
            for variant, threshold in VARIANTS.items():
                options = ("--recall-threshold", threshold, "--runtime", "local")
                _kato("start", "--id", variant, *options, environ=environ, say=say)
            _compare(f"http://127.0.0.1:{port}", say)
            _kato("list", environ=environ, say=say)
        finally:
            _kato("stop", "--all", environ=environ, say=say)
            _kato("gateway", "down", environ=environ, say=say)


def _gateway_port() -> int:
    """The usual port where it is free; the demo must not depend on what else runs."""
    for port in range(8000, ports.LAST_PORT):
        if listener := ports.listen(port):
            listener.close()
            return port
    raise RuntimeError("no free port")


def _kato(*words: str, environ: Mapping[str, str], say: Say) -> None:
    say(f"\n$ kato {shlex.join(words)}")
    subprocess.run([sys.executable, "-m", "kato_manager", *words], env=dict(environ), check=True)


def _compare(gateway: str, say: Say) -> None:
    text = resources.files(__name__).joinpath("gettysburg-address.txt").read_text(encoding="utf-8")
    sentences = [re.findall(r"[a-z]+", line.lower()) for line in text.splitlines()]
    say(f"\nBoth learn the Gettysburg Address, {len(sentences)} sentences, a word an observation,")
    say(f"through {gateway}/<id>/observe and /learn.")
    for variant in VARIANTS:
        for sentence in sentences:
            _observe(f"{gateway}/{variant}", sentence)
            _call(f"{gateway}/{variant}/learn", {})
        _observe(f"{gateway}/{variant}", QUESTION.split())
    columns = [_continuations(f"{gateway}/{variant}") for variant in VARIANTS]
    say(f'\nWhat comes after "{QUESTION}"?\n')
    heads = [f"{one} (recall threshold {limit})" for one, limit in VARIANTS.items()]
    counts = [f"{len(column)} predictions" for column in columns]
    for row in (heads, counts, ["-" * (COLUMN - 4)] * 2, *zip_longest(*columns, fillvalue="")):
        say("".join(f"{cell:{COLUMN}}" for cell in row).rstrip())


def _observe(instance: str, words: Sequence[str]) -> None:
    for word in words:
        _call(f"{instance}/observe", {"strings": [word], "vectors": [], "emotives": {}})


def _continuations(instance: str) -> list[str]:
    """One line a prediction: its similarity, and the words that it expects next."""
    predictions = _call(f"{instance}/predictions")["predictions"]
    return [_line(one) for one in predictions]


def _line(prediction: Mapping[str, Any]) -> str:
    future = " ".join(word for event in prediction["future"] for word in event)
    return f"{prediction['similarity']:.2f}  {future or '(the end)'}"[: COLUMN - 3]


def _call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - our own gateway
        return json.load(response)
