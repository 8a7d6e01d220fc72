# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault that makes a gateway useless is refused by us before the gateway sees it.

Beside each fault stands what the products' own tests say of it: ``passes`` is why ours is there.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from gateways.products import HAPROXY, NGINX, Product
from integration import gateway_world as gw
from integration.gateway_pair import CLIENT, Pair, Usage, leaf
from pki_host import compromised, crl_links, files, transaction
from pki_host.errors import HostError
from pki_host.transaction import Desired

pytestmark = pytest.mark.integration

PASSES, CATCHES = "passes", "catches"
Entry = dict[str, Any]


@pytest.fixture(scope="module", params=[NGINX, HAPROXY], ids=str)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    product: Product = request.param
    if product.missing and os.environ.get("CI") != "true":
        pytest.skip(f"not run: {product.name} - {product.missing}")
    pair = Pair(tmp_path_factory.mktemp("check"), product)
    try:
        pair.apply()
        yield pair
    finally:
        pair.stop()


# -- faults ------------------------------------------------------------------------------------


def staged(pair: Pair, chain: str, key: str, entry: str = "dip-nonprod") -> Callable[[Entry], None]:
    """A release of these texts, wanted in the place of the right one."""
    target = f"releases/v9-{hashlib.sha256((chain + key).encode()).hexdigest()[:16]}"
    directory = pair.base / "tls" / entry / target
    files.write(str(directory / "key.pem"), key.encode(), files.PRIVATE)
    files.write(str(directory / "fullchain.pem"), chain.encode(), files.PUBLIC)
    if not (directory / "fullchain.pem.key").is_symlink():
        (directory / "fullchain.pem.key").symlink_to("key.pem")

    def switch(arguments: Entry) -> None:
        for link in arguments["links"]:
            if f"/tls/{entry}/" in link["path"]:
                link["target"] = target

    return switch


def released(
    certificate: x509.Certificate, label: str, entry: str = "dip-nonprod"
) -> Callable[[Pair, Entry], None]:
    def spoil(pair: Pair, arguments: Entry) -> None:
        chain = gw.pem(certificate) + gw.pem(pair.authorities.issuing)
        staged(pair, chain, gw.key_pem(label), entry)(arguments)

    return spoil


def in_wrong_order(pair: Pair, arguments: Entry) -> None:
    chain = gw.pem(pair.authorities.issuing) + gw.pem(pair.certificate)
    staged(pair, chain, gw.key_pem("ours"))(arguments)


def incomplete(pair: Pair, arguments: Entry) -> None:
    staged(pair, gw.pem(pair.certificate), gw.key_pem("ours"))(arguments)


def encrypted(pair: Pair, arguments: Entry) -> None:
    locked = gw.key("ours").private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"nobody knows"),
    )
    chain = gw.pem(pair.certificate) + gw.pem(pair.authorities.issuing)
    staged(pair, chain, locked.decode())(arguments)


def crls(make: Callable[[Pair], bytes | None]) -> Callable[[Pair, Entry], None]:
    """A CRL set of these bytes; None for one without its file."""

    def spoil(pair: Pair, arguments: Entry) -> None:
        data = make(pair)
        identity = hashlib.sha256(b"nothing" if data is None else data).hexdigest()[:16]
        path = pair.base / "crl/dip-nonprod/sets" / identity / "crl.pem"
        files.make_directory(str(path.parent))
        if data is not None:
            files.write(str(path), data, files.PUBLIC)
        for link in arguments["links"]:
            if "/crl/" in link["path"]:
                link["target"] = f"sets/{identity}"

    return spoil


