"""Plays one sensor of a recording, round and round, for trying a config on what was really measured.

    imu: {driver: recording, folder: models/activity/recording, sensor: imu}

Samples come at the recorded rate, a camera's with their pictures, one after the other: holes are not played.
"""

from __future__ import annotations

import msgspec
import numpy as np

from edgeagent.config.quantities import FilePath
from edgeagent.errors import ConfigFault
from edgeagent.recording import Recording, label_between
from edgeagent.records import NS_PER_S, Float32Array, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.generated import Generated


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`sensor` may be left out where the recording has only one."""

    folder: FilePath
    sensor: str = ""


def layout(options: Options) -> Layout:
    """Channels and rate as recorded. Raises StorageFault, or ConfigFault if it is not said which sensor."""
    recording = Recording(options.folder)
    sensors = recording.header.sensors
    if options.sensor in sensors:
        return sensors[options.sensor]
    if not options.sensor and len(sensors) == 1:
        return next(iter(sensors.values()))
    found = f"no sensor {options.sensor!r}" if options.sensor else "which sensor is not said"
    raise ConfigFault(found, where=str(options.folder), expected=f"sensor: {' or '.join(sensors)}")


def build(name: str, options: Options, context: Context) -> Sensor:
    shape, recording = layout(options), Recording(options.folder)
    sensor = options.sensor or next(iter(recording.header.sensors))
    times, values = recording.series(sensor)
    pictures = recording.pictures(sensor) if shape.pictures else []
    period_ns = NS_PER_S / shape.rate_hz
    length_ns = round(len(values) * period_ns)

    def make(first: int, count: int) -> Float32Array:
        return values[np.arange(first, first + count) % len(values)]

    def show(first: int, count: int) -> tuple[bytes, ...]:
        return tuple(pictures[at % len(pictures)] for at in range(first, first + count))

    def truth(t_start_ns: int, t_end_ns: int) -> str | None:
        if t_start_ns < 0:
            return None
        start_ns = t_start_ns % length_ns + int(times[0])
        return label_between(recording.header.labels, start_ns, start_ns + t_end_ns - t_start_ns)

    labelled = truth if recording.header.labels else None
    return Generated(name, shape, context.clock, make, labelled, show if pictures else None)
