"""The units that are known, and what one is worth in another. Factors are those of NIST SP 811, appendix B."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from edgeagent.config.findings import alike, listed, nearest
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel

Values = npt.NDArray[Any]

# What one of each is worth in the first of its kind, and what must be added then.
_KINDS: tuple[dict[str, tuple[float, float]], ...] = (
    {"K": (1, 0), "degC": (1, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    {"m/s2": (1, 0), "g": (9.80665, 0), "mg": (9.80665e-3, 0)},
    {"rad": (1, 0), "deg": (math.pi / 180, 0)},
    {"rad/s": (1, 0), "deg/s": (math.pi / 180, 0), "rpm": (math.pi / 30, 0)},
    {
        "Pa": (1, 0),
        "hPa": (100, 0),
        "mbar": (100, 0),
        "kPa": (1e3, 0),
        "bar": (1e5, 0),
        "psi": (6894.757293168361, 0),
        "mmHg": (133.322387415, 0),
    },
    {"V": (1, 0), "mV": (1e-3, 0), "uV": (1e-6, 0), "kV": (1e3, 0)},
    {"A": (1, 0), "mA": (1e-3, 0), "uA": (1e-6, 0)},
    {"W": (1, 0), "mW": (1e-3, 0), "kW": (1e3, 0)},
    {"J": (1, 0), "Wh": (3600, 0), "kWh": (3.6e6, 0)},
    {"m3/s": (1, 0), "m3/h": (1 / 3600, 0), "L/s": (1e-3, 0), "L/min": (1 / 60e3, 0)},
    {"m3": (1, 0), "L": (1e-3, 0), "mL": (1e-6, 0)},
    {"m": (1, 0), "mm": (1e-3, 0), "cm": (1e-2, 0), "km": (1e3, 0), "in": (0.0254, 0), "ft": (0.3048, 0)},
    {"m/s": (1, 0), "km/h": (1 / 3.6, 0), "kn": (1852 / 3600, 0), "mph": (0.44704, 0)},
    {"Hz": (1, 0), "kHz": (1e3, 0), "/min": (1 / 60, 0)},
    {"s": (1, 0), "ms": (1e-3, 0), "min": (60, 0), "h": (3600, 0)},
    {"1": (1, 0), "%": (0.01, 0)},
)

KNOWN: tuple[str, ...] = tuple(unit for kind in _KINDS for unit in kind)

# Of which nothing is made here; a sensor may give them all the same.
_OTHERS = tuple(
    """
    %RH ppm ppb pH dB dBm dBA count px B kB MB bit lx lm cd W/m2 ohm kohm F uF C Ah mAh VA kVA var
    kvar T mT uT G S mS uS uS/cm mS/cm N kN N.m kg t mol MW MWh ug/m3 mg/m3 g/m3 mg/L g/L mol/L NTU
    kg/h kg/s L/h m3/d d m2 cm2 mm/s mm/h 1/s 1/min r/min MPa GHz MHz um us ns
    """.split()  # noqa: SIM905 (as a literal it is a line for each)
)
_WORDS = {
    "amp": "A",
    "ampere": "A",
    "volt": "V",
    "watt": "W",
    "°c": "degC",
    "deg c": "degC",
    "degree c": "degC",
    "celsiu": "degC",
    "centigrade": "degC",
    "°f": "degF",
    "deg f": "degF",
    "degree f": "degF",
    "fahrenheit": "degF",
    "kelvin": "K",
    "°": "deg",
    "degree": "deg",
    "hertz": "Hz",
    "metre": "m",
    "meter": "m",
    "sec": "s",
    "second": "s",
    "pascal": "Pa",
    "percent": "%",
    "pct": "%",
    "lpm": "L/min",
    "lux": "lx",
    "ω": "ohm",
}
"""What people call units, in small letters and without an s at the end."""

_PLAIN = str.maketrans({"²": "2", "³": "3", "^": None, "µ": "u", "μ": "u"})
_FOLDED = {known.casefold(): known for known in (*_OTHERS, *KNOWN)}


def meant(unit: str) -> str:
    """What someone who wrote `Amp`, `l/min` or `m/s²` had in mind; "" if that can stand, or could be anything."""
    if unit in KNOWN or unit in _OTHERS:
        return ""
    word = unit.strip().casefold().translate(_PLAIN)
    found = _FOLDED.get(word) or _WORDS.get(word.removesuffix("s"))
    return found or _FOLDED.get(alike(word, _FOLDED, cutoff=0.8), "")


def must_be_known(unit: str) -> None:
    """Raises ConfigFault, with the nearest that is."""
    if unit not in KNOWN:
        raise ConfigFault(
            "not a unit that is known",
            where=repr(unit),
            expected=f"one of {', '.join(KNOWN)}",
            hint=nearest(unit, KNOWN),
        )


def converter(channel: Channel, to: str) -> Callable[[Values], Values]:
    """What makes of a channel's values the same in another, known unit. Raises ConfigFault if nothing can."""
    kind = next(kind for kind in _KINDS if to in kind)
    if channel.unit not in kind:
        raise ConfigFault(
            f"{channel.name} is in {channel.unit or 'no unit'}, which no {to} can be made of",
            expected=f"a channel in {listed(kind)}",
        )
    (factor, offset), (factor_to, offset_to) = kind[channel.unit], kind[to]
    return lambda values: (values * factor + offset - offset_to) / factor_to
