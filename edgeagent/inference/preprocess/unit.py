"""`unit: {acc_x: g}`: channels in the unit that the model was trained on, where sensors give another."""

from __future__ import annotations

from edgeagent import units
from edgeagent.config.findings import listed, nearest
from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, Step, Values
from edgeagent.records import Channel

Options = dict[str, str]


def build(options: Options, given: Form) -> Step:
    names = [channel.name for channel in given.channels]
    for name, to in options.items():
        units.must_be_known(to)
        if name not in names:
            raise ConfigFault(
                f"there is no channel {name!r}", expected=listed(names), hint=nearest(name, names)
            )
    wanted = {names.index(name): to for name, to in options.items()}
    convert = {at: units.converter(given.channels[at], to) for at, to in wanted.items()}

    def apply(values: Values) -> Values:
        out = values.copy("K")
        for at, in_unit in convert.items():
            out[..., at] = in_unit(values[..., at])
        return out

    channels = tuple(Channel(c.name, wanted.get(at, c.unit)) for at, c in enumerate(given.channels))
    return Step(given._replace(channels=channels), apply)