def crl(issuer: str, key: str = "", days: int = 1) -> bytes:
    begins, ends = (timedelta(days=-9), timedelta(days=days))
    builder = x509.CertificateRevocationListBuilder().issuer_name(gw.name(issuer))
    builder = builder.last_update(gw.NOW + begins).next_update(gw.NOW + ends)
    signed = builder.sign(gw.key(key or issuer), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def in_der(_: Pair) -> bytes:
    found = x509.load_pem_x509_crl(crl("issuing"))
    return found.public_bytes(serialization.Encoding.DER)


def cas(make: Callable[[Pair], str]) -> Callable[[Pair, Entry], None]:
    """Another text in the place of the CA certificates."""

    def spoil(pair: Pair, arguments: Entry) -> None:
        for file in arguments["files"]:
            if file["path"] == "trust/dip-nonprod.pem":
                file["content"] = make(pair)

    return spoil


def foreign_ca(_: Pair) -> str:
    return gw.pem(gw.issue(gw.name("foreign"), "foreign", gw.name("foreign"), "foreign", ca=True))


def with_expired_ca(pair: Pair) -> str:
    builder = x509.CertificateBuilder().subject_name(gw.name("old")).issuer_name(gw.name("old"))
    builder = builder.public_key(gw.key("old").public_key()).serial_number(7)
    builder = builder.not_valid_before(gw.NOW - timedelta(days=9))
    builder = builder.not_valid_after(gw.NOW - timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return right_cas(pair) + gw.pem(builder.sign(gw.key("old"), hashes.SHA256()))


def right_cas(pair: Pair) -> str:
    return gw.pem(pair.authorities.root) + gw.pem(pair.authorities.issuing)


def old_protocol(pair: Pair, arguments: Entry) -> None:
    for file in arguments["files"]:
        text = file["content"].replace("ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.2")
        file["content"] = text.replace(
            "bind-options ssl-min-ver TLSv1.2", "bind-options ssl-min-ver TLSv1.0"
        )


@dataclass(frozen=True)
class Fault:
    """What is spoilt, our rule, and what nginx -t and haproxy -c say of it."""

    spoil: Callable[[Pair, Entry], None]
    rule: str
    nginx: str
    haproxy: str

    def native(self, product: Product) -> str:
        return self.haproxy if product is HAPROXY else self.nginx


def both(spoil: Callable[[Pair, Entry], None], rule: str, native: str) -> Fault:
    return Fault(spoil, f"GATEWAY-CHECK-{rule}", native, native)


PEM_OF_NOTHING = b"-----BEGIN X509 CRL-----\nbm90aGluZw==\n-----END X509 CRL-----\n"

FAULTS = {
    "key of another server certificate": both(
        released(leaf("ours"), "stranger"), "KEY-MATCH", CATCHES
    ),
    "key of another client certificate": both(
        released(leaf("client"), "stranger", CLIENT), "KEY-MATCH", CATCHES
    ),
    "chain in the wrong order": both(in_wrong_order, "CHAIN-ORDER", CATCHES),
    "encrypted key": both(encrypted, "KEY-ENCRYPTED", CATCHES),
    "server certificate that has expired": both(
        released(leaf("ours", begins=-9, ends=-1), "ours"), "EXPIRED", PASSES
    ),
    "server certificate of tomorrow": both(
        released(leaf("ours", begins=1), "ours"), "EXPIRED", PASSES
    ),
    "client certificate that has expired": both(
        released(leaf("client", begins=-9, ends=-1), "client", CLIENT), "EXPIRED", PASSES
    ),
    "chain that is not whole": both(incomplete, "CHAIN-INCOMPLETE", PASSES),
    "server certificate for clients only": both(
        released(leaf("ours", usages=[Usage.CLIENT_AUTH]), "ours"), "PURPOSE", PASSES
    ),
    "client certificate for servers only": both(
        released(leaf("client", usages=[Usage.SERVER_AUTH]), "client", CLIENT), "PURPOSE", PASSES
    ),
    "CRL that has expired": both(
        crls(lambda _: crl("issuing", days=-1) + crl("root")), "CRL-EXPIRED", PASSES
    ),
    "CRL of the root missing": both(crls(lambda _: crl("issuing")), "CRL-ABSENT", PASSES),
    "CRL with another key's signature": both(
        crls(lambda _: crl("issuing", "sibling") + crl("root")), "CRL-SIGNATURE", PASSES
    ),
    "CRL file empty": both(crls(lambda _: b""), "CRL-EMPTY", CATCHES),
    "CRL file of garbage": both(crls(lambda _: b"<html>busy</html>\n"), "CRL-GARBAGE", CATCHES),
    "CRL file of a PEM block of garbage": both(
        crls(lambda _: PEM_OF_NOTHING), "CRL-GARBAGE", CATCHES
    ),
    "CRL file in DER": both(crls(in_der), "CRL-GARBAGE", CATCHES),
    "CRL file cut off": both(
        crls(lambda _: (crl("root") + crl("issuing"))[:-200]), "CRL-TRUNCATED", CATCHES
    ),
    "CRL file missing": both(crls(lambda _: None), "CRL-FILE", CATCHES),
    "CA file empty": both(cas(lambda _: ""), "CA-EMPTY", CATCHES),
    "CA file of garbage": both(cas(lambda _: "<html>busy</html>\n"), "CA-GARBAGE", CATCHES),
    "CA of somebody else": both(cas(foreign_ca), "CA-FOREIGN", PASSES),
    "expired CA beside the right ones": both(cas(with_expired_ca), "CA-EXPIRED", PASSES),
    "TLS 1.0 enabled": both(old_protocol, "PROTOCOL", PASSES),
}


# -- the table ---------------------------------------------------------------------------------


def state(pair: Pair) -> dict[str, Any]:
    """What a refused change must leave as it is: every file of the gateways, links, processes."""
    entries: dict[str, Any] = {
        str(path): path.read_bytes()
        for path in sorted((pair.base / "gateway").rglob("*"))
        if path.is_file() and not {"log", "run"} & {*path.parts}
    }
    for entry in pair.all_arguments():
        entries.update({link["path"]: os.readlink(link["path"]) for link in entry["links"]})
    return {**entries, "who serves": [daemon.generation() for daemon in pair.daemons()]}


def native_verdict(pair: Pair, desired: Desired, scratch: Path) -> str:
    """What the product's own test says of the very files that the change would bring."""
    for path, data in desired.config.items():
        text = data.decode()
        for link, target in desired.links.items():
            for way in crl_links.ways(link, target):
                text = text.replace(f"{way}/", f"{Path(link).parent / target}/")
        files.write(str(scratch / path), text.replace(desired.root, str(scratch)).encode())
    for name in pair.product.adapter.directories:
        (scratch / name).mkdir(exist_ok=True)
    adapter = pair.product.adapter
    done = subprocess.run(
        adapter.test_command(pair.product.program, str(scratch)),
        env={"PATH": os.defpath, **adapter.environment(str(scratch))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,  # no terminal to ask for a passphrase
        timeout=60,
        check=False,
    )
    return CATCHES if done.returncode else PASSES


def test_nothing_is_wrong_with_what_the_faults_are_made_of(pair: Pair, tmp_path: Path) -> None:
    assert pair.apply()["changed"] is False
    assert native_verdict(pair, pair.wanted()[0], tmp_path) == PASSES


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_before_anything_is_written(
    pair: Pair, name: str, tmp_path: Path
) -> None:
    fault = FAULTS[name]
    arguments, second = pair.all_arguments()
    fault.spoil(pair, arguments)
    second["links"] = [
        next(link for link in arguments["links"] if link["path"] == one["path"])
        for one in second["links"]
    ]
    before = state(pair)
    wanted = [Desired.of(arguments), Desired.of(second)]
    with pytest.raises(HostError) as caught:
        transaction.run_all(wanted, check=False)
    assert caught.value.rule == fault.rule
    assert "dip: the step 'check' failed; nothing was changed: listener " in caught.value.message
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.next_step.startswith("nothing was changed")
    assert state(pair) == before
    assert not (pair.base / "gateway/.transaction").exists()
    assert native_verdict(pair, wanted[0], tmp_path) == fault.native(pair.product)


def test_every_fault_has_a_rule_of_its_own() -> None:
    rules = {fault.rule for fault in FAULTS.values()}
    assert len(rules) >= 15


def test_a_run_without_a_change_asks_no_program_about_certificates(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even where the host has a list of compromised keys."""
    asked = tmp_path / "asked"
    program = tmp_path / "openssl"
    program.write_text(f"#!/bin/sh\ntouch {asked}\nexit 1\n")
    program.chmod(0o755)
    text = compromised.text([compromised.Listed("00" * 32, "other", "2026-01-01T00:00:00Z")])
    files.write(str(pair.base / "tls/compromised.json"), text.encode(), files.PUBLIC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    try:
        assert pair.apply()["changed"] is False
        assert not asked.exists()
        pair.renew(3)
        with pytest.raises(HostError):
            pair.apply()
        assert asked.exists(), "the program in this place would have been asked"
    finally:
        files.remove(str(pair.base / "tls/compromised.json"))
