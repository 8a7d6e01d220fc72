# SPDX-License-Identifier: GPL-3.0-or-later
"""No key file is readable by others, not for an instant: read from the system calls.

A test that looks at the mode afterwards cannot see the moment between creating a file and
narrowing it. So every process of a delivery is traced, and each file's modes are replayed
from the calls that made them. The replay itself is tried on programs that do it wrong.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from integration.canary import explain
from integration.watched_lab import WatchedLab

pytestmark = [pytest.mark.integration, pytest.mark.lab]

# A question mark lets strace pass over a call that it or this architecture does not know.
CALLS = (
    "?open,openat,?creat,?chmod,fchmod,fchmodat,?fchmodat2,?rename,?renameat,renameat2,"
    "?link,linkat,?unlink,unlinkat,umask,write,pwrite64,writev,sendfile,copy_file_range,"
    "execve,clone,?clone3,?fork,?vfork"
)
OTHERS = 0o077
SECRET = "PRIVATE KEY-----"


def strace(log: Path) -> list[str]:
    program = shutil.which("strace")
    assert program, (
        "strace is not installed, and only the system calls show whether a key file was ever "
        "readable by others: install the package `strace` (apt-get install strace)"
    )
    return [
        program,
        "-f",
        "--seccomp-bpf",
        "-y",
        "-s",
        "1024",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(log),
    ]


# -- the replay ------------------------------------------------------------------------------


@dataclass
class File:
    """One file through all its names; ``modes`` are all it ever had, in order."""

    names: list[str]
    modes: list[int] = field(default_factory=list)
    holds_key: bool = False


@dataclass
class Replay:
    """The files that traced processes made or touched."""

    umask: int
    files: list[File] = field(default_factory=list)
    _by_name: dict[str, File] = field(default_factory=dict)
    _umasks: dict[str, int] = field(default_factory=dict)
    _parents: dict[str, str] = field(default_factory=dict)
    argv: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, log: Path, umask: int) -> Replay:
        replay = cls(umask)
        calls = list(_calls(log.read_text(encoding="utf-8", errors="replace")))
        for pid, name, _arguments, result in calls:
            if name in ("clone", "clone3", "fork", "vfork") and result.isdigit():
                replay._parents.setdefault(result, pid)
        for pid, name, arguments, result in calls:
            if not result.startswith("-1") and not result.startswith("?"):
                replay._apply(pid, name, arguments, result)
        return replay

    def keys(self, *names: str) -> list[File]:
        """Files that a key was written into, or that ever had one of these base names."""
        return [
            file
            for file in self.files
            if file.holds_key or any(os.path.basename(name) in names for name in file.names)
        ]

    def _umask_of(self, pid: str) -> int:
        while pid not in self._umasks and pid in self._parents:
            pid = self._parents[pid]
        return self._umasks.get(pid, self.umask)

    def _apply(self, pid: str, name: str, arguments: str, result: str) -> None:
        if name == "execve":
            self.argv.append(arguments)
        elif name == "umask":
            self._umasks[pid] = int(arguments.strip(), 8)
        elif name in ("clone", "clone3", "fork", "vfork"):
            # A child has its parent's umask of this moment, whatever happens later.
            self._umasks.setdefault(result.split("<")[0], self._umask_of(pid))
        elif name in ("open", "openat", "creat"):
            self._opened(pid, name, arguments, result)
        elif name in ("chmod", "fchmod", "fchmodat", "fchmodat2"):
            self._changed(name, arguments)
        elif name.startswith(("rename", "link")):
            self._moved(name, arguments)
        elif name.startswith("unlink"):
            self._by_name.pop(_paths(arguments)[0], None)
        elif name in ("write", "pwrite64", "writev", "sendfile", "copy_file_range"):
            self._written(name, arguments)

    def _opened(self, pid: str, name: str, arguments: str, result: str) -> None:
        if name != "creat" and "O_CREAT" not in arguments and "O_TMPFILE" not in arguments:
            return
        path = _descriptor(result)
        if path in self._by_name:  # opened again: creating flags change no mode
            return
        asked = re.search(r", (0[0-7]*)$", arguments)
        mode = int(asked.group(1), 8) if asked else 0o777
        self._file(path).modes.append(mode & ~self._umask_of(pid))

    def _changed(self, name: str, arguments: str) -> None:
        path = _descriptor(arguments) if name == "fchmod" else _paths(arguments)[0]
        modes = re.findall(r", (0[0-7]*)(?:,|$)", arguments)
        self._file(path).modes.append(int(modes[0], 8))

    def _moved(self, name: str, arguments: str) -> None:
        old, new = _paths(arguments)
        file = self._file(old)
        file.names.append(new)
        self._by_name[new] = file
        if name.startswith("rename"):
            self._by_name.pop(old, None)

    def _written(self, name: str, arguments: str) -> None:
        targets = re.findall(r"\d+<([^>]*)>", arguments)
        if not targets:
            return
        target = targets[1] if name == "copy_file_range" else targets[0]
        if not target.startswith("/") or target.startswith(("/dev/", "/proc/")):
            return
        if SECRET in arguments:
            self._file(target).holds_key = True

    def _file(self, path: str) -> File:
        if path not in self._by_name:
            self._by_name[path] = File([path])
            self.files.append(self._by_name[path])
        return self._by_name[path]


_LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)\)\s+= (.+)$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$")


def _calls(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Process, call, arguments, result; a call that was interrupted is put together again."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        if waiting := _UNFINISHED.match(line):
            begun[waiting.group(1)] = f"{waiting.group(1)} {waiting.group(2)}({waiting.group(3)}"
            continue
        if resumed := _RESUMED.match(line):
            line = begun.pop(resumed.group(1), "") + resumed.group(3)
        if whole := _LINE.match(line):
            pid, name, arguments, result = whole.groups()
            yield pid, name, arguments, result


def _descriptor(text: str) -> str:
    """The path strace shows for a descriptor: ``7</path>``."""
    found = re.match(r"\d+<([^>]*)>", text)
    assert found, text
    return found.group(1)


def _paths(arguments: str) -> list[str]:
    """Absolute paths of quoted names, relative to the directory shown before each."""
    found = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', arguments)
    return [os.path.normpath(os.path.join(base, name)) for base, name in found]


def current_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def offenders(files: list[File]) -> list[str]:
    return [
        f"{file.names[-1]} had modes {', '.join(f'{mode:04o}' for mode in file.modes)}"
        for file in files
        if any(mode & OTHERS for mode in file.modes)
    ]


# -- the replay sees what is wrong -----------------------------------------------------------

PEM = "-----BEGIN PRIVATE KEY-----\\nMIIB\\n-----END PRIVATE KEY-----\\n"
START = f"import os, sys; home = sys.argv[1]; pem = b'{PEM}'; path = home + '/key.pem'\n"
SAFE = """
fd = os.open(home + '/t', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
os.write(fd, pem); os.fchmod(fd, 0o600); os.close(fd); os.rename(home + '/t', path)
"""
WRONG = {
    "moved into place, then opened to the default mode and narrowed again": SAFE
    + "os.chmod(path, 0o644); os.chmod(path, 0o600)",
    "created by the umask and narrowed afterwards": """
os.umask(0o022)
with open(path, 'wb') as file: file.write(pem)
os.chmod(path, 0o600)""",
    "created by the umask of a parent": """
os.umask(0o022)
if os.fork() == 0:
    with open(path, 'wb') as file: file.write(pem)
    os.chmod(path, 0o600)
    os._exit(0)
os.wait()""",
    "widened by descriptor under its temporary name": """
fd = os.open(home + '/t', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
os.write(fd, pem); os.fchmod(fd, 0o640); os.fchmod(fd, 0o600); os.rename(home + '/t', path)""",
    "written under another name in a relative directory": """
os.chdir(home); os.umask(0o022)
fd = os.open('notes.txt', os.O_WRONLY | os.O_CREAT, 0o604)
os.write(fd, pem); os.close(fd); os.chmod('notes.txt', 0o600)""",
    "widened through a directory's descriptor": SAFE
    + """
d = os.open(home, os.O_RDONLY); os.chmod('key.pem', 0o604, dir_fd=d); os.unlink(path)""",
    "widened through a second name": SAFE
    + "os.link(path, home + '/other'); os.chmod(home + '/other', 0o660); os.chmod(path, 0o600)",
}


def traced(tmp_path: Path, program: str) -> Replay:
    log = tmp_path / "strace.log"
    done = subprocess.run(
        [*strace(log), sys.executable, "-I", "-S", "-c", START + program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Replay.of(log, current_umask())


@pytest.mark.parametrize("program", WRONG.values(), ids=WRONG)
def test_the_replay_notices_a_key_file_that_is(program: str, tmp_path: Path) -> None:
    assert offenders(traced(tmp_path, program).keys("key.pem"))


def test_the_replay_is_content_with_a_key_file_created_private(tmp_path: Path) -> None:
    keys = traced(tmp_path, SAFE).keys("key.pem")
    assert [file.modes for file in keys] == [[0o600, 0o600]]
    assert keys[0].names == [f"{tmp_path}/t", f"{tmp_path}/key.pem"]
    assert keys[0].holds_key


# -- what the product and the lab do ---------------------------------------------------------


PRIVATE_FILES = ("key.pem", "some.secret_id", "unseal.key", "server.key")


@dataclass(frozen=True)
class Traced:
    replay: Replay
    root: Path
    log: Path


@pytest.fixture(scope="module")
def traced_lab(watched_lab: WatchedLab) -> Traced:
    """Everything that writes a private file, done once more beside the running lab.

    With the widest umask there is: whoever relies on it is caught.
    """
    lab, root = watched_lab, watched_lab.work / "traced"
    release = root / "tls/dip-nonprod/releases" / lab.deployed()["id"]
    tls = {"ca": "ca.pem", "certificate": "server.pem", "key": "server.key"}
    private = {
        "credentials": [str(root / "some.secret_id")],
        "random_keys": [str(root / "unseal.key")],
        "tls": [{option: str(root / name) for option, name in tls.items()}],
    }
    peer = {"name": "someone", "mount": "pki-sibling", "common_name": "peer.dip.example"}
    peers = {
        "vault": lab.login("lab-ca"),
        "directory": str(root / "ca"),
        "ledger": str(root / "revocations.json"),
        "base_url": "http://127.0.0.1",
        "authorities": [],
        "vetting": {"mount": "pki-dca", "parameters": {}, "organisations": {}},
        "peers_directory": str(root / "peers"),
        "peers": [peer],
    }
    root.mkdir()
    log = lab.work / "strace.log"
    lab.play_tasks(
        "traced deliveries",
        [
            {"name": "Deliver", "pki_release": lab.delivery(root / "tls")},
            {
                "name": "Lose the key",
                "ansible.builtin.file": {"path": str(release / "key.pem"), "state": "absent"},
            },
            {"name": "Deliver again", "pki_release": lab.delivery(root / "tls")},
            {"name": "Make private files of a lab", "lab_files": private},
            {"name": "Make a peer of a lab", "lab_ca": peers},
        ],
        before=strace(log),
        umask=0,
    )
    return Traced(Replay.of(log, umask=0), root, log)


def test_no_key_file_is_ever_readable_by_others(traced_lab: Traced) -> None:
    keys = traced_lab.replay.keys(*PRIVATE_FILES)
    made = [file for file in keys if file.modes]
    names = sorted(os.path.basename(file.names[-1]) for file in made)
    assert names == ["key.pem", "key.pem", "key.pem", "server.key", "some.secret_id", "unseal.key"]
    assert offenders(keys) == []


def test_a_key_is_written_nowhere_but_below_its_final_directory(traced_lab: Traced) -> None:
    written = [file for file in traced_lab.replay.files if file.holds_key]
    assert len(written) == 4
    for file in written:
        folders = {os.path.dirname(name) for name in file.names}
        assert len(folders) == 1, file.names
        assert folders.pop().startswith(str(traced_lab.root)), file.names


def test_no_program_gets_a_secret_on_its_command_line(
    traced_lab: Traced, watched_lab: WatchedLab
) -> None:
    commands = "\n".join(traced_lab.replay.argv)
    assert "openssl" in commands, "the trace shows no command lines"
    scanner = watched_lab.scanner()
    for name in ("some.secret_id", "unseal.key"):
        scanner.add_text(name, (traced_lab.root / name).read_bytes().strip())
    found = scanner.scan_text(commands, "a command line")
    assert found == (), explain(found)
