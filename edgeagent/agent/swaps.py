"""Models that were swapped while the agent ran: what serves instead of the config's own bundle, after a restart too.

In the state folder, below `swaps`: `swaps.json`, and a folder for each bundle that serves or served before, a copy, so
that nothing depends on where it came from. A swap stands in for one `bundle:` of the config: where the config names
another one, the config wins.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from edgeagent.agent.state import make_folder
from edgeagent.config.schema import Config
from edgeagent.errors import BundleFault, ConfigFault, disk
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.choices import choices_for

log = logging.getLogger(__name__)


class Served(msgspec.Struct, frozen=True):
    """A bundle that serves, or did: a copy's folder below `swaps`, or "" for the config's own."""

    folder: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Swap(msgspec.Struct, frozen=True):
    """One model's: the `bundle:` that it stands in for, what serves, and what did before, if one can go back to it."""

    bundle: str
    now: Served
    before: Served | None


class Swaps:
    """What has been swapped, by the model's key. One thread at a time changes it."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "swaps"
        self._swaps = self._read()

    def serving(self, config: Config, own: Mapping[str, Bundle]) -> dict[str, Bundle]:
        """What serves for each model; `own` are the config's. What can serve no more gives way to that."""
        return dict(own) | {
            key: bundle for key in own if (bundle := self._swapped_in(key, config, own[key])) is not None
        }

    def of(self, key: str, configured: str) -> Swap | None:
        """What stands in for the config's bundle of a model."""
        swap = self._swaps.get(key)
        return swap if swap is not None and swap.bundle == configured else None

    def before(self, key: str, configured: str) -> str | None:
        """What a rollback would bring back, in words."""
        swap = self.of(key, configured)
        return str(swap.before) if swap is not None and swap.before is not None else None

    def folder(self, served: Served) -> Path:
        return self._folder / served.folder

    @contextmanager
    def copied(self, source: Path) -> Iterator[Served]:
        """A copy of a bundle's folder or archive, sound and whole; it is gone afterwards unless it was remembered.

        Raises BundleFault, or StorageFault if there is no room.
        """
        # Most agents never swap a model: they need not hold in memory what it takes.
        from tempfile import TemporaryDirectory

        from edgeagent.inference.archive import pack, unpack

        make_folder(self._folder)
        with _disk(self._folder), TemporaryDirectory(prefix=".new-", dir=self._folder) as scratch:
            archive = source
            if source.is_dir():
                archive = Path(scratch) / "bundle.tar"
                pack(source, archive)
            bundle = unpack(archive, Path(scratch))
            name = next(n for n in _names(bundle) if not (self._folder / n).exists())
            bundle.folder.rename(self._folder / name)
            os.sync()
        try:
            yield Served(name, bundle.name, bundle.version)
        finally:
            self._sweep()

    def remember(self, key: str, swap: Swap) -> None:
        """From now on this is so, after a power cut too. Raises StorageFault."""
        swaps = self._swaps | {key: swap}
        if not swap.now.folder:
            del swaps[key]
        young = self._folder / "swaps.json.tmp"
        with _disk(self._folder):
            young.write_bytes(msgspec.json.encode(swaps))
            os.sync()
            young.replace(self._folder / "swaps.json")
            os.sync()
        self._swaps = swaps
        self._sweep()

    def _swapped_in(self, key: str, config: Config, own: Bundle) -> Bundle | None:
        swap = self.of(key, config.models[key].bundle)
        if swap is None:
            return None
        try:
            bundle = load_bundle(self.folder(swap.now))
            choices_for(bundle, config.models[key].accelerator)
            must_be_alike(config, key, own, bundle)
        except (BundleFault, ConfigFault) as fault:
            log.warning("model %s: %s, swapped in before, cannot serve: %s", key, swap.now, fault)
            return None
        return bundle

    def _read(self) -> dict[str, Swap]:
        path = self._folder / "swaps.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Swap])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as e:
            log.warning("%s cannot be read (%s): the config's own bundles serve", path, e)
            return {}

    def _sweep(self) -> None:
        """Delete the copies that nobody can go back to."""
        import shutil

        kept = {one.folder for swap in self._swaps.values() for one in (swap.now, swap.before) if one}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def must_be_alike(config: Config, key: str, old: Bundle, new: Bundle) -> None:
    """Raises BundleFault unless windows, pipelines and rules that were made for the one are right for the other."""
    differences = [
        f"{what} {found}, not {wanted}".lstrip()
        for what, wanted, found in (
            ("channels", _channels(old), _channels(new)),
            ("a rate of", f"{old.layout.rate_hz:g} Hz", f"{new.layout.rate_hz:g} Hz"),
            ("windows of", f"{old.window_s:g} s", f"{new.window_s:g} s"),
            ("", _samples(old), _samples(new)),
            ("a hop of", *(_hop(config, key, bundle) for bundle in (old, new))),
        )
        if wanted != found
    ]
    if lost := set(old.task.facts) - set(new.task.facts):
        differences.append(f"it gives no {', '.join(sorted(lost))}")
    gone = [label for label in old.task.names if label not in new.task.names]
    differences += [
        f"rule {name} asks for {label}, which it does not know"
        for name, rule in config.rules.items()
        for label in gone
        if f'"{label}"' in rule.when or f"'{label}'" in rule.when
    ]
    if differences:
        raise BundleFault(
            f"{new.name} {new.version} does not fit in the place of {old.name} {old.version}: "
            + "; ".join(differences),
            hint="A model of another shape is a change of the config: name its bundle there, and reload",
        )


def _channels(bundle: Bundle) -> str:
    return ", ".join(f"{channel.name} ({channel.unit})" for channel in bundle.layout.channels)


def _samples(bundle: Bundle) -> str:
    shape = " x ".join(map(str, reversed(bundle.layout.shape)))
    return f"pictures of {shape}" if shape else "readings"


def _hop(config: Config, key: str, bundle: Bundle) -> str:
    """The bundle's, where a pipeline takes it from there."""
    takes_it = any(p.model == key and p.window.hop is None for p in config.pipelines.values())
    return f"{bundle.hop_s:g} s" if takes_it else ""


def _names(bundle: Bundle) -> Iterator[str]:
    """Names for a copy's folder."""
    n = 1
    while True:
        yield f"{bundle.name}-{bundle.version}-{n}"
        n += 1


def _disk(folder: Path) -> AbstractContextManager[None]:
    hint = "Make room on the disk, and see whether the agent's user may write there"
    return disk("the swap cannot be written", where=folder, hint=hint)
