# SPDX-License-Identifier: GPL-3.0-or-later
"""No private key, token or credential is ever printed, logged or left lying about.

One lab goes through its whole life at the loudest verbosity, with failures of every kind,
while a tap in front of its OpenBao learns every secret. Then everything printed, logged and
left on disk is searched. That a search finds nothing means little by itself, so a module
that leaks on purpose is searched by the same scanner.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from integration.canary import Finding, Scanner, explain
from integration.openbao_server import OpenBao, write_secret
from integration.vault_tap import Alter, Exchange, Tap
from integration.watched_lab import COPYING, PIPELINING, PROJECT, Run, WatchedLab

pytestmark = [pytest.mark.integration, pytest.mark.lab]

KEY_PATH = "transit-nonprod-tls/export/signing-key/{}/1"
OTHER = "canary-other"
INPUTS = (
    "organisations",
    "certificates",
    "trust",
    "policy_dir",
    "base_dir",
    "certificates_dir",
    "crl_cache_dir",
)


def new_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def new_token() -> str:
    return "hvs." + secrets.token_urlsafe(24)


# -- servers that answer what they should not ------------------------------------------------


def on(part: str, answer: Callable[[Exchange], tuple[int, bytes]]) -> Alter:
    """Another answer to requests whose path holds ``part``."""
    return lambda exchange: answer(exchange) if part in exchange.path else None


def keys(text: str) -> bytes:
    return json.dumps({"data": {"name": "dip-nonprod", "keys": {"1": text}}}).encode()


def errors(*lines: str) -> bytes:
    return json.dumps({"errors": list(lines)}).encode()


def hostile(pem: str) -> dict[str, Alter]:
    """Answers with a private key, or the caller's own token, in every wrong place."""
    escaped = pem.replace("\n", "\\n")
    return {
        "unwrapped": on("/export/", lambda _: (200, keys(pem))),
        "key in an error": on("/export/", lambda _: (400, errors(f"cannot wrap {pem}"))),
        "one line of a key in an error": on(
            "/export/", lambda _: (400, errors("bad line " + pem.splitlines()[9]))
        ),
        "escaped key in an error": on("/export/", lambda _: (400, errors(escaped))),
        "key in a page": on("/export/", lambda _: (502, f"<html>{pem}</html>".encode())),
        "half an answer": on("/export/", lambda _: (200, keys(pem)[:-9])),
        "token in an error": on("/export/", lambda e: (400, errors(f"no such token {e.token}"))),
        "login with a key": on("/login", lambda _: (400, errors(pem))),
        "login without a token": on("/login", lambda _: (200, keys(pem))),
        "unwraps to two keys": on("/unwrap", lambda _: (200, keys(pem + pem))),
        "unwraps to another": on("/unwrap", lambda _: (200, keys(pem))),
        "unwraps to an error": on("/unwrap", lambda _: (400, errors(pem))),
        "unwraps to half": on("/unwrap", lambda _: (200, keys(pem)[:-9])),
    }


# -- the failures ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """One task that must fail (or refuse) with ``rule``, a pattern, and print nothing secret."""

    name: str
    rule: str
    task: dict[str, Any]


