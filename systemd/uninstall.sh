#!/bin/sh
# Takes the service and the program away; keeps the config, the records and the user.
set -eu

[ "$(id -u)" -eq 0 ] || { echo "edgeagent: needs root. Run: sudo sh $0" >&2; exit 1; }

if [ -d /run/systemd/system ]; then
    systemctl disable --now edgeagent.service || true
fi
rm -f /etc/systemd/system/edgeagent.service /etc/systemd/system/edgeagent.service.d/10-other-ntp.conf
rm -f /etc/sysusers.d/edgeagent.conf /etc/udev/rules.d/99-edgeagent.rules /usr/local/bin/edgeagent
rm -rf /opt/edgeagent
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi

echo "edgeagent: removed. Kept: /etc/edgeagent, and in /var/lib/edgeagent records that may not have been sent."
echo "edgeagent: to remove them too: rm -r /etc/edgeagent /var/lib/edgeagent && userdel edgeagent"
