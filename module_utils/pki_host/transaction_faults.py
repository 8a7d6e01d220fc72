# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transaction says when it fails: which step, which gateway, why, and what is in place."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import HostError


def plain(names: Sequence[str], step: str, outcome: str, cause: Exception) -> HostError:
    """A step failed where there is nothing to take back."""
    return wrapped(cause, f"{_listed(names)}: the step '{step}' failed; {outcome}")


def failed(
    names: Sequence[str], step: str, cause: Exception, back: Sequence[str], lost: Sequence[str]
) -> HostError:
    """A step failed for ``names``; ``back`` are as they were, ``lost`` could not be put back."""
    told = []
    if back:
        whose = f" of {_listed(back)}" if len(back) + len(lost) > 1 else ""
        told.append(f"the previous configuration{whose} is back in place")
    if lost:
        whose = f" of {_listed(lost)}" if back else ""
        told.append(f"the previous configuration{whose} was not put back: its key is compromised")
    return wrapped(cause, f"{_listed(names)}: the step '{step}' failed; {'; '.join(told)}")


def stuck(
    names: Sequence[str], step: str, cause: Exception, second: Sequence[tuple[str, Exception]]
) -> HostError:
    """The step failed, and so did going back."""
    whose = _listed([name for name, _ in second])
    error = wrapped(
        cause,
        f"{_listed(names)}: the step '{step}' failed, and the previous configuration of {whose} "
        "could not be brought back into service",
    )
    faults = "; ".join(f"{name}: {wrapped(fault, '').found}" for name, fault in second)
    error.next_step = f"{error.next_step}; going back failed with: {faults}"
    return error


def stopped_instead(names: Sequence[str], cause: Exception) -> HostError:
    """There is no previous state that may be served."""
    return wrapped(
        cause,
        f"{_listed(names)}: the gateway is stopped, since what was in service before has a "
        "compromised key",
    )


def ended(names: Sequence[str], cause: Exception, second: Exception) -> HostError:
    """The same, and not in order."""
    error = wrapped(
        cause,
        f"{_listed(names)}: what was in service before has a compromised key, and the gateway "
        "could not be stopped in order; its process was ended",
    )
    fields = wrapped(second, "")
    error.next_step = f"{error.next_step}; see that it stays down: {fields.message} {fields.found}"
    return error


def wrapped(cause: Exception, message: str) -> HostError:
    """``cause`` with ``message`` before its own; any exception becomes a HostError."""
    if isinstance(cause, HostError):
        fields = cause.as_result()
        text = fields.pop("message")
        return HostError(f"{message}: {text}" if message else text, **fields)
    reason = cause.strerror if isinstance(cause, OSError) else ""
    where = cause.filename if isinstance(cause, OSError) else ""
    return HostError(
        message,
        rule="GATEWAY-STEP",
        found=reason or type(cause).__name__,
        expected="no fault",
        where=str(where or ""),
        next_step="correct the fault above and run again",
    )


def different_links(path: str, one: str, other: str) -> HostError:
    """Two gateways want one link to lead to two places."""
    return HostError(
        "gateways of one host disagree about a link that they share",
        rule="GATEWAY-LINKS",
        found=f"{one} and {other}",
        expected="one release or CRL set for all gateways that use it",
        where=path,
        next_step="use the gateway role, which takes links from what was staged on this host",
    )


def different_places(roots: Sequence[str]) -> HostError:
    """The gateways cannot share a lock and an undo record."""
    return HostError(
        "the gateways of one host are not beside each other",
        rule="GATEWAY-PATH",
        found=", ".join(roots),
        expected="a directory of its own for each, all in one directory",
        where="gateways[].root",
        next_step="use one gateway_root for all gateways of the host",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
