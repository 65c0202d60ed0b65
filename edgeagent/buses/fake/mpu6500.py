"""An MPU-6500 that is not there: an MPU-6050 with half the FIFO (RM-MPU-6500A-00, revision 2.1)."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.mpu6050 import Mpu6050, motion_of
from edgeagent.timebase import Clock


class Mpu6500(Mpu6050):
    ID = 0x70
    FIFO_BYTES = 512


def build(clock: Clock, fake: Fake) -> Mpu6500:
    return Mpu6500(clock, motion_of(fake), fake)
