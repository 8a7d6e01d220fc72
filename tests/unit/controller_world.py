# SPDX-License-Identifier: GPL-3.0-or-later
"""A small inventory on disk with real CAs, requests, replies and CRLs, and a real web server."""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pki import (
    acceptance,
    accepted_record,
    crl_cache,
    csr,
    inventory,
    policy_files,
    public_state,
    reply,
    session,
    trust_files,
)
from pki.errors import PkiError
from pki.policy import Policy
from unit import pki_factory as factory
from unit.pki_factory import CN, NOW, SUBJECT

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "dip-nonprod"
OTHER = "dip-other"
OTHER_CN = "energydip-nonprod.other.example"
TRUST = "dca"
MAX_AGE = timedelta(hours=24)
ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
SIBLING = ROOT.authority("Sibling Issuing", path_length=0)
FOREIGN = factory.authority("Foreign Root")
Made = TypeVar("Made")


@cache
def policies() -> Mapping[str, Policy]:
    return policy_files.load_policies(REPOSITORY / "policies", ["mhhs-dip"])


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder with bytes and time: equal before and after means untouched."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def whole(error: PkiError) -> PkiError:
    """The error, once every field that a person needs is known to be there."""
    missing = [name for name, text in error.as_result().items() if not text]
    assert not missing, f"{error.message}: nothing in {missing}"
    return error


def key_of(version: int = 1, name: str = NAME) -> str:
    """The factory's name of a version's key: no two versions share one."""
    return "leaf" if (name, version) == (NAME, 1) else f"{name} v{version}"


def spki(key_name: str) -> str:
    return csr.parse(factory.request(key_name=key_name)).spki_sha256


def certificate_entry(name: str = NAME, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "policy": "mhhs-dip",
        "environment": "nonprod",
        "domain": "other.example" if name == OTHER else "example-energy.co.uk",
        "purposes": ["mtls", "signing"],
        "key": {"store": "transit", "delivery": "wrapped"},
        "hosts": "gateways",
        **changes,
    }


@dataclass
class World:
    """``base`` holds the CA files, the certificates directory and the controller's CRL cache."""

    base: Path
    crl_urls: Mapping[str, list[str]] = field(
        default_factory=lambda: {
            "root": ["http://crl.example/root"],
            "issuing": ["http://crl.example/issuing"],
        }
    )
    certificates: list[dict[str, Any]] = field(default_factory=lambda: [certificate_entry()])
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    organisation: dict[str, Any] = field(
        default_factory=lambda: {
            "party": "market_participant_active",
            "subject": dict(SUBJECT),
            "roster": [
                {"name": "Ada Admin", "email": "ada@example.com", "role": "certificate_admin"},
                {"name": "Uma User", "email": "uma@example.com", "role": "user_administrator"},
            ],
        }
    )

    others: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.base / "trust").mkdir(exist_ok=True)
        (self.base / "trust" / "root.pem").write_bytes(ROOT.pem)
        (self.base / "trust" / "issuing.pem").write_bytes(ISSUING.pem)

    @property
    def cache(self) -> Path:
        return self.base / "cache"

    @property
    def kept(self) -> Path:
        return self.base / "certificates"

    def directory(self, version: int = 1, name: str = NAME) -> Path:
        return self.kept / name / str(version)

    def params(self, **changes: Any) -> dict[str, Any]:
        def ca(name: str, authority: factory.Authority) -> dict[str, Any]:
            return {
                "file": f"trust/{name}.pem",
                "sha256": authority.sha256,
                "crl_urls": self.crl_urls[name],
            }

        raw = {
            "organisations": {"example-energy": self.organisation, **self.others},
            "certificates": self.certificates,
            "trust": {
                TRUST: {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": [ca("root", ROOT)],
                    "issuers": [ca("issuing", ISSUING)],
                }
            },
            "policy_dir": str(REPOSITORY / "policies"),
            "base_dir": str(self.base),
            "certificates_dir": str(self.kept),
            "crl_cache_dir": str(self.cache),
        }
        return {**copy.deepcopy(raw), **changes}

    def inputs(self, now: datetime = NOW) -> session.Inputs:
        """As ``session.load``, but with policies that are compiled once a process."""
        params = self.params()
        declared = inventory.load(
            organisations=params["organisations"],
            certificates=params["certificates"],
            trust=params["trust"],
            policies=policies(),
            groups=self.groups,
        )
        trust = trust_files.load_all(declared, self.base)
        return session.Inputs(
            declared, policies(), trust, self.kept, self.cache, now, base_dir=self.base
        )

    def put(self, version: int = 1, name: str = NAME, **files: bytes) -> None:
        """Files of a version; ``reply_txt`` becomes ``reply.txt``."""
        contents = {key.replace("_", "."): content for key, content in files.items()}
        public_state.write(self.directory(version, name), contents)

    def request(
        self, version: int = 1, name: str = NAME, *, key_name: str = "", **changes: Any
    ) -> None:
        """A request with its record; ``changes`` are the record's, and ``...`` leaves one out."""
        cn = OTHER_CN if name == OTHER else CN
        key_name = key_name or key_of(version, name)
        request = factory.request(cn, key_name)
        changed = {**request_record(name, version, cn, key_name, request), **changes}
        record = {field: value for field, value in changed.items() if value is not ...}
        self.put(version, name, request_csr=request, request_yml=public_state.dump(record))

    def reply(
        self, version: int = 1, name: str = NAME, der: bytes | None = None, **options: Any
    ) -> bytes:
        """A reply, by default a good one; returns the certificate's DER."""
        options.setdefault("public", factory.key(key_of(version, name)).public_key())
        if name == OTHER:
            options.setdefault("cn", OTHER_CN)
        leaf = der or ISSUING.leaf(**options)
        self.put(version, name, reply_txt=factory.pem(leaf))
        return leaf

    def crls(
        self, issuing: bytes | None = None, root: bytes | None = None, *, at: datetime = NOW
    ) -> crl_cache.CrlSet:
        """The controller's cache filled as a poll at ``at`` would have."""
        published = {
            self.crl_urls["issuing"][0]: issuing or ISSUING.crl(),
            self.crl_urls["root"][0]: root or ROOT.crl(),
        }
        return crl_cache.refresh(
            self.inputs().trust[TRUST],
            self.cache,
            now=at,
            max_age=MAX_AGE,
            fetch=lambda url: published[url],
        )

    def judge(
        self, *wanted: acceptance.Key, keys: Mapping[acceptance.Key, str] | None = None
    ) -> acceptance.Outcome[Judged]:
        return self.made(Judged.of, *wanted, keys=keys)

    def made(
        self,
        make: acceptance.Make[Made],
        *wanted: acceptance.Key,
        keys: Mapping[acceptance.Key, str] | None = None,
    ) -> acceptance.Outcome[Made]:
        """What ``make`` makes of each accepted certificate, in the worker."""
        inputs = self.inputs()
        evidence = acceptance.evidence(inputs, keys or {})
        return acceptance.run(inputs.declared, wanted, inputs.certificates_dir, evidence, make)

    def keep(
        self, name: str = NAME, version: int = 1, *, at: datetime = NOW, save: bool = True
    ) -> accepted_record.Kept:
        """Judge as of NOW, keep as of ``at``: only the record's date may depend on the latter."""
        make = functools.partial(accepted_record.of, self.inputs(at))
        outcome = self.made(make, (name, version))
        assert outcome.refused == ()
        kept = outcome.accepted[(name, version)]
        if save:
            kept.save()
        return kept


