# SPDX-License-Identifier: GPL-3.0-or-later
"""Names: domains, common names, X.500 subjects, and how they are printed.

Three audiences read a name: the CA's portal (exact DER), a gateway (OpenSSL's RFC 2253
text, compared byte for byte) and a person (never a raw control character).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from . import der
from .errors import PkiError

MAX_COMMON_NAME = 64  # ub-common-name, X.520
MAX_DOMAIN = 253
MAX_LABEL = 63

# Order of the request's subject, most general first.
SUBJECT_ORDER = ("C", "ST", "L", "O")
_SUBJECT_OID = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
}
_SUBJECT_MAX = {"C": 2, "ST": 128, "L": 128, "O": 64}  # upper bounds of X.520
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")

# OpenSSL's short names (objects.txt of 3.0). An attribute that is not here is one OpenSSL
# does not know either: it prints the dotted OID and the value as hexadecimal DER.
_X520 = (
    "3 CN|4 SN|5 serialNumber|6 C|7 L|8 ST|9 street|10 O|11 OU|12 title|13 description|"
    "14 searchGuide|15 businessCategory|16 postalAddress|17 postalCode|18 postOfficeBox|"
    "19 physicalDeliveryOfficeName|20 telephoneNumber|21 telexNumber|"
    "22 teletexTerminalIdentifier|23 facsimileTelephoneNumber|24 x121Address|"
    "25 internationaliSDNNumber|26 registeredAddress|27 destinationIndicator|"
    "28 preferredDeliveryMethod|29 presentationAddress|30 supportedApplicationContext|"
    "31 member|32 owner|33 roleOccupant|34 seeAlso|35 userPassword|36 userCertificate|"
    "37 cACertificate|38 authorityRevocationList|39 certificateRevocationList|"
    "40 crossCertificatePair|41 name|42 GN|43 initials|44 generationQualifier|"
    "45 x500UniqueIdentifier|46 dnQualifier|47 enhancedSearchGuide|48 protocolInformation|"
    "49 distinguishedName|50 uniqueMember|51 houseIdentifier|52 supportedAlgorithms|"
    "53 deltaRevocationList|54 dmdName|65 pseudonym|72 role|97 organizationIdentifier|"
    "98 c3|99 n3|100 dnsName"
)
SHORT_NAMES: Mapping[str, str] = {
    **{f"2.5.4.{arc}": short for arc, short in (item.split() for item in _X520.split("|"))},
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.2": "textEncodedORAddress",
    "0.9.2342.19200300.100.1.3": "mail",
    "0.9.2342.19200300.100.1.4": "info",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.43": "friendlyCountryName",
    "0.9.2342.19200300.100.1.44": "uid",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
    "1.2.643.3.131.1.1": "INN",
    "1.2.643.100.1": "OGRN",
    "1.2.643.100.3": "SNILS",
    "1.2.643.100.5": "OGRNIP",
    "1.3.6.1.5.5.7.9.1": "id-pda-dateOfBirth",
    "1.3.6.1.5.5.7.9.3": "id-pda-gender",
}

# String types by tag: OpenSSL reads T61 as Latin-1, and dumps every other type as DER.
_LATIN1_TAGS = frozenset({0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1A})
_UNIVERSAL, _BMP = 0x1C, 0x1E
_ESCAPED_ALWAYS = frozenset(',+"\\<>;')

_REMEMBERED = 1024  # names
_ORDINARY_BYTES = 1024  # of DER; five vetted values at their upper bounds have fewer
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a name: ``tag`` and ``content`` as encoded, ``raw`` the value's DER."""

    oid: str
    tag: int
    content: bytes
    raw: bytes

    @property
    def short_name(self) -> str:
        """OpenSSL's short name, or the dotted OID when it has none."""
        return SHORT_NAMES.get(self.oid, self.oid)

    def text(self) -> str | None:
        """The decoded string; None for a type that is no string or does not decode."""
        try:
            if self.tag == der.UTF8_STRING:
                return self.content.decode("utf-8")
            if self.tag in _LATIN1_TAGS:
                return self.content.decode("latin-1")
            if self.tag == _BMP:
                return self.content.decode("utf-16-be")
            if self.tag == _UNIVERSAL:
                return self.content.decode("utf-32-be")
        except UnicodeDecodeError:
            return None
        return None

    def value(self) -> str:
        """The decoded string, or ``#`` and the DER in hexadecimal."""
        text = self.text()
        return "#" + self.raw.hex().upper() if text is None else text


Parsed = tuple[tuple[Attribute, ...], ...]


