# SPDX-License-Identifier: GPL-3.0-or-later
"""The key stores of a run: one login, one store object per place.

Apart from :mod:`.session`, so that what needs no keys does not load an HTTP client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import key_place
from .inventory import Certificate
from .key_place import KeyPlace
from .policy import Policy
from .stores.base import KeyRecord, KeyStore
from .stores.external import ExternalStore
from .stores.host import HostStore, OnHost
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
    """The key stores that certificates live in, one object per place and run.

    ``on_hosts`` is what hosts told of the keys they keep, by the key's name; None for a run
    that did not ask them. ``host`` is the one host on which this run can have keys made and used.
    """

    def __init__(
        self,
        client: Client,
        policies: Mapping[str, Policy],
        on_hosts: Mapping[str, KeyRecord | None] | None = None,
        host: OnHost | None = None,
    ) -> None:
        self._client = client
        self._policies = policies
        self._on_hosts = on_hosts or {}
        self._host = host
        self._by_place: dict[tuple[str, str], KeyStore] = {}

    def of(self, certificate: Certificate) -> KeyStore:
        """The store in which a certificate's next key is made."""
        return self.at(certificate, key_place.declared(certificate))

    def at(self, certificate: Certificate, place: KeyPlace) -> KeyStore:
        """The store of a place, with the kind of keys the certificate's policy wants."""
        kind = key_type(self._policies[certificate.policy])
        where = (f"{place.store} {place.mount}", kind)
        if where not in self._by_place:
            self._by_place[where] = self._store(certificate, place, kind)
        return self._by_place[where]

    def _store(self, certificate: Certificate, place: KeyPlace, kind: str) -> KeyStore:
        if place.store == key_place.HOST:
            return HostStore(self._on_hosts, self._host)
        if place.store == key_place.EXTERNAL:
            return ExternalStore()
        return TransitStore(
            self._client,
            place.mount,
            key_type=kind,
            exportable=place.mount == mount_for(certificate.environment_class, ("mtls",)),
        )

    def known(self, certificate: Certificate, place: KeyPlace) -> bool:
        """Whether it can be told which keys there are: a host may not have answered, and
        nobody but its user knows those of a device."""
        if place.store == key_place.HOST:
            return place.name in self._on_hosts
        return place.store == key_place.TRANSIT


def key_type(policy: Policy) -> str:
    """The store's word for the keys a policy wants made, for example ``rsa-4096``."""
    return f"{str(policy.parameter('key_type')).lower()}-{policy.number('key_bits')}"
