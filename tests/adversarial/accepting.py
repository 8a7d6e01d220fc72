# SPDX-License-Identifier: GPL-3.0-or-later
"""``pki_accept`` as a process of its own, at a given time, that may be made to die at a given step.

``python accepting.py PLAN.json`` runs the module's real ``main()``. The plan has the module's
``arguments`` and the time ``now``, and may have: ``die_at``, the number of the step of writing
before which the process kills itself; ``killed``, the certificate whose judgement kills the
worker; ``stuck``, the one whose judgement never ends, with a ``note`` file for its process id.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = ((tempfile, "mkstemp"), (os, "fchmod"), (os, "fsync"), (os, "replace"), (os, "mkdir"))


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "pki_accept", REPOSITORY / "library/pki_accept.py"
    )
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def die_before(number: int) -> None:
    """Kill this process before its ``number``-th step of writing; the steps are counted from 0."""
    count = itertools.count()

    def dying(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        return wrapped

    for place, name in STEPS:
        setattr(place, name, dying(getattr(place, name)))


def spoil(acceptance: Any, plan: dict[str, Any]) -> None:
    """Let the judgement of some certificates end otherwise than with a verdict."""
    judge = acceptance.judge

    def spoilt(declared: Any, name: str, *rest: Any) -> Any:
        if name == plan.get("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name == plan.get("stuck"):
            Path(plan["note"]).write_text(str(os.getpid()))
            time.sleep(600)
        return judge(declared, name, *rest)

    acceptance.judge = spoilt


def main() -> None:
    sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "module_utils")]
    import unit.lab_imports  # noqa: F401 - lets ansible.module_utils.pki be found
    from ansible.module_utils.testing import patch_module_args

    plan = json.loads(Path(sys.argv[1]).read_text())
    accept: Any = module()
    now = datetime.fromisoformat(plan["now"])
    accept.session.load = functools.partial(accept.session.load, now=now)
    spoil(accept.acceptance, plan)
    if "die_at" in plan:
        die_before(plan["die_at"])
    with patch_module_args(plan["arguments"]):
        accept.main()


if __name__ == "__main__":
    main()
