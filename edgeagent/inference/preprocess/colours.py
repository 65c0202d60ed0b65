"""`colours: bgr`: a picture's colours in the order that the model was trained on, or as one channel of grey.

Grey is 0.299 red + 0.587 green + 0.114 blue, as ITU-R BT.601 and Pillow have it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, Step, Values
from edgeagent.records import Channel

Options = Literal["bgr", "grey"]

_RGB = ["red", "green", "blue"]
_LUMA = np.array([[0.299], [0.587], [0.114]])


def build(options: Options, given: Form) -> Step:
    if [channel.name for channel in given.channels] != _RGB:
        found = ", ".join(channel.name for channel in given.channels)
        raise ConfigFault(f"channels are {found}", expected=f"{', '.join(_RGB)}, as a picture has them")
    if options == "bgr":
        return Step(given._replace(channels=given.channels[::-1]), lambda values: values[..., ::-1])
    grey = Form((*given.shape[:-1], 1), (Channel("grey", given.channels[0].unit),), given.rate_hz)
    return Step(grey, _luma)


def _luma(values: Values) -> Values:
    luma: Values = values @ _LUMA
    return luma
