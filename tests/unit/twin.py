# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the worked inventories, with what a table says changed in them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import check_run, public_state, request_stage
from pki.inventory import Certificate
from pki.policy import Policy
from pki.session import Inputs
from pki.stores.base import KeyRecord, KeyVersion
from unit import pki_factory
from unit.pki_factory import DAY, NOW

REPOSITORY = Path(__file__).resolve().parents[2]
POLICIES = REPOSITORY / "policies"
EXAMPLES = REPOSITORY / "inventories" / "examples"
CLASSES = ("nonprod", "prod")
TABLE = Path(__file__).with_name("broken_twins.yml")

_BESIDE = ("evidence.yml", "compromised.yml", "hosts.yml")


def examples() -> list[str]:
    """The names of the worked inventories; each is a directory of one inventory a class."""
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def table() -> list[dict[str, Any]]:
    """The broken twins as the table lists them."""
    found: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text())["twins"]
    return found


def make(twin: Mapping[str, Any], folder: Path) -> Path:
    """The twin's inventories below ``folder``; returns the one that is to be judged."""
    copy = folder / twin["example"]
    shutil.copytree(EXAMPLES / twin["example"], copy)
    for name in twin.get("without", ()):
        gone = copy / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    inventory = copy / twin.get("class", CLASSES[0])
    for file, places in twin.get("change", {}).items():
        _edit(inventory / ("" if file in _BESIDE else "group_vars/all") / file, places)
    for one in twin.get("committed", ()):
        commit(copy, twin["example"], one)
    for name in twin.get("damaged", ()):
        (copy / name).write_bytes(b"\0")
    return inventory


def commit(copy: Path, example: str, one: Mapping[str, Any]) -> None:
    """A request as the request stage writes it, of the key with a name (see the factory)."""
    environment_class = one.get("class", CLASSES[0])
    inputs = intact(example, environment_class)
    certificate = inputs.declared.certificates[one["certificate"]]
    write_request(copy / environment_class, certificate, inputs.policies, one)


def write_request(
    inventory: Path,
    certificate: Certificate,
    policies: Mapping[str, Policy],
    one: Mapping[str, Any],
) -> None:
    """The files of a request beside ``inventory``: ``one`` has the version and the key's name."""
    private, version = pki_factory.key(one["key"], 4096), int(one["version"])
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = KeyRecord(
        name=certificate.key_name,
        type="rsa-4096",
        exportable="mtls" in certificate.purposes,
        versions={version: KeyVersion(version, NOW - 3 * DAY, spki)},
    )
    written = request_stage.build_with(
        private,
        certificate,
        policies[certificate.policy],
        record,
        version,
        inventory / check_run.CERTIFICATES,
    )
    public_state.write(written.directory, written.contents)


@cache
def intact(example: str, environment_class: str) -> Inputs:
    """What an example declares before anything is changed in it."""
    return check_run.scene(EXAMPLES / example / environment_class, POLICIES, NOW).inputs


def _edit(file: Path, places: Mapping[str, Any]) -> None:
    content = yaml.safe_load(file.read_text())
    # From the end, so that what is taken out of a list moves nothing that is still to be found.
    for place in sorted(places, reverse=True):
        _put(content, place.split("."), places[place])
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _put(node: Any, path: list[str], value: Any) -> None:
    head, *rest = path
    at: Any = int(head) if isinstance(node, list) and head != "+" else head
    if rest:
        _put(node[at], rest, value)
    elif head == "+":
        node.append(value)
    elif value is None:
        del node[at]
    else:
        node[at] = value
