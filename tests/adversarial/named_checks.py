# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that keep a wrong certificate out, each with the edit that disables it.

``sound`` must stand exactly once in its file; ``broken`` takes its place. ``noticed_by`` are
the tests of tests/unit of which at least one must fail then.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    file: str
    sound: str
    broken: str
    noticed_by: tuple[str, ...]


def _check(file: str, sound: str, broken: str, *noticed_by: str) -> Check:
    return Check(f"{file}.py", sound, broken, noticed_by)


_KEYS = "test_reply.py::test_a_private_key_is_an_incident_and_never_echoed"
_UNREADABLE = "test_reply.py::test_what_holds_no_intact_certificate_is_unreadable"
READING = {
    "a private key in a text is an incident": _check(
        "reading", " or any(map(key_material.in_text, texts)):", ":", _KEYS
    ),
    "a private key in DER is an incident": _check(
        "reading", "key_material.in_binary(data) or any(", "any(", _KEYS
    ),
    "the bytes of a reply are bounded": _check(
        "reading", "if total <= MAX_BYTES and", "if", _UNREADABLE
    ),
    "the files of a reply are bounded": _check(
        "reading", " and len(files) <= MAX_FILES:", ":", "test_x509_bounds.py"
    ),
    "the certificates of a reply are bounded": _check(
        "reading",
        "if len(found) > MAX_CERTIFICATES:",
        "if False:",
        "test_reply.py::test_more_certificates_than_anybody_sends_are_refused",
        "test_x509_bounds.py",
    ),
    "the elements of a file are bounded": _check(
        "reading",
        'if sum(block.label == "DER" for block in blocks) > MAX_CERTIFICATES:',
        "if False:",
        _UNREADABLE,
    ),
}

_CHAIN = "test_path.py::test_a_path_has_at_most_eight_certificates"
PATH = {
    "a path has at most eight certificates": _check(
        "path", "MAX_CHAIN = 8 ", "MAX_CHAIN = 9 ", _CHAIN
    ),
    "a path needs a pinned anchor": _check(
        "path",
        "    if not anchors:\n",
        "    if False:\n",
        "test_path.py::test_without_anchors_nothing_is_accepted",
    ),
    "validity is judged at the given moment": _check(
        "path", ".time(now)", "", "test_path.py::test_validity_is_exact_to_the_second_in_any_zone"
    ),
    "the signature is a whole number of octets": _check(
        "path",
        "            check_signature_octets(to_der(certificate))\n",
        "            pass\n",
        "test_x509_bounds.py::test_no_certificate_of_a_path_has_unused_bits_in_its_signature",
    ),
    "the purpose stands in the leaf": _check(
        "path",
        "        .may_be_present(x509.ExtendedKeyUsage, either, usage)\n",
        "        .may_be_present(x509.ExtendedKeyUsage, either, None)\n",
        "test_path.py::test_extended_key_usage_decides_only_when_a_purpose_is_named",
    ),
    "the purpose stands in the CAs": _check(
        "path",
        "        x509.ExtendedKeyUsage, either, above\n",
        "        x509.ExtendedKeyUsage, either, None\n",
        "test_path.py::test_a_purpose_that_the_issuing_ca_lacks_is_refused",
    ),
    "look-alike issuers are bounded": _check(
        "path",
        "    if len(found) > MAX_CHAIN:\n",
        "    if False:\n",
        "test_path.py::test_more_look_alike_issuers_than_a_path_can_have_are_refused",
    ),
    "OCSP alone asks for answers too": _check(
        "path",
        "if crls is not None or ocsp is not None:",
        "if crls is not None:",
        "test_path.py::test_without_crls_revocation_is_not_checked_and_with_an_empty_list_it_fails",
    ),
    "an expired path is told from a foreign one": _check(
        "path",
        "    if len(culprits) == len(paths):\n",
        "    if False:\n",
        "test_path.py::test_an_expired_leaf_is_said_to_have_expired_and_when",
    ),
}