@dataclass
class Trouble:
    """Everything the failing tasks need, made once."""

    lab: WatchedLab
    sealed: OpenBao
    taps: dict[str, Tap]
    pem: str

    def secret_file(self, name: str, content: str, mode: int = 0o600) -> str:
        """A file that tasks name, because a literal would be shown as the task's source."""
        path = self.lab.work / "planted" / name
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_secret(path, content.encode())
            path.chmod(mode)
        return str(path)

    def deliver(self, name: str, rule: str, **changes: Any) -> Failure:
        """A delivery by the action plugin into an empty release root."""
        root = self.lab.work / "roots" / re.sub(r"\W", "-", name)
        return Failure(name, rule, {"pki_release": self.lab.delivery(root, **changes)})

    def login(self, name: str, rule: str, **changes: Any) -> Failure:
        """A delivery with another login than the right one."""
        options = {**self.lab.login("release"), **changes}
        return self.deliver(name, rule, vault={k: v for k, v in options.items() if v is not None})

    def on_host(self, name: str, rule: str, token: Any, **changes: Any) -> Failure:
        """The host's half alone, with a token that the test has made."""
        release = {**self.lab.deployed(), **changes.pop("release", {})}
        arguments = {
            "release_root": str(self.lab.work / "roots" / re.sub(r"\W", "-", name)),
            "state": "present",
            "releases": [release],
            "host_vault": self.lab.host_vault(),
            "wrap_tokens": {release["key_path"]: token},
            **changes,
        }
        return Failure(name, rule, {"deliver_on_host": arguments})

    def token(self, name: str, key: str = "dip-nonprod") -> str:
        """A wrap token, in a file; the expression reads it."""
        with self.lab.client("release") as client:
            made = client.wrap(KEY_PATH.format(key), 120).token
        path = self.secret_file(f"{name} {secrets.token_hex(4)}", made)
        return f"{{{{ lookup('ansible.builtin.file', '{path}') }}}}"

    def used_token(self) -> str:
        expression = self.token("used")
        path = Path(expression.split("'")[3])
        with self.lab.client("release") as client:
            client.write("sys/wrapping/unwrap", {"token": path.read_text()})
        return expression

    # -- the lists ---------------------------------------------------------------------

    def logins(self) -> list[Failure]:
        lab, sealed = self.lab, self.sealed.options("release")
        wrong = self.secret_file("wrong-secret-id", lab.planted["wrong secret_id"])
        token = self.secret_file("token", lab.planted["dead token"])
        loose = self.secret_file("loose-token", lab.planted["loose token"], 0o644)
        key = self.secret_file("key-as-token", self.pem)
        pipeline = lab.login("pipeline")
        by_token = {"auth_method": "token", "role_id_file": None, "secret_id_file": None}
        return [
            self.login("unreachable", "VAULT-UNREACHABLE", address="https://127.0.0.1:1"),
            self.login("sealed", "VAULT-SEALED", **sealed),
            self.login("another CA", "VAULT-TLS", ca_cert=sealed["ca_cert"]),
            self.login("denied", "VAULT-DENIED", **pipeline),
            self.login("wrong secret_id", "VAULT-LOGIN", secret_id_file=wrong),
            self.login("dead token", "VAULT-TOKEN", token_file=token, **by_token),
            self.login("dead token of the environment", "VAULT-TOKEN", **by_token),
            self.login("loose token file", "VAULT-CREDENTIALS", token_file=loose, **by_token),
            self.login("key for a token", "VAULT-CREDENTIALS", token_file=key, **by_token),
            self.login(
                "secret for an option",
                "VAULT-SETTINGS",
                secret_id=f"{{{{ lookup('ansible.builtin.file', '{wrong}') }}}}",
            ),
        ]

    def answers(self) -> list[Failure]:
        rules = {
            "unwrapped": "VAULT-NOT-WRAPPED",
            "key in an error": "VAULT-REQUEST",
            "one line of a key in an error": "VAULT-REQUEST",
            "escaped key in an error": "VAULT-REQUEST",
            "key in a page": "VAULT-UNAVAILABLE",
            "half an answer": "VAULT-ANSWER",
            "token in an error": "VAULT-REQUEST",
            "login with a key": "VAULT-LOGIN",
            "login without a token": "VAULT-ANSWER",
        }
        return [
            self.deliver(name, rule, vault=self.lab.login("release", self.taps[name]))
            for name, rule in rules.items()
        ]

    def unwraps(self) -> list[Failure]:
        rules = {
            "unwraps to two keys": "VAULT-ANSWER",
            "unwraps to another": "RELEASE-KEY-MATCH",
            "unwraps to an error": "VAULT-WRAP-USED",
            "unwraps to half": "VAULT-UNREACHABLE",
        }
        return [
            self.on_host("token used before", "VAULT-WRAP-USED", self.used_token()),
            self.on_host("token for another key", "VAULT-WRAP-PATH", self.token("other", OTHER)),
            self.on_host(
                "key of another certificate",
                "RELEASE-KEY-MATCH",
                self.token("mismatch", OTHER),
                release={"key_path": KEY_PATH.format(OTHER)},
            ),
            *(
                self.deliver(name, rule, host_vault=self.lab.host_vault(self.taps[name]))
                for name, rule in rules.items()
            ),
        ]

    def places(self) -> list[Failure]:
        blocked = self.lab.work / "roots/blocked"
        blocked.mkdir(parents=True, exist_ok=True)
        (blocked / "dip-nonprod").touch()
        return [
            self.deliver(
                "release directory that cannot be made",
                "FILE-REFUSED",
                release_root=str(blocked),
            ),
            self.on_host(
                "tokens of another type", "unable to convert", {}, wrap_tokens=self.token("text")
            ),
            self.on_host(
                "tokens as a list", "unable to convert", {}, wrap_tokens=[self.token("list")]
            ),
            self.on_host("unknown option", "Unsupported parameters", self.token("x"), other=1),
            self.secret_as_option("pki_plan"),
            self.reply_with_a_key(),
        ]

    def controller(self, certificates_dir: Path) -> dict[str, Any]:
        """The inputs that every module of the controller takes."""
        inputs = self.lab.delivery(Path("unused"), certificates_dir=str(certificates_dir))
        return {name: inputs[name] for name in INPUTS}

    def secret_as_option(self, module: str) -> Failure:
        """A person writes the secret where its place belongs."""
        wrong = self.secret_file("wrong-secret-id", self.lab.planted["wrong secret_id"])
        vault = self.lab.login("pipeline")
        vault["secret_id"] = f"{{{{ lookup('ansible.builtin.file', '{wrong}') }}}}"
        arguments = {**self.controller(self.lab.home / "certificates"), "vault": vault}
        return Failure(f"secret for an option of {module}", "VAULT-SETTINGS", {module: arguments})

    def reply_with_a_key(self) -> Failure:
        """The human pastes a private key below the certificate."""
        copied = self.lab.work / "certificates"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(self.lab.home / "certificates", copied)
        version = copied / "dip-nonprod/1"
        for name in ("accepted.yml", "certificate.pem", "chain.pem"):
            (version / name).unlink()
        with (version / "reply.txt").open("a") as reply:
            reply.write(self.pem)
        (version / "reply.txt").chmod(0o600)
        action = {"kind": "accept", "certificate": "dip-nonprod", "version": 1}
        arguments = {**self.controller(copied), "actions": [action], "key_digests": {}}
        return Failure(
            "reply with a private key",
            "REPLY-PRIVATE-KEY",
            {"pki_accept": arguments},
        )

    def gateways(self) -> list[Failure]:
        """Broken changes of the gateway in service; each is taken back by the module."""
        hosts = self.lab.home / "hosts/gw1"
        root = hosts / "gateway/dip-gateway"
        files = {
            str(path.relative_to(root)): path.read_text()
            for path in (root / "nginx.conf", *root.glob("trust/*.pem"))
        }
        links = [
            {"path": str(link), "target": str(link.readlink())}
            for link in (hosts / "tls/dip-nonprod/current", hosts / "crl/dip-nonprod/current")
        ]
        record = json.loads((self.lab.home / "lab.json").read_text())
        foreign = self.secret_file("foreign-key.pem", self.pem)
        configuration = files.pop("nginx.conf")
        probe = {
            "name": "webhook",
            "kind": "ingress",
            "address": "127.0.0.1",
            "port": record["ports"]["ingress"],
            "server_name": "energydip-nonprod.example-energy.co.uk",
            "certificate_sha256": "00" * 32,
        }

        def change(name: str, rule: str, text: str, *probes: dict[str, Any]) -> Failure:
            wanted = {**files, "nginx.conf": text}
            arguments = {
                "name": "dip-gateway",
                "product": "nginx",
                "program": record["programs"]["nginx"],
                "root": str(root),
                "files": [{"path": p, "content": c} for p, c in wanted.items()],
                "links": links,
                "probes": list(probes),
            }
            return Failure(name, rule, {"pki_gateway": {"gateways": [arguments]}})

        with_foreign_key = re.sub(
            r"(ssl_certificate_key\s+)[^;]+;", rf"\g<1>{foreign};", configuration
        )
        assert with_foreign_key != configuration
        return [
            change("configuration test", "GATEWAY-CONFIG-TEST", configuration + "\nnonsense on;\n"),
            change(
                "another key than the certificate's", "GATEWAY-CHECK-KEY-MATCH", with_foreign_key
            ),
            change("live probe", "GATEWAY-PROBE", configuration + "# changed\n", probe),
        ]

    def crashes(self) -> list[Failure]:
        """Real module processes and the real action plugin, dying with the canary."""
        secret = self.secret_file("crash", self.lab.planted["crash"])
        shapes = ("text", "cause", "context", "notes", "exit", "interrupt", "repr", "group")
        return [
            *(
                Failure(
                    f"module crash by {shape}",
                    "INTERNAL",
                    {"crash": {"secret_file": secret, "shape": shape}},
                )
                for shape in shapes
            ),
            *(
                Failure(
                    f"action crash in {place} by {shape}",
                    "INTERNAL",
                    {
                        **self.deliver("action crash", "").task,
                        "vars": {"crash": {"place": place, "shape": shape, "file": secret}},
                    },
                )
                for place, shape in (
                    ("judged", "text"),
                    ("wrapped", "notes"),
                    ("session", "exit"),
                    ("_arguments", "interrupt"),
                    ("wrapped", "cause"),
                )
            ),
        ]

    def on_hosts(self) -> list[Failure]:
        """Those that a module's process ends in; how it gets to the host matters to them."""
        return [*self.unwraps(), *self.places(), *self.crashes()]

    def on_controller(self) -> list[Failure]:
        return [*self.logins(), *self.answers(), *self.gateways()]

    def tasks(self, failures: list[Failure]) -> list[dict[str, Any]]:
        return [{"name": f.name, "ignore_errors": True, **f.task} for f in failures]


