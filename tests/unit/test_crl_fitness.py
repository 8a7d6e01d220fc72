# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRL that would make a gateway refuse everybody is found before a gateway has it.

What each cell must say was measured with OpenSSL, nginx and HAProxy; the measurement itself is
repeated in tests/gateways/test_crl_scope.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from pki import crl_fitness, revocation
from pki.crl_fitness import Leaves
from pki.errors import PkiError
from pki.trust_files import Ca, LoadedTrust
from unit import pki_factory as factory
from unit.pki_factory import Authority

ROOT_URL, URL = "http://crl.example/root.crl", "http://crl.example/issuing.crl"
OTHER = "http://other.example/x.crl"
ROOT = factory.authority("Root")
ISSUING = ROOT.authority("Issuing", cdp=ROOT_URL)
NAMING_ROOT = factory.authority("Naming Root", cdp=ROOT_URL)
BELOW_NAMING = NAMING_ROOT.authority("Below Naming", cdp=ROOT_URL)
SILENT = ROOT.authority("Silent Issuing")
WITH, WITHOUT = frozenset({URL}), frozenset[crl_fitness.Point]()


def ca(authority: Authority, *urls: str) -> Ca:
    name = authority.certificate.subject.rfc4514_string().removeprefix("CN=")
    return Ca(authority.der, authority.pem, authority.sha256, name, urls)


def trust(root: Authority = ROOT, issuing: Authority = ISSUING, *urls: str) -> LoadedTrust:
    return LoadedTrust("dip", (ca(root, ROOT_URL),), (ca(issuing, *(urls or (URL,))),))


def crl(authority: Authority, *extensions: tuple[x509.ExtensionType, bool]) -> revocation.Crl:
    return revocation.Crl.parse(authority.crl(extensions=extensions))


def faults(
    issuing: Sequence[Any] = (),
    root: Sequence[Any] = (),
    *points: frozenset[crl_fitness.Point],
    of: LoadedTrust | None = None,
    authorities: tuple[Authority, Authority] = (ROOT, ISSUING),
    whole_chain: bool = True,
) -> tuple[PkiError, ...]:
    above, below = authorities
    found = of or trust(above, below)
    leaves = {below.sha256: Leaves(points, "by its accepted certificates")} if points else {}
    crls = [crl(below, *issuing), crl(above, *root)]
    return crl_fitness.judge(found, crls, leaves, "nginx", whole_chain=whole_chain)


USER = factory.idp(only_contains_user_certs=True)
CAS = factory.idp(only_contains_ca_certs=True)
#: What the CRL of the issuing CA says: whether certificates with and without CDP are covered.
OF_ISSUING: dict[str, tuple[Sequence[Any], bool, bool]] = {
    "no IDP": ((), True, True),
    "the address of the CDP": ((factory.idp(URL),), True, False),
    "another address": ((factory.idp(OTHER),), False, False),
    "user certificates only": ((USER,), True, True),
    "CA certificates only": ((CAS,), False, False),
}
#: What the CRL of the root says, and whether anybody could be let in with it.
OF_ROOT: dict[str, tuple[Sequence[Any], bool]] = {
    "no IDP": ((), True),
    "the address of the CDP": ((factory.idp(ROOT_URL),), False),
    "another address": ((factory.idp(OTHER),), False),
    "user certificates only": ((USER,), False),
    "CA certificates only": ((CAS,), True),
}


@pytest.mark.parametrize("kind", OF_ISSUING)
def test_the_crl_of_an_issuing_ca_has_to_speak_for_its_certificates(kind: str) -> None:
    extensions, with_cdp, without = OF_ISSUING[kind]
    assert (not faults(extensions, (), WITH)) is with_cdp
    assert (not faults(extensions, (), WITHOUT)) is without
    assert (not faults(extensions, (), WITH, WITHOUT)) is (with_cdp and without)


