# SPDX-License-Identifier: GPL-3.0-or-later
"""The thin shell between Ansible and the domain.

Every module's ``main()`` is one call to :func:`run_module`. It is the only place that
knows ``exit_json`` and ``fail_json``, and it catches everything: an exception that
reaches Ansible uncaught is printed with its text, even when that text holds the value
of a ``no_log`` parameter. An unexpected exception is therefore reported by its type and
the place it came from, never by its text.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# Names that a person may write instead of secret_id_file, token_file and the like.
SECRETS = ("secret_id", "token", "jwt", "password", "passphrase", "private_key")
# Names a variable; whatever is no such name may be the token that somebody put here instead.
NAMES_A_VARIABLE = ("jwt_env",)


@contextmanager
def telling() -> Iterator[list[dict[str, Any]]]:
    """A list for what has happened, for the audit trail: told even when the work then fails.

    The handler returns it as ``trail``. An exception takes it along, and :func:`failure` puts it
    into the failed result.
    """
    happened: list[dict[str, Any]] = []
    try:
        yield happened
    except BaseException as exc:
        if happened:
            exc.trail = happened  # type: ignore[attr-defined]
        raise


def describe_unexpected(exc: BaseException) -> str:
    """Type and innermost place of an exception, without a word of its text."""
    frames = traceback.extract_tb(exc.__traceback__)
    if not frames:
        return type(exc).__name__
    last = frames[-1]
    return "%s in %s line %s (%s)" % (
        type(exc).__name__,
        os.path.basename(last.filename),
        last.lineno,
        last.name,
    )


def failure(exc: BaseException) -> dict[str, Any]:
    """``fail_json`` arguments for any exception.

    A domain error (it has ``as_result``) is shown whole: its author promised that no
    field holds a secret. Anything else is a fault of ours and is named only.
    """
    happened = getattr(exc, "trail", None)
    trail = {"trail": happened} if isinstance(happened, list) else {}
    shown = _domain_error(exc)
    if shown is not None:
        return {**shown, **trail}
    place = describe_unexpected(exc)
    return {
        "msg": "internal fault: %s. Nothing of the exception's text is shown because it "
        "could hold a secret; please report the line above." % place,
        "error": {
            "message": "internal fault",
            "rule": "INTERNAL",
            "found": place,
            "expected": "no exception",
            "where": place,
            "next_step": "report this place; the run changed nothing after it",
        },
        **trail,
    }


def _domain_error(exc: Any) -> dict[str, Any] | None:
    """A domain error's own words; None for any other exception, or if it is malformed.

    Rendering is code like any other: if it fails here, while ``exc`` is being handled,
    Python would print both.
    """
    try:
        error = exc.as_result()
        text = str(exc)
    except BaseException:
        return None
    if isinstance(error, dict) and all(isinstance(value, str) for value in error.values()):
        return {"msg": text, "error": error}
    return None


def hide_misplaced(module: AnsibleModule) -> None:
    """Mask a secret that stands in an option where only its place belongs.

    It is refused later; until then Ansible would show it among the parameters.
    """
    module.no_log_values.update(_misplaced(module.params))


def _misplaced(value: Any, name: str = "") -> set[str]:
    if isinstance(value, dict):
        return {found for key in value for found in _misplaced(value[key], str(key))}
    if isinstance(value, (list, tuple)):
        return {found for inner in value for found in _misplaced(inner, name)}
    if not isinstance(value, str) or not value:
        return set()
    odd = name in NAMES_A_VARIABLE and not value.isidentifier()
    return {str(value)} if odd or name in SECRETS else set()


def run_module(
    handler: Callable[[AnsibleModule], Mapping[str, Any]],
    argument_spec: Mapping[str, Any],
    **module_options: Any,
) -> None:
    """Run ``handler(module) -> result dict`` as an Ansible module.

    ``module_options`` go to ``AnsibleModule`` (``supports_check_mode``,
    ``required_one_of`` ...). The handler returns the result; it raises to fail.
    """
    module = AnsibleModule(argument_spec=argument_spec, **module_options)
    failed: dict[str, Any] | None = None
    result: Mapping[str, Any] = {}
    try:
        hide_misplaced(module)
        result = handler(module)
    except BaseException as exc:  # SystemExit and KeyboardInterrupt print their text as well
        failed = failure(exc)
    # Outside the except blocks on purpose: fail_json attaches the exception that is
    # being handled, text and all.
    if failed is None:
        failed = _exit(module, result)
    module.fail_json(**failed)


def _exit(module: AnsibleModule, result: Mapping[str, Any]) -> dict[str, Any]:
    """Leave with the result. Comes back, with what to fail with, only if it cannot be told."""
    try:
        module.exit_json(**result)
    except Exception as exc:  # a result that is no JSON is refused with its repr
        return failure(exc)
    return failure(RuntimeError())
