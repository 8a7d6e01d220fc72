# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of this folder keeps to ports that no other test process uses."""

from integration.own_ports import ports_of_our_own

__all__ = ["ports_of_our_own"]
