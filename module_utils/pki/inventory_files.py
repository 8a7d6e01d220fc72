# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an inventory as they are written, for a check without Ansible.

One file a variable is the project's law: ``group_vars/all/<variable>.yml``. What Ansible would
still have to work out (Jinja, variables from elsewhere) can only be judged live, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import marked_yaml, plain_files, policy_files, waivers
from .errors import PkiError
from .marked_yaml import Marked
from .policy import Place
from .waivers import Waiver

REQUIRED = ("organisations", "certificates", "trust")
OPTIONAL = ("gateways",)
VARIABLES = (*REQUIRED, *OPTIONAL)
EVIDENCE = "evidence"
WAIVERS = "waivers.yml"
SUFFIXES = (".yml", ".yaml")

_FOLDER = Path("group_vars", "all")
_JINJA = ("{{", "{%", "{#")
_SIDES = ("ingress", "egress")


@dataclass(frozen=True, slots=True)
class InventoryFiles:
    """An inventory's raw values and where they stand.

    Attributes:
        directory: the inventory.
        values: organisations, certificates, trust, and gateways when there is such a file.
        evidence: ``evidence.yml`` beside them as written; None when there is none.
        places: by (section, name): organisations, certificates, trust, gateways, listeners
            (``gateway/listener``), evidence (item), and files (variable) for a whole file. Files
            are relative to the working directory.
    """

    directory: Path
    values: Mapping[str, Any]
    evidence: Any
    places: Mapping[tuple[str, str], Place]


@dataclass(frozen=True, slots=True)
class _File:
    shown: str
    marked: Marked

    def place(self, *path: str | int) -> Place:
        return Place(self.shown, self.marked.line(*path))


def read(directory: str | Path) -> InventoryFiles:
    """An inventory's files.

    Raises:
        PkiError: INVENTORY-FILE for what is missing, unreadable or said twice;
            INVENTORY-TEMPLATED, with file and line, for a value that only Ansible can work out.
    """
    base = Path(directory)
    if not base.is_dir():
        raise _broken("there is no such inventory", "nothing", "a directory", str(directory))
    found = {name: path for name in VARIABLES if (path := _path(base / _FOLDER, name))}
    for name in REQUIRED:
        if name not in found:
            where = relative(base / _FOLDER / f"{name}.yml")
            raise _broken(f"{name} are missing", "no file", "one file a variable", where)
    _nowhere_else(base / _FOLDER, set(found.values()))
    values: dict[str, Any] = {}
    known: dict[tuple[str, str], Place] = {}
    for name, path in found.items():
        file = _file(path)
        values[name] = _value(file, name)
        known |= dict(_places(file, name, values[name]))
    beside = _path(base, EVIDENCE)
    evidence = None if beside is None else _file(beside)
    if evidence is not None:
        known |= dict(_evidence_places(evidence))
    return InventoryFiles(base, values, evidence.marked.value if evidence else None, known)


def places(directory: str | Path) -> Mapping[tuple[str, str], Place]:
    """Where the entries stand, as far as the files tell: for a run that Ansible gave the values.

    Templates are no matter there, and a file that cannot be read leaves its entries without a
    place.
    """
    found: dict[tuple[str, str], Place] = {}
    for name in VARIABLES:
        found |= _tolerant(Path(directory) / _FOLDER, name)
    return found | _tolerant(Path(directory), EVIDENCE)


def _tolerant(folder: Path, name: str) -> dict[tuple[str, str], Place]:
    try:
        path = _path(folder, name)
        file = None if path is None else _file(path)
    except PkiError:
        return {}
    if file is None or not isinstance(file.marked.value, dict):
        return {}
    if name == EVIDENCE:
        return dict(_evidence_places(file))
    return dict(_places(file, name, file.marked.value.get(name)))


def evidence(directory: Path) -> Any:
    """``evidence.yml`` beside an inventory as written, None without one; PkiError if unreadable."""
    path = _path(directory, EVIDENCE)
    return None if path is None else _file(path).marked.value


def waived(directory: Path, policy_dir: Path) -> tuple[Waiver, ...]:
    """The waivers beside an inventory; PkiError with the line when they cannot be used."""
    file = directory / WAIVERS
    if not file.exists():
        return ()
    schema = policy_files.load_schema(policy_dir)
    return waivers.load(relative(file), policy_files.read_text(file), schema)


