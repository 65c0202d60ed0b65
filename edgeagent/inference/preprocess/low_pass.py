"""`low_pass: 20 Hz`: a Butterworth filter that keeps what is slower."""

from __future__ import annotations

import msgspec

from edgeagent.config.quantities import Hz, Switch
from edgeagent.inference.preprocess import Form, Step, butterworth


class Options(msgspec.Struct, frozen=True, kw_only=True):
    to: Hz
    order: butterworth.Order = 4
    zero_phase: Switch = False


def build(options: Options, given: Form) -> Step:
    band = butterworth.Band(None, options.to)
    return butterworth.build(given, band, options.order, zero_phase=options.zero_phase)
