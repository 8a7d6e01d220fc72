# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of ``pki_request``: shows each key while the module still works.

A module's output is seen when it ends, and a hundred RSA-4096 keys take minutes. So the module
appends a line to a file for each of them, and this plugin shows the lines meanwhile. Everything
else is what Ansible does for any module.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager

from ansible import constants as C
from ansible.plugins.action import normal
from ansible.utils.display import Display

PAUSE_SECONDS = 0.25
LONGEST_LINE = 300


class ActionModule(normal.ActionModule):
    """See the documentation of the module of the same name."""

    def _execute_module(self, module_name=None, module_args=None, **options):
        arguments = dict(self._task.args if module_args is None else module_args)
        if options.get("wrap_async") or not self._is_worth_watching(arguments):
            return super()._execute_module(
                module_name=module_name, module_args=arguments, **options
            )
        with watched(_show) as path:
            arguments["progress_file"] = path
            return super()._execute_module(
                module_name=module_name, module_args=arguments, **options
            )

    def _is_worth_watching(self, arguments):
        """Whether there are keys to make, by a process that shares this machine's files."""
        if self._task.check_mode or self._connection.transport != "local":
            return False
        return not arguments.get("progress_file") and any(
            isinstance(action, Mapping) and action.get("kind") == "create_key"
            for action in arguments.get("actions") or ()
        )


def _show(line):
    """On standard error: it is not held back when the output is no terminal, and whoever reads a
    result from standard output, as the json callback writes it, is not disturbed."""
    Display().display(line, stderr=True)


@contextmanager
def watched(show: Callable[[str], None]):
    """The path of an empty file; what is appended to it is shown, line by line, until the end."""
    with tempfile.TemporaryDirectory(prefix="progress-", dir=C.DEFAULT_LOCAL_TMP) as folder:
        path = os.path.join(folder, "lines")
        with open(path, "xb", buffering=0), open(path, "rb") as lines:
            ended = threading.Event()
            watcher = threading.Thread(target=_watch, args=(lines, show, ended), daemon=True)
            watcher.start()
            try:
                yield path
            finally:
                ended.set()
                watcher.join()


def _watch(lines, show, ended):
    """Show whole lines as they come, and what is left when the writer has ended."""
    rest = b""
    while True:
        last = ended.wait(PAUSE_SECONDS)
        rest += lines.read()
        *whole, rest = rest.split(b"\n")
        for line in whole:
            show(_printable(line))
        if last:
            return


def _printable(line):
    text = line.decode(errors="replace")[:LONGEST_LINE]
    return "".join(character if character.isprintable() else "?" for character in text)
