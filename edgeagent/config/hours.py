"""Hours of the day: `only: "01:00-05:00"`, by the device's local time, over midnight too."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from edgeagent.errors import ConfigFault

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)")
_DAY_S = 24 * 3600


class Hours(NamedTuple):
    """From a second of the day up to another, not included."""

    start_s: int
    end_s: int

    def opens_in_s(self, wall_s: float) -> int:
        """How long until they begin, 0 while they last. `wall_s` is in seconds since 1970."""
        local = datetime.fromtimestamp(wall_s)
        now_s = local.hour * 3600 + local.minute * 60 + local.second
        lasts_s = (self.end_s - self.start_s) % _DAY_S
        return 0 if (now_s - self.start_s) % _DAY_S < lasts_s else (self.start_s - now_s) % _DAY_S


def parse_hours(text: str) -> Hours:
    """Raises ConfigFault."""
    found = _HOURS.fullmatch(text.strip())
    numbers = [int(number) for number in found.groups()] if found else [0, 0, 0, 0]
    start_s, end_s = (h * 3600 + m * 60 for h, m in (numbers[:2], numbers[2:]))
    if start_s == end_s:
        raise ConfigFault("no hours of the day", where="only", expected='hours such as "01:00-05:00"')
    return Hours(start_s, end_s)
