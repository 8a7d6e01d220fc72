# SPDX-License-Identifier: GPL-3.0-or-later
"""What the human needs: the text to paste, and the values the portal must show.

Determined by key and inventory entry alone, so that three nightly runs write the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .inventory import Certificate

TEXT = """\
Certificate request for {name}, version {version}
{rule}

Who    {admins}
Where  the DIP portal, certificate request; requests go no other way (6.1.2)
{which}
1. Sign in as a Certificate Admin of {organisation}.
2. Compare what the portal shows with these values; stop if one differs (12.5):

     common name          {common_name}
     organisation         {O}
     city                 {L}
     state or province    {ST}
     country              {C}
{names}     key                  {key_type}, SHA-256 of the public key
                          {spki}

3. Paste the request, including its BEGIN and END lines:

{csr}
4. When the portal has the certificate, save its text, as it is, as

     {name}/{version}/reply.txt

   beside this file, and open a pull request. Line ends, introductions and
   additional certificates do not matter. Never put a private key there.
{then}"""

_OF_A_HOST = "For    host {host} alone; every other host of {entry} has a request of its own\n"
_FOR_A_PROVIDER = (
    "For    {provider}, which signs with it for {organisation}, and nobody else (4.1.2)\n"
)
_NOMINATED = (
    "       {name} is nominated and works for {employer}; {organisation} answers for it (5.4.2.3)\n"
)
_OF_A_DEVICE = "From   the device that made key and request; the key stays in it\n"
_TO_THE_DEVICE = """
5. When the certificate was accepted, upload certificate.pem and chain.pem from

     {name}/{version}/

   to the device that made the request. No run puts them there.
"""
_COLUMN = " " * 26  # where values stand


def text(certificate: Certificate, record: Mapping[str, Any], csr: bytes) -> bytes:
    """``submission.txt`` of a request; ``record`` is the content of its ``request.yml``."""
    name, version = certificate.name, record["version"]
    title = f"Certificate request for {name}, version {version}"
    admins = " or ".join(person.name for person in certificate.organisation.certificate_admins)
    of_a_device = record["key"]["store"] == "external"
    return TEXT.format(
        name=name,
        version=version,
        rule="=" * len(title),
        admins=f"{admins} (Certificate Admin)",
        which=_nominated(certificate) + _which(certificate, of_a_device),
        organisation=certificate.subject["O"],
        common_name=record["common_name"],
        names=_names(record.get("san", ())),
        key_type=record["key"]["type"],
        spki=record["key"]["spki_sha256"],
        csr="".join(f"{line}\n" for line in csr.decode("ascii").splitlines()),
        then=_TO_THE_DEVICE.format(name=name, version=version) if of_a_device else "",
        **{attribute: record["subject"][attribute] for attribute in ("O", "L", "ST", "C")},
    ).encode()


def _nominated(certificate: Certificate) -> str:
    """Whoever of the admins works for somebody else: the organisation answers for what they do."""
    return "".join(
        _NOMINATED.format(
            name=person.name, employer=person.employer, organisation=certificate.subject["O"]
        )
        for person in certificate.organisation.certificate_admins
        if person.employer
    )


def _which(certificate: Certificate, of_a_device: bool) -> str:
    host, entry = certificate.host, certificate.entry
    return (
        (_OF_A_HOST.format(host=host, entry=entry) if host else "")
        + _for_a_provider(certificate)
        + (_OF_A_DEVICE if of_a_device else "")
    )


def _for_a_provider(certificate: Certificate) -> str:
    if not certificate.provider:
        return ""
    holder = certificate.subject["O"]
    return _FOR_A_PROVIDER.format(provider=certificate.provider, organisation=holder)


def _names(names: Sequence[str]) -> str:
    """The alternative names, one a line; nothing where there are none."""
    if not names:
        return ""
    return f"     {_LABELS['SAN']:21}" + f"\n{_COLUMN}".join(names) + "\n"


@dataclass(frozen=True, slots=True)
class Read:
    """What a submission text tells its reader; empty where it says nothing.

    ``submitters`` are the people it names, ``subject`` and ``san`` the attributes and the
    alternative names it tells to compare.
    """

    submitters: tuple[str, ...]
    common_name: str
    subject: Mapping[str, str]
    san: tuple[str, ...] = ()


_LABELS = {
    "O": "organisation",
    "L": "city",
    "ST": "state or province",
    "C": "country",
    "CN": "common name",
    "SAN": "alternative names",
}
_ROLE = " (Certificate Admin)"


def read(content: bytes) -> Read:
    """A submission text back to the values it shows; never raises, whatever the bytes."""
    shown = content.decode("utf-8", "replace")
    who = re.search(rf"^Who {{4}}(.*){re.escape(_ROLE)}$", shown, re.MULTILINE)
    values = {
        attribute: match[1]
        for attribute, label in _LABELS.items()
        if (match := re.search(rf"^ {{5}}{label} +(\S.*(?:\n {{26}}\S.*)*)$", shown, re.MULTILINE))
    }
    return Read(
        submitters=tuple(name for name in who[1].split(" or ") if name) if who else (),
        common_name=values.pop("CN", ""),
        san=tuple(values.pop("SAN", "").split()),
        subject=values,
    )


def holds(content: bytes, request: bytes) -> bool:
    """Whether the request stands in a submission text line by line, ready to be pasted."""
    wanted = request.decode("ascii", "replace").splitlines()
    block = "".join(f"{line}\n" for line in wanted)
    return bool(wanted) and f"\n{block}" in content.decode("utf-8", "replace")
