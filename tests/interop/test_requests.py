# SPDX-License-Identifier: GPL-3.0-or-later
"""Our requests before other eyes: ``openssl req``, and four generations of pyca's library.

One request of each origin: signed inside a real OpenBao, on a host by its ``openssl``, with a key
that was imported, and made by a device (``openssl req``); with and without alternative names.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import cryptography
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.own_ports import ports_of_our_own
from pki import csr, key_import, request_stage
from pki.inventory import Certificate
from pki.stores.base import KeyRecord, KeyStore, KeyVersion
from pki.stores.host import HostStore
from pki.stores.transit import TransitStore
from pki.stores.transit_import import TransitImport
from pki_host import key as host_key
from unit import pki_factory as factory
from unit.controller_world import NAME, World
from unit.pki_factory import CN, SUBJECT

__all__ = ["ports_of_our_own"]

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SANS = {"none": "none", "names": [CN, "gw1.example-energy.co.uk", "gw2.example-energy.co.uk"]}
ORIGINS = ("transit", "host", "import", "device")
IDS = [f"{origin}, {san}" for origin in ORIGINS for san in SANS]


def tool() -> ModuleType:
    path = REPOSITORY / "tools/older_cryptography.py"
    spec = importlib.util.spec_from_file_location("older_cryptography", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OLDER = tool()
RELEASES = (*OLDER.releases(), cryptography.__version__)


class ThisHost:
    """This machine as the host of a task: keys below a directory, made and used by openssl."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)

    def make(self, name: str, version: int) -> KeyRecord:
        made, _ = host_key.make(self._root, name, version, 4096)
        created = datetime.fromisoformat(made.created.replace("Z", "+00:00")).astimezone(UTC)
        pem = host_key.private_key(self._root, name, version)
        spki = key_import.read(pem).spki_der
        return KeyRecord(name, "rsa-4096", False, {version: KeyVersion(version, created, spki)})

    def sign(self, name: str, version: int, digest: bytes, algorithm: str) -> bytes:
        return host_key.sign(self._root, name, version, digest, algorithm)


class Maker:
    """Makes a request of every origin as the product does, judged by the shipped policy."""

    def __init__(self, base: Path, openbao: OpenBao) -> None:
        self.base, self.openbao = base, openbao
        self.world = World(base)

    def certificate(self, san: str) -> Certificate:
        self.world.certificates[0]["san"] = SANS[san]
        return self.world.inputs().declared.certificates[NAME]

    def built(self, store: KeyStore, record: KeyRecord, san: str) -> bytes:
        certificate = self.certificate(san)
        rules = self.world.inputs().policy_of(NAME)
        written = request_stage.build(certificate, rules, store, record, 1, self.world.kept)
        return written.contents["request.csr"]

    def transit(self, san: str) -> bytes:
        with self.openbao.client("pipeline") as client:
            store = TransitStore(client, TLS_MOUNT, "rsa-4096", exportable=True)
            return self.built(store, store.ensure(NAME, 1), san)

    def host(self, san: str) -> bytes:
        store = HostStore({NAME: None}, ThisHost(self.base / "host"))
        return self.built(store, store.ensure(NAME, 1), san)

    def bring(self, san: str) -> bytes:
        """Signed in transit by a key that was made elsewhere."""
        held = factory.key("brought", 4096)
        pem = held.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        brought = key_import.read(pem)
        with self.openbao.client("import") as client:
            door = TransitImport(client, TLS_MOUNT, "rsa-4096", exportable=True)
            record = door.bring("brought", 1, brought.spki_der, brought.pkcs8_der())
            store = TransitStore(client, TLS_MOUNT, "rsa-4096", exportable=True)
            signed = csr.build(
                store.signing_key("brought", 1), CN, SUBJECT, self.certificate(san).san
            )
        rules = self.world.inputs().policy_of(NAME)
        key, kept = brought.signing_key(), self.world.kept
        written = request_stage.build_with(
            key, self.certificate(san), rules, record, 1, kept
        ).contents["request.csr"]
        # What was judged before the key went anywhere is what the store signs.
        assert written == signed
        return signed

    def device(self, san: str) -> bytes:
        key = self.base / f"device-{san}.key"
        subject = "".join(f"/{part}={SUBJECT[part]}" for part in ("C", "ST", "L", "O"))
        command = ["openssl", "req", "-new", "-newkey", "rsa:4096", "-nodes", "-sha256", "-utf8"]
        command += ["-keyout", str(key), "-subj", f"{subject}/CN={CN}"]
        if SANS[san] != "none":
            hosts = ",".join(f"DNS:{host}" for host in SANS[san])
            command += ["-addext", f"subjectAltName={hosts}"]
        made = subprocess.run(command, capture_output=True, check=True).stdout
        self.world.certificates[0]["key"] = {"store": "external"}
        try:
            now, kept = datetime.now(UTC), self.world.kept
            rules = self.world.inputs().policy_of(NAME)
            written = request_stage.take_in(self.certificate(san), rules, made, 1, now, kept)
        finally:
            self.world.certificates[0]["key"] = {"store": "transit"}
        return written.contents["request.csr"]


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    server.prepare()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> Mapping[str, Path]:
    """The files of all requests, by origin and names."""
    base = tmp_path_factory.mktemp("requests")
    maker = Maker(base, openbao)
    made = {"transit": maker.transit, "host": maker.host, "import": maker.bring}
    made["device"] = maker.device
    files = {}
    for origin in ORIGINS:
        for san in SANS:
            path = base / f"{origin}-{san}.csr"
            path.write_bytes(made[origin](san))
            files[f"{origin}, {san}"] = path
    return files


