"""The chips on the wires of the adapter, with the counts of their data sheets' examples."""

from __future__ import annotations

from edgeagent.agent.clock import RealClock
from edgeagent.buses.fake import Fake, bme280, mpu6050, sht4x, tmp102, tmp105
from edgeagent.buses.fake.chip import FakeWires

SHT4X, TMP105, TMP102, MPU6050, BME280 = CHIPS = 0x45, 0x48, 0x4A, 0x68, 0x76
EMPTY = 0x1D


def wires() -> FakeWires:
    clock = RealClock()
    return FakeWires(
        {
            SHT4X: sht4x.build(clock, Fake(raw=((0x6666, 0x8000),))),
            TMP105: tmp105.build(clock, Fake(raw=((0x1900,),))),
            TMP102: tmp102.build(clock, Fake(raw=((-0x1900,),))),
            MPU6050: mpu6050.build(clock, Fake()),
            BME280: bme280.build(clock, Fake(raw=((326816, 529191, 30281),))),
        }
    )
