# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter of this host: our table, and a look at the others."""

from __future__ import annotations

import json

from . import programs
from .errors import HostError

TABLE = ("inet", "pki")
_NO_TABLE = "table inet pki\ndelete table inet pki\n"


def is_installed() -> bool:
    return bool(programs.find("nft"))


def listing() -> str | None:
    """Our table as the kernel has it, in numbers, without counters; None when there is none.

    Two listings are equal exactly when the rules are: handles and counters are left out.
    """
    if not is_installed():
        return None
    done = programs.run("nft", "--stateless", "--numeric", "list", "table", *TABLE)
    if done.code == 0:
        return done.output
    if "No such file or directory" in done.errors:
        return None
    raise _refused("our table cannot be listed", done.told)


def restoring(table: str | None) -> str:
    """The text that brings a listing (or its absence) back in one transaction."""
    return _NO_TABLE + (table or "")


def check(path: str) -> None:
    """Let nft judge a file without loading it."""
    done = programs.run("nft", "--check", "--file", path)
    if done.code:
        raise _refused("nft refuses the rules", done.told, path)


def load(path: str) -> None:
    """Load a file in one transaction: all of it is in force afterwards, or nothing of it."""
    done = programs.run("nft", "--file", path)
    if done.code:
        raise _refused("the rules could not be loaded", done.told, path)


def other_walls() -> list[str]:
    """Chains of other tables that drop what they do not know, in words.

    A packet must pass every table, so what ours lets through may still end there.
    """
    if not is_installed():
        return []
    done = programs.run("nft", "--json", "list", "chains")
    if done.code:
        return []
    chains = [item["chain"] for item in json.loads(done.output)["nftables"] if "chain" in item]
    return [
        f"table {chain['family']} {chain['table']}: chain {chain['name']} drops by default"
        for chain in chains
        if chain.get("policy") == "drop" and (chain["family"], chain["table"]) != TABLE
    ]


def _refused(message: str, found: str, where: str = "table inet pki") -> HostError:
    return HostError(
        message,
        rule="FIREWALL-REFUSED",
        found=found,
        expected="rules that this host's nft and kernel take",
        where=where,
        next_step="correct what it names (a user that does not exist?) and run again; "
        "the rules in force are as before",
    )
