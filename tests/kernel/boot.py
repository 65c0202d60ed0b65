"""Boot Debian's own kernel in an emulator, and run tests/kernel there: `make test-kernel`.

The root folder of the emulated computer is that of this one, to be read only, so the tests run in the repository's own
.venv. The kernel and its modules come from Debian's package, which `make` has unpacked into build/kernel.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = REPOSITORY / "build/kernel"
MODULES = BUILD / "lib/modules"
CONSOLE, CODE, IMAGE = BUILD / "console.log", BUILD / "code", BUILD / "initramfs"
FOR_THE_ROOT = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_console")
APPLETS = ("sh", "mount", "mkdir", "insmod", "cat", "ip", "chroot", "stty", "sleep", "poweroff")
PATIENCE_S = 1500.0
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing() -> list[str]:
    """What is not here, by Debian's name of the package."""
    tools = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "modprobe": "kmod"}
    lacks = [package for tool, package in tools.items() if not shutil.which(tool, path=SYSTEM_PATH)]
    lacks += [] if Path("/usr/lib/systemd/systemd-udevd").exists() else ["udev"]
    lacks += [] if (BUILD / ".unpacked").exists() else ["linux-image-amd64"]
    return lacks if platform.machine() == "x86_64" else ["an x86-64 computer"]


def make_image(version: str, arguments: list[str]) -> None:
    """The initramfs: busybox, the modules that lead to the root folder, and what comes first."""
    folder = BUILD / "first"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "modules").mkdir()
    busybox = shutil.which("busybox", path=SYSTEM_PATH) or ""
    shutil.copy(busybox, folder / "bin/busybox")
    for applet in APPLETS:
        (folder / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init", folder / "init")
    (folder / "init").chmod(0o755)
    order = modules_in_order(version)
    for module in order:
        shutil.copy(module, folder / "modules")
    (folder / "modules/order").write_text("\n".join(module.name for module in order))
    settings = {"REPOSITORY": REPOSITORY, "MODULES": MODULES, "ARGUMENTS": shlex.join(arguments)}
    (folder / "settings").write_text("".join(f"{k}={shlex.quote(str(v))}\n" for k, v in settings.items()))
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    archive = [busybox, "cpio", "-o", "-H", "newc"]
    with IMAGE.open("wb") as image:
        subprocess.run(
            archive, cwd=folder, input=names.encode(), stdout=image, stderr=subprocess.DEVNULL, check=True
        )


def modules_in_order(version: str) -> list[Path]:
    """The files of what leads to the root folder, each after those that it needs."""
    modprobe = shutil.which("modprobe", path=SYSTEM_PATH) or ""
    command = [modprobe, "-d", str(BUILD), "-S", version, "--show-depends", "-a", *FOR_THE_ROOT]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(line.split()[1]) for line in dict.fromkeys(shown) if line.startswith("insmod ")]


def emulator(version: str) -> list[str]:
    """The emulated computer. Its tests reach two things outside: the emulator itself, and the far end of a serial line.

    Its processor is emulated too, even where KVM is offered: it is as quick everywhere, and nested KVM can hang.
    """
    bare = "-M q35 -accel tcg -cpu Nehalem -smp 2 -m 1024 -nodefaults -no-user-config -no-reboot"
    parts = [
        "-display", "none", "-nic", "none",
        "-kernel", f"{BUILD}/boot/vmlinuz-{version}",
        "-initrd", str(IMAGE),
        "-append", "console=ttyS0 panic=-1 mitigations=off",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=computer",
        "-serial", f"file:{CONSOLE}",
        "-serial", "stdio",
        "-serial", f"file:{CODE}",
        "-device", "virtio-serial-pci",
        *socket("emulator"), "-mon", "chardev=emulator,mode=control",
        *socket("line"),
        "-chardev", "null,id=nobody",
        "-device", "qemu-xhci,id=usb",
    ]  # fmt: skip
    return ["qemu-system-x86_64", *bare.split(), *parts]


def socket(name: str) -> list[str]:
    """A socket of the emulator whose other end is /dev/virtio-ports/NAME inside."""
    path = f"path={os.path.relpath(BUILD / name)}"  # a socket's path may have 108 bytes
    return [
        "-chardev", f"socket,id={name},{path},server=on,wait=off",
        "-chardev", f"socket,id={name}-inside,{path}",
        "-device", f"virtserialport,chardev={name}-inside,name={name}",
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    if lacks := missing():
        print(f"the tests on a kernel: not run: needs {', '.join(lacks)}")
        return 1 if os.environ.get("CI") else 0
    version = next(MODULES.iterdir()).name
    make_image(version, arguments)
    CODE.unlink(missing_ok=True)
    try:
        subprocess.run(emulator(version), stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"no end after {PATIENCE_S:.0f} s")
    code = CODE.read_text().strip() if CODE.exists() else ""
    if not code:
        print(
            f"the tests did not come to an end. The kernel said:\n{CONSOLE.read_text(errors='replace')[-5000:]}"
        )
    return int(code or 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
