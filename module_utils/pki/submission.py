# SPDX-License-Identifier: GPL-3.0-or-later
"""What the human needs: the text to paste, and the values the portal must show.

Determined by key and inventory entry alone, so that three nightly runs write the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .inventory import Certificate

TEXT = """\
Certificate request for {name}, version {version}
{rule}

Who    {admins}
Where  the DIP portal, certificate request; requests go no other way (6.1.2)

1. Sign in as a Certificate Admin of {organisation}.
2. Compare what the portal shows with these values; stop if one differs (12.5):

     common name          {common_name}
     organisation         {O}
     city                 {L}
     state or province    {ST}
     country              {C}
     key                  {key_type}, SHA-256 of the public key
                          {spki}

3. Paste the request, including its BEGIN and END lines:

{csr}
4. When the portal has the certificate, save its text, as it is, as

     {name}/{version}/reply.txt

   beside this file, and open a pull request. Line ends, introductions and
   additional certificates do not matter. Never put a private key there.
"""


def text(certificate: Certificate, record: Mapping[str, Any], csr: bytes) -> bytes:
    """``submission.txt`` of a request; ``record`` is the content of its ``request.yml``."""
    title = f"Certificate request for {certificate.name}, version {record['version']}"
    admins = " or ".join(person.name for person in certificate.organisation.certificate_admins)
    return TEXT.format(
        name=certificate.name,
        version=record["version"],
        rule="=" * len(title),
        admins=f"{admins} (Certificate Admin)",
        organisation=certificate.subject["O"],
        common_name=record["common_name"],
        key_type=record["key"]["type"],
        spki=record["key"]["spki_sha256"],
        csr="".join(f"{line}\n" for line in csr.decode("ascii").splitlines()),
        **{attribute: record["subject"][attribute] for attribute in ("O", "L", "ST", "C")},
    ).encode()


@dataclass(frozen=True, slots=True)
class Read:
    """What a submission text tells its reader; empty where it says nothing.

    ``submitters`` are the people it names, ``subject`` the attributes it tells to compare.
    """

    submitters: tuple[str, ...]
    common_name: str
    subject: Mapping[str, str]


_LABELS = {
    "O": "organisation",
    "L": "city",
    "ST": "state or province",
    "C": "country",
    "CN": "common name",
}
_ROLE = " (Certificate Admin)"


def read(content: bytes) -> Read:
    """A submission text back to the values it shows; never raises, whatever the bytes."""
    shown = content.decode("utf-8", "replace")
    who = re.search(rf"^Who {{4}}(.*){re.escape(_ROLE)}$", shown, re.MULTILINE)
    values = {
        attribute: match[1]
        for attribute, label in _LABELS.items()
        if (match := re.search(rf"^ {{5}}{label} +(\S.*)$", shown, re.MULTILINE))
    }
    return Read(
        submitters=tuple(name for name in who[1].split(" or ") if name) if who else (),
        common_name=values.pop("CN", ""),
        subject=values,
    )


def holds(content: bytes, request: bytes) -> bool:
    """Whether the request stands in a submission text line by line, ready to be pasted."""
    wanted = request.decode("ascii", "replace").splitlines()
    block = "".join(f"{line}\n" for line in wanted)
    return bool(wanted) and f"\n{block}" in content.decode("utf-8", "replace")
