# SPDX-License-Identifier: GPL-3.0-or-later
"""Where private keys live. :mod:`.base` says what a store is, the others are stores."""
