# SPDX-License-Identifier: GPL-3.0-or-later
"""How entries of gateways.yml are read: strictly, so that a typo is an error and never a default.

Every reader raises PkiError INVENTORY that names the place and what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import PkiError

HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PATH_OF_REQUEST = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,1000}")
FILE = re.compile(r"/[A-Za-z0-9._@+/ -]{1,1000}")


def mapping(
    raw: object, where: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """A map with these keys and no other; an optional one that is missing reads as None."""
    fields = (*required, *optional)
    if not isinstance(raw, Mapping):
        raise error(where, f"{where} is not a map", type(raw).__name__, "a map")
    entry = {str(key): value for key, value in raw.items()}
    for key in sorted(set(entry) - set(fields)):
        raise error(where, f"unknown key `{key}`", key, ", ".join(fields))
    for key in required:
        if key not in entry:
            raise error(where, f"`{key}` is missing", "nothing", key)
    return {key: entry.get(key) for key in fields}


def items(raw: object, where: str) -> Sequence[object]:
    """A list, empty where nothing is written."""
    if raw is None:
        return ()
    if not isinstance(raw, list | tuple):
        raise error(where, "not a list", type(raw).__name__, "a list of listeners")
    return raw


def known(value: object, names: Collection[str], where: str) -> str:
    """The name of something that is declared elsewhere."""
    if str(value) not in names:
        raise error(where, "no such entry in the inventory", value, ", ".join(sorted(names)))
    return str(value)


def matching(value: object, pattern: re.Pattern[str], where: str, expected: str) -> str:
    """A value that is wholly of a pattern."""
    if not pattern.fullmatch(str(value)):
        raise error(where, "not usable", value, expected)
    return str(value)


def whole_number(value: object, where: str, expected: str) -> int:
    """A whole number; true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise error(where, "not a whole number", value, expected)
    return value


def file_path(value: object, where: str) -> str:
    """An absolute path of a file on the gateway's host."""
    path = matching(value, FILE, where, "an absolute path in plain characters")
    if ".." in path.split("/"):
        raise error(where, "not usable", value, "a path without ..")
    return path


def endpoint(text: str, where: str) -> tuple[str, int]:
    """Address and port of ``address:port``."""
    host, separator, number = text.rpartition(":")
    if not separator:
        raise error(where, "no port", text, "address:port")
    return address(host, where), port(number, where)


def address(text: str, where: str) -> str:
    """An IP address in its canonical form, or a host name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return matching(bare, HOST, where, "an IP address or a host name")


def port(value: object, where: str) -> int:
    """A port of TCP."""
    if not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 0 < int(str(value)) < 65536:
        raise error(where, "not a port", value, "1 to 65535")
    return int(str(value))


def authority(host: str, number: int) -> str:
    """Address and port as a configuration writes them."""
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def is_loopback(host: str) -> bool:
    """Whether only this host can reach it; a name may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unique(values: Sequence[str], where: str, what: str) -> None:
    """Refuse two entries that share what each must have of its own."""
    for value in sorted({value for value in values if values.count(value) > 1}):
        raise error(where, f"two entries share one {what}", value, f"a {what} of its own each")


def error(
    where: str,
    message: str,
    found: object,
    expected: str,
    next_step: str = "correct the inventory and run again; nothing was changed",
) -> PkiError:
    """The error for a place in gateways.yml."""
    return PkiError(
        message if message.startswith("gateways") else f"{where}: {message}",
        rule="INVENTORY",
        found=str(found),
        expected=expected,
        where=f"group_vars/all/gateways.yml: {where}",
        next_step=next_step,
    )
