# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a target: standard library, Python 3.9 syntax, the ``openssl`` program.

Nothing here judges a certificate: the controller did that. This package puts bytes in
place safely, drives the gateway process, and looks at what is really served.
"""