def _by_bytes(read: Callable[[bytes], _T]) -> Callable[[x509.Name], _T]:
    """``read`` for a name, remembered by the name's DER: a batch has few CAs and one vetted name.

    What is longer than a name ordinarily is, is read anew, so the memory stays small.
    """
    remembered = functools.lru_cache(maxsize=_REMEMBERED)(read)

    @functools.wraps(read)
    def of_name(name: x509.Name) -> _T:
        encoded = name.public_bytes()
        return remembered(encoded) if len(encoded) <= _ORDINARY_BYTES else read(encoded)

    return of_name


def _walked(encoded: bytes) -> Parsed:
    return tuple(
        tuple(_attribute(pair) for pair in der.elements(rdn.content))
        for rdn in der.elements(der.element(encoded).content)
    )


@_by_bytes
def parse(encoded: bytes) -> Parsed:
    """The relative distinguished names in encoded order, each with its attributes.

    Raises:
        ValueError: the name cannot be encoded or walked.
    """
    return _walked(encoded)


def _attribute(pair: der.Element) -> Attribute:
    oid, value = tuple(der.elements(pair.content))
    return Attribute(der.dotted(oid.content), value.tag, value.content, value.raw)


@_by_bytes
def rfc2253(encoded: bytes) -> str:
    """The name as ``openssl x509 -subject -nameopt RFC2253`` prints it.

    Gateways compare this text, so it follows OpenSSL and not the RFC where they differ:
    every byte outside ASCII is escaped as ``\\XX`` and attributes inside a multi-valued
    part are reversed too.
    """
    return ",".join(
        "+".join(f"{item.short_name}={_rfc2253_value(item)}" for item in reversed(rdn))
        for rdn in reversed(_walked(encoded))
    )


def _rfc2253_value(item: Attribute) -> str:
    text = item.text() if item.oid in SHORT_NAMES else None
    if text is None:
        return "#" + item.raw.hex().upper()
    last = len(text) - 1
    return "".join(_rfc2253_char(c, at == 0, at == last) for at, c in enumerate(text))


def _rfc2253_char(char: str, first: bool, last: bool) -> str:
    # OpenSSL treats a lone character as the last one only: a lone "#" stays as it is.
    edge = (char == "#" and first and not last) or (char == " " and (first or last))
    if edge or char in _ESCAPED_ALWAYS:
        return "\\" + char
    if 0x20 <= ord(char) < 0x7F:
        return char
    return "".join(f"\\{octet:02X}" for octet in char.encode("utf-8", "surrogatepass"))


def attribute_order(name: x509.Name) -> list[str]:
    """Short names (or dotted OIDs) of all attributes in encoded order, repeats included."""
    return [item.short_name for rdn in parse(name) for item in rdn]


def subject_attributes(name: x509.Name) -> dict[str, str]:
    """Every attribute but the common name, by short name or dotted OID.

    A repeated attribute is joined by a line feed, which no vetted value can hold: two
    O attributes never compare equal to one.
    """
    return _grouped(parse(name), lambda short: short != "CN")


@_by_bytes
def common_names(encoded: bytes) -> str:
    """The common name; empty if there is none, joined by line feeds if there are several."""
    return _grouped(_walked(encoded), lambda short: short == "CN").get("CN", "")


def _grouped(parsed: Parsed, wanted: Callable[[str], bool]) -> dict[str, str]:
    values: dict[str, str] = {}
    for rdn in parsed:
        for item in rdn:
            short = item.short_name
            if wanted(short):
                earlier = f"{values[short]}\n" if short in values else ""
                values[short] = earlier + item.value()
    return values


def folded(text: str) -> str:
    """A person's name or address as it is compared: without case and outer or double blanks."""
    return " ".join(text.split()).casefold()


