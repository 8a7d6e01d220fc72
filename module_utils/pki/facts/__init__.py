# SPDX-License-Identifier: GPL-3.0-or-later
"""Collectors: what is observed of each kind of object, as facts documents.

One file a group of kinds. A collector gets a :class:`~.scene.Scene` and returns what had to be
judged (declarations) and what it saw (documents). It never judges: a fact is what is there, found
in the raw bytes where there are any, and the policy says whether that is right. What cannot be
read is a fact, too, never an exception that hides the rest.
"""
