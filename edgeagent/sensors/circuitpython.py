"""Any Adafruit CircuitPython driver for an I2C chip, by the name of its class (extra `edgeagent[circuitpython]`).

    driver: circuitpython
    class: adafruit_bme280.basic.Adafruit_BME280_I2C
    channels: {temperature: {unit: degC}, pressure: {unit: hPa}}

The driver meets our bus where it expects `busio.I2C`. It may sleep while its chip converts, so it has a reader thread
of its own: the other sensors of the bus go on.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.config.parts import pip_install
from edgeagent.config.quantities import Hz, Seconds
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

# What these drivers raise of their own accord: a wrong id, a checksum, a measurement that does not come.
COMPLAINTS = (RuntimeError, ValueError, OSError)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute of the driver: `attribute` if it is not called like the channel, `index` if it is one of several."""

    unit: str
    attribute: str = ""
    index: int | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`arguments` are further ones of the constructor by name, `settings` attributes that are set once it is made.

    `settle`: how long after that the first reading is there.
    """

    bus: str
    address: I2cAddress
    driver_class: str = msgspec.field(name="class")
    channels: dict[str, Source]
    rate: Hz = 1.0
    arguments: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    settle: Seconds = 0.0
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for no channels, or a class whose package is not installed."""
    if not options.channels:
        raise ConfigFault("no channels", where="channels", expected="temperature: {unit: degC}")
    module, _, name = options.driver_class.rpartition(".")
    package = module.split(".")[0]
    if not module or find_spec(package) is None:
        raise ConfigFault(
            f"there is no package {package!r} with a class {name}" if module else f"{name!r} names no module",
            where="class",
            expected="a class with its module, such as adafruit_mcp9808.MCP9808",
            hint="Install it: "
            + pip_install("edgeagent[circuitpython]", package.replace("adafruit_", "adafruit-circuitpython-"))
            if module
            else "",
        )
    return Layout(
        options.rate, tuple(Channel(name, source.unit) for name, source in options.channels.items())
    )


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, CircuitPython(name, bus, options))


class CircuitPython:
    """One driver of another's: a Probe."""

    def __init__(self, name: str, bus: I2cBus, options: Options) -> None:
        self.port = f"{bus.name} for {name}"
        self.where = f"{bus.name} address {options.address:#04x}"
        self._bus, self._options = bus, options
        self._i2c = BusioI2c(bus)
        self._driver: Any = None

    def start(self) -> float:
        """Import the class and make its driver. Raises DeviceFault."""
        module, _, name = self._options.driver_class.rpartition(".")
        self._i2c.fault = None
        try:
            kind = getattr(importlib.import_module(module), name)
            self._driver = kind(self._i2c, self._options.address, **self._options.arguments)
            for attribute, value in self._options.settings.items():
                _set(self._driver, attribute, value)
        except (ImportError, AttributeError, TypeError) as e:
            raise DeviceFault(
                str(e),
                where=self.where,
                expected=f"the driver {self._options.driver_class}",
                hint="Check `class:`, `arguments:` and `settings:`.",
            ) from e
        except COMPLAINTS as e:
            raise self._i2c.fault or WrongDevice(
                str(e),
                where=self.where,
                expected=f"a chip that {self._options.driver_class} knows",
                hint="Check `address:` and `driver:` with its `class:`.",
            ) from e
        return self._options.settle

    def measure(self) -> Row:
        """Each attribute once, whatever number of channels are made of it. Raises DeviceFault."""
        self._i2c.fault = None
        read: dict[str, Any] = {}
        try:
            for name, source in self._options.channels.items():
                attribute = source.attribute or name
                if attribute not in read:
                    read[attribute] = getattr(self._driver, attribute)
        except COMPLAINTS as e:
            if self._i2c.fault is not None:
                raise self._i2c.fault from e
            return Row((math.nan,) * len(self._options.channels), str(e))
        except AttributeError as e:
            raise DeviceFault(str(e), where=self.where, hint="Check the names of `channels:`.") from e
        values = tuple(_value(read, name, source) for name, source in self._options.channels.items())
        return Row(values, "the driver gives no value" if any(map(math.isnan, values)) else "")

    def counters(self) -> Mapping[str, int]:
        return self._bus.counters(self._options.address)

    def close(self) -> None:
        self._bus.close()


def _set(driver: Any, attribute: str, value: Any) -> None:
    """Raises AttributeError for one that is not there: Python would make it, and the chip never hear of it."""
    if not hasattr(type(driver), attribute) and attribute not in vars(driver):
        raise AttributeError(f"{type(driver).__name__} has no setting {attribute!r}")
    setattr(driver, attribute, value)


class BusioI2c:
    """Our bus as CircuitPython's `busio.I2C`, as far as drivers use it. A bus of ours locks each transfer by itself.

    Drivers turn what the bus raises into complaints of their own, so the last fault is kept.
    """

    def __init__(self, bus: I2cBus) -> None:
        self._bus = bus
        self.fault: DeviceFault | None = None

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        """Nothing was locked."""

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None:
        self._transfer(address, bytes(buffer[start:end]), 0)

    def readfrom_into(
        self, address: int, buffer: bytearray, *, start: int = 0, end: int | None = None
    ) -> None:
        n = len(range(*slice(start, end).indices(len(buffer))))
        buffer[start:end] = self._transfer(address, b"", n)

    def writeto_then_readfrom(
        self,
        address: int,
        out_buffer: bytes,
        in_buffer: bytearray,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
    ) -> None:
        n = len(range(*slice(in_start, in_end).indices(len(in_buffer))))
        in_buffer[in_start:in_end] = self._transfer(address, bytes(out_buffer[out_start:out_end]), n)

    def _transfer(self, address: int, out: bytes, n: int) -> bytes:
        try:
            answer = self._bus.transfer(address, out, n)
        except DeviceFault as fault:
            self.fault = fault
            raise
        self.fault = None
        return answer


def _value(read: Mapping[str, Any], name: str, source: Source) -> float:
    """A number, or NaN for None."""
    value = read[source.attribute or name]
    if source.index is not None and value is not None:
        value = value[source.index]
    return math.nan if value is None else float(value)