CRASH = '''
def die(shape, secret):
    """Die with the secret in every corner of an exception."""
    if shape == "text":
        raise RuntimeError(secret)
    if shape == "cause":
        raise RuntimeError("wrapped") from ValueError(secret)
    if shape == "context":
        try:
            raise ValueError(secret)
        except ValueError:
            raise RuntimeError("while handling")
    if shape == "notes":
        error = RuntimeError("noted")
        error.__notes__ = [secret]
        raise error
    if shape == "exit":
        raise SystemExit(secret)
    if shape == "interrupt":
        raise KeyboardInterrupt(secret)
    if shape == "group":
        raise BaseExceptionGroup(secret, [ValueError(secret)])
    class Odd:
        def __repr__(self):
            return secret
    return {"changed": False, "odd": Odd()}
'''
MODULE = (
    """#!/usr/bin/python
from ansible.module_utils.pki_ansible import run_module
"""
    + CRASH
    + """
def handler(module):
    with open(module.params["secret_file"]) as stream:
        return die(module.params["shape"], stream.read())

if __name__ == "__main__":
    run_module(handler, {"secret_file": {"type": "path"}, "shape": {}})
"""
)
ACTION = (
    """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("real_pki_release", {path!r})
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
"""
    + CRASH.replace("{", "{{").replace("}", "}}")
    + """
class ActionModule(real.ActionModule):
    def run(self, tmp=None, task_vars=None):
        crash = task_vars.get("crash")
        if crash:
            def dying(*args, **options):
                with open(str(crash["file"])) as stream:
                    die(str(crash["shape"]), stream.read())
            place = str(crash["place"])
            if place == "session":
                real.session.load = dying
            else:
                setattr(real, place, dying)
        return super().run(tmp, task_vars)
"""
)


