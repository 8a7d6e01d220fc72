# SPDX-License-Identifier: GPL-3.0-or-later
"""What git tells of a checkout. The only file that runs git; it only ever asks.

Every answer is one of a program that may be missing, of a directory that may be no repository, and
of text that anybody wrote who may commit: no failure here is one of the run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30
MOST_COMMITS = 1000
_HEADER = re.compile(rb"([0-9a-f]{40}(?:[0-9a-f]{24})?)\n([^\n]+)\n([^\n]*)\n([^\n]*)")
#: A checkout of somebody else's may name programs in its configuration; none of them is run.
_SETTINGS = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "log.showSignature=false")
# What a caller's git was told of its own repository must not decide which one is asked.
_KEPT = ("HOME", "PATH", "XDG_CONFIG_HOME", "GIT_CEILING_DIRECTORIES")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that touched what was asked about.

    Attributes:
        sha: its id.
        when: when it was committed, ISO 8601 with an offset.
        author, subject: as somebody wrote them.
        files: those of its files that were asked about, below the checkout.
    """

    sha: str
    when: str
    author: str
    subject: str
    files: tuple[str, ...]


def clean_commit(directory: Path) -> str:
    """The id of the commit that the checkout of ``directory`` is; empty when files differ from it,
    or when there is no repository."""
    changed = _git(directory, ["status", "--porcelain", "--untracked-files=normal"])
    if changed is None or changed.strip():
        return ""
    head = _git(directory, ["rev-parse", "--verify", "HEAD"])
    return (head or b"").decode("ascii", "replace").strip()


def commits(directory: Path) -> tuple[Commit, ...] | None:
    """The commits that touched anything below ``directory``, oldest first; None without a
    repository, or without git."""
    there = directory
    while not there.is_dir() and there != there.parent:
        there = there.parent
    told = _git(
        there,
        [
            "log",
            f"--max-count={MOST_COMMITS}",
            "--no-color",
            "-z",
            "--format=%H%n%cI%n%an%n%s",
            "--name-only",
            "--",
            str(directory.absolute()),
        ],
    )
    if told is None:
        # A repository whose first commit is still to come has a history: none.
        inside = _git(there, ["rev-parse", "--is-inside-work-tree"])
        return () if (inside or b"").strip() == b"true" else None
    return tuple(reversed(_parsed(told)))


def _parsed(told: bytes) -> list[Commit]:
    found: list[tuple[list[str], list[str]]] = []
    for piece in told.split(b"\0"):
        header = _HEADER.fullmatch(piece)
        if header:
            found.append(([_text(one) for one in header.groups()], []))
        elif found and piece.strip():
            found[-1][1].append(_text(piece.lstrip(b"\n")))
    return [
        Commit(sha, when, author, subject, tuple(files))
        for (sha, when, author, subject), files in found
    ]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _git(directory: Path, arguments: Sequence[str]) -> bytes | None:
    """What git prints; None when it fails or is not there."""
    settings = [part for one in _SETTINGS for part in ("-c", one)]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *settings, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            timeout=SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