@pytest.mark.parametrize("kind", OF_ROOT)
def test_the_crl_of_a_root_has_to_speak_for_the_root_itself(kind: str) -> None:
    extensions, good = OF_ROOT[kind]
    assert (not faults((), extensions, WITH)) is good


def test_a_root_that_names_the_address_of_its_own_crl_can_be_used() -> None:
    pair = (NAMING_ROOT, BELOW_NAMING)
    assert not faults((), (factory.idp(ROOT_URL),), WITH, authorities=pair)
    assert faults((), (factory.idp(OTHER),), WITH, authorities=pair)


def test_a_library_that_looks_at_the_leaf_only_does_not_mind_the_roots_crl() -> None:
    assert not faults((), (factory.idp(OTHER),), WITH, whole_chain=False)
    assert faults((factory.idp(OTHER),), (), WITH, whole_chain=False)


def test_an_intermediate_without_address_is_not_covered_by_a_crl_for_one() -> None:
    (fault,) = faults((), (factory.idp(ROOT_URL),), WITH, authorities=(ROOT, SILENT))
    assert "and the CA Silent Issuing names no address" in fault.found


def test_where_no_certificate_is_known_the_crl_urls_are_what_certificates_name() -> None:
    assert not faults((factory.idp(URL),))
    (fault,) = faults((factory.idp(URL),), of=trust(ROOT, ISSUING, OTHER))
    assert "and certificates it issues name http://other.example/x.crl (by crl_urls" in fault.found
    assert fault.next_step.startswith("put the addresses that the CA's certificates name")


def test_a_root_that_issues_leaves_itself_needs_a_crl_without_any_scope() -> None:
    alone = LoadedTrust("dip", (ca(ROOT, URL),), (ca(ROOT, URL),))
    for extension in (USER, CAS, factory.idp(URL)):
        assert crl_fitness.judge(alone, [crl(ROOT, extension)], {}, "nginx")
    assert not crl_fitness.judge(alone, [crl(ROOT)], {}, "nginx")


NEVER = {
    "a delta CRL": (x509.DeltaCRLIndicator(1), True),
    "indirect": factory.idp(indirect_crl=True),
    "some reasons only": factory.idp(
        only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})
    ),
    "attribute certificates only": factory.idp(only_contains_attribute_certs=True),
}


@pytest.mark.parametrize("kind", NEVER)
@pytest.mark.parametrize("authority", ["issuing", "root"])
def test_some_kinds_of_crl_are_always_refused(kind: str, authority: str) -> None:
    extensions = {authority: (NEVER[kind],)}
    assert len(faults(extensions.get("issuing", ()), extensions.get("root", ()), WITH)) == 1


def test_a_refusal_says_what_to_do_and_that_nothing_was_touched() -> None:
    (fault,) = faults((), (factory.idp(OTHER),), WITH)
    assert str(fault) == (
        "with the CRL of Root, nginx would refuse every good peer\n"
        "  rule      CRL-SCOPE\n"
        "  found     CRL number 1 of Root from 2026-11-21 11:00:00Z; it speaks for "
        "http://other.example/x.crl only, and the CA Issuing names "
        "http://crl.example/root.crl\n"
        "  expected  a CRL that its TLS library takes for every certificate that Root issued: "
        "complete, and without an issuingDistributionPoint or with the address that each of them "
        "names\n"
        "  where     CRL of Root\n"
        "  next      ask the CA for a full CRL without an address in its "
        "issuingDistributionPoint, and put its location under crl_urls; or use a gateway whose "
        "library checks the CRL of the leaf only; the gateways keep the CRLs they have"
    )


def test_only_a_crl_with_a_scope_is_worth_a_look_at_the_leaves() -> None:
    assert not crl_fitness.matters([crl(ISSUING), crl(ROOT)])
    assert crl_fitness.matters([crl(ISSUING, factory.idp(URL)), crl(ROOT)])
