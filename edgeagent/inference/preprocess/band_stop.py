"""`band_stop: {from: 48 Hz, to: 52 Hz}`: a Butterworth filter that takes away what lies between, such as mains hum."""

from __future__ import annotations

from edgeagent.inference.preprocess import Form, Step, butterworth
from edgeagent.inference.preprocess.band_pass import Options as BandPass

Options = BandPass


def build(options: BandPass, given: Form) -> Step:
    band = butterworth.Band(options.from_, options.to, stop=True)
    return butterworth.build(given, band, options.order, zero_phase=options.zero_phase)
