"""How a run of several steps shows itself: a living line on a terminal, plain lines elsewhere."""

import sys

from kato_manager.apply import Outcome, Result
from kato_manager.cli import output
from kato_manager.plan import Action, Plan, Step

_PAST = {
    Action.START: "started",
    Action.REPLACE: "replaced",
    Action.UPDATE: "updated",
    Action.STOP: "stopped",
}


class Progress:
    """Tells each step's end on stdout (`quiet`: not), what runs meanwhile on stderr."""

    def __init__(self, plan: Plan, *, quiet: bool) -> None:
        self._total = len(plan.changes)
        self._width = max((len(step.id) for step in plan.changes), default=0)
        self._running: dict[str, None] = {}
        self._done = 0
        self._quiet = quiet
        self._is_live = sys.stderr.isatty()

    def begin(self, step: Step) -> None:
        self._running[step.id] = None
        self._draw()

    def end(self, outcome: Outcome) -> None:
        self._running.pop(outcome.step.id, None)
        self._done += 1
        self._clear()
        if not self._quiet:
            output.data(line(outcome, self._width))
            sys.stdout.flush()
        self._draw()

    def interrupted(self) -> None:
        self._clear()
        running = ", ".join(self._running) or "nothing"
        output.talk(f"finishing what runs ({running}); Ctrl-C again ends at once")

    def _draw(self) -> None:
        if not self._is_live or not self._running:
            return
        text = f"{self._done}/{self._total}  {', '.join(self._running)} ..."
        sys.stderr.write(f"\r{text[:78]}\x1b[K")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._is_live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def line(outcome: Outcome, width: int) -> str:
    """One finished step: `started   fast  http://127.0.0.1:8001  0.4 s`."""
    if outcome.result is not Result.DONE:
        reason = outcome.reason.partition("\n")[0]  # the end of the run tells all of it
        return f"{outcome.result:<8}  {outcome.step.id:<{width}}  {reason}"
    is_served = outcome.instance is not None and outcome.step.action is not Action.STOP
    url = f"{outcome.instance.url}  " if is_served and outcome.instance else ""
    spec, action = outcome.step.spec, outcome.step.action
    is_declared = action is Action.START and spec is not None and spec.start == "on-demand"
    word = "declared" if is_declared else _PAST[action]
    return f"{word:<8}  {outcome.step.id:<{width}}  {url}{outcome.duration_s:.1f} s"
