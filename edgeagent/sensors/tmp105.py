"""TMP105: an LM75 (sensors/lm75.py) with up to 12 bits, 1/16 degC. Texas Instruments SBOS302, "Registers"."""

from __future__ import annotations

from edgeagent.records import Layout
from edgeagent.sensors import Context, Sensor, lm75

# R1 R0 for 12 bits.
TMP105 = lm75.Model("TMP105", bits=12, conversion_s=0.22, settings=b"\x60", status=b"\x00")
Options = lm75.Options


def layout(options: lm75.Options) -> Layout:
    return lm75.layout(options, TMP105)


def build(name: str, options: lm75.Options, context: Context) -> Sensor:
    return lm75.build(name, options, context, TMP105)
