# SPDX-License-Identifier: GPL-3.0-or-later
"""The TLS identity of the lab's Vault: made for its names, kept as long as it carries them."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from unit import lab_imports  # noqa: F401

from ansible.module_utils.lab import files, home, material  # isort: skip

NOW = datetime.now(UTC)
ADDRESS = ipaddress.ip_address("10.89.0.11")


@pytest.fixture
def vault(tmp_path: Path) -> home.TlsIdentity:
    names = ("ca.pem", "server.pem", "server.key")
    places = (tmp_path / name for name in names)
    return home.TlsIdentity(*places, ("vault", "localhost"), (ADDRESS,))


def certificate(tls: home.TlsIdentity) -> bytes:
    return tls.certificate.read_bytes()


def test_the_certificate_carries_every_name_and_address(vault: home.TlsIdentity) -> None:
    home.ensure_tls(vault, NOW, check=False)
    found = material.load_certificate(files.read(vault.certificate))
    assert found is not None
    assert material.common_name(found) == "vault"
    assert material.dns_names(found) == ["vault", "localhost"]
    assert material.ip_addresses(found) == [ADDRESS]


def test_it_is_kept_while_it_fits(vault: home.TlsIdentity) -> None:
    home.ensure_tls(vault, NOW, check=False)
    before = certificate(vault)
    assert home.ensure_tls(vault, NOW, check=False) == []
    assert home.ensure_tls(replace(vault, dns=("localhost",)), NOW, check=False) == []
    assert certificate(vault) == before


@pytest.mark.parametrize(
    "other",
    [{"dns": ("vault", "elsewhere")}, {"addresses": (ipaddress.ip_address("10.89.0.12"),)}],
    ids=["another name", "another address"],
)
def test_a_server_that_moved_gets_another(
    vault: home.TlsIdentity, other: dict[str, object]
) -> None:
    home.ensure_tls(vault, NOW, check=False)
    before = certificate(vault)
    assert home.ensure_tls(replace(vault, **other), NOW, check=False) != []
    assert certificate(vault) != before


def test_one_that_is_about_to_end_is_replaced(vault: home.TlsIdentity) -> None:
    home.ensure_tls(vault, NOW - timedelta(days=home.TLS_DAYS - 10), check=False)
    assert home.ensure_tls(vault, NOW, check=True) != []
