# SPDX-License-Identifier: GPL-3.0-or-later
"""``verify.yml`` on a deployed lab: clean as it is, and every breakage is found by its own rule.

A clean verdict proves nothing by itself: perhaps nothing can spoil it. So the running lab is
broken on purpose, and the rule that the table names must fail on the object
that it names. Then it is put right again, in the end by ``site.yml``.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from integration.lab_fixture import REPOSITORY, Lab, Run, running_lab
from unit.lab_imports import gatewayconf, gateways

from ansible.module_utils.pki_host import service  # isort: skip

pytestmark = [pytest.mark.integration, pytest.mark.lab]

GATEWAY, WEBHOOK = "gw1/dip-gateway", "gw1/dip-gateway/dip-webhook"
CERTIFICATE, TRUST, HOST_CRLS = "dip-nonprod", "dip-nonprod", "gw1/dip-nonprod"
INVENTORY = REPOSITORY / "inventories/lab/group_vars/all"

Change = gatewayconf.Change
Options = dict[str, Any]
Verdict = tuple[str, str, str]
"""Kind, object and rule."""


class Deployed:
    """A lab with a deployed gateway, and hands to break it with."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.home = lab.home
        self.host = lab.home / "hosts/gw1"
        self.root = self.host / "gateway/dip-gateway"
        self.release = self.host / "tls" / CERTIFICATE
        self.crls = self.host / "crl" / TRUST
        self.version = lab.home / "certificates" / CERTIFICATE / "1"

    def verify(self, *arguments: str, expected: int = 0, **options: Any) -> Run:
        """Run verify.yml; ``options`` are variables that win over the inventory's."""
        variables = ["-e", json.dumps(options)] if options else []
        environment = {**self.lab.environment(), "LAB_DIR": str(self.home)}
        command = self.lab.playbook("verify", *variables, *arguments)
        (self.home / "verify/result.json").unlink(missing_ok=True)
        run = self.lab._run(command, environment, expected)
        told = (self.home / "verify/result.json").exists()
        assert told or "--check" in arguments, run.output
        return run

    def result(self) -> dict[str, Any]:
        """The result of the last run."""
        found: dict[str, Any] = json.loads((self.home / "verify/result.json").read_text())
        return found

    def outcomes(self, outcome: str) -> set[Verdict]:
        return {
            (one["kind"], one["object"], one["rule"])
            for one in self.result()["verdicts"]
            if one["outcome"] == outcome
        }

    def reload(self) -> None:
        """Let the gateway read its files, and wait until it has."""
        program = str(self.lab.record()["programs"]["nginx"])
        adapter = service.for_host(gateways.adapter("nginx"), program)
        service.Daemon(adapter, program, str(self.root)).reload()

    @contextlib.contextmanager
    def changed(self, path: Path, content: bytes) -> Iterator[None]:
        """Another content of a file, for a while."""
        before = path.read_bytes()
        assert before != content, "the breakage changes nothing"
        path.write_bytes(content)
        try:
            yield
        finally:
            path.write_bytes(before)

    @contextlib.contextmanager
    def reworded(self, *changes: Change) -> Iterator[None]:
        """Other words in the gateway's configuration, loaded."""
        path = self.root / "nginx.conf"
        text = path.read_text()
        for change in changes:
            text = gatewayconf.rewrite(text, change)
        with self.changed(path, text.encode()):
            self.reload()
            yield
        self.reload()

    @contextlib.contextmanager
    def linked(self, link: Path, target: str) -> Iterator[None]:
        """A link that leads elsewhere, for a while."""
        before = os.readlink(link)
        _link(link, target)
        try:
            yield
        finally:
            _link(link, before)


