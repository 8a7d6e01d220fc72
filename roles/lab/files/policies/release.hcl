# SPDX-License-Identifier: GPL-3.0-or-later
# What a delivery may do: read one key of a TLS mount, and only inside a wrapping token that
# lives at most two minutes. Nothing on the signing mounts, no making, no signing, no list.

path "transit-nonprod-tls/export/signing-key/+/+" {
  capabilities     = ["read"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "120s"
}

path "transit-prod-tls/export/signing-key/+/+" {
  capabilities     = ["read"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "120s"
}
