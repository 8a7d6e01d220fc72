# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain on the controller: certificates, requests, trust, policy, plan.

Importable without Ansible (``PYTHONPATH=module_utils``). Only relative imports in
here, and an import only ever points down: ``plan`` and ``policy`` are pure, the X.509
files take bytes and return values, ``stores`` sit on ``vault``, everything may raise
:class:`~.errors.PkiError`.
"""