def relative(path: Path) -> str:
    """A path as people and reports name it: from the working directory, where it is below it."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else Path(shown).as_posix()


def _path(folder: Path, name: str) -> Path | None:
    there = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").exists()]
    if len(there) > 1:
        both = " and ".join(path.name for path in there)
        raise _broken(f"{name} are written twice", both, "one file", relative(there[0]))
    return there[0] if there else None


def _file(path: Path) -> _File:
    shown = relative(path)
    try:
        text = plain_files.read(path, marked_yaml.MAXIMUM_BYTES, follow=True).decode("utf-8")
        return _File(shown, marked_yaml.load(text))
    except (OSError, UnicodeDecodeError) as exc:
        found = getattr(exc, "strerror", None) or "not UTF-8"
        raise _broken("the file cannot be read", found, "a readable file", shown) from exc
    except marked_yaml.Unreadable as exc:
        where = f"{shown}:{exc.line}" if exc.line else shown
        expected = "plain YAML: each key once, no alias, no tag"
        raise _broken("the file cannot be used", str(exc), expected, where) from exc


def _value(file: _File, variable: str) -> Any:
    whole = file.marked.value
    if not isinstance(whole, dict) or variable not in whole:
        raise _broken("the file sets another variable", _shape(whole), f"{variable}:", file.shown)
    for path, text in _texts(whole[variable], (variable,)):
        if any(delimiter in text for delimiter in _JINJA):
            raise PkiError(
                f"{'.'.join(map(str, path))} is a template, which only Ansible can work out",
                rule="INVENTORY-TEMPLATED",
                found=text,
                expected="a plain value, for a check without hosts and Vault",
                where=str(file.place(*path)),
                next_step="write the value itself, or judge this inventory live: "
                "run playbooks/verify.yml",
            )
    return whole[variable]


def _shape(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[marked_yaml.Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from _texts(item, (*path, key))


def _nowhere_else(folder: Path, known: set[Path]) -> None:
    """Ansible reads every file of the folder: a second one could say something else later."""
    for path in sorted(folder.rglob("*")):
        if path in known or path.name.startswith(".") or not path.is_file():
            continue
        for variable, line in _top_level(path):
            if variable in VARIABLES:
                raise _broken(
                    f"{variable} are also set in another file",
                    f"{path.name} sets {variable}",
                    f"{variable} only in {_FOLDER.as_posix()}/{variable}.yml",
                    f"{relative(path)}:{line}",
                )


def _top_level(path: Path) -> Iterator[tuple[str, int]]:
    """The variables of any file of variables; the values of others are not our concern."""
    try:
        text = plain_files.read(path, marked_yaml.MAXIMUM_BYTES, follow=True).decode("utf-8")
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as exc:
        shown = relative(path)
        found = getattr(exc, "strerror", None) or type(exc).__name__
        raise _broken("the file cannot be read", found, "a YAML file", shown) from exc
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            yield str(key.value), key.start_mark.line + 1


def _places(file: _File, variable: str, value: Any) -> Iterator[tuple[tuple[str, str], Place]]:
    yield ("files", variable), file.place()
    if isinstance(value, dict):
        for key in value:
            yield (variable, key), file.place(variable, key)
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if not (isinstance(entry, dict) and isinstance(entry.get("name"), str)):
            continue
        yield (variable, entry["name"]), file.place(variable, index)
        for side in _SIDES:
            yield from _listeners(file, (variable, index, side), entry)


def _listeners(
    file: _File, path: tuple[str, int, str], gateway: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, str], Place]]:
    listeners = gateway.get(path[-1])
    for index, listener in enumerate(listeners if isinstance(listeners, list) else ()):
        if isinstance(listener, dict) and "name" in listener:
            name = f"{gateway['name']}/{listener['name']}"
            yield ("listeners", name), file.place(*path, index)


def _evidence_places(file: _File) -> Iterator[tuple[tuple[str, str], Place]]:
    yield ("files", EVIDENCE), file.place()
    value = file.marked.value
    items = value.get(EVIDENCE) if isinstance(value, dict) else None
    for index, entry in enumerate(items if isinstance(items, list) else ()):
        if isinstance(entry, dict) and "id" in entry:
            yield (EVIDENCE, str(entry["id"])), file.place(EVIDENCE, index)


def _broken(message: str, found: str, expected: str, where: str) -> PkiError:
    return PkiError(
        message,
        rule="INVENTORY-FILE",
        found=found,
        expected=expected,
        where=where,
        next_step="correct the inventory's files and check again",
    )
