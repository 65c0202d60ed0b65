"""What tells the chips on an I2C bus apart, as data: what each is asked, and what it must answer.

Asking means writing a register's number (or a command that only reads) and reading on after a repeated start. That is
harmless for chips with registers, and not for others: a PCF8574 takes any byte as its outputs. So a chip is asked
nothing but what stands here for its address, and at the addresses of `NEVER_ASKED` nothing at all.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeagent.buses.crc8 import crc8

SENSIRION = 0xFF  # what the checksum of its newer chips begins with


class Answer(NamedTuple):
    """Write `out`, read as many bytes as `expected` has: under `mask` they must be those (no mask: all bits).

    `fetched`: by a read of its own, a moment later, as Sensirion's words with a checksum behind each; any will do.
    """

    out: bytes
    expected: bytes
    mask: bytes = b""
    fetched: bool = False

    def fits(self, found: bytes) -> bool:
        if self.fetched:
            return all(crc8(found[i : i + 2], SENSIRION) == found[i + 2] for i in range(0, len(found), 3))
        mask = self.mask or b"\xff" * len(self.expected)
        return all((f ^ e) & m == 0 for f, e, m in zip(found, self.expected, mask, strict=True))

    def says(self, found: bytes) -> str:
        """`register 0x75 is 0x68`."""
        word = "command" if self.fetched or len(self.out) > 1 else "register"
        shown = "".join(f"{b:02x}" for b in found[:4]) + ("..." if len(found) > 4 else "")
        return f"{word} 0x{self.out.hex()} is 0x{shown}"


class Kind(NamedTuple):
    """A chip: where it may sit, and the answers that make it. `driver` is the file in sensors/, if there is one.

    `sure`: the chip has a register that holds nothing but its id; else its registers only look like it.
    """

    name: str
    driver: str
    addresses: tuple[int, ...]
    answers: tuple[Answer, ...]
    sure: bool = True


def _is(register: int, *expected: int) -> tuple[Answer, ...]:
    return (Answer(bytes((register,)), bytes(expected)),)


_MPU = (0x68, 0x69)
_BME = (
    0x76,
    0x77,
)  # a multiplexer can be strapped to these too, and would switch; who has one has it at 0x70
_TMP = tuple(range(0x48, 0x50))
_INA = tuple(range(0x40, 0x50))
_ADS = tuple(range(0x48, 0x4C))
_LIS = (0x18, 0x19)
_LSM = (0x6A, 0x6B)

# A real-time clock has no id. What its registers cannot be, bit by bit, gives it away: BCD digits leave bits unused.
_RTC_BCD = Answer(b"\x00", bytes(7), b"\x80\x80\x80\xf8\xc0\x60\x00")
_DS3231_STATUS = Answer(b"\x0f", b"\x00", b"\x70")
_DS3231_TEMPERATURE = Answer(b"\x12", b"\x00", b"\x3f")

# Thresholds as they are after power-on: 75 and 80 degC, in the LM75 and all that followed it.
_LM75_THRESHOLDS = (Answer(b"\x02", b"\x4b\x00"), Answer(b"\x03", b"\x50\x00"))

# Bits that are always 0 in the configuration, the bus voltage and the calibration.
_INA219_IN_USE = (
    Answer(b"\x00", bytes(2), b"\xc0\x00"),
    Answer(b"\x02", bytes(2), b"\x00\x04"),
    Answer(b"\x05", bytes(2), b"\x00\x01"),
)

KINDS = (
    Kind("MPU-6050", "mpu6050", _MPU, _is(0x75, 0x68)),
    Kind("MPU-6500", "mpu6500", _MPU, _is(0x75, 0x70)),
    Kind("MPU-9250", "", _MPU, _is(0x75, 0x71)),
    Kind("MPU-9255", "", _MPU, _is(0x75, 0x73)),
    Kind("ICM-20602", "", _MPU, _is(0x75, 0x12)),
    Kind("ICM-20948", "", _MPU, _is(0x00, 0xEA)),
    Kind("DS3231 clock", "", (0x68,), (_RTC_BCD, _DS3231_STATUS, _DS3231_TEMPERATURE), sure=False),
    Kind("clock of the DS1307 kind", "", (0x68,), (_RTC_BCD,), sure=False),
    Kind("ADXL345", "adxl345", (0x53, 0x1D), _is(0x00, 0xE5)),
    Kind("BME280", "bme280", _BME, _is(0xD0, 0x60)),
    Kind("BMP280", "bmp280", _BME, _is(0xD0, 0x58)),
    Kind("BME680", "", _BME, _is(0xD0, 0x61)),
    Kind("BMP180", "", (0x77,), _is(0xD0, 0x55)),
    Kind("BMP388", "", _BME, _is(0x00, 0x50)),
    Kind("MCP9808", "mcp9808", tuple(range(0x18, 0x20)), _is(0x06, 0x00, 0x54)),
    Kind("LIS3DH", "", _LIS, _is(0x0F, 0x33)),
    Kind("LSM6DS3", "", _LSM, _is(0x0F, 0x69)),
    Kind("LSM6DSOX", "", _LSM, _is(0x0F, 0x6C)),
    Kind("HMC5883L", "", (0x1E,), _is(0x0A, 0x48, 0x34, 0x33)),
    Kind("BNO055", "", (0x28, 0x29), _is(0x00, 0xA0)),
    Kind("VL53L0X", "", (0x29,), _is(0xC0, 0xEE)),
    Kind("APDS-9960", "", (0x39,), _is(0x92, 0xAB)),
    Kind("CCS811", "", (0x5A, 0x5B), _is(0x20, 0x81)),
    Kind("INA226", "", _INA, _is(0xFF, 0x22, 0x60)),
    Kind("INA260", "", _INA, _is(0xFF, 0x22, 0x70)),
    Kind("HDC1080", "", (0x40,), _is(0xFF, 0x10, 0x50)),
    Kind("TMP117", "", _TMP, _is(0x0F, 0x01, 0x17)),
    Kind("ADT7410", "", _TMP, _is(0x0B, 0xCB)),
    Kind(
        "ADS1115", "ads1115", _ADS, (Answer(b"\x02", b"\x80\x00"), Answer(b"\x03", b"\x7f\xff")), sure=False
    ),
    Kind("ADS1015", "", _ADS, (Answer(b"\x02", b"\x80\x00"), Answer(b"\x03", b"\x7f\xf0")), sure=False),
    Kind(
        "TMP102",
        "tmp102",
        _ADS,
        (*_LM75_THRESHOLDS, Answer(b"\x01", b"\x60\x00", b"\x60\x0f")),
        sure=False,
    ),
    Kind("LM75, TMP105 or alike", "lm75", _TMP, _LM75_THRESHOLDS, sure=False),
    Kind("INA219", "ina219", _INA, _is(0x00, 0x39, 0x9F), sure=False),
    Kind("INA219", "ina219", _INA[:8], _INA219_IN_USE, sure=False),
)

SILENT_KINDS = (
    # These acknowledge no plain read unless a measurement waits to be fetched. The commands read a status; a chip with
    # 8-bit registers would have acknowledged the plain read, and is never sent them.
    # The SHT4x first: one that has just been sent the command of an SHT3x does not answer at once.
    Kind("SHT4x", "sht4x", (0x44, 0x45, 0x46), (Answer(b"\x89", bytes(6), fetched=True),)),
    Kind("SHT3x", "sht3x", (0x44, 0x45), (Answer(b"\xf3\x2d", bytes(2), b"\x50\x0c"),), sure=False),
    Kind("HTU21D, Si7021 or SHT2x", "htu21d", (0x40,), (Answer(b"\xe7", b"\x02", b"\x02"),), sure=False),
)

_EXPANDER = "an I/O expander (PCF8574) would take a register's number for its new outputs"
_MULTIPLEXER = "a multiplexer (TCA9548A) would take a register's number for its new channels"
NEVER_ASKED = (
    dict.fromkeys((*range(0x20, 0x28), 0x38, *range(0x3A, 0x40)), _EXPANDER)
    | dict.fromkeys(range(0x70, 0x76), _MULTIPLEXER)
    | {
        0x3C: "a display takes what it is sent for a picture",
        0x3D: "a display takes what it is sent for a picture",
    }
)
"""Addresses where something may answer that is not asked who it is, and why."""

NEVER_READ = {
    0x0C: "the SMBus alert address: a read makes a chip that raised an alert forget it",
}
"""Addresses where even a read may do something."""

USUALLY = {
    **dict.fromkeys(range(0x20, 0x28), "usually an I/O expander: MCP23017 or PCF8574"),
    **dict.fromkeys(range(0x38, 0x40), "usually an I/O expander (PCF8574A) or an AHT20"),
    **dict.fromkeys((0x3C, 0x3D), "usually an OLED display: SSD1306 or SH1106"),
    **dict.fromkeys(range(0x50, 0x58), "usually an EEPROM of the 24C family"),
    **dict.fromkeys((0x23, 0x5C), "usually a BH1750 light sensor"),
    **dict.fromkeys(range(0x60, 0x68), "usually an MCP4725 output or an MCP9600"),
    **dict.fromkeys(range(0x70, 0x76), "usually a TCA9548A multiplexer or an LED driver"),
}
"""What people have at an address, where nobody was asked or nobody said."""
