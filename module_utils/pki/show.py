# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.show STATUS.json``: the table of a status document, without a run.

Exit 0 when every certificate is in service, 1 when one waits for something or somebody,
2 when the document cannot be used. ``--waiting`` prints nothing and only answers by exit.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .report import STATUS_SCHEMA, table

IN_SERVICE = ("deployed",)


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pki.show", description="Print a status.")
    parser.add_argument("document", type=Path, help="a status document, as JSON")
    parser.add_argument("--waiting", action="store_true", help="only answer by the exit code")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without our letters shows "?"; the exit code must not depend on it.
        sys.stdout.reconfigure(errors="replace")
    try:
        document = json.loads(options.document.read_text(encoding="utf-8"))
        schema = document.get("schema")
        if schema != STATUS_SCHEMA:
            print(f"{options.document} has schema {schema}, not {STATUS_SCHEMA}", file=sys.stderr)
            return 2
        text, calm = table(document), in_service(document)
    except (OSError, ValueError, AttributeError, TypeError, LookupError, RecursionError) as exc:
        print(f"{options.document} is no status document: {exc!r}", file=sys.stderr)
        return 2
    if not options.waiting:
        print(text)
    return 0 if calm else 1


def in_service(document: Mapping[str, Any]) -> bool:
    """Whether every certificate of a status document is in service, and none was refused."""
    return all(
        entry["state"] in IN_SERVICE and not entry["refused"] for entry in document["certificates"]
    )


if __name__ == "__main__":
    sys.exit(main())
