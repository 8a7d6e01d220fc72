# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as text: YAML without what makes YAML dangerous to read.

No alias: a few lines of them unfold to more than any machine holds as soon as somebody
prints or merges the value. No tag that makes objects. Bounded in size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from . import marked_yaml

MAXIMUM_BYTES = 65_536


# The C parser reads a record in a tenth of the time, and a run reads some for every version.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(content: bytes) -> Any:
    """The value of a record.

    Raises:
        ValueError: not YAML, or YAML that no record of ours is.
    """
    if len(content) > MAXIMUM_BYTES:
        raise ValueError(f"more than {MAXIMUM_BYTES} bytes")
    try:
        marked_yaml.refuse_unbounded(content)
        return yaml.load(content, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as exc:
        # ValueError and AttributeError: what claims to be a date, or a number, and is none.
        # RecursionError: brackets in brackets, where the fast parser is missing.
        raise ValueError("not YAML") from exc


def dump(record: Mapping[str, Any]) -> bytes:
    """A record as YAML, keys in the order given, the same bytes for the same values."""
    text = yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}".encode()