@pytest.fixture(scope="module")
def trouble(watched_lab: WatchedLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trouble]:
    lab = watched_lab
    pem = lab.plant("planted key", new_key())
    for name in ("dead token", "loose token", "crash", "environment token"):
        lab.plant(name, new_token())
    lab.plant("wrong secret_id", secrets.token_hex(32))
    shutil.copy(PROJECT / "library/pki_release.py", lab.library / "deliver_on_host.py")
    (lab.library / "crash.py").write_text(MODULE)
    actions = lab.work / "action_plugins"
    actions.mkdir()
    real = str(PROJECT / "action_plugins/pki_release.py")
    (actions / "pki_release.py").write_text(ACTION.format(path=real))
    with lab.client("pipeline") as client:
        path = f"transit-nonprod-tls/keys/{OTHER}"
        client.write(path, {"type": "rsa-2048", "exportable": True})
    sealed = OpenBao(tmp_path_factory.mktemp("sealed"))
    sealed.prepare()
    taps = {
        name: Tap(lab.work / f"tap {number}", lab.tap.upstream, alter).start()
        for number, (name, alter) in enumerate(hostile(pem).items())
    }
    try:
        # Initialised, and then the key that opens it is another one: it stays sealed.
        sealed.start()
        sealed.stop()
        (sealed.directory / "unseal.key").write_bytes(secrets.token_bytes(32))
        sealed.start(wait=False)
        yield Trouble(lab, sealed, taps, pem)
    finally:
        sealed.stop()
        for tap in taps.values():
            tap.stop()
            lab.tap.tokens |= tap.tokens
            lab.tap.keys |= tap.keys