@dataclass(frozen=True, slots=True)
class Judged:
    """What a test asks of an accepted certificate."""

    chain: tuple[bytes, ...]
    anchor: bytes
    worker: int

    @classmethod
    def of(cls, name: str, files: public_state.VersionFiles, accepted: reply.Accepted) -> Judged:
        return cls(accepted.chain, accepted.anchor, os.getpid())


def request_record(name: str, version: int, cn: str, key: str, request: bytes) -> dict[str, Any]:
    return {
        "schema": 1,
        "certificate": name,
        "version": version,
        "policy": "mhhs-dip",
        "environment": "nonprod",
        "common_name": cn,
        "subject": dict(SUBJECT),
        "purposes": ["mtls", "signing"],
        "key": {
            "store": "transit",
            "mount": "transit-nonprod-tls",
            "name": name,
            "version": version,
            "spki_sha256": spki(key),
        },
        "created": "2026-11-14T08:00:00Z",
        "request_sha256": hashlib.sha256(request).hexdigest(),
    }


Answer = Callable[[BaseHTTPRequestHandler], None]


def content(body: bytes, status: int = 200, **headers: str) -> Answer:
    """An ordinary answer."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def raw(data: bytes) -> Answer:
    """Bytes on the wire, whatever they mean, and then the end of the connection."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return send


class Web:
    """A real HTTP server on loopback. A route's answers are given in turn, the last for ever."""

    def __init__(self) -> None:
        self.routes: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.posted: list[bytes] = []
        self.release = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                answers = web.routes.get(self.path, [content(b"", 404)])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                try:
                    answer(self)
                except OSError:
                    self.close_connection = True  # the client has gone, as it should

            def do_POST(self) -> None:
                web.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def log_message(self, *arguments: Any) -> None:
                """Silent: tests read ``asked``."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"

    def serve(self, path: str, *answers: Answer) -> str:
        self.routes[path] = list(answers)
        return self.url(path)


@contextmanager
def web() -> Iterator[Web]:
    site = Web()
    thread = threading.Thread(
        target=site.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield site
    finally:
        site.release.set()
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def load_file(path: str) -> ModuleType:
    """A Python file of the repository that is no member of a package, as a module."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
