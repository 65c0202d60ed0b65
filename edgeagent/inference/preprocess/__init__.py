"""What is done to a window before the model sees it: one step a file.

A bundle's `preprocess:` is a list of steps in the order in which they are taken; `{detrend: linear}` is
`edgeagent/inference/preprocess/detrend.py`. A step's file has two names:

    Options                                      # what stands behind its key (config/quantities.py)
    def build(options, given: Form) -> Step      # ConfigFault if it cannot be done with what is given

Training imports these very files, so that it cannot differ from serving: numpy alone, no state from window to window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy.typing as npt

from edgeagent.errors import ConfigFault
from edgeagent.records import Channel

Values = npt.NDArray[Any]

STILL = 1e-7
"""What varies by less than this part of its mean does not vary: float32 cannot tell it from rounding."""


class Form(NamedTuple):
    """What goes into a step, or comes out.

    `shape` is (samples, channels), or (height, width, colours) of a picture: the last axis is that of `channels`.
    `rate_hz` is 0 where the first axis is not time.
    """

    shape: tuple[int, ...]
    channels: tuple[Channel, ...]
    rate_hz: float


class Step(NamedTuple):
    """One step, ready: `apply` makes of an array of the form that was given one of this form, leaving the first alone.

    Numbers are float64 on their way, a picture's float32 or uint8 from 0 to 255. A window's lie channel by channel in
    memory, so `values.T` is what a step works on: most take half the time that way.
    """

    form: Form
    apply: Callable[[Values], Values]


def must_be_in_time(given: Form) -> None:
    """Raises ConfigFault if the rows are not samples in time."""
    if not given.rate_hz:
        raise ConfigFault(
            "its rows are not samples in time",
            expected="a window, or what a filter makes of one",
            hint="Put this step before those that make frequencies or statistics of the window",
        )