# Deliveries that fail once a token is made, or on the way to making one.
MINTED_FIRST = ("unwraps to ", "release directory that cannot be made", "action crash in wrapped ")


@dataclass(frozen=True)
class Failed:
    failures: list[Failure]
    run: Run


def refused_before_minting(failure: Failure) -> Failure:
    """The same failure where modules are copied: no delivery gets as far as a token."""
    if failure.name.startswith(MINTED_FIRST):
        return replace(failure, rule="RELEASE-PIPELINING")
    return failure


@pytest.fixture(scope="module", params=[PIPELINING, COPYING], ids=["pipelining", "copying"])
def failed(request: pytest.FixtureRequest, trouble: Trouble) -> Failed:
    """All failures in one run; modules by pipe, and as files copied to the host."""
    failures = trouble.on_hosts()
    if request.param == PIPELINING:
        failures += trouble.on_controller()
    else:
        failures = [refused_before_minting(failure) for failure in failures]
    run = trouble.lab.play_tasks(
        f"failures {request.param}",
        trouble.tasks(failures),
        pipelining=request.param,
        VAULT_TOKEN=trouble.lab.planted["environment token"],
        ANSIBLE_ACTION_PLUGINS=f"{trouble.lab.work}/action_plugins",
    )
    for tap in trouble.taps.values():
        trouble.lab.tap.tokens |= tap.tokens
        trouble.lab.tap.keys |= tap.keys
    return Failed(failures, run)


# -- what the lab's life printed and left ----------------------------------------------------


@pytest.fixture(scope="module")
def whole_life(watched_lab: WatchedLab) -> WatchedLab:
    """The lab's life up to now, and every stage that the way there did not take."""
    lab = watched_lab
    (key,) = lab.home.glob("hosts/gw1/tls/dip-nonprod/releases/*/key.pem")
    lab.lab("prove", pipelining=COPYING)
    key.unlink()
    lab.play("site, a lost key delivered again", "playbooks/site.yml")
    assert key.exists()
    key.chmod(0o640)
    lab.play("verify, a key that others can read", "playbooks/verify.yml", expect=2)
    lab.play("site, a wide key narrowed", "playbooks/site.yml")
    assert key.stat().st_mode & 0o777 == 0o600
    lab.lab("up")
    lab.play("status", "playbooks/status.yml")
    lab.play("verify", "playbooks/verify.yml")
    lab.play("verify, copied", "playbooks/verify.yml", "--check", pipelining=COPYING)
    return lab


def no(found: tuple[Finding, ...]) -> None:
    assert found == (), explain(found)


def test_no_stage_of_a_certificates_life_prints_or_logs_a_secret(whole_life: WatchedLab) -> None:
    scanner = whole_life.scanner()
    assert len(whole_life.runs) >= 14
    assert len(whole_life.tap.tokens) > 20, "the tap saw too little to search for"
    assert whole_life.tap.keys, "no key went through the tap"
    no(whole_life.printed(scanner))


@pytest.fixture(scope="module")
def after(whole_life: WatchedLab, failed: Failed) -> WatchedLab:
    """The lab after its whole life and after the failures."""
    assert failed.run in whole_life.runs
    return whole_life


def test_every_failure_is_the_one_it_is_meant_to_be(failed: Failed) -> None:
    wrong = {
        failure.name: failed.run.section(failure.name)[-1500:]
        for failure in failed.failures
        if not re.search(failure.rule, failed.run.section(failure.name))
        or not re.search(r"\[gw1\]: FAILED|refused:", failed.run.section(failure.name))
    }
    assert not wrong, "\n\n".join(f"== {name}\n{text}" for name, text in wrong.items())


def test_no_failure_prints_or_logs_a_secret(failed: Failed, watched_lab: WatchedLab) -> None:
    scanner = watched_lab.scanner()
    found = {
        failure.name: explain(findings)
        for failure in failed.failures
        if (findings := scanner.scan_text(failed.run.section(failure.name)))
    }
    assert not found, "\n".join(f"== {name}\n{text}" for name, text in found.items())
    no(watched_lab.printed(scanner))


