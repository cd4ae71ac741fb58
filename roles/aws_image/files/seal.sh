#!/bin/sh
# Leaves nothing on a builder that belongs to it alone: instances of the image make their own on their first boot.
set -eu

# ZeroTier: an instance gets the identity of the slot that it leases.
if [ -d /run/systemd/system ]; then
    systemctl stop zerotier-one.service 2>/dev/null || true
fi
rm -rf /var/lib/zerotier-one/identity.secret /var/lib/zerotier-one/identity.public \
    /var/lib/zerotier-one/authtoken.secret /var/lib/zerotier-one/peers.d /var/lib/zerotier-one/networks.d \
    /var/lib/zerotier-one/zerotier-one.pid /var/lib/zerotier-one/zerotier-one.port
rm -rf /run/parkmesh

# SSH host keys are made at boot, before the server that needs them.
if [ -x /usr/bin/ssh-keygen ] && [ -d /etc/ssh ]; then
    rm -f /etc/ssh/ssh_host_*
    cat >/etc/systemd/system/ssh-host-keys.service <<'UNIT'
[Unit]
Description=Make the SSH host keys that are missing
Before=ssh.service ssh.socket
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
UNIT
    mkdir -p /etc/systemd/system/multi-user.target.wants
    ln -sf ../ssh-host-keys.service /etc/systemd/system/multi-user.target.wants/ssh-host-keys.service
fi

if command -v cloud-init >/dev/null 2>&1; then
    cloud-init clean --logs
fi

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
rm -rf /root/.ansible /home/*/.ansible /root/.bash_history /home/*/.bash_history
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -rf /var/log/journal/* /run/log/journal/*
find /var/log -type f -exec truncate -s 0 {} +
rm -f /var/lib/dbus/machine-id
: >/etc/machine-id