_PROFILE = "test_path_profile.py"
PROFILE = {
    "the faults of a path are looked for": _check(
        "path",
        "        fault = path_profile.fault_of_path(chain)\n",
        "        fault = None\n",
        _PROFILE,
    ),
    "the faults of the leaf are looked for": _check(
        "path", "        if fault is None and judge_leaf:\n", "        if False:\n", _PROFILE
    ),
    "a serial number is positive": _check(
        "path_profile",
        "        if certificate.serial_number <= 0:\n",
        "        if False:\n",
        _PROFILE,
    ),
    "policy constraints are not passed over": _check(
        "path_profile",
        "        if _extension(authority, x509.PolicyConstraints) is not None:\n",
        "        if False:\n",
        _PROFILE,
    ),
    "an RSA key has 2048 bits": _check(
        "path_profile",
        "        short = key.key_size < least\n",
        "        short = False\n",
        _PROFILE,
    ),
    "a curve is a known one": _check(
        "path_profile", "known = isinstance(key.curve, _CURVES)", "known = True", _PROFILE
    ),
    "CA flag and keyCertSign agree": _check(
        "path_profile", "    if authority != signs:\n", "    if False:\n", _PROFILE
    ),
    "a CA certificate has no purpose": _check(
        "path_profile",
        "    if authority:\n",
        "    if False:\n",
        "test_x509_bounds.py::test_a_ca_certificate_is_no_client_though_its_key_usage_would_let_it",
    ),
    "the key usage allows the purpose": _check(
        "path_profile", "if wanted and usage is not None and", "if False and", _PROFILE
    ),
}

REPLY = {
    "the certificate has the request's key": _check(
        "reply",
        " if _spki(one) == request.spki_der]",
        "]",
        "test_reply.py::test_a_certificate_of_another_key_is_refused_with_both_digests_shortened",
    ),
    "the newest certificate of the key is taken": _check(
        "reply",
        "(-one.not_valid_before_utc.timestamp(), sha256(one))",
        "(one.not_valid_before_utc.timestamp(), sha256(one))",
        "test_reply.py::test_the_newest_of_two_certificates_of_the_key_is_taken",
    ),
    "the certificates that are tried are bounded": _check(
        "reply", "return matching[:MAX_CANDIDATES]", "return matching", "test_x509_bounds.py"
    ),
    "the issuing CA is an allowed one": _check(
        "reply",
        "            _check_issuer(chain, trust)\n",
        "",
        "test_refusals.py::test_the_whole_refusal_reads",
    ),
    "a missing answer refuses": _check(
        "reply",
        '    pending = sources.mode == "pending"\n',
        "    pending = True\n",
        "test_reply.py::test_unknown_revocation_is_refused_and_may_only_be_pending_if_said_so",
    ),
    "there are two revocation modes": _check(
        "reply",
        'if self.mode not in ("require", "pending"):',
        "if False:",
        "test_reply.py::test_a_revocation_mode_that_does_not_exist_is_a_fault_of_the_caller",
    ),
    "what the policy refuses stays out": _check(
        "reply",
        "    refused = _refusals(findings)\n",
        "    refused = []\n",
        "test_reply.py::test_the_policy_refuses_a_certificate_with",
    ),
    "what cannot be judged is not approved": _check(
        "reply",
        "        return tuple(policy.judge(kind, facts))\n    except (",
        "        return tuple(policy.judge(kind, facts))\n    except OverflowError:\n"
        "        return ()\n    except (",
        "test_reply.py::test_what_a_policy_cannot_judge_is_not_approved",
    ),
    "a CA flag stays out whatever the policy says": _check(
        "reply",
        "(constraints is not None and constraints.ca) or ",
        "",
        "test_reply.py::test_a_policy_that_forgets_the_rule_lets_no_ca_certificate_in",
    ),
    "keyCertSign stays out whatever the policy says": _check(
        "reply",
        " or (usage is not None and usage.key_cert_sign)",
        "",
        "test_reply.py::test_a_policy_that_forgets_the_rule_lets_no_ca_certificate_in",
    ),
    "nobody else makes an Accepted": _check(
        "reply",
        "        if seal is not _SEAL:\n",
        "        if False:\n",
        "test_reply.py::test_an_accepted_cannot_be_made_by_hand",
    ),
    "an Accepted is not subclassed": _check(
        "reply",
        '        raise TypeError("Accepted cannot be subclassed")\n',
        "        pass\n",
        "test_reply.py::test_an_accepted_cannot_be_subclassed_or_pickled",
    ),
    "an Accepted is not restored": _check(
        "reply",
        '        raise TypeError("an Accepted cannot be restored: accept the reply again")\n',
        "        raise SystemExit\n",
        "test_reply.py::test_an_accepted_cannot_be_subclassed_or_pickled",
    ),
}