def test_secrets_lie_only_in_files_of_their_owner_in_the_places_for_them(
    after: WatchedLab,
) -> None:
    allowed = [
        after.home / "secrets",
        after.home / "peers",
        after.home / "vault/tls/server.key",
        after.home / "vault/unseal.key",
        after.home / "hosts/gw1/tls",
    ]
    scanner = after.scanner()
    assert scanner.scan_tree(after.home / "hosts"), "the scanner does not know what is there"
    no(scanner.scan_tree(after.home, allowed))


def test_nothing_is_left_in_temporary_directories(after: WatchedLab) -> None:
    left = [path for name in ("tmp", "user") for path in (after.work / name).rglob("*")]
    assert [str(path) for path in left if path.is_file()] == []


def test_the_repository_holds_no_secret(after: WatchedLab) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    ).stdout
    files = [PROJECT / name.decode() for name in listed.split(b"\0") if name]
    scanner = after.scanner()
    no(tuple(one for path in files if path.is_file() for one in scanner.scan_file(path)))


def test_facts_that_could_not_be_asked_for_quote_no_secret(trouble: Trouble) -> None:
    """A Vault that cannot be asked is a fact among others, and ends no task."""
    asked = trouble.secret_as_option("pki_facts")
    run = trouble.lab.play_tasks("facts", trouble.tasks([asked]))
    assert re.search(asked.rule, run.section(asked.name))
    no(trouble.lab.scanner().scan_text(run.text, run.label))


WORD = {"certificate": "dip-nonprod", "reason": "a test"}
#: What the other modules that log in are asked for here, so that they do.
LOG_IN: dict[str, dict[str, Any]] = {
    "pki_request": {
        "actions": [
            {"kind": "create_key", "certificate": "dip-nonprod", "version": 1, "hosts": "gateways"}
        ]
    },
    "pki_renew": {"asks": [WORD]},
    "pki_supply": {"certificate": "dip-nonprod"},
    "pki_vault_policies": {"policies": {"mtls-nobody": 'path "nothing" { capabilities = [] }'}},
}


def test_no_module_prints_a_secret_that_was_written_where_its_place_belongs(
    trouble: Trouble,
) -> None:
    """Nor does the one that marks a leaked key, and dies at the login on the way to the ledger."""
    request = trouble.lab.home / "certificates/dip-nonprod/1/request.csr"
    asked = []
    for module, options in LOG_IN.items():
        failure = trouble.secret_as_option(module)
        arguments = {**failure.task[module], **options}
        if module == "pki_supply":
            arguments["csr_file"] = str(request)
        if module == "pki_vault_policies":
            arguments = {"vault": arguments["vault"], **options}
        asked.append(replace(failure, task={module: arguments}))
    run = trouble.lab.play_tasks("places of secrets", trouble.tasks(asked))
    for one in asked:
        assert re.search(one.rule, run.section(one.name)), run.section(one.name)[-1500:]
    no(trouble.lab.scanner().scan_text(run.text, run.label))


# -- debugging -------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["ANSIBLE_DEBUG", "ANSIBLE_KEEP_REMOTE_FILES"])
def test_no_key_is_asked_for_while_debugging_is_on(setting: str, watched_lab: WatchedLab) -> None:
    lab, root = watched_lab, watched_lab.work / "roots" / setting
    task = {"name": "Deliver", "pki_release": lab.delivery(root)}
    before = lab.exports()
    run = lab.play_tasks(f"delivery with {setting}", [task], expect=2, **{setting: "1"})
    assert "RELEASE-DEBUGGING" in run.section("Deliver")
    assert f"{setting} is on" in run.section("Deliver")
    assert lab.exports() == before
    assert not root.exists()
    no(lab.scanner().scan_text(run.text, run.label))


def test_the_same_delivery_asks_for_one_key_without_debugging(watched_lab: WatchedLab) -> None:
    lab, root = watched_lab, watched_lab.work / "roots/quiet"
    before = lab.exports()
    lab.play_tasks("delivery", [{"name": "Deliver", "pki_release": lab.delivery(root)}])
    assert lab.exports() == before + 1
    assert len(list(root.glob("*/releases/*/key.pem"))) == 1


# -- the scanner sees what leaks -------------------------------------------------------------

