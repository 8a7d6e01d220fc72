# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.show STATUS.json``: the table of a status document, without a run.

Exit 0 when every certificate is in service, 1 when one waits for something or somebody,
2 when the document cannot be used. ``--waiting`` prints nothing and only answers by exit.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .report import STATUS_SCHEMA, table

IN_SERVICE = ("deployed",)


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pki.show", description="Print a status.")
    parser.add_argument("document", type=Path, help="a status document, as JSON")
    parser.add_argument("--waiting", action="store_true", help="only answer by the exit code")
    options = parser.parse_args(arguments)
    try:
        document = json.loads(options.document.read_text(encoding="utf-8"))
        schema = document.get("schema")
    except (OSError, ValueError, AttributeError) as exc:
        print(f"{options.document} is no status document: {exc}", file=sys.stderr)
        return 2
    if schema != STATUS_SCHEMA:
        print(f"{options.document} has schema {schema}, not {STATUS_SCHEMA}", file=sys.stderr)
        return 2
    if not options.waiting:
        print(table(document))
    calm = all(
        entry["state"] in IN_SERVICE and not entry["refused"] for entry in document["certificates"]
    )
    return 0 if calm else 1


if __name__ == "__main__":
    sys.exit(main())
