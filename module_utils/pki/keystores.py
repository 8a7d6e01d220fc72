# SPDX-License-Identifier: GPL-3.0-or-later
"""The key stores of a run: one login, one store object per mount.

Apart from :mod:`.session`, so that what needs no keys does not load an HTTP client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .inventory import Certificate
from .key_place import declared_mount
from .policy import Policy
from .stores.base import KeyStore
from .stores.transit import TransitStore, mount_for
from .vault import Client
from .vault_settings import Settings


@contextmanager
def vault(options: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Client]:
    """A client for the time of a block; it logs in when first used, its token ends with it."""
    client = Client(Settings.resolve(options, environ))
    try:
        yield client
    finally:
        client.close()


class Stores:
    """The key stores that certificates live in, one object per mount and run."""

    def __init__(self, client: Client, policies: Mapping[str, Policy]) -> None:
        self._client = client
        self._policies = policies
        self._by_mount: dict[str, KeyStore] = {}

    def of(self, certificate: Certificate) -> KeyStore:
        """The store in which a certificate's next key is made."""
        return self.at(certificate, declared_mount(certificate))

    def at(self, certificate: Certificate, mount: str) -> KeyStore:
        """The store of one mount, with the kind of keys the certificate's policy wants."""
        if mount not in self._by_mount:
            self._by_mount[mount] = TransitStore(
                self._client,
                mount,
                key_type=key_type(self._policies[certificate.policy]),
                exportable=mount == mount_for(certificate.environment_class, ("mtls",)),
            )
        return self._by_mount[mount]


def key_type(policy: Policy) -> str:
    """The store's word for the keys a policy wants made, for example ``rsa-4096``."""
    return f"{str(policy.parameter('key_type')).lower()}-{policy.number('key_bits')}"