# Each way prints (or writes) the secret once, as somebody's debugging line might.
LEAKS = {
    "raw": "text",
    "PEM with escaped line ends": "json.dumps(text)",
    "one PEM line": "text.splitlines()[len(text.splitlines()) // 2]",
    "PKCS#1 PEM": "pkcs1",
    "base64": "base64.b64encode(data)",
    "base64 after one byte": "base64.b64encode(b'-' + data)",
    "base64 after two bytes": "base64.b64encode(b'--' + data)",
    "base64 without padding": "base64.b64encode(data).rstrip(b'=')",
    "base64 in lines of 76": "base64.encodebytes(data)",
    "base64 for URLs": "base64.urlsafe_b64encode(data)",
    "base64 of DER after one byte": "base64.b64encode(b'-' + der)",
    "DER as a Python literal of hex": "der.hex()",
    "upper-case hex": "data.hex().upper()",
    "hex with colons": "data.hex(':')",
    "hex with colons, 15 a line": "' '.join(der[i:i+15].hex(':') for i in range(0, len(der), 15))",
}
LEAKING_MODULE = """#!/usr/bin/python
import base64, json, subprocess, sys
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"secret_file": {"type": "path"}, "way": {}, "where": {}, "kept": {}})
with open(module.params["secret_file"], "rb") as stream:
    data = stream.read()
text = data.decode()
der, pkcs1 = data, text
if "PRIVATE KEY" in text:
    run = lambda *words: subprocess.run(["openssl", "pkey", *words], input=data, check=True,
                                        stdout=subprocess.PIPE).stdout
    der, pkcs1 = run("-outform", "DER"), run("-traditional").decode()
with open(module.params["kept"], "wb") as stream:
    stream.write(der)
leak = eval(module.params["way"])
leak = leak if isinstance(leak, str) else leak.decode()
where = module.params["where"]
if where == "warning":
    module.warn(leak)
if where == "stderr":
    print(leak, file=sys.stderr)
if where == "exception":
    raise RuntimeError(leak)
if where == "failure":
    module.fail_json(msg=leak)
shown = {"result": {"leak": leak}, "diff": {"diff": {"after": leak}}}.get(where, {})
module.exit_json(changed=True, **shown)
"""
WHERES = ("result", "diff", "warning", "exception", "failure")


@pytest.fixture(scope="module")
def leaked(watched_lab: WatchedLab, trouble: Trouble) -> Run:
    """A module that leaks on purpose, in every way; its run is taken out of the lab's own."""
    lab = watched_lab
    (lab.library / "leak.py").write_text(LEAKING_MODULE)
    named = {"key": trouble.pem, "token": lab.planted["crash"]}
    tasks: list[dict[str, Any]] = []

    def leak(name: str, secret: str, way: str, where: str) -> None:
        arguments = {
            "secret_file": trouble.secret_file(f"leaked-{secret}", named[secret]),
            "way": way,
            "where": where,
            "kept": str(lab.work / f"kept-{secret}"),
        }
        tasks.append({"name": name, "ignore_errors": True, "leak": arguments})

    for name, way in LEAKS.items():
        leak(f"key as {name}", "key", way, "result")
    for where in WHERES:
        leak(f"token in {where}", "token", "text", where)
        leak(f"key in {where}", "key", "text", where)
    log, lab_runs = lab.work / "leaks.log", list(lab.runs)
    run = lab.play_tasks("leaks", tasks, ANSIBLE_LOG_PATH=str(log))
    lab.runs[:] = lab_runs
    return run


def only_planted(lab: WatchedLab) -> Scanner:
    scanner = Scanner()
    scanner.add_key("key", lab.planted["planted key"])
    scanner.add_text("token", lab.planted["crash"])
    return scanner


@pytest.mark.parametrize(
    "task",
    [
        *(f"key as {name}" for name in LEAKS),
        *(f"{secret} in {where}" for secret in ("token", "key") for where in WHERES),
    ],
)
def test_a_module_that_leaks_is_caught(task: str, leaked: Run, watched_lab: WatchedLab) -> None:
    found = only_planted(watched_lab).scan_text(leaked.section(task))
    assert {finding.secret for finding in found} == {task.split()[0]}


def test_der_in_a_file_is_caught_whoever_may_read_it(leaked: Run, watched_lab: WatchedLab) -> None:
    (kept,) = watched_lab.work.glob("kept-key")
    kept.chmod(0o600)
    found = only_planted(watched_lab).scan_tree(kept)
    assert {finding.kind.split("-")[0] for finding in found} == {"der"}
    kept.unlink()
