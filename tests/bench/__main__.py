"""`make bench`: every benchmark in turn, or those named: `make bench BENCH="core gateway"`."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, HERE.parents[:2]))}  # as tests


def main() -> int:
    scripts = sorted(path for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    named = sys.argv[1:]
    if unknown := set(named) - {path.stem for path in scripts}:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: {', '.join(p.stem for p in scripts)}")
    chosen = [path for path in scripts if not named or path.stem in named]
    codes = []
    for path in chosen:
        print(f"\n== {path.stem} ==", flush=True)
        codes.append(subprocess.run([sys.executable, path], env=ENVIRON, check=False).returncode)
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