@pytest.fixture(scope="module")
def readings(requests: Mapping[str, Path]) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """What each release of the library reads, by release and request."""
    found = {}
    files = [str(path) for path in requests.values()]
    for release in RELEASES:
        ours = release == cryptography.__version__
        python = Path(sys.executable) if ours else OLDER.python(release)
        command = [str(python), "-W", "ignore", str(HERE / "request_fields.py"), *files]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert answer["release"] == release
        found[release] = {name: answer["requests"][str(path)] for name, path in requests.items()}
    return found


def test_the_releases_that_are_asked_are_far_apart() -> None:
    majors = [int(release.split(".")[0]) for release in RELEASES]
    assert majors[:3] == [38, 41, 46]
    assert majors[3] >= 50


@pytest.mark.parametrize("name", IDS)
def test_openssl_verifies_every_request(requests: Mapping[str, Path], name: str) -> None:
    done = subprocess.run(
        [
            "openssl",
            "req",
            "-in",
            str(requests[name]),
            "-noout",
            "-verify",
            "-subject",
            "-nameopt",
            "RFC2253",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "verify OK" in done.stderr
    assert f"CN={CN}" in done.stdout


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("release", RELEASES)
def test_every_release_reads_what_was_asked_for(
    readings: Mapping[str, Mapping[str, dict[str, Any]]], release: str, name: str
) -> None:
    read = readings[release][name]
    wanted = SANS[name.split(", ")[1]]
    assert read["signature_valid"] is True
    assert read["signature"] == ["1.2.840.113549.1.1.11", "sha256"]
    assert read["key"][:2] == [4096, 65537]
    assert {value for _, value in read["subject"]} == {*SUBJECT.values(), CN}
    assert read["attributes"] == []
    names = [] if wanted == "none" else [["2.5.29.17", False, wanted]]
    assert read["extensions"] == names


@pytest.mark.parametrize("name", IDS)
def test_all_releases_read_the_same(
    readings: Mapping[str, Mapping[str, dict[str, Any]]], name: str
) -> None:
    first, *others = (readings[release][name] for release in RELEASES)
    assert others == [first] * len(others)


def test_a_request_that_was_changed_is_told_by_every_release(
    requests: Mapping[str, Path], tmp_path: Path
) -> None:
    """That they verify at all: else the tests above would prove nothing."""
    der = bytearray(
        x509.load_pem_x509_csr(requests["transit, none"].read_bytes()).public_bytes(Encoding.DER)
    )
    der[-1] ^= 1
    changed = tmp_path / "changed.csr"
    changed.write_bytes(x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM))
    for release in RELEASES:
        ours = release == cryptography.__version__
        python = sys.executable if ours else str(OLDER.python(release))
        command = [python, "-W", "ignore", str(HERE / "request_fields.py"), str(changed)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["requests"][str(changed)]["signature_valid"] is False