_KEPT = "test_reply_keys.py"
HISTORY = {
    "a compromised key is told": _check(
        "reply",
        "[history.compromised[spki]] if spki in history.compromised else []",
        "[]",
        f"{_KEPT}::test_a_compromised_key_is_never_accepted_again",
    ),
    "a key of another request is told": _check(
        "reply",
        "[history.keys[spki]] if spki in history.keys else []",
        "[]",
        "test_reply_context.py::test_a_key_of_another_request_is_told_with_its_place",
    ),
    "a serial number seen before is told": _check(
        "reply",
        'history.seen(f"{leaf.serial_number:x}", names.rfc2253(leaf.issuer))',
        "[]",
        "test_reply_context.py::test_a_serial_number_seen_before_is_told_where_the_issuer_is_the_same",
    ),
    "the certificate in service is told": _check(
        "reply",
        "history.deployed == digest",
        "False",
        f"{_KEPT}::test_the_certificate_in_service_is_no_reply_to_a_new_request",
    ),
    "a certificate accepted before is told from a new one": _check(
        "reply",
        "    kept = history.accepted == digest\n",
        "    kept = True\n",
        "test_reply_context.py::test_a_certificate_accepted_before_is_kept_and_another_is_a_reply",
    ),
}

_WEAK = "test_key_hygiene.py::test_"
HYGIENE = {
    "small factors are looked for": _check(
        "key_hygiene",
        "small_factor=_small_factor(modulus, limits.factors_below)",
        "small_factor=0",
        f"{_WEAK}the_smallest_prime_factor_below_the_limit_is_told",
    ),
    "close primes are looked for": _check(
        "key_hygiene",
        "fermat_rounds=_fermat(modulus, limits.fermat_rounds)",
        "fermat_rounds=-1",
        f"{_WEAK}neighbouring_primes_are_factored_at_once",
    ),
    "the form of ROCA is looked for": _check(
        "key_hygiene",
        "roca=_roca(modulus)",
        "roca=False",
        f"{_WEAK}a_modulus_made_as_the_chips_made_it_is_recognised",
    ),
}

_SAYS_NOTHING = "test_revocation.py::test_a_crl_says_nothing_and_the_reason_is_told_when_it"
CRL = {
    "a CRL has its issuer's name": _check(
        "crl", "        if self.issuer != name:\n", "        if False:\n", "test_x509_bounds.py"
    ),
    "a CRL is signed with SHA-2": _check(
        "crl", "algorithm.name not in SHA2", 'algorithm.name == "md5"', _SAYS_NOTHING
    ),
    "the issuer of a CRL may sign CRLs": _check(
        "crl",
        "if usage is not None and not usage.crl_sign:",
        "if False:",
        "test_revocation.py::test_a_crl_whose_issuer_may_not_sign_crls_says_nothing",
    ),
    "a CRL has its issuer's signature": _check(
        "crl",
        "if parsed.is_signature_valid(key):",
        "if True:",
        _SAYS_NOTHING,
        "test_revocation.py::test_a_list_nobody_vouches_for_revokes_nothing",
    ),
    "a CRL without nextUpdate says nothing": _check(
        "crl",
        '            return "has no nextUpdate"\n',
        '            return ""\n',
        _SAYS_NOTHING,
    ),
    "a CRL of tomorrow says nothing": _check(
        "crl",
        "        if now < self.this_update:\n",
        "        if False:\n",
        "test_revocation.py::test_the_dates_of_a_crl_are_exact_to_the_second",
    ),
    "a stale CRL says nothing": _check(
        "crl",
        "        if now > self.next_update:\n",
        "        if False:\n",
        "test_revocation.py::test_the_dates_of_a_crl_are_exact_to_the_second",
    ),
    "a delta CRL says nothing": _check(
        "crl", 'return "is a delta CRL"', 'return ""', _SAYS_NOTHING
    ),
    "an unknown critical extension silences a CRL": _check(
        "crl", "if item.critical and item.oid not in _UNDERSTOOD:", "if False:", _SAYS_NOTHING
    ),
    "an indirect CRL says nothing": _check(
        "crl", "if idp.indirect_crl:", "if False:", _SAYS_NOTHING
    ),
    "a CRL of some reasons says nothing": _check(
        "crl", "if idp.only_some_reasons:", "if False:", _SAYS_NOTHING
    ),
    "a CRL of attribute certificates says nothing": _check(
        "crl", "if idp.only_contains_attribute_certs:", "if False:", _SAYS_NOTHING
    ),
    "an entry with an unknown critical extension silences a CRL": _check(
        "crl",
        "if item.critical and item.oid not in _ENTRY_UNDERSTOOD:",
        "if False:",
        "test_revocation_points.py",
    ),
    "a CRL's signature is a whole number of octets": _check(
        "crl",
        "        check_signature_octets(encoded)\n",
        "",
        "test_revocation.py::test_a_crl_whose_signature_has_unused_bits_is_unreadable",
    ),
}

