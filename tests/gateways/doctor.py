#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints a JSON object: each gateway product, and why this machine cannot test it, or nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from gateways.products import PRODUCTS  # noqa: E402

print(json.dumps({product.name: product.missing for product in PRODUCTS}))
