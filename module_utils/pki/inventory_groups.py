# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of each group as an inventory's ``hosts.yml`` writes them, for a check without Ansible.

Entries with ``per_host`` need them. Groups may be nested and may be written in several places, as
Ansible allows; a range of hosts (``gw[1:3]``) is Ansible's alone to spell out. Variables are not
looked at. Pure, but for :func:`read`, the edge to the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import marked_yaml, plain_files
from .errors import PkiError

NAMES = ("hosts.yml", "hosts.yaml")
ALL, UNGROUPED = "all", "ungrouped"
_NEXT = (
    "write groups and hosts out in hosts.yml, or judge this inventory live: playbooks/verify.yml"
)

Groups = Mapping[str, tuple[str, ...]]


def read(inventory: Path) -> Groups:
    """The hosts of each group of an inventory; PkiError INVENTORY-FILE with the place."""
    there = [inventory / name for name in NAMES if (inventory / name).exists()]
    if len(there) != 1:
        found = "no such file" if not there else " and ".join(path.name for path in there)
        raise _broken("the hosts of the groups are not known", found, str(inventory / NAMES[0]))
    place = str(there[0])
    try:
        text = plain_files.read(there[0], marked_yaml.MAXIMUM_BYTES, follow=True).decode("utf-8")
        return of(marked_yaml.load(text).value, place)
    except (OSError, UnicodeDecodeError) as exc:
        found = getattr(exc, "strerror", None) or "not UTF-8"
        raise _broken("the file cannot be read", found, place) from exc
    except marked_yaml.Unreadable as exc:
        line = f"{place}:{exc.line}" if exc.line else place
        raise _broken("the file cannot be used", str(exc), line) from exc


def of(written: Any, where: str = NAMES[0]) -> Groups:
    """The hosts of each group, with ``all`` and ``ungrouped``, from the content of a file.

    Raises:
        PkiError: INVENTORY-FILE for what is no inventory, for ranges, and for a group that is
            its own child.
    """
    own: dict[str, dict[str, None]] = {ALL: {}, UNGROUPED: {}}
    children: dict[str, dict[str, None]] = {ALL: {}}
    _collect(_map(written, where), where, own, children)
    for group in own:
        if group != ALL:
            children[ALL][group] = None
    found: dict[str, tuple[str, ...]] = {}
    for group in own:
        _find(group, own, children, found, (), where)
    grouped = {host for group in own if group not in (ALL, UNGROUPED) for host in found[group]}
    found[UNGROUPED] = tuple(host for host in found[ALL] if host not in grouped)
    return found


def _collect(
    groups: Mapping[str, Any],
    where: str,
    own: dict[str, dict[str, None]],
    children: dict[str, dict[str, None]],
) -> None:
    """Note the hosts and children of each group; one may be written more than once."""
    for name, body in groups.items():
        place = f"{where}: {name}"
        parts = _map(body, place)
        hosts = own.setdefault(name, {})
        for host in _map(parts.get("hosts"), f"{place}.hosts"):
            if "[" in host or "," in host or "{" in host:
                raise _broken("only Ansible can spell these hosts out", host, f"{place}.hosts")
            hosts[host] = None
        below = _map(parts.get("children"), f"{place}.children")
        children.setdefault(name, {}).update(dict.fromkeys(below))
        _collect(below, f"{place}.children", own, children)


def _find(
    group: str,
    own: Mapping[str, Mapping[str, None]],
    children: Mapping[str, Mapping[str, None]],
    found: dict[str, tuple[str, ...]],
    above: tuple[str, ...],
    where: str,
) -> tuple[str, ...]:
    """The hosts of a group and of those below it, each group worked out once."""
    if group in above:
        raise _broken("a group is its own child", " > ".join((*above, group)), where)
    if group not in found:
        hosts = dict.fromkeys(own[group])
        for child in children.get(group, ()):
            below = _find(child, own, children, found, (*above, group), where)
            hosts.update(dict.fromkeys(below))
        found[group] = tuple(hosts)
    return found[group]


def _map(value: Any, where: str) -> Mapping[str, Any]:
    """A map of names; nothing is an empty one, as in Ansible."""
    if value is None:
        return {}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    raise _broken("this is no inventory of groups and hosts", type(value).__name__, where)


def _broken(message: str, found: str, where: str) -> PkiError:
    return PkiError(
        message,
        rule="INVENTORY-FILE",
        found=found,
        expected="plain YAML: groups with their hosts and children, since an entry has per_host",
        where=where,
        next_step=_NEXT,
    )