_LISTED = "test_revocation.py::test_a_listed_serial_refuses_also_when_the_list_is"
_EITHER = "test_revocation.py::test_revoked_from_either_source_wins_over_good_from_the_other"
REVOCATION = {
    "a CRL of users does not answer for a CA": _check(
        "crl_scope",
        "if idp.only_contains_user_certs and authority:",
        "if False:",
        "test_revocation.py::test_a_crl_for_users_does_not_answer_for_a_ca",
    ),
    "a CRL of CAs does not answer for a user": _check(
        "crl_scope",
        "if idp.only_contains_ca_certs and not authority:",
        "if False:",
        _SAYS_NOTHING,
    ),
    "a CRL of another distribution point says nothing": _check(
        "crl_scope",
        '    return "is for another distribution point than the certificate names"\n',
        '    return ""\n',
        _SAYS_NOTHING,
    ),
    "a distribution point of some reasons does not count": _check(
        "crl_scope",
        "if not point.reasons and not point.crl_issuer",
        "if not point.crl_issuer",
        "test_revocation.py::test_a_limited_distribution_point_matches_no_partition",
    ),
    "a distribution point of another issuer does not count": _check(
        "crl_scope",
        "if not point.reasons and not point.crl_issuer",
        "if not point.reasons",
        "test_revocation.py::test_a_limited_distribution_point_matches_no_partition",
    ),
    "a serial that is listed is revoked in a list that says nothing": _check(
        "revocation",
        "        if listing is not None:\n",
        "        if listing is not None and not crl.silent and not crl.outside_dates(now):\n",
        _LISTED,
    ),
    "the newest CRL counts by date": _check(
        "revocation",
        "for crl in (by_date, by_number):",
        "for crl in (by_number,):",
        "test_revocation_points.py::test_the_newest_of_several_crls_counts_by_number_and_by_date",
    ),
    "the newest CRL counts by number": _check(
        "revocation",
        "for crl in (by_date, by_number):",
        "for crl in (by_date,):",
        "test_revocation_points.py::test_the_newest_of_several_crls_counts_by_number_and_by_date",
    ),
    "revoked from any source wins": _check(
        "revocation",
        'for wanted in ("revoked", "good"):',
        'for wanted in ("good", "revoked"):',
        _EITHER,
    ),
    "a revoked certificate never passes as pending": _check(
        "revocation",
        '        if status.verdict == "revoked":\n',
        '        if status.verdict == "revoked" and not pending:\n',
        "test_revocation.py::test_a_pending_answer_may_pass_but_a_revoked_certificate_never",
    ),
    "a missing answer is no good answer": _check(
        "revocation",
        "    if missing and not pending:\n",
        "    if False:\n",
        "test_revocation.py::test_a_missing_crl_of_an_intermediate_is_a_refusal_that_names_the_ca",
    ),
}

