# SPDX-License-Identifier: GPL-3.0-or-later
"""Login, mounts and keys in a namespace of a real OpenBao, and what a wrong one says."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest
from integration.openbao_server import TLS_MOUNT, OpenBao, write_secret
from pki.errors import PkiError
from pki.stores.transit import TransitStore
from pki.vault import Client, Settings

pytestmark = pytest.mark.integration


@dataclass
class Tenant:
    """A namespace with a login, a mount and a policy of its own."""

    name: str
    options: dict[str, str]


@pytest.fixture(scope="module")
def tenant(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    folder = tmp_path_factory.mktemp("tenant")
    name = f"tenant-{secrets.token_hex(4)}"
    with openbao.client("operator") as operator:
        operator.write(f"sys/namespaces/{name}", {})
        operator.write(f"{name}/sys/auth/approle", {"type": "approle"})
        operator.write(f"{name}/sys/mounts/{TLS_MOUNT}", {"type": "transit"})
        rules = f'path "{TLS_MOUNT}/*" {{ capabilities = ["read", "update", "list"] }}'
        operator.write(f"{name}/sys/policies/acl/keys", {"policy": rules})
        role = f"{name}/auth/approle/role/pipeline"
        operator.write(role, {"token_policies": ["keys"]})
        role_id = (operator.read(f"{role}/role-id") or {})["role_id"]
        secret_id = operator.write(f"{role}/secret-id")["secret_id"]
    write_secret(folder / "role_id", role_id.encode())
    write_secret(folder / "secret_id", secret_id.encode())
    return Tenant(
        name,
        {
            "address": openbao.address,
            "ca_cert": str(openbao.ca_cert),
            "role_id_file": str(folder / "role_id"),
            "secret_id_file": str(folder / "secret_id"),
        },
    )


@pytest.mark.parametrize("where", ["option", "BAO_NAMESPACE", "VAULT_NAMESPACE"])
def test_a_key_is_made_in_the_namespace_that_option_or_variable_names(
    openbao: OpenBao, tenant: Tenant, where: str
) -> None:
    options, environ = dict(tenant.options), {}
    if where == "option":
        options["namespace"] = f"/{tenant.name}/"
    else:
        environ[where] = tenant.name
    key = f"of-{where.lower()}"
    with Client(Settings.resolve(options, environ)) as client:
        store = TransitStore(client, TLS_MOUNT, "rsa-2048", exportable=True)
        assert list(store.ensure(key, 1).versions) == [1]
    with openbao.client("operator") as operator:
        assert operator.read(f"{tenant.name}/{TLS_MOUNT}/keys/{key}") is not None
        assert operator.read(f"{TLS_MOUNT}/keys/{key}") is None


def told(options: dict[str, str], namespace: str) -> PkiError:
    given = {**options, "namespace": namespace}
    with Client(Settings.resolve(given, {})) as client, pytest.raises(PkiError) as caught:
        client.list(f"{TLS_MOUNT}/keys")
    return caught.value


def test_a_namespace_that_does_not_exist_is_named(tenant: Tenant) -> None:
    error = told(tenant.options, "no-such-namespace")
    assert error.rule == "VAULT-NAMESPACE"
    assert "namespace no-such-namespace" in error.where
    assert "BAO_NAMESPACE" in error.next_step


def test_a_login_of_one_namespace_is_unknown_in_another(openbao: OpenBao, tenant: Tenant) -> None:
    """The root namespace has the method, too, and not this role; the tenant not the root's."""
    for options, namespace in ((tenant.options, ""), (openbao.options("pipeline"), tenant.name)):
        error = told(options, namespace)
        assert error.rule == "VAULT-LOGIN", str(error)


def test_a_mount_of_another_namespace_is_no_mount_here(openbao: OpenBao, tenant: Tenant) -> None:
    with Client(Settings.resolve({**tenant.options, "namespace": tenant.name}, {})) as client:
        with pytest.raises(PkiError) as caught:
            client.read("transit-nonprod-signing/keys/a")
        # The tenant's policy does not speak of it, which is all that Vault tells.
        assert caught.value.rule == "VAULT-DENIED"
        assert f"namespace {tenant.name}" in caught.value.where
    with openbao.client("operator") as operator, pytest.raises(PkiError) as caught:
        operator.read(f"{tenant.name}/transit-nonprod-signing/keys/a")
    assert caught.value.rule == "VAULT-NO-MOUNT"
    assert "namespace" in caught.value.next_step
