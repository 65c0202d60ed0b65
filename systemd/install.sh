#!/bin/sh
# Installs or upgrades edgeagent as a service. Can be run again: it never overwrites a config.
set -eu

usage() {
    cat <<'END'
usage: install.sh [--from SOURCE] [--root DIR] [--no-pip]

  --from SOURCE  what pip installs: a wheel, a folder or a name (default: the checkout this script lies in)
  --root DIR     lay everything under DIR instead of /, and start nothing: an image, a package, a test
  --no-pip       leave the program in /opt/edgeagent as it is
END
}

say() { printf '%s\n' "edgeagent: $*"; }
fail() { printf '%s\n' "edgeagent: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
root=
pip=yes
while [ $# -gt 0 ]; do
    case $1 in
        --from) [ $# -gt 1 ] || fail "--from needs a wheel, a folder or a name"; source=$2; shift 2 ;;
        --root) [ $# -gt 1 ] || fail "--root needs a folder"; root=${2%/}; shift 2 ;;
        --no-pip) pip=no; shift ;;
        -h|--help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    fail "needs root to make the user, the folders and the service. Run: sudo sh $0"
fi

program=$root/opt/edgeagent
config=$root/etc/edgeagent/edgeagent.yaml

# A live system: this machine's own root, with systemd as its first process.
live() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

install_program() {
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || fail "found no $python. Run: apt install python3 python3-venv"
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
        fail "found $("$python" -V), needs Python 3.11 to 3.13. Name another one: PYTHON=/usr/bin/python3.11 sh $0"
    if [ ! -x "$program/bin/pip" ]; then
        say "making $program ..."
        "$python" -m venv "$program" || fail "could not make a virtual environment. Run: apt install python3-venv"
    fi
    say "installing $source (some minutes on a small board) ..."
    "$program/bin/python" -m pip install --disable-pip-version-check --upgrade "$source"
    # The first lines of the commands name the Python of the machine that will run them, not of this one.
    [ -z "$root" ] || find "$program/bin" -type f -exec sed -i "1s|^#!$root/|#!/|" {} +
    mkdir -p "$root/usr/local/bin"
    ln -sfn /opt/edgeagent/bin/edgeagent "$root/usr/local/bin/edgeagent"
}

# put FILE TARGET: one file of this folder, readable by all, written only if it changed.
put() {
    target=$root$2
    cmp -s "$here/$1" "$target" && return
    mkdir -p "$(dirname "$target")"
    install -m 0644 "$here/$1" "$target"
    say "wrote $target"
}

install_system_files() {
    put edgeagent.service /etc/systemd/system/edgeagent.service
    put edgeagent.sysusers /etc/sysusers.d/edgeagent.conf
    put 99-edgeagent.rules /etc/udev/rules.d/99-edgeagent.rules
    # Debian installs timesyncd, chrony or ntpd, never two; only timesyncd says in a file that the clock is set.
    if [ -e "$root/lib/systemd/systemd-timesyncd" ]; then
        rm -f "$root/etc/systemd/system/edgeagent.service.d/10-other-ntp.conf"
    else
        put other-ntp.conf /etc/systemd/system/edgeagent.service.d/10-other-ntp.conf
    fi
}

make_user() {
    if [ "$(id -u)" -ne 0 ]; then
        say "not root, so the user is not made. In the image, run: systemd-sysusers edgeagent.conf"
        return
    fi
    command -v systemd-sysusers >/dev/null || fail "found no systemd-sysusers. Run: apt install systemd"
    systemd-sysusers --root="${root:-/}" edgeagent.conf
}

make_config() {
    install -d -m 0755 "$root/etc/edgeagent"
    install -d -m 0700 "$root/etc/edgeagent/credentials"
    if [ -e "$config" ]; then
        say "kept $config"
    elif [ -x "$program/bin/edgeagent" ]; then
        "$program/bin/python" -I -m edgeagent init >"$config.new"
        chmod 0644 "$config.new"
        mv "$config.new" "$config"
        say "wrote $config, the default"
    else
        say "no program in $program yet, so no default config. Run this again without --no-pip"
    fi
}

start_service() {
    systemctl daemon-reload
    if command -v udevadm >/dev/null; then
        udevadm control --reload
        udevadm trigger --subsystem-match=tty --subsystem-match=i2c-dev --subsystem-match=gpio --subsystem-match=usb
    fi
    systemctl enable edgeagent.service
    systemctl try-restart edgeagent.service
    if systemctl --quiet is-active edgeagent.service; then
        say "running. Look at it: edgeagent status"
    else
        say "installed. Edit $config, then: edgeagent check $config && systemctl start edgeagent"
    fi
}

[ "$pip" = no ] || install_program
install_system_files
make_user
make_config
if live; then
    start_service
else
    say "installed under ${root:-/}. systemd does not run here: nothing was started"
fi