_NO_ANSWER = "test_revocation.py::test_a_response_is_no_answer_when_it_is_from_or_has"
OCSP = {
    "a response is about this serial": _check(
        "ocsp_response",
        "one.serial_number == certificate.serial_number\n        and ",
        "",
        "test_x509_bounds.py::test_a_response_about_two_certificates_is_heard_of_each",
    ),
    "a response is about this issuer's name": _check(
        "ocsp_response",
        '_hashed(algorithm, name_bytes(certificate, "issuer"))',
        "one.issuer_name_hash",
        "test_revocation.py::test_the_issuer_name_in_a_response_must_be_the_certificates",
    ),
    "a response is about this issuer's key": _check(
        "ocsp_response",
        "        and one.issuer_key_hash == _hashed(algorithm, _key_bits(issuer))\n",
        "",
        _NO_ANSWER,
    ),
    "an unknown critical extension silences a response": _check(
        "ocsp_response",
        "if any(extension.critical for extension in self.parsed.extensions):",
        "if False:",
        _NO_ANSWER,
    ),
    "a responder that is revoked answers no more": _check(
        "ocsp_response",
        " and not is_listed(candidate):",
        ":",
        "test_revocation_points.py::test_a_responder_that_its_issuer_has_revoked_answers_no_more",
    ),
    "a response is signed for its issuer": _check(
        "ocsp_response", "if not self._signed_for(issuer, now, is_listed):", "if False:", _NO_ANSWER
    ),
    "a responder is appointed for OCSP": _check(
        "ocsp_response",
        "ExtendedKeyUsageOID.OCSP_SIGNING in usage and ",
        "",
        _NO_ANSWER,
    ),
    "a responder is issued by the issuer": _check(
        "ocsp_response", " and issued_by(candidate, issuer)", "", _NO_ANSWER
    ),
    "a responder is valid now": _check(
        "ocsp_response",
        "if not candidate.not_valid_before_utc <= now <= candidate.not_valid_after_utc:",
        "if False:",
        _NO_ANSWER,
    ),
    "a response is signed with SHA-2": _check(
        "ocsp_response",
        "        if not isinstance(algorithm, _SHA2):\n            return False\n",
        "",
        "test_x509_bounds.py",
    ),
    "a response without nextUpdate says nothing": _check(
        "ocsp_response",
        '        return Answer("unknown", note=f"{source} has no nextUpdate")\n',
        '        return Answer("good", note=source)\n',
        _NO_ANSWER,
    ),
    "a stale response says nothing": _check(
        "ocsp_response",
        "    if not one.this_update_utc <= now <= one.next_update_utc:\n",
        "    if False:\n",
        _NO_ANSWER,
    ),
    "a responder that does not know the certificate says nothing": _check(
        "ocsp_response",
        "if one.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:",
        "if False:",
        _NO_ANSWER,
    ),
}

