# SPDX-License-Identifier: GPL-3.0-or-later
# What the nightly run may do: make and rotate keys, look at them, sign with them.
# It cannot export a key, change a key's settings, import, trim or delete one, and on the
# signing mounts it cannot even make a key that somebody else could export.
#
# allowed_parameters, never denied_parameters: a denied "exportable = [true]" is passed by
# sending "true" as text. "keys/+", never a name prefix: "keys/abc-*" also covers
# keys/abc-x/rotate and keys/abc-x/config.

path "transit-nonprod-tls/keys" { capabilities = ["list"] }
path "transit-nonprod-tls/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = ["rsa-4096", "rsa-2048"]
    "exportable" = [true]
  }
}
path "transit-nonprod-tls/keys/+/rotate" { capabilities = ["update"] }
path "transit-nonprod-tls/sign/+/+"      { capabilities = ["update"] }

path "transit-nonprod-signing/keys" { capabilities = ["list"] }
path "transit-nonprod-signing/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = ["rsa-4096", "rsa-2048"]
    "exportable" = [false]
  }
}
path "transit-nonprod-signing/keys/+/rotate" { capabilities = ["update"] }
path "transit-nonprod-signing/sign/+/+"      { capabilities = ["update"] }

path "transit-prod-tls/keys" { capabilities = ["list"] }
path "transit-prod-tls/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = ["rsa-4096", "rsa-2048"]
    "exportable" = [true]
  }
}
path "transit-prod-tls/keys/+/rotate" { capabilities = ["update"] }
path "transit-prod-tls/sign/+/+"      { capabilities = ["update"] }

path "transit-prod-signing/keys" { capabilities = ["list"] }
path "transit-prod-signing/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = ["rsa-4096", "rsa-2048"]
    "exportable" = [false]
  }
}
path "transit-prod-signing/keys/+/rotate" { capabilities = ["update"] }
path "transit-prod-signing/sign/+/+"      { capabilities = ["update"] }

# The ledger of compromised keys: it may look at it and add an entry. Without "update" and "delete"
# nobody who is the pipeline can take one back or change what it says.
path "kv-nonprod/metadata/compromised" { capabilities = ["list"] }
path "kv-nonprod/data/compromised/+"   { capabilities = ["create", "read", "list"] }

path "kv-prod/metadata/compromised" { capabilities = ["list"] }
path "kv-prod/data/compromised/+"   { capabilities = ["create", "read", "list"] }
