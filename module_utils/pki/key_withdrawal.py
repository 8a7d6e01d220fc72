# SPDX-License-Identifier: GPL-3.0-or-later
"""How a compromised key is ended in its store, without ending one that is needed.

Pure. A store ends versions from below: everything older than one that stays. So a compromised
version can be ended as soon as a newer one is there, unless an older one is still in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import key_place, public_state
from .inventory import Certificate
from .key_place import KeyPlace
from .public_state import VersionFiles


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What ends a key.

    Attributes:
        place: where it is.
        keep: the oldest version that stays; 0 where no store can end it.
        by_hand: what a person does instead; empty when nothing is left to people.
    """

    place: KeyPlace
    keep: int = 0
    by_hand: str = ""


def decide(
    certificate: Certificate,
    versions: Sequence[VersionFiles],
    number: int,
    compromised: Mapping[str, str],
    in_force: Sequence[int],
    expected: int = 0,
) -> Withdrawal:
    """How the key of version ``number`` is ended.

    Args:
        certificate: whose key it is.
        versions: its version directories.
        number: the version of the compromised key.
        compromised: every compromised key, by SPKI digest.
        in_force: versions whose certificates somebody may still rely on.
        expected: a version that is about to be made, as in a check; 0 for none.
    """
    requested = {one.number: one for one in versions if one.request_record is not None}
    place = key_place.of_version(certificate, requested[number])
    label = f"{certificate.name} v{number}"
    if place.store == key_place.EXTERNAL:
        return Withdrawal(place, 0, f"{label}: remove the key from the device that made it")
    if place.store != key_place.TRANSIT:
        return Withdrawal(place)  # the host itself removes what is on its list
    usable = {
        one: files
        for one, files in requested.items()
        if key_place.of_version(certificate, files) == place
        and public_state.key_digest(files.request_record or {}, files.path) not in compromised
    }
    newer = [one for one in [*usable, expected] if one > number]
    if not newer:
        return Withdrawal(
            place,
            0,
            f"{label}: {place} has no newer version that could stay, so it is not withdrawn yet; "
            "run this again once the replacement has its request.",
        )
    needed = [one for one in usable if one < min(newer) and one in in_force]
    if needed:
        others = ", ".join(f"v{one}" for one in needed)
        return Withdrawal(
            place,
            0,
            f"{label}: it cannot be withdrawn without {others}, in force below v{min(newer)} of "
            f"{place}; run this again once that is replaced",
        )
    return Withdrawal(place, min(newer))
