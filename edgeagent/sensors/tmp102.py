"""TMP102: an LM75 (sensors/lm75.py) with 12 bits, 1/16 degC. Texas Instruments SBOS397, section 7.5."""

from __future__ import annotations

from edgeagent.records import Layout
from edgeagent.sensors import Context, Sensor, lm75

# Defaults (table 10), but CR1 CR0 for 8 Hz; of the second byte the alert bit is the chip's own.
TMP102 = lm75.Model("TMP102", bits=12, conversion_s=0.125, settings=b"\x60\xc0", status=b"\x00\x20")
Options = lm75.Options


def layout(options: lm75.Options) -> Layout:
    return lm75.layout(options, TMP102)


def build(name: str, options: lm75.Options, context: Context) -> Sensor:
    return lm75.build(name, options, context, TMP102)
