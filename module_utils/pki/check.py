# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.check``: judge an inventory as it is committed, or facts that were saved.

Exit 0 when nothing at or above the level asked was found, 1 when something was, 2 when the check
itself could not be made or could not see everything. No host, Vault or network is asked.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from . import check_run, collecting, inventory_files, policy_cases, policy_files
from .checking import DEFAULT_LEVEL, Status
from .errors import PkiError
from .inventory import InventoryError
from .policy import LEVELS
from .reports import console, explain, files
from .shipped import DIRECTORY


def main(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    """The program; returns its exit code. ``now`` is for tests of what time does."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (options.inventory or options.facts or options.explain):
        parser.error("one of --inventory, --facts and --explain is needed")
    if options.inventory:
        options.inventory = Path(inventory_files.relative(options.inventory))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without our letters shows "?"; the exit code must not depend on it.
            stream.reconfigure(errors="replace")
    try:
        status, text = _explained(options) if options.explain else _checked(options, now)
    except Exception as exc:
        status, text = Status.FAULT, _fault(known(exc), options.report_dir)
    return told(status, text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pki.check", description=__doc__)
    given = parser.add_argument
    given("--inventory", type=Path, help="an inventory's directory, with its overlay and waivers")
    given("--facts", type=Path, help="judge these saved facts instead of the inventory's files")
    given("--policies", type=Path, default=DIRECTORY, help="the policies' directory")
    given("--level", choices=LEVELS, default=DEFAULT_LEVEL, help="what counts (%(default)s)")
    given("--report-dir", type=Path, help="where result.json and the other reports are written")
    given("--explain", metavar="RULE", help="say what a rule asks and where its values come from")
    return parser


def _checked(options: argparse.Namespace, now: datetime | None) -> tuple[Status, str]:
    if options.facts:
        collected, policies = check_run.saved(options.facts), None
    else:
        scene = check_run.scene(options.inventory, options.policies, now)
        collected, policies = collecting.collect(scene), scene.inputs.policies
    result = check_run.judge(
        collected,
        options.policies,
        policies=policies,
        inventory=options.inventory,
        level=options.level,
        now=now,
    )
    if options.report_dir:
        files.write(options.report_dir, result, collected)
    return result.status, console.render(result, colour=_colour())


def _explained(options: argparse.Namespace) -> tuple[Status, str]:
    directory = options.policies
    overlays = options.inventory / policy_files.OVERLAYS if options.inventory else None
    names = policy_files.policy_names(directory)
    policies = policy_files.load_policies(directory, names, overlays)
    schema = policy_files.load_schema(directory)
    cases = [
        case
        for name, policy in policies.items()
        for file in sorted((directory / "cases" / name).glob("*.yml"))
        for case in policy_cases.load(
            inventory_files.relative(file), policy_files.read_text(file), schema, policy
        )
    ]
    facts = policy_files.load_fact_schemas(directory)
    text = explain.render(options.explain, tuple(policies.values()), facts, cases)
    if not text:
        raise PkiError(
            f"there is no rule {options.explain}",
            rule="POLICY-UNKNOWN",
            found=options.explain,
            expected=f"a rule of {', '.join(names)}",
            where=str(directory),
            next_step="look the id up in a report or in the policy's files",
        )
    return Status.CLEAN, text


def known(exc: Exception) -> PkiError:
    """A fault as it is told: what is not ours by type and place only, since texts hold secrets."""
    if isinstance(exc, PkiError):
        return exc
    last = traceback.extract_tb(exc.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno} ({last.name})"
    return PkiError(
        "internal fault: the check could not be made",
        rule="INTERNAL",
        found=type(exc).__name__,
        expected="no exception",
        where=place,
        next_step="report this place; nothing was judged",
    )


def _fault(error: PkiError, report_dir: Path | None) -> str:
    told = str(error)
    if report_dir:
        every = error.problems if isinstance(error, InventoryError) else (error,)
        try:
            files.write_fault(report_dir, every)
        except PkiError as exc:
            told = f"{told}\n\n{exc}"
    return told


def told(status: Status, text: str) -> int:
    """Print. A reader that has gone (``| head``) changes nothing about the exit code."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = io.StringIO()  # for the interpreter's own last flush
    return status.exit_code


def _colour() -> bool:
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


if __name__ == "__main__":
    sys.exit(main())
