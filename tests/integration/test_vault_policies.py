# SPDX-License-Identifier: GPL-3.0-or-later
"""What each shipped ACL policy denies, and what it allows, asked of a real OpenBao.

The policies are rendered for one environment class; the mounts of the other one are there, too.
That something is denied proves nothing of a path that does not exist, or of a role that can do
nothing: so each operation is also tried by an operator, and each right that is granted is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from integration import shipped_policies
from integration.openbao_server import PULL
from integration.policy_operations import Operation, everything
from integration.policy_world import DIGEST, KEY, OWN, ROLES, PolicyWorld, Said

pytestmark = pytest.mark.integration

#: By method and path: tried by the operator these would end the server, or the test.
NOT_TRIED = {
    "sys/seal",
    "sys/step-down",
    "sys/mounts/transit-nonprod-signing",
    "sys/auth/approle",
    "sys/leases/revoke-prefix/auth/approle/login",
    "sys/leases/revoke-force/auth/approle/login",
    "sys/policies/acl/release",
    "sys/policies/acl/{role}",
    "sys/policy/{role}",
    "auth/approle/role/release",
    "auth/approle/role/{role}",
    "auth/approle/role/{role}/policies",
    "auth/approle/role/release/role-id",
    "identity/entity/name/acl-host",
    "auth/token/tidy",
    "sys/quotas/rate-limit/x",
    # Served only where the server's configuration asks for it.
    "sys/raw/core/mounts",
    "sys/raw/core",
}
#: Words of a server that has no such path.
NO_SUCH = ("unsupported path", "no handler for route", "unsupported operation")
CASES = [pytest.param(mount, one, id=f"{mount} {one.name}") for mount, one in everything()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyWorld]:
    made = PolicyWorld(tmp_path_factory.mktemp("policies"))
    try:
        yield made
    finally:
        made.close()


def attempt(world: PolicyWorld, role: str, mount: str, one: Operation) -> Said:
    """One operation, on things that nobody else minds to lose."""
    names = {"mount": mount, "key": KEY, "new": fresh(), "entry": DIGEST, "role": role}
    names["spare"] = world.spare(mount) if role in one.may and "{spare}" in one.path else KEY
    path = one.path.format(**names)
    return world.ask(role, one.method, path, body(world, mount, one.body), one.headers)


def body(world: PolicyWorld, mount: str, given: Any) -> Any:
    """``"import"``: a real import's body; with changes, those on top."""
    if given == "import":
        return world.wrapped_import(mount)
    if isinstance(given, tuple):
        return {**world.wrapped_import(mount), **given[1]}
    return given


NUMBER = iter(range(10**9))


def fresh() -> str:
    return f"acl-new-{next(NUMBER)}"


@pytest.mark.parametrize(("mount", "one"), CASES)
def test_a_role_is_denied_whatever_its_policy_does_not_grant(
    world: PolicyWorld, mount: str, one: Operation
) -> None:
    for role in ROLES:
        said = attempt(world, role, mount, one)
        if role in one.may:
            assert said.done, f"{role} may: {said.status} {said.text}"
        else:
            assert said.denied, f"{role} may not: {said.status} {said.text[:300]}"


TRIED = {
    (mount, one.method, one.path): one for mount, one in everything() if one.path not in NOT_TRIED
}


@pytest.mark.parametrize(
    ("mount", "one"),
    [pytest.param(key[0], one, id=" ".join(key)) for key, one in TRIED.items()],
)
def test_what_is_denied_is_there_to_be_denied(
    world: PolicyWorld, mount: str, one: Operation
) -> None:
    key = world.tried(mount) if mount.startswith("transit") else KEY
    names = {"mount": mount, "key": key, "spare": key, "role": "x"}
    path = one.path.format(**names, new=fresh(), entry=fresh())
    said = world.ask("operator", one.method, path, body(world, mount, one.body), one.headers)
    assert not said.denied
    assert not any(words in said.text for words in NO_SUCH), f"{said.status} {said.text}"


def test_every_role_has_something_it_may_and_much_that_it_may_not() -> None:
    granted = Counter(role for _, one in everything() for role in one.may)
    assert set(granted) == set(ROLES) - {PULL}
    assert len(CASES) > 400
    assert set(shipped_policies.ROLES) == set(ROLES)


# -- the host that pulls: what it is mapped to, and nothing else -----------------------------


@pytest.mark.parametrize("version", ["1", "2", "latest"])
def test_a_host_reads_its_own_key_and_no_other(world: PolicyWorld, version: str) -> None:
    base = "transit-nonprod-tls/export/signing-key"
    own = world.ask(PULL, "GET", f"{base}/{OWN}/{version}")
    assert own.done
    assert "PRIVATE KEY" in own.text
    assert world.ask(PULL, "GET", f"{base}/{KEY}/{version}").denied
    assert world.ask(PULL, "GET", f"transit-prod-tls/export/signing-key/{OWN}/{version}").denied


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "keys/{}"),
        ("POST", "keys/{}/rotate"),
        ("POST", "keys/{}/config"),
        ("POST", "sign/{}/sha2-256"),
        ("GET", "export/signing-key/{}"),
        ("GET", "export/encryption-key/{}/1"),
        ("GET", "export/public-key/{}/1"),
        ("GET", "backup/{}"),
        ("DELETE", "keys/{}"),
    ],
)
def test_a_host_can_do_nothing_but_read_even_with_its_own_key(
    world: PolicyWorld, method: str, path: str
) -> None:
    sent = {"input": "eA=="} if method == "POST" else None
    assert world.ask(PULL, method, f"transit-nonprod-tls/{path.format(OWN)}", sent).denied


# -- the one who imports: what it knows does not become what is in use -------------------------


@pytest.mark.parametrize("mount", ["transit-nonprod-tls", "transit-nonprod-signing"])
def test_who_imports_cannot_put_a_key_it_knows_into_the_place_of_one_that_was_made_here(
    world: PolicyWorld, mount: str
) -> None:
    made = world.wrapped_import(mount)
    version = {name: made[name] for name in ("ciphertext", "hash_function")}
    before = world.ask("import", "GET", f"{mount}/keys/{KEY}").document["data"]["latest_version"]
    for path, sent in (("import", made), ("import_version", version)):
        said = world.ask("import", "POST", f"{mount}/keys/{KEY}/{path}", sent)
        assert said.status in (400, 500), f"{path}: {said.status} {said.text}"
    after = world.ask("import", "GET", f"{mount}/keys/{KEY}").document["data"]["latest_version"]
    assert after == before


# -- what every token has besides -------------------------------------------------------------


def test_the_default_policy_adds_a_token_s_look_at_itself_and_the_wrapping_of_its_own_words(
    world: PolicyWorld,
) -> None:
    for role in ROLES:
        assert world.ask(role, "GET", "auth/token/lookup-self").done
        asked = {"paths": ["transit-nonprod-tls/keys"]}
        assert world.ask(role, "POST", "sys/capabilities-self", asked).done
        wrapped = world.ask(
            role, "POST", "sys/wrapping/wrap", {"of": "its own"}, {"X-Vault-Wrap-TTL": "60s"}
        )
        # It wraps what the caller sends along, and nothing that is in the server.
        assert "sys/wrapping/wrap" in wrapped.text
