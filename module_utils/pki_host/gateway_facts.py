# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway on this host is configured to do, read back from its files. Changes nothing.

Certificates, CRLs and keys that the files name are not opened, but for the CA files: of those the
SHA-256 is told, since a path says nothing about whom a gateway believes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Dict, Iterator

from . import gateways, service
from .errors import HostError
from .gateways.base import Adapter

MAXIMUM_BYTES = 1 << 20


def observe(product: str, program: str, root: str) -> Dict[str, Any]:
    """One gateway's settings.

    Args:
        product: which adapter reads it.
        program: the gateway's program on this host; its build decides what a file means.
        root: the gateway's directory.

    Returns:
        ``gateway`` (the root's name), ``product``, ``readable``, ``problem`` (why it is not
        readable, in one line) and ``settings`` as :class:`~.gateways.description.Description`
        puts them; empty when not readable.
    """
    entry: Dict[str, Any] = {
        "gateway": os.path.basename(root.rstrip("/")),
        "product": product,
        "readable": False,
        "problem": "",
        "settings": {},
    }
    try:
        adapter = service.for_host(gateways.adapter(product), program)
        settings = adapter.read(_files(adapter, root))
    except HostError as exc:
        return {**entry, "problem": f"{exc.message}: {exc.found} ({exc.where})"}
    except OSError as exc:
        place = os.path.basename(str(exc.filename or root))
        return {**entry, "problem": f"{place}: {exc.strerror or 'cannot be read'}"}
    for tls in _each_tls(settings):
        tls["ca_sha256"] = _digest(tls["ca_file"], root)
    return {**entry, "readable": True, "settings": settings}


def _files(adapter: Adapter, root: str) -> Dict[str, str]:
    """The configuration, and of what only a start reads what is there."""
    texts = {adapter.config_file: _read(os.path.join(root, adapter.config_file))}
    for name in adapter.start_files:
        path = os.path.join(root, name)
        if os.path.exists(path):
            texts[name] = _read(path)
    return texts


def _read(path: str) -> str:
    # Whatever is not UTF-8 is nothing that a reader would recognise, and stays so.
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: str) -> bytes:
    # Non-blocking, so that a pipe in the place of a file is an error and not a wait.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "not a file", path)
        with os.fdopen(handle, "rb", closefd=False) as file:
            raw = file.read(MAXIMUM_BYTES + 1)
    finally:
        os.close(handle)
    if len(raw) > MAXIMUM_BYTES:
        raise OSError(0, f"more than {MAXIMUM_BYTES} bytes", path)
    return raw


def _digest(path: str, root: str) -> str:
    """SHA-256 of a file; empty when there is none to read. Relative names start at the root."""
    try:
        return hashlib.sha256(_bytes(os.path.join(root, path))).hexdigest() if path else ""
    except (OSError, ValueError):
        return ""


def _each_tls(settings: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    for listener in settings["listeners"]:
        yield listener["tls"]
        for route in listener["routes"]:
            yield route["tls"]
