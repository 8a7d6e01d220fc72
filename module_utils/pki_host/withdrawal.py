# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a gateway serves, or could go back to, a key that is on the host's list.

Read from the configuration that is there and from the one an open transaction would restore, and
from where their links lead and led: a record may be missing, a configuration names what it loads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from . import compromised, files
from .compromised import Listed
from .errors import HostError
from .undo import Part, Undo

_USED = re.compile(rb"(/[^\s\"';{}]*/current)/")


def links_in(text: bytes) -> set[str]:
    """The links to releases and API keys that a configuration loads files through."""
    return {os.fsdecode(path) for path in _USED.findall(text)}


def serves(root: str, config_file: str, recorded: Iterable[str] = ()) -> Listed | None:
    """The compromised key that the gateway at ``root`` may have in service; None without one.

    ``recorded`` are links that its record names besides those of the configuration.
    """
    links = {*recorded, *links_in(files.read(os.path.join(root, config_file)) or b"")}
    part, copies = _open_transaction(root)
    links |= {*part.links, *(link for copy in copies for link in links_in(copy))}
    for link in sorted(links):
        targets = {files.link_target(link), part.links.get(link)}
        for target in sorted(target for target in targets if target):
            listed = compromised.of_link(link, target)
            if listed is not None:
                return listed
    return None


def _open_transaction(root: str) -> tuple[Part, list[bytes]]:
    """What an open transaction of this gateway recorded, and the files it would put back."""
    home = os.path.dirname(root)
    part = Part()
    try:
        undo = Undo.load(home)
        part = undo.part(root) or part
        return part, [undo.previous(root, path) or b"" for path in part.files]
    except HostError:
        # Damaged: whose they are is not known, the copies still tell what may be served.
        return part, Undo.kept(home)
