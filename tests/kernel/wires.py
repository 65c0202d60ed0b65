"""The chips on the wires of the adapter, with the counts of their data sheets' examples."""

from __future__ import annotations

from edgeagent.agent.clock import RealClock
from edgeagent.buses.fake import Fake, bme280, mpu6050, tmp105
from edgeagent.buses.fake.chip import FakeWires

TMP105, MPU6050, BME280 = 0x48, 0x68, 0x76
EMPTY = 0x1D


def wires() -> FakeWires:
    clock = RealClock()
    return FakeWires(
        {
            TMP105: tmp105.build(clock, Fake(raw=((0x1900,),))),
            MPU6050: mpu6050.build(clock, Fake()),
            BME280: bme280.build(clock, Fake(raw=((326816, 529191, 30281),))),
        }
    )
