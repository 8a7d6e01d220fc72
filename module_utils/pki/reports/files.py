# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the reports of a check, each by rename: who finds one finds a whole one.

A check that was made in part (a host was silent, say) tells its faults in every report. Where none
was made only ``result.json`` is there, and says so: reports of an earlier check would look like
its verdict and are taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .. import public_state
from ..checking import Result
from ..documents import Collected, to_json
from ..errors import PkiError
from . import junit, markdown, sarif
from . import result as result_json

RESULT = "result.json"
FACTS = "facts.json"
SARIF = "result.sarif"
JUNIT = "result.junit.xml"
MARKDOWN = "summary.md"


def write(directory: str | Path, result: Result, collected: Collected) -> None:
    """Every report of a check; PkiError STATE-WRITE when the directory cannot be written to.

    ``result.json`` is written last: where it says ``clean``, the others are there, too.
    """
    target = Path(directory)
    _clear(target)
    texts = {**_others(result, collected), RESULT: result_json.render(result)}
    public_state.write(target, {name: _bytes(text) for name, text in texts.items()})


def write_fault(directory: str | Path, errors: Iterable[PkiError]) -> None:
    """``result.json`` of a check that could not be made; PkiError STATE-WRITE likewise."""
    target = Path(directory)
    _clear(target)
    text = result_json.fault(error.as_result() for error in errors)
    public_state.write(target, {RESULT: _bytes(text)})


def _others(result: Result, collected: Collected) -> Mapping[str, str]:
    return {
        FACTS: result_json.text(to_json(collected)),
        SARIF: sarif.render(result),
        JUNIT: junit.render(result),
        MARKDOWN: markdown.render(result),
    }


def _clear(directory: Path) -> None:
    """``result.json`` first: without it nothing else is anybody's verdict."""
    try:
        for name in (RESULT, FACTS, SARIF, JUNIT, MARKDOWN):
            (directory / name).unlink(missing_ok=True)
    except NotADirectoryError:
        return  # writing says it better
    except OSError as exc:
        raise PkiError(
            "a report of an earlier check cannot be taken away",
            rule="STATE-WRITE",
            found=exc.strerror or type(exc).__name__,
            expected="a directory that this run may write to",
            where=str(directory),
            next_step="correct owner or mode of the directory and check again",
        ) from exc


def _bytes(text: str) -> bytes:
    # A lone half of a character pair in facts stays JSON: it is written as JSON escapes it.
    return text.encode("utf-8", "backslashreplace")
