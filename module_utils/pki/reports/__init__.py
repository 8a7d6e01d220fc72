# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a check as people and machines read it; each file one format, values to text.

Everything that other hands wrote goes through :func:`~pki.errors.shown`, then through the
escapes of its format: it can neither steer a terminal nor forge a line, a cell or an element.
"""
