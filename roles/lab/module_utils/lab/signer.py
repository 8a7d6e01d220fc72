# SPDX-License-Identifier: GPL-3.0-or-later
"""The human at the CA's portal, and the CA: takes each open request, brings a reply back.

The reply is the text a person copies out of a portal or a mail: a sentence, Windows line
ends, the certificate and the issuing CA below each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki.vault import Client
from cryptography import x509
from cryptography.x509.oid import NameOID

from . import files, material

PREAMBLE = (
    "Dear customer,\n\n"
    "your certificate has been issued. Please find it below, followed by the certificate of "
    "the issuing authority.\n\n"
)
CLOSED_BY = ("accepted.yml", "outcome.yml")
ATTRIBUTES = {
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
}
ENGINE_NAMES = {"O": "organization", "L": "locality", "ST": "province", "C": "country"}


@dataclass(frozen=True, slots=True)
class Vetted:
    """An organisation the CA knows: its signing role and the subject it may have."""

    role: str
    subject: Mapping[str, str]


def vetted(organisations: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Vetted]:
    """What the CA knows of each organisation of the inventory, and the role it signs with."""
    return [
        Vetted(
            f"vetted-{key}",
            {str(name): str(text) for name, text in organisation["subject"].items()},
        )
        for key, organisation in organisations.items()
    ]


def engine_subject(one: Vetted) -> dict[str, list[str]]:
    """The vetted subject as the parameters of a signing role."""
    return {ENGINE_NAMES[name]: [text] for name, text in one.subject.items()}


def open_requests(certificates: Path) -> list[Path]:
    """Version directories with a request and neither a reply nor an end."""
    found = sorted(
        {
            path.parent
            for depth in ("*/*", "*/*/*")  # with one directory per host in between, or without
            for path in certificates.glob(depth + "/request.csr")
        }
    )
    return [
        directory
        for directory in found
        if not any(directory.glob("reply.*"))
        and not any((directory / name).exists() for name in CLOSED_BY)
    ]


def load(path: Path) -> x509.CertificateSigningRequest:
    """The request in a file, with a signature that proves possession of its key."""
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
    except ValueError:
        raise refusal(path, "no certificate request in PEM", "a PEM request") from None
    if not request.is_signature_valid:
        raise refusal(path, "a signature that is not by the request's key", "proof of possession")
    return request


def refusal(path: Path, found: str, expected: str) -> PkiError:
    """The lab's CA bounces a request."""
    return PkiError(
        "the lab's CA refuses a request",
        rule="LAB-SIGN",
        found=found,
        expected=expected,
        where=str(path),
        next_step="look at the request; a real portal would bounce it as well",
    )


def subject(request: x509.CertificateSigningRequest) -> dict[str, str]:
    """Those attributes of the request's subject that a CA vets."""
    found = {}
    for name, oid in ATTRIBUTES.items():
        values = request.subject.get_attributes_for_oid(oid)
        if values:
            found[name] = " + ".join(str(value.value) for value in values)
    return found


def vet(request: x509.CertificateSigningRequest, known: Sequence[Vetted], path: Path) -> Vetted:
    """The organisation whose vetted subject the request carries, attribute by attribute."""
    asked = subject(request)
    for one in known:
        if dict(one.subject) == asked:
            return one
    raise refusal(
        path,
        f"subject {asked}",
        "one of the vetted subjects: {}".format("; ".join(str(dict(one.subject)) for one in known)),
    )


def reply(leaf: str, issuer: str) -> bytes:
    """The text a person pastes, with the line ends of a mail program."""
    text = PREAMBLE + leaf.strip() + "\n" + issuer.strip() + "\n"
    return text.replace("\n", "\r\n").encode()


def sign(client: Client, mount: str, directory: Path, known: Sequence[Vetted], check: bool) -> str:
    """Answer one open request with reply.txt; return what was done in a sentence."""
    path = directory / "request.csr"
    request = load(path)
    role = vet(request, known, path).role
    if check:
        return f"would answer {path}"
    # No ttl: the role's own is the product's validity and the CA would cap anything longer.
    answer = client.write(f"{mount}/sign/{role}", {"csr": path.read_text()})
    leaf, issuer = str(answer["certificate"]), str(answer["issuing_ca"])
    files.ensure(directory / "reply.txt", reply(leaf, issuer), 0o644)
    signed = x509.load_pem_x509_certificate(leaf.encode())
    return "signed {}: {}, serial {}, until {}".format(
        path,
        material.common_name(signed),
        material.serial(signed),
        signed.not_valid_after_utc.strftime("%Y-%m-%d"),
    )
