# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a gateway's logs stay on its host: what logrotate is told, as files of its service.

The log directory lies below /etc with everything else of the gateway, and systemd's
``logrotate.service`` may not write there (``ProtectSystem=full``): without the drop-in the
rotation fails every night, and nobody is told. Where cron runs logrotate the drop-in is idle.
"""

from __future__ import annotations

import os

from .gateways.base import Adapter

ROTATIONS = "/etc/logrotate.d"
SERVICE = "logrotate.service"
_DROP_INS = f"/etc/systemd/system/{SERVICE}.d"

_STANZA = """\
# Managed by Ansible: the logs of gateway {name} stay here for at least {days} days.
# An edit here is found and put back by the next run.
{root}/log/*.log {{
    daily
    rotate {days}
    missingok
    notifempty
    compress
    delaycompress
{way}}}
"""
# By the unit and not by a pid file: what that names may be another process by now.
_REOPEN = """\
    create
    sharedscripts
    postrotate
        if systemctl is-active --quiet {unit}; then
            systemctl kill --kill-who=main --signal={signal} {unit}
        fi
    endscript
"""
# Lines that are written between the copy and the cut are lost.
_COPY = """\
    copytruncate
"""
_DROP_IN = """\
# Managed by Ansible: lets logrotate write to the logs of gateway {name}.
[Service]
ReadWritePaths=-{root}/log
"""


def own_files(name: str, unit: str, root: str, days: int, adapter: Adapter) -> dict[str, bytes]:
    """The files that rotate the logs below ``root``, by absolute path.

    Args:
        name: of the gateway; letters, digits, ``-`` and ``.``.
        unit: its service, whose main process opens its logs again.
        days: for which the logs are kept (DIP-2.3-LOG-RETENTION); none are rotated for 0.
    """
    if days <= 0:
        return {}
    way = _COPY if "log_reopen" in adapter.cannot else _REOPEN
    stanza = _STANZA.format(
        name=name,
        root=root,
        days=days,
        way=way.format(unit=unit, signal=adapter.reopen_signal.name),
    )
    drop_in = _DROP_IN.format(name=name, root=root)
    # logrotate passes over names that end like a left-over, .bak for one. No name has a _ in it.
    plain = f"pki-gateway-{name}".replace(".", "_")
    return {
        os.path.join(ROTATIONS, plain): stanza.encode(),
        os.path.join(_DROP_INS, f"{plain}.conf"): drop_in.encode(),
    }