_LIFE = "test_plan.py::test_life"
_ROWS = "test_plan_rows.py::test_the_row_tells_since_when_who_is_waited_for_and_what_to_do"
PLAN = {
    "a request with an outcome is settled": _check(
        "lifecycle",
        "return self.accepted is not None or self.outcome is not None",
        "return self.accepted is not None",
        _LIFE,
    ),
    "a lost key stops the request": _check("plan_checks", "    key_lost,\n", "", _LIFE),
    "a replaced key stops the request": _check("plan_checks", "    key_changed,\n", "", _LIFE),
    "an edit does not change an open request": _check(
        "plan_checks",
        "    pending_edited,\n",
        "",
        "test_plan.py::test_an_edit_while_a_request_is_open_keeps_the_request_and_asks_a_person",
    ),
    "a key is never made twice": _check("plan_checks", "    request_files_missing,\n", "", _LIFE),
    "a version that is only asked for is not pending": _check(
        "plan_case",
        "if version is not None and version.begun:",
        "if version is not None:",
        "test_plan.py::test_a_version_that_is_only_asked_for_is_absent_and_not_pending",
    ),
    "a person's word makes a new request": _check("plan_checks", "    asked_for,\n", "", _LIFE),
    "a request that ended is not offered again": _check(
        "plan_checks", "    request_ended,\n", "", _LIFE
    ),
    "a revoked certificate is replaced": _check(
        "plan_checks", "    certificate_revoked,\n", "", _LIFE
    ),
    "a revoked certificate is not the live one": _check(
        "plan_case", "if v.accepted and not v.accepted.revoked_at]", "if v.accepted]", _LIFE
    ),
    "an expired certificate is not deployed": _check(
        "plan",
        "    if live is None or expired(live, case.now):\n",
        "    if live is None:\n",
        _LIFE,
    ),
    "a key for signing only is not deployed": _check(
        "plan",
        "left_out = () if case.deployable(version) else (Kind.DEPLOY,)",
        "left_out: tuple[Kind, ...] = ()",
        "test_plan.py::test_a_certificate_for_signing_only_is_in_service_without_any_gateway",
    ),
    "the renewal window opens in time": _check(
        "plan_checks",
        "    renewal_window,\n",
        "",
        "test_plan.py::test_the_renewal_window_opens_at_the_exact_moment",
    ),
    "a short certificate is not due at once": _check(
        "windows",
        "return not_after - min(before, life / LARGEST_SHARE.denominator)",
        "return not_after - before",
        "test_plan_windows.py::"
        "test_a_certificate_that_is_shorter_than_the_window_is_not_due_at_once",
    ),
    "a key that nobody could ask for is not lost": _check(
        "plan_checks",
        "    if not case.keys_known:\n        return None",
        "    if False:\n        return None",
        "test_plan_stores.py::"
        "test_what_is_committed_goes_on_without_the_host_and_its_key_is_not_called_lost",
    ),
    "nothing is made for a host that did not answer": _check(
        "plan_checks",
        "    if not case.keys_known:\n        # A key",
        "    if False:\n        # A key",
        "test_plan_stores.py::test_nothing_is_made_for_a_host_that_did_not_answer",
    ),
    "no key is made for a device": _check(
        "plan_checks",
        "    if case.wanted.store == EXTERNAL:\n",
        "    if False:\n",
        "test_plan_stores.py::"
        "test_a_new_request_of_a_device_waits_for_a_person_who_is_told_what_to_type",
    ),
    "nothing is deployed to a device": _check(
        "plan_case",
        'return "mtls" in purposes and self.store_of(version) != EXTERNAL',
        'return "mtls" in purposes',
        "test_plan_stores.py::test_a_reply_for_a_device_is_accepted_and_never_deployed",
    ),
    "a deployment never waits into expiry": _check(
        "windows",
        "if in_service_until - margin < (closed.until or now):",
        "if False:",
        "test_windows.py::test_nothing_is_ever_held_into_expiry",
    ),
    "a deployment waits only beside what may be served": _check(
        "plan_case",
        "if one.number < version.number and not expired(one, self.now) and self.deployable(one)",
        "if one.number < version.number",
        "test_plan_windows.py::test_it_does_not_wait_beside_what_may_not_be_served",
    ),
    "a deployment does not wait beside a compromised key": _check(
        "plan_case",
        "if last is None or last.retired or last.compromised else last",
        "if last is None or last.retired else last",
        "test_plan_windows.py::test_it_does_not_wait_beside_what_may_not_be_served",
    ),
    "a host keeps only a certificate that was judged now": _check(
        "held",
        "kept = next((one for one in older if _target(one) == current), None)",
        "kept = next(iter(older), None)",
        "test_held.py::test_choice",
    ),
    "a host without anything in service waits for nothing": _check(
        "held",
        "if not current or current == _target(newest):",
        "if current == _target(newest):",
        "test_held.py::test_choice",
    ),
}

CHECKS: dict[str, Check] = {
    **READING,
    **PATH,
    **PROFILE,
    **REPLY,
    **HISTORY,
    **HYGIENE,
    **CRL,
    **REVOCATION,
    **OCSP,
    **PLAN,
}
