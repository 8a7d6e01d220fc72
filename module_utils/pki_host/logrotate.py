# SPDX-License-Identifier: GPL-3.0-or-later
"""How long logrotate's configuration keeps a log. Reads files; runs and changes nothing."""

from __future__ import annotations

import fnmatch
import os
import shlex
from dataclasses import dataclass, field

from . import files

# A calendar month counts with its longest: three of them are three months, whatever the season.
_PERIODS = {"hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 31, "yearly": 365}
_SCRIPTS = ("postrotate", "prerotate", "firstaction", "lastaction", "preremove")
_MOST_FILES = 500


@dataclass
class Stanza:
    """The settings for some logs, with what was set for all of them before."""

    file: str
    patterns: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)

    def covers(self, path: str) -> bool:
        """Whether the log is one of these; a star does not match a slash."""
        return any(_matches(path, pattern) for pattern in self.patterns)

    @property
    def days(self) -> int:
        """Days for which entries stay at least; -1 when they stay for ever."""
        for by_size in ("size", "maxsize"):
            if by_size in self.settings:
                return 0  # a busy day may use up every rotation
        count = _number(self.settings.get("rotate", "0"))
        oldest = _number(self.settings.get("maxage", "-1"))
        if count < 0:
            return oldest
        kept = int(count * _PERIODS[self.settings.get("period", "weekly")])
        return min(kept, oldest) if oldest >= 0 else kept

    @property
    def why(self) -> str:
        """The settings that decide, as they are written."""
        shown = [
            self.settings.get("period", "weekly"),
            f"rotate {self.settings.get('rotate', '0')}",
        ]
        shown += [
            f"{name} {self.settings[name]}"
            for name in ("maxage", "size", "maxsize")
            if name in self.settings
        ]
        return " ".join(shown)


def read(path: str) -> list[Stanza]:
    """The stanzas of a configuration file and what it includes; empty when there is none."""
    found: list[Stanza] = []
    _read(path, {}, found, [])
    return found


def _read(path: str, shared: dict[str, str], found: list[Stanza], seen: list[str]) -> None:
    if path in seen or len(seen) >= _MOST_FILES:
        return
    seen.append(path)
    if os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            if not name.startswith(".") and not name.endswith((".dpkg-old", ".rpmsave", "~")):
                # What one file sets for all logs ends with it.
                _read(os.path.join(path, name), dict(shared), found, seen)
        return
    text = (files.read(os.path.realpath(path)) or b"").decode("utf-8", "replace")
    _Reader(path, shared, found, seen).read(text)


class _Reader:
    def __init__(
        self, path: str, shared: dict[str, str], found: list[Stanza], seen: list[str]
    ) -> None:
        self._path = path
        self._shared = shared
        self._found = found
        self._seen = seen
        self._patterns: list[str] = []
        self._open: Stanza | None = None

    def read(self, text: str) -> None:
        script = False
        for line in text.splitlines():
            words = _words(line)
            if script:
                script = words != ["endscript"]
            elif words and words[0] in _SCRIPTS:
                script = True
            elif words:
                self._line(words)

    def _line(self, words: list[str]) -> None:
        if self._open is not None:
            if words[0] == "}":
                self._open = None
            else:
                _set(self._open.settings, words)
        elif words[-1] == "{":
            patterns = (*self._patterns, *words[:-1])
            self._open = Stanza(self._path, patterns, dict(self._shared))
            self._found.append(self._open)
            self._patterns = []
        elif words[0].startswith("/"):
            self._patterns += words
        elif words[0] == "include" and len(words) > 1:
            _read(words[1], self._shared, self._found, self._seen)
        else:
            _set(self._shared, words)


def _words(line: str) -> list[str]:
    text = line.strip()
    if not text or text.startswith("#"):
        return []
    # "/var/log/x{" is a pattern and a brace.
    spaced = text[:-1] + " {" if text.endswith("{") else text
    try:
        return shlex.split(spaced)
    except ValueError:
        return spaced.split()


def _set(settings: dict[str, str], words: list[str]) -> None:
    name, value = words[0], words[1] if len(words) > 1 else ""
    if name in _PERIODS:
        settings["period"] = name
        for by_size in ("size",):
            settings.pop(by_size, None)
    elif name in ("rotate", "maxage", "size", "maxsize"):
        settings[name] = value.lstrip("= ")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _matches(path: str, pattern: str) -> bool:
    have, want = path.split("/"), pattern.split("/")
    return len(have) == len(want) and all(map(fnmatch.fnmatchcase, have, want))
