# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory with a request and a right reply, and everything a hostile hand could put there.

Nothing here is pretended: real CAs, requests and lists, real modules. What is judged is only
the form of what comes out: a result, or an error that is a sentence for a person.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.module_utils.testing import patch_module_args
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import csr, public_state
from unit import pki_factory
from unit.lab_imports import REPOSITORY

NAME = "dip-nonprod"
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
LONGEST_MESSAGE = 4000

#: Values that YAML, a template or a slip of the hand can put where text is expected.
ODD: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "no": False,
    "zero": 0,
    "negative": -1,
    "huge number": 2**70,
    "fraction": 1.5,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "empty text": "",
    "space": " ",
    "very long text": "x" * 100_000,
    "very long digits": "9" * 5000,
    "NUL": "a\0b",
    "line feed": "a\nb",
    "escape sequence": "\x1b[2J\x1b]0;owned\x07",
    "right to left": "abc\u202eexe.cba",
    "half a character": "\ud800",
    "Jinja": "{{ lookup('pipe', 'id') }}",
    "Jinja comment": "{# #}",
    "path upwards": "../../../../etc/shadow",
    "device": "/dev/zero",
    "look-alike": "dip-n\u043enprod",
    "superscript digit": "\u00b2",
    "percent": "%s%n%(x)s",
    "list": [],
    "list of nothing": [None],
    "list of lists": [[["a"]]],
    "map": {},
    "map of nothing": {"a": None},
    "map with a number for a key": {1: 2},
    "map with nothing for a key": {None: None},
    "date": date(2026, 1, 1),
    "moment": datetime(2026, 1, 1, 12, 0),
    "bytes": b"\xff\x00",
}


def json_safe(value: Any) -> bool:
    """Whether a value can reach a module at all: parameters travel as JSON text."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below ``node``, the inner ones included."""
    if path:
        yield path
    items = node.items() if isinstance(node, dict) else ()
    items = enumerate(node) if isinstance(node, list) else items
    for key, value in items:
        yield from places(value, (*path, key))


def changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of ``node`` with another value at ``path``."""
    whole = copy.deepcopy(node)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return whole


def without(node: Any, path: tuple[Any, ...]) -> Any:
    """A copy of ``node`` in which ``path`` is missing."""
    whole = copy.deepcopy(node)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return whole


def fault_of(error: dict[str, str]) -> str:
    """What is wrong with the form of an error; empty when a person can read it."""
    for field in ("message", "rule", "next_step"):
        if not isinstance(error[field], str) or not error[field].strip():
            return f"{field} is empty"
    for field, text in error.items():
        if len(text) > LONGEST_MESSAGE:
            return f"{field} has {len(text)} characters"
        if any(not (c.isprintable() or c == "\n") for c in text):
            return f"{field} holds characters that are not printable: {text[:80]!a}"
    return "an internal fault" if error["rule"] == "INTERNAL" else ""


class HostileWorld:
    """Files below ``base``: ca/, certificates/ with one request and reply, cache/."""

    def __init__(self, base: Path) -> None:
        self.base = base
        ends = {"start": NOW - DAY, "end": NOW + 900 * DAY}
        self.root = pki_factory.authority("Hostile Root", **ends)
        self.issuing = self.root.authority("Hostile Issuing", **ends)
        (base / "ca").mkdir()
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            (base / "ca" / f"{label}.pem").write_bytes(ca.pem)
        self.directory = base / "certificates" / NAME / "1"
        self._files()
        self._cache()

    def parameters(self) -> dict[str, Any]:
        """What the controller's modules take, all of it right."""

        def pinned(label: str, ca: pki_factory.Authority) -> list[dict[str, Any]]:
            return [{"file": f"ca/{label}.pem", "sha256": ca.sha256, "crl_urls": []}]

        person = {
            "name": "A", "email": "a@a.example", "role": "certificate_admin",
            "permanent": True, "left": "2099-01-01",
        }  # fmt: skip
        owner = {"name": "O", "accepted": "2026-01-01"}
        return {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": dict(pki_factory.SUBJECT),
                    "roster": [person],
                    "dip_ids": ["1000000001"],
                    "registered": "2026-01-01",
                    "vetted": "2026-01-01",
                    "domain_verified": "2026-01-01",
                    "quota": 3,
                    "owner": owner,
                    "dca_account": {"certificate": "ca/account.pem"},
                }
            },
            "certificates": [
                {
                    "name": NAME,
                    "organisation": "example-energy",
                    "policy": "mhhs-dip",
                    "environment": "nonprod",
                    "domain": "example-energy.co.uk",
                    "purposes": ["mtls", "signing"],
                    "key": {"store": "transit", "delivery": "wrapped"},
                    "hosts": "gateways",
                    "owner": dict(owner),
                    "domain_verified": "2026-01-02",
                }
            ],
            "trust": {
                NAME: {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": pinned("root", self.root),
                    "issuers": pinned("issuing", self.issuing),
                }
            },
            "policy_dir": str(REPOSITORY / "policies"),
            "base_dir": str(self.base),
            "certificates_dir": str(self.base / "certificates"),
            "crl_cache_dir": str(self.base / "cache"),
        }

    def gateways(self) -> list[dict[str, Any]]:
        """One gateway with a listener of each kind."""
        common = {"certificate": NAME, "trust": NAME}
        host = "energydip-nonprod.example-energy.co.uk"
        far = {"host": "api.dip.example", "address": "127.0.0.1", "port": 443}
        return [
            {
                "name": "dip-gateway",
                "product": "nginx",
                "hosts": "gateways",
                "ingress": [
                    {
                        "name": "in",
                        "listen": "127.0.0.1:8443",
                        "server_name": host,
                        "peers": [{"CN": "energydip-nonprod.dip.example"}],
                        "upstream": "http://127.0.0.1:8000",
                        **common,
                    }
                ],
                "egress": [{"name": "out", "listen": "127.0.0.1:9443", "upstream": far, **common}],
            }
        ]

    def _files(self) -> None:
        """Request, record and reply of version 1, as the product writes and a person pastes."""
        key = _key()
        request = csr.build(key, pki_factory.CN, pki_factory.SUBJECT)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = {
            "schema": public_state.SCHEMA,
            "certificate": NAME,
            "version": 1,
            "policy": "mhhs-dip",
            "environment": "nonprod",
            "common_name": pki_factory.CN,
            "subject": {name: pki_factory.SUBJECT[name] for name in ("O", "L", "ST", "C")},
            "purposes": ["mtls", "signing"],
            "key": {
                "store": "transit",
                "mount": "transit-nonprod-tls",
                "name": NAME,
                "spki_sha256": sha256(public).hexdigest(),
            },
            "created": public_state.iso(NOW),
            "request_sha256": sha256(request).hexdigest(),
        }
        ends = {"start": NOW - timedelta(hours=1), "end": NOW + 397 * DAY}
        leaf = self.issuing.leaf(public=key.public_key(), **ends)
        self.contents = {
            "request.csr": request,
            "request.yml": public_state.dump(record),
            "reply.pem": pki_factory.pem(leaf) + self.issuing.pem,
        }
        public_state.write(self.directory, self.contents)

    def _cache(self) -> None:
        """Fresh lists of both CAs, where a poll would have left them."""
        folder = self.base / "cache" / NAME
        window = {"start": NOW - timedelta(hours=1), "end": NOW + DAY}
        lists = {ca.sha256: ca.crl(**window) for ca in (self.root, self.issuing)}
        files = {f"{digest[:16]}.crl": der for digest, der in lists.items()}
        polls = dict.fromkeys(lists, public_state.iso(NOW))
        public_state.write(folder, {**files, "poll.json": json.dumps(polls).encode()})


@cache
def _key() -> Any:
    return pki_factory.key("hostile", 4096)


@cache
def module(name: str) -> ModuleType:
    """A module of the library, as Ansible would import it."""
    path = REPOSITORY / "library" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(f"hostile_{name}", path)
    assert specification is not None
    assert specification.loader is not None
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found


def ran(name: str, parameters: dict[str, Any], *, check: bool = True) -> dict[str, Any]:
    """What Ansible receives from a module's real ``main()``."""
    arguments = {**parameters, "_ansible_check_mode": check}
    printed = io.StringIO()
    with (
        patch_module_args(arguments),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        module(name).main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result
