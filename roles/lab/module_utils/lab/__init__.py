# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab supplies so that the product can run for real on loopback.

The product needs a Vault, a certificate authority, a far end and a human. Everything in
this package plays one of them; nothing of the product lives here.
"""
