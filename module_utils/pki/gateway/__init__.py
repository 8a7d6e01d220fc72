# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a gateway, independent of its product: what templates and probes need.

Pure: the inventory's entry, pinned CAs and policy numbers in, a dictionary of plain JSON
values out. Entries are read strictly; an unknown key or an open door is an error.

A model::

    name, product, hosts       as in the inventory
    root                       directory of the gateway on its host
    tls                        {protocols, ciphers, ciphersuites, groups}, the policy's
    limits                     {body_bytes, header_bytes, connection_seconds, idle_seconds,
                               drain_seconds, pooled_connections, refused_with}, the policy's
    log                        {live_days}: for how long logs stay where they are written
    ocsp                       {ask, resolvers}: whether callers' OCSP responders are asked besides
                               the CRL, and the name servers for that
    ingress, egress            listeners, see below
    certificates, trusts,
    api_keys                   names of what its listeners need on the host
    trust_files                {path below root: PEM text}
    budget                     [{gateway, listener, direction, product, crl_age_seconds, bounds,
                               notes}], see :mod:`.budget`

A listener of either side::

    name, address, port, authority
    certificate, trust         names of the inventory
    fullchain, key             files of the release in service
    ca_file, crl_file          bundle of pinned CAs, CRLs in force for its side
    verify_depth               CAs between a leaf and an anchor, at most
    limits                     {body_bytes, header_bytes, requests_per_second, request_burst,
                               connections}: the policy's, or stricter ones of the inventory;
                               an egress has no rate and no burst

An ingress has besides::

    server_name
    allowed                    {subjects: [{kind: cn | subject | dns, value}],
                               issuers: [RFC 2253 text],
                               pairs: [[issuer, subject], ...]}, numbers counted from 1
    upstream, upstream_authority
    probe                      {certificate, key, path, status} of a client that is let in, or None

An egress has besides::

    host                       name that is verified and sent
    upstream_address, upstream_port, upstream_authority
    dip_id                     for which it calls; empty when the inventory names none
    api_key                    {name, header, directory} of the API key that it adds, or None
    probe                      {path}

Numbers are seconds, bytes and counts as their names say.
"""

from __future__ import annotations

from .deployment import deployment as deployment
from .models import build as build
from .models import build_all as build_all
from .models import check as check
from .sources import ANYWHERE as ANYWHERE
from .sources import Products as Products
from .sources import Roots as Roots
from .sources import Sources as Sources
from .trust import verify_depth as verify_depth