def printable(text: str, limit: int = 200) -> str:
    """``text`` made safe for a terminal, a log and a template engine.

    Control, format (bidi) and unassigned characters become ``\\uXXXX``; an opening Jinja
    delimiter is broken up; anything beyond ``limit`` characters is cut.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    safe = "".join(_printable_char(char) for char in cut)
    return re.sub(r"\{(?=[{%#])", "{ ", safe)


def _printable_char(char: str) -> str:
    if unicodedata.category(char)[0] == "C" or unicodedata.category(char) in ("Zl", "Zp"):
        return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
    return char


def display(name: x509.Name) -> str:
    """A name for messages: the common name if it has one, else the whole RFC 2253 text."""
    try:
        return printable(common_names(name) or rfc2253(name) or "(empty name)")
    except ValueError:
        return "(unreadable name)"


def check_domain(domain: str, where: str) -> str:
    """The domain, if it is a lower-case ASCII host name.

    Raises:
        PkiError: rule INVENTORY; ``where`` is the field it came from.
    """
    fault = _domain_fault(domain)
    if fault is None:
        return domain
    better = _suggestion(domain)
    raise PkiError(
        f"{where}: {fault}",
        rule="INVENTORY",
        found=printable(domain) or "(empty)",
        expected="a host name of lower-case letters, digits and hyphens, labels of 1 to "
        f"{MAX_LABEL} characters separated by dots, {MAX_DOMAIN} at most",
        where=where,
        next_step=f"write {better}" if better else "write the domain that was vetted",
    )


def _domain_fault(domain: str) -> str | None:
    if not domain:
        return "the domain is empty"
    if not domain.isascii():
        return "the domain holds characters outside ASCII"
    if domain != domain.lower():
        return "the domain holds upper-case letters"
    if len(domain) > MAX_DOMAIN:
        return f"the domain is longer than {MAX_DOMAIN} characters"
    labels = domain.split(".")
    if len(labels) == 1:
        return "the domain has only one label"
    return next((fault for fault in map(_label_fault, labels) if fault), None)


def _label_fault(label: str) -> str | None:
    if not label:
        return "the domain has an empty label (a dot too many)"
    if len(label) > MAX_LABEL:
        return f"a label of the domain is longer than {MAX_LABEL} characters"
    if not _LABEL.match(label):
        return (
            "the domain holds a character that host names do not have, or a label that "
            "starts or ends with a hyphen"
        )
    return None


def _suggestion(domain: str) -> str:
    """The form that would pass: lower case, punycode, stray dots and blanks removed."""
    try:
        candidate = domain.strip().strip(".").lower().encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    return candidate if _domain_fault(candidate) is None else ""


def common_name(prefix: str, domain: str, where: str = "domain") -> str:
    """``<prefix>.<domain>``, the common name of the certificate.

    Raises:
        PkiError: rule INVENTORY; the domain is malformed or the name exceeds 64 characters.
    """
    name = f"{prefix}.{check_domain(domain, where)}"
    if len(name) > MAX_COMMON_NAME:
        room = MAX_COMMON_NAME - len(prefix) - 1
        raise PkiError(
            f"{where}: the common name would be longer than {MAX_COMMON_NAME} characters",
            rule="INVENTORY",
            found=f"{name} ({len(name)} characters)",
            expected=f"a domain of at most {room} characters, because the prefix is {prefix}.",
            where=where,
            next_step="have a shorter domain vetted and write it here",
        )
    return name


def subject(cn: str, vetted: Mapping[str, str]) -> x509.Name:
    """The subject of a request: C, ST, L, O as vetted, then CN; nothing else.

    Country is a PrintableString, all others are UTF8Strings.

    Raises:
        PkiError: rule INVENTORY; a field that is not a vetted one, empty, too long, or
            holds blanks at its ends or control characters.
    """
    unknown = sorted(set(map(str, vetted)) - set(SUBJECT_ORDER))
    if unknown:
        raise _subject_error(
            unknown[0], "is not a field of the vetted subject", unknown[0], "only C, ST, L and O"
        )
    values = [(key, str(vetted[key])) for key in SUBJECT_ORDER if key in vetted]
    for key, value in values:
        _check_subject_value(key, value)
    if not cn or len(cn) > MAX_COMMON_NAME:
        raise _subject_error("CN", "has the wrong length", cn, f"1 to {MAX_COMMON_NAME} characters")
    pairs = [(_SUBJECT_OID[key], value) for key, value in values]
    return x509.Name([x509.NameAttribute(o, v) for o, v in [*pairs, (NameOID.COMMON_NAME, cn)]])


def _check_subject_value(key: str, value: str) -> None:
    if key == "C" and not re.fullmatch(r"[A-Z]{2}", value):
        raise _subject_error(key, "is not a country code", value, "two capital letters, as in GB")
    if not value or value != value.strip():
        raise _subject_error(
            key, "is empty or has blanks at an end", repr(value), "the text exactly as vetted"
        )
    if len(value) > _SUBJECT_MAX[key]:
        raise _subject_error(key, "is too long", value, f"at most {_SUBJECT_MAX[key]} characters")
    if any(unicodedata.category(char)[0] == "C" for char in value):
        raise _subject_error(
            key, "holds a control or unassigned character", value, "printable characters only"
        )


def _subject_error(key: str, fault: str, found: str, expected: str) -> PkiError:
    return PkiError(
        f"subject.{printable(key)} {fault}",
        rule="INVENTORY",
        found=printable(found),
        expected=expected,
        where=f"subject.{printable(key)}",
        next_step="write the organisation's subject exactly as it passed vetting",
    )
