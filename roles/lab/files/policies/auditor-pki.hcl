# SPDX-License-Identifier: GPL-3.0-or-later
# What the auditor of a lab sees besides: the CAs that stand in for others.
path "pki-root/issuers"     { capabilities = ["list"] }
path "pki-root/roles"       { capabilities = ["list"] }
path "pki-root/roles/+"     { capabilities = ["read"] }
path "pki-root/config/urls" { capabilities = ["read"] }
path "pki-root/config/crl"  { capabilities = ["read"] }

path "pki-dca/issuers"     { capabilities = ["list"] }
path "pki-dca/roles"       { capabilities = ["list"] }
path "pki-dca/roles/+"     { capabilities = ["read"] }
path "pki-dca/config/urls" { capabilities = ["read"] }
path "pki-dca/config/crl"  { capabilities = ["read"] }

path "pki-sibling/issuers"     { capabilities = ["list"] }
path "pki-sibling/roles"       { capabilities = ["list"] }
path "pki-sibling/roles/+"     { capabilities = ["read"] }
path "pki-sibling/config/urls" { capabilities = ["read"] }
path "pki-sibling/config/crl"  { capabilities = ["read"] }

path "pki-foreign/issuers"     { capabilities = ["list"] }
path "pki-foreign/roles"       { capabilities = ["list"] }
path "pki-foreign/roles/+"     { capabilities = ["read"] }
path "pki-foreign/config/urls" { capabilities = ["read"] }
path "pki-foreign/config/crl"  { capabilities = ["read"] }

path "pki-proof/issuers"     { capabilities = ["list"] }
path "pki-proof/roles"       { capabilities = ["list"] }
path "pki-proof/roles/+"     { capabilities = ["read"] }
path "pki-proof/config/urls" { capabilities = ["read"] }
path "pki-proof/config/crl"  { capabilities = ["read"] }