def _link(link: Path, target: str) -> None:
    fresh = link.with_name(".fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with running_lab(tmp_path_factory.mktemp("lab") / "home") as lab:
        lab.site()
        lab.play("sign")
        lab.site()
        yield Deployed(lab)


# -- breakages: each is made, and unmade when the block ends ----------------------------------


Break = Callable[[Deployed], contextlib.AbstractContextManager[Options | None]]


def put(name: str, *arguments: str) -> Change:
    return lambda _parents, words: (name, *arguments) if words[0] == name else words


def opened() -> Change:
    """Whoever the allow-list does not know is let in, too."""

    def change(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        inside = parents and parents[-1][0] == "map" and parents[-1][2].startswith("$allowed_")
        return ("default", "yes") if inside and words[0] == "default" else words

    return change


def any_subject() -> Change:
    """Whoever has a right certificate of the allowed issuer is let in."""

    def change(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        inside = parents and parents[-1][0] == "map" and parents[-1][2].startswith("$allowed_")
        return ("~^SUCCESS:1:", "yes") if inside and words[0] != "default" else words

    return change


def config(*changes: Change) -> Break:
    return lambda deployed: deployed.reworded(*changes)


def variables(make: Callable[[Deployed], Options]) -> Break:
    """Nothing on disk is broken: the run is given other variables."""

    @contextlib.contextmanager
    def given(deployed: Deployed) -> Iterator[Options]:
        yield make(deployed)

    return given


def inventory(name: str) -> Any:
    return copy.deepcopy(yaml.safe_load((INVENTORY / f"{name}.yml").read_text()))


def clock_adrift(_deployed: Deployed) -> Options:
    stand_ins = inventory("verify")["verify_stand_ins"]
    stand_ins["host"]["clock"]["synchronised"] = False
    return {"verify_stand_ins": stand_ins}


def another_record(_deployed: Deployed) -> Options:
    stand_ins = inventory("verify")["verify_stand_ins"]
    stand_ins["dns"]["records"] = {"example-energy.co.uk": ["v=spf1 -all"]}
    return {"verify_stand_ins": stand_ins}


def short_archive(_deployed: Deployed) -> Options:
    return {"verify_log_archive": {"days": 300, "place": "elsewhere"}}


def one_user_administrator(_deployed: Deployed) -> Options:
    organisations = inventory("organisations")["organisations"]
    roster = organisations["example-energy"]["roster"]
    roster.remove(next(one for one in roster if one["role"] == "user_administrator"))
    return {"organisations": organisations}


def old_evidence(deployed: Deployed) -> Options:
    evidence = yaml.safe_load((deployed.home / "evidence.yml").read_text())
    (record,) = (one for one in evidence["evidence"] if one["id"] == "DIP-2.2-RISK")
    record["date"] = (datetime.now(UTC) - timedelta(days=400)).strftime("%Y-%m-%d")
    path = deployed.home / "old-evidence.yml"
    path.write_text(yaml.safe_dump(evidence))
    return {"verify_evidence_file": str(path)}


@contextlib.contextmanager
def readable_key(deployed: Deployed) -> Iterator[None]:
    key = deployed.release / "current/key.pem"
    key.chmod(0o644)
    try:
        yield
    finally:
        key.chmod(0o600)


@contextlib.contextmanager
def other_certificate(deployed: Deployed) -> Iterator[None]:
    """What is in service is a certificate of the right CA that nobody accepted."""
    other = deployed.release / "releases/v9-0000000000000000"
    other.mkdir()
    for name in ("fullchain.pem", "certificate.pem", "key.pem"):
        shutil.copyfile(deployed.home / "peers/dip-client" / name, other / name)
    (other / "key.pem").chmod(0o600)
    try:
        with deployed.linked(deployed.release / "current", f"releases/{other.name}"):
            deployed.reload()
            yield
        deployed.reload()
    finally:
        shutil.rmtree(other)


def partial_crls(deployed: Deployed) -> contextlib.AbstractContextManager[None]:
    """The issuing CA's list is gone from the set in service."""
    path = deployed.crls / "current/crl.pem"
    last = path.read_bytes().rindex(b"-----BEGIN")
    return deployed.changed(path, path.read_bytes()[last:])


def no_crls(deployed: Deployed) -> contextlib.AbstractContextManager[None]:
    return deployed.linked(deployed.crls / "current", "sets/none")


def stale_cache(deployed: Deployed) -> contextlib.AbstractContextManager[None]:
    path = deployed.home / "cache" / TRUST / "poll.json"
    old = (datetime.now(UTC) - timedelta(hours=25)).strftime("%Y-%m-%dT%H:%M:%SZ")
    polls = dict.fromkeys(json.loads(path.read_text()), old)
    return deployed.changed(path, json.dumps(polls).encode())


def edited_request(deployed: Deployed) -> contextlib.AbstractContextManager[None]:
    """The committed request is another one: same words, another key."""
    path = deployed.version / "request.csr"
    old = x509.load_pem_x509_csr(path.read_bytes())
    key = rsa.generate_private_key(65537, 2048)
    new = x509.CertificateSigningRequestBuilder().subject_name(old.subject)
    return deployed.changed(path, new.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))


# -- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breakage:
    """What is broken and how, and what must be found then; more may be.

    Breakages of one ``round`` are made at once, since a run takes its time; they are on
    different objects or concern different rules, so none can be found in another's place.
    """

    round: int
    name: str
    make: Break
    found: tuple[Verdict, ...]


def egress(name: str, rule: str) -> Verdict:
    return ("endpoint", f"{GATEWAY}/{name}", rule)


BREAKAGES = (
    Breakage(
        1,
        "the listener speaks TLS 1.1, too",
        config(
            put("ssl_protocols", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
            put("ssl_ciphers", "ALL:@SECLEVEL=0"),
        ),
        (
            ("endpoint", WEBHOOK, "DIP-2.3-TLS-VERSION"),
            ("endpoint", WEBHOOK, "DIP-7.1.1-CIPHER"),
            ("gateway", GATEWAY, "DIP-2.3-TLS-VERSION"),
            ("gateway", GATEWAY, "DIP-7.1.1-CIPHER"),
        ),
    ),
    Breakage(
        2,
        "sessions can be resumed",
        config(put("ssl_session_cache", "shared:broken:1m"), put("ssl_session_tickets", "on")),
        (
            ("endpoint", WEBHOOK, "DIP-3.5.2.6-CRL-TTL"),
            ("gateway", GATEWAY, "DIP-3.5.2.6-CRL-TTL"),
        ),
    ),
    Breakage(
        3,
        "everybody with a right certificate is a peer",
        config(any_subject()),
        (
            ("endpoint", WEBHOOK, "DIP-12.3-CLIENT-SUBJECT"),
            ("gateway", GATEWAY, "DIP-12.3-CLIENT-SUBJECT"),
        ),
    ),
    Breakage(
        4,
        "a certificate is asked for, and not insisted on",
        config(put("ssl_verify_client", "optional")),
        (("gateway", GATEWAY, "DIP-2.3-MTLS"),),
    ),
    Breakage(
        5,
        "nobody is asked for a certificate",
        config(put("ssl_verify_client", "off"), opened()),
        (
            ("endpoint", WEBHOOK, "DIP-2.3-MTLS"),
            ("endpoint", WEBHOOK, "DIP-4.2-CHANNEL"),
            ("endpoint", WEBHOOK, "DIP-7.1.1-403"),
        ),
    ),
    Breakage(
        1,
        "far ends are not verified",
        config(put("proxy_ssl_verify", "off")),
        (
            egress("dip-wrong-name", "DIP-12.3-NAME"),
            egress("dip-expired", "DIP-12.3-EXPIRY"),
            egress("dip-revoked", "DIP-12.3-REVOKED"),
        ),
    ),
    Breakage(
        2,
        "others may read the key",
        readable_key,
        (("key", f"{CERTIFICATE} v1", "DIP-5.6.2-SECRETS"),),
    ),
    Breakage(
        6,
        "another certificate is served",
        other_certificate,
        (
            ("endpoint", WEBHOOK, "DIP-5.4.2.1-NO-CERT"),
            ("endpoint", WEBHOOK, "DIP-12.3-NAME"),
        ),
    ),
    Breakage(
        4,
        "the host's CRLs are not the ones that were fetched",
        partial_crls,
        (
            ("crl", HOST_CRLS, "DIP-3.6.1-POLL"),
            ("crl", HOST_CRLS, "DIP-3.5.2.5-RP-CHECK"),
            ("crl", HOST_CRLS, "DIP-12.6.2-ENTIRE"),
        ),
    ),
    Breakage(
        6,
        "the host has no CRLs",
        no_crls,
        (("crl", HOST_CRLS, "DIP-3.5.2.5-RP-CHECK"),),
    ),
    Breakage(
        3,
        "nobody polled the CAs since yesterday",
        stale_cache,
        (("crl", f"controller/{TRUST}", "DIP-3.5.2.6-CRL-TTL"),),
    ),
    Breakage(
        5,
        "the committed request is another one",
        edited_request,
        (("certificate", f"{CERTIFICATE} v1", "DIP-6.1.2-SAME-HOST"),),
    ),
    Breakage(
        5,
        "the clock is adrift",
        variables(clock_adrift),
        (("host", "gw1", "DIP-2.3-TIME"),),
    ),
    Breakage(
        3,
        "the log archive is short",
        variables(short_archive),
        (("host", "gw1", "DIP-2.3-LOG-RETENTION"),),
    ),
    Breakage(
        6,
        "one User Administrator is left",
        variables(one_user_administrator),
        (("roster", "example-energy", "DIP-5.4.1-TWO-USER-ADMINS"),),
    ),
    Breakage(
        4,
        "a risk assessment is old",
        variables(old_evidence),
        (("evidence", "DIP-2.2-RISK", "DIP-2.2-RISK"),),
    ),
    Breakage(
        2,
        "the domain's record is gone",
        variables(another_record),
        (("dns", CERTIFICATE, "DIP-5.4.4.1-DOMAIN"),),
    ),
)


# -- the tests, in the order of the lab's life --------------------------------------------------


def test_a_deployed_lab_is_clean_and_every_applicable_rule_was_judged(deployed: Deployed) -> None:
    run = deployed.verify()
    assert run.changed == 0
    assert deployed.result()["status"] == "clean"
    assert not deployed.result()["faults"]
    assert not deployed.outcomes("not_evaluated")
    live = {one["kind"] for one in deployed.result()["verdicts"]}
    assert {"certificate", "chain", "key", "request", "gateway", "endpoint", "crl", "host"} <= live
    for report in ("facts.json", "result.sarif", "result.junit.xml", "summary.md"):
        assert (deployed.home / "verify" / report).stat().st_size, report


def test_what_stands_in_for_the_real_thing_is_marked(deployed: Deployed) -> None:
    marked = {one["kind"] for one in deployed.result()["verdicts"] if one["stand_in"]}
    assert marked == {"dns", "evidence", "host"}


def test_check_mode_judges_alike_and_writes_nothing(deployed: Deployed) -> None:
    shutil.rmtree(deployed.home / "verify")
    run = deployed.verify("--check")
    assert run.changed == 0
    assert not (deployed.home / "verify").exists()


@pytest.mark.parametrize("number", sorted({one.round for one in BREAKAGES}))
def test_every_breakage_is_found_by_its_own_rule(deployed: Deployed, number: int) -> None:
    broken = [one for one in BREAKAGES if one.round == number]
    options: Options = {"verify_level": "information"}
    with contextlib.ExitStack() as stack:
        for breakage in broken:
            options |= stack.enter_context(breakage.make(deployed)) or {}
        run = deployed.verify(expected=2, **options)
    failed = deployed.outcomes("failed")
    for breakage in broken:
        assert set(breakage.found) <= failed, f"{breakage.name}\n{run.output}"
        assert all(rule in run.output for _, _, rule in breakage.found), breakage.name


def test_no_two_breakages_of_a_round_are_found_by_the_same_rule_on_the_same_object() -> None:
    for number in {one.round for one in BREAKAGES}:
        found = [verdict for one in BREAKAGES if one.round == number for verdict in one.found]
        assert len(found) == len(set(found))


def test_a_host_that_was_not_asked_is_not_judged_and_fails(deployed: Deployed) -> None:
    deployed.verify("--limit", "localhost", expected=2)
    assert deployed.result()["status"] == "fault"
    unseen = {name for kind, name, _ in deployed.outcomes("not_evaluated") if kind == "endpoint"}
    assert WEBHOOK in unseen
    judged = {kind for kind, _, _ in deployed.outcomes("passed")}
    assert {"certificate", "roster", "evidence"} <= judged


def test_site_heals_what_was_broken_on_the_host_and_verify_is_clean_again(
    deployed: Deployed,
) -> None:
    path = deployed.root / "nginx.conf"
    path.write_text(gatewayconf.rewrite(path.read_text(), put("ssl_session_tickets", "on")))
    deployed.reload()
    (deployed.release / "current/key.pem").chmod(0o640)
    (deployed.crls / "current").unlink()
    deployed.lab.site()
    deployed.verify()
    assert deployed.result()["status"] == "clean"
