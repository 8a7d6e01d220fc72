# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about what people vouch for: one object for each item that a policy asks for.

Every item is declared, whether or not the evidence file has a record of it: a record that is
missing is what the rule is there to find. Records of our own answer some items as well, and may
speak against what a person has vouched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from .. import backup_records, days
from ..backup_records import Event
from ..documents import Collected, Declaration, Document
from ..errors import PkiError
from ..evidence_records import FILE, Record, Records, parse
from ..policy import EVIDENCE, Place, Policy
from .scene import Collector, Scene

#: What a policy calls the records of restore drills.
RESTORE_DRILL = "restore_drill"


def collect(scene: Scene) -> Collected:
    """A document for every item of every policy in use, and what is wrong with the file."""
    records = of_scene(scene)
    drill, unreadable = _last_drill(scene)
    declarations, documents = [], []
    for policy, item in _wanted(scene):
        place = scene.places.get((EVIDENCE, item), _file(scene))
        record, against = records.by_id.get(item), ""
        if item in _by_drills(policy):
            record, against = _with_drill(record, item, drill)
        facts = {**_facts(scene, policy, item, record), "against": against}
        declarations.append(Declaration(EVIDENCE, item, policy.name, place))
        documents.append(Document(EVIDENCE, item, policy.name, facts, place, _stand_in(scene)))
    problems = [problem.as_result() for problem in (*records.problems, *unreadable)]
    return scene.collected(declarations, documents, problems)


def of_scene(scene: Scene) -> Records:
    """The usable records of the inventory."""
    return parse(scene.evidence, [item for _, item in _wanted(scene)])


def items(policy: Policy) -> tuple[str, ...]:
    """What a policy wants vouched for."""
    return tuple(rule.item for rule in policy.rules if rule.kind == EVIDENCE)


def _by_drills(policy: Policy) -> frozenset[str]:
    """The items that a restore drill answers."""
    return frozenset(rule.item for rule in policy.rules if rule.computed_by == RESTORE_DRILL)


def _last_drill(scene: Scene) -> tuple[Event | None, Iterable[PkiError]]:
    """The newest restore drill that is recorded beside the inventory."""
    try:
        return backup_records.last_drill(backup_records.read(scene.inputs.base_dir)), ()
    except PkiError as exc:
        return None, (exc,)


def _with_drill(record: Record | None, item: str, drill: Event | None) -> tuple[Record | None, str]:
    """The newer of a person's record and a drill, and what a newer drill says against it."""
    if drill is None:
        return record, ""
    day, digest = drill.at.date().isoformat(), drill.said["sha256"][:16]
    if record is not None and record.date > day:
        return record, ""
    if not drill.said["passed"]:
        return record, f"a restore drill of {day} that failed, of the snapshot {digest}"
    owner = drill.said["by"] or "whoever held the drill"
    return Record(item, day, owner, f"restore drill of the snapshot {digest}", None), ""


def _wanted(scene: Scene) -> Iterator[tuple[Policy, str]]:
    for policy in scene.inputs.policies.values():
        for item in items(policy):
            yield policy, item


def _facts(scene: Scene, policy: Policy, item: str, record: Record | None) -> dict[str, Any]:
    today = scene.inputs.now.date()
    return {
        "item": item,
        "recorded": record is not None,
        "date": record.date if record else "",
        "age_days": days.since(record.date, today) if record else days.NEVER,
        "left_days": _left(record, today),
        "owner": record.owner if record else "",
        "reference": record.reference if record else "",
        "parties": sorted(
            {
                one.organisation.party
                for one in scene.inputs.declared.certificates.values()
                if one.policy == policy.name
            }
        ),
    }


def _left(record: Record | None, today: date) -> int:
    if record is None or record.valid_days is None:
        return days.LONGEST
    return max(record.valid_days - days.since(record.date, today), -days.LONGEST)


def _file(scene: Scene) -> Place:
    return scene.places.get(("files", EVIDENCE), Place(str(scene.inputs.base_dir / FILE)))


def _stand_in(scene: Scene) -> str:
    return str(scene.stand_ins.get(EVIDENCE, ""))


COLLECTOR = Collector(
    kinds=frozenset({EVIDENCE}), scopes=frozenset({"offline", "live"}), collect=collect
)
