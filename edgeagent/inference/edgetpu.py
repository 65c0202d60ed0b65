"""What an Edge TPU (Coral) lacks on this machine, in words: the library, the device, the udev rule, the group."""

from __future__ import annotations

import ctypes
import grp
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

LIBRARY = "libedgetpu.so.1"
_USB_IDS = ("1a6e:089a", "18d1:9302")  # as it is plugged in, and after it got its firmware
_RULES = ("etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d")
_GROUP = re.compile(r'[^#]*1a6e.*GROUP="(\w+)"')


def advice() -> str:
    """What to do, for the message of a fault."""
    mine = [group.gr_name for group in grp.getgrall() if group.gr_gid in os.getgroups()]
    missing = lacking(Path("/"), has_library=_has_library(), groups=None if os.geteuid() == 0 else mine)
    if not missing:
        return "All that it needs is there: unplug the Coral and plug it in again"
    return f"Missing: {'; '.join(missing)}"


def lacking(root: Path, *, has_library: bool, groups: Collection[str] | None) -> list[str]:
    """A sentence for each thing that is missing under `root`, with its cure; `groups` None: we are root."""
    return list(_lacking(root, has_library=has_library, groups=groups))


def _lacking(root: Path, *, has_library: bool, groups: Collection[str] | None) -> Iterator[str]:
    if not has_library:
        yield (
            f"no {LIBRARY}: install the package libedgetpu1-std from Coral's apt repository "
            "(https://coral.ai/software), in the version that goes with the TFLite runtime"
        )
    if not _is_plugged_in(root):
        yield "no Coral is to be seen on USB or PCIe: plug it in, at best into a USB 3 port"
    if groups is None:
        return
    group = _group_of_rule(root)
    if group is None:
        yield (
            "no udev rule lets anyone but root open it: copy 99-edgeagent.rules of systemd/ to /etc/udev/rules.d "
            "(libedgetpu1-std brings one too), then: sudo udevadm control --reload && sudo udevadm trigger"
        )
    elif group not in groups:
        yield f"this user is not in the group {group}: sudo usermod -aG {group} USER, then log in again"


def _is_plugged_in(root: Path) -> bool:
    folders = (root / "sys/bus/usb/devices").glob("*/idVendor")
    ids = (f"{_word(v)}:{_word(v.with_name('idProduct'))}" for v in folders)
    return any(one in _USB_IDS for one in ids) or any((root / "dev").glob("apex_*"))


def _group_of_rule(root: Path) -> str | None:
    """The group that a udev rule gives the USB Coral to; None if no rule knows it."""
    for folder in _RULES:
        for file in sorted((root / folder).glob("*.rules")):
            for line in file.read_text(errors="replace").splitlines():
                if match := _GROUP.match(line):
                    return match[1]
    return None


def _word(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _has_library() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True
