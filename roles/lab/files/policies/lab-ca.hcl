# SPDX-License-Identifier: GPL-3.0-or-later
# The lab's certificate authority: everything on the PKI mounts, nothing anywhere else.
path "pki-root/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "pki-dca/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "pki-sibling/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "pki-foreign/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "pki-proof/*" { capabilities = ["create", "read", "update", "delete", "list"] }
