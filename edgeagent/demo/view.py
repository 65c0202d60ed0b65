"""The demo's live terminal view."""

from __future__ import annotations

from edgeagent.demo.scene import Moment
from edgeagent.demo.summary import Summary


class View:
    """Shows moments while the demo runs, and the summary at its end; `quiet` shows nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, moment: Moment) -> None:
        if not self._quiet:
            print(moment.elapsed_s, moment.network_up, moment.agent.get("summary"))

    def show_summary(self, summary: Summary, wrong: list[str]) -> None:
        if not self._quiet:
            print(summary)
