"""MPU-6500: an MPU-6050 (sensors/mpu6050.py) with half the FIFO and a second filter, for the accelerometer.

Register numbers and bits: InvenSense RM-MPU-6500A-00, revision 2.1; FIFO: PS-MPU-6500A-01, section 4.17.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeagent.sensors import Advice, Context, Sensor, mpu6050

MPU6500 = mpu6050.Model("MPU-6500", 0x70, 512, filters_apart=True)
Options = mpu6050.Options
layout = mpu6050.layout


def advise(options: mpu6050.Options) -> Iterable[Advice]:
    return mpu6050.advise(options, MPU6500)


def build(name: str, options: mpu6050.Options, context: Context) -> Sensor:
    return mpu6050.build(name, options, context, MPU6500)
