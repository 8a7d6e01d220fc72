# SPDX-License-Identifier: GPL-3.0-or-later
# Looks at names, public keys, mounts and policies; can change and use nothing.
path "sys/mounts"         { capabilities = ["read"] }
path "sys/auth"           { capabilities = ["read"] }
path "sys/policies/acl"   { capabilities = ["list"] }
path "sys/policies/acl/+" { capabilities = ["read"] }
path "sys/audit"          { capabilities = ["read", "sudo"] }
path "auth/approle/role"   { capabilities = ["list"] }
path "auth/approle/role/+" { capabilities = ["read"] }

path "transit-nonprod-tls/keys"   { capabilities = ["list"] }
path "transit-nonprod-tls/keys/+" { capabilities = ["read"] }

path "transit-nonprod-signing/keys"   { capabilities = ["list"] }
path "transit-nonprod-signing/keys/+" { capabilities = ["read"] }

path "transit-prod-tls/keys"   { capabilities = ["list"] }
path "transit-prod-tls/keys/+" { capabilities = ["read"] }

path "transit-prod-signing/keys"   { capabilities = ["list"] }
path "transit-prod-signing/keys/+" { capabilities = ["read"] }

path "kv-nonprod/metadata"             { capabilities = ["list"] }
path "kv-nonprod/metadata/compromised" { capabilities = ["list"] }

path "kv-prod/metadata"             { capabilities = ["list"] }
path "kv-prod/metadata/compromised" { capabilities = ["list"] }

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
