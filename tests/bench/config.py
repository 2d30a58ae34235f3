"""How long `kato plan` takes for 100 and 1,000 instances, as a whole process.

    python tests/bench/config.py [runs]

Bars: 100 instances within 0.5 s, 1,000 within 3 s, and the growth is linear: beyond the start of
the program 2,000 instances cost twice what 1,000 do. Then `kato apply` of 20
unchanged instances beside `kato list`: at most twice as long.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KATO = str(Path(sys.executable).with_name("kato"))
SIZES = {1: None, 100: 0.5, 1000: 3.0, 2000: None}
ENTRY = """\
  - id: i{n}
    name: "Instance {n}"
    group: g{group}
    recall_threshold: 0.{digit}
    max_predictions: {n_plus}
    env: {{A: "{n}"}}
    labels: {{team: t{group}}}
"""


def document(count: int) -> str:
    entries = (ENTRY.format(n=n, group=n % 7, digit=n % 9 + 1, n_plus=n + 1) for n in range(count))
    return "shared: {log_level: DEBUG}\ninstances:\n" + "".join(entries)


def measured_s(file: Path, home: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [KATO, "plan", "-f", str(file)],
        env={**os.environ, "KATO_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begun


def unchanged(folder: Path, runs: int) -> None:
    """20 instances that run already, applied again."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from homes import new_home

    file = folder / "twenty.yaml"
    entries = ", ".join(f"{{id: i{n}}}" for n in range(20))
    file.write_text(f"shared: {{template: echo}}\ninstances: [{entries}]\n")
    with new_home(folder / "twenty") as home:
        home.kato("apply", "-f", str(file), "--no-gateway", "--parallel", "8")
        commands = {"list": ["list"], "apply": ["apply", "-f", str(file), "--no-gateway"]}
        times_s = {
            name: [timed_s(home, words) for _ in range(runs)] for name, words in commands.items()
        }
    listed, applied = (statistics.median(times_s[name]) for name in commands)
    print(
        f"list {listed:.3f} s, apply of 20 unchanged {applied:.3f} s: {applied / listed:.2f} times"
    )


def timed_s(home: Any, words: list[str]) -> float:
    begun = time.perf_counter()
    assert home.kato(*words).code == 0
    return time.perf_counter() - begun


def main() -> None:
    runs = int(sys.argv[1]) if sys.argv[1:] else 5
    best_s = {}
    with tempfile.TemporaryDirectory() as folder:
        for count, bar_s in SIZES.items():
            file = Path(folder) / f"{count}.yaml"
            file.write_text(document(count))
            times_s = [measured_s(file, Path(folder) / "home") for _ in range(runs)]
            best_s[count] = min(times_s)
            median_s = statistics.median(times_s)
            bar = f"  (bar {bar_s} s)" if bar_s else ""
            print(f"{count:5} instances  {median_s:.3f} s  best {min(times_s):.3f} s{bar}")
        unchanged(Path(folder), runs)
    growth = (best_s[2000] - best_s[1]) / (best_s[1000] - best_s[1])
    print(f"2000 instances cost {growth:.2f} times what 1000 cost")


if __name__ == "__main__":
    main()
