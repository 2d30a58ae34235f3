"""How long `kato plan` takes for 100 and 1,000 instances, as a whole process.

    python tests/bench/config.py [runs]

Bars: 100 instances within 0.5 s, 1,000 within 3 s, and the growth is linear: ten times as many
instances cost at most ten times as much above the start of the program.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KATO = str(Path(sys.executable).with_name("kato"))
SIZES = {1: None, 100: 0.5, 1000: 3.0}
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


def main() -> None:
    runs = int(sys.argv[1]) if sys.argv[1:] else 5
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        for count, bar_s in SIZES.items():
            file = Path(folder) / f"{count}.yaml"
            file.write_text(document(count))
            times_s = [measured_s(file, Path(folder) / "home") for _ in range(runs)]
            medians[count] = statistics.median(times_s)
            bar = f"  (bar {bar_s} s)" if bar_s else ""
            print(f"{count:5} instances  {medians[count]:.3f} s  best {min(times_s):.3f} s{bar}")
    few, many = medians[100] - medians[1], medians[1000] - medians[1]
    print(f"growth from 100 to 1000 instances: {many / few:.1f} times the cost of parse and plan")


if __name__ == "__main__":
    main()
