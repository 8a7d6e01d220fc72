# SPDX-License-Identifier: GPL-3.0-or-later
"""The two programs of the timers, put on the host from the very code that is running now.

Whatever runs here was brought by a module: from a zip on its way, or from a directory. The same
bytes go to a place of their own, so that timers and modules can never be two versions of one
judgement::

    <program_dir>/<16 hex of the digest of all files>[.n]/refresh.py, guard.py, pki_host/*.py
    <program_dir>/current -> the directory in use          (switched when it is whole)

A program that is running keeps its modules: the directory that was in use before stays until the
next change. Nothing is read from the environment or from a user's directories (``-I -S``).
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import marshal
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from typing import Any

from . import files
from .errors import HostError

PROGRAM_DIR = "/usr/local/lib/pki-crl"
CURRENT = "current"
#: What a unit starts -> the module of this package that does it. Not imported here: whoever looks
#: at timers needs neither. Who installs imports both, so that they are part of what was brought.
PROGRAMS = {"guard.py": "crl_guard", "refresh.py": "crl_refresh"}
#: Options of the interpreter: isolated, without site-packages, and without writing anything.
OPTIONS = "-I -S -B"

_PACKAGE = __name__.rpartition(".")[0]
_NAME = _PACKAGE.rpartition(".")[2]
_DIRECTORY = re.compile(r"[0-9a-f]{16}(?:\.[0-9]+)?")
# Compiled files say that they were compared with their source by its hash (PEP 552).
_CHECKED_HASH = (0b11).to_bytes(4, "little")
_LAUNCHER = """\
# Managed by Ansible. Started by a timer: {name} --root <directory of the CRL sets>.
import os
import sys

# By its real place: the link that leads here may be switched while this runs.
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from {package}.{module} import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Program:
    """All files, by path below the directory of the program."""

    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """16 hex digits over every path and all bytes."""
        lines = [f"{files.sha256(data)} {path}\n" for path, data in sorted(self.files.items())]
        return files.sha256("".join(lines).encode())[:16]

    def write(self, directory: str, destination: str) -> None:
        """Fill ``directory``, compiled for this interpreter as if it were at ``destination``."""
        for path in _directories(self.files):
            _make(os.path.join(directory, path))
        for path, data in self.files.items():
            _write(os.path.join(directory, path), data)
        for path in self._imported:
            compiled = _compiled(os.path.join(destination, path), self.files[path])
            _write(os.path.join(directory, _cache(path)), compiled)
        os.chmod(directory, files.DIRECTORY)

    def problem(self, directory: str) -> str:
        """Why ``directory`` is not this program; empty when it is. Compares every byte."""
        found = dict(_tree(directory))
        for path in sorted(self.files):
            if path not in found:
                return f"{path} is missing"
            if files.read(os.path.join(directory, path)) != self.files[path]:
                return f"{path} was changed"
        for path in self._imported:
            if not self._is_compiled(directory, path):
                return f"{_cache(path)} is not what this interpreter makes of its source"
        return _unwanted(found, self.files)

    @property
    def _imported(self) -> list[str]:
        """The files that the interpreter compiles once; what it starts with it always compiles."""
        return sorted(path for path in self.files if "/" in path)

    def _is_compiled(self, directory: str, path: str) -> bool:
        data = files.read(os.path.join(directory, _cache(path))) or b""
        header = _header(self.files[path])
        if data[: len(header)] != header:
            return False
        try:
            code = marshal.loads(data[len(header) :])
        except (ValueError, EOFError, TypeError):
            return False
        return bool(code == _code(os.path.join(directory, path), self.files[path]))


def own() -> Program:
    """The programs and every module they need, from where the running code came from."""
    packed = {_path(spec): _source(spec) for spec in _modules().values()}
    for name, module in PROGRAMS.items():
        text = _LAUNCHER.format(name=name, package=_NAME, module=module)
        packed[name] = text.encode()
    return Program(packed)


def interpreter() -> str:
    """The Python of this run by a name that outlives an upgrade of it."""
    stable = os.path.join(os.path.dirname(sys.executable), "python3")
    same = os.path.realpath(stable) == os.path.realpath(sys.executable)
    return stable if same else sys.executable


def problem(program_dir: str, program: Program) -> str:
    """Why the program in use on this host is another one; empty when it is this one."""
    name = files.link_target(os.path.join(program_dir, CURRENT))
    if name is None or not _DIRECTORY.fullmatch(name):
        return "not on this host"
    if name[:16] != program.digest:
        return f"another version, {name}"
    return program.problem(os.path.join(program_dir, name))


def install(program_dir: str, program: Program) -> None:
    """Put the program into a directory of its own and let ``current`` lead there.

    Call it under the lock of the CRL root. Killed anywhere it leaves the program before, whole.
    """
    files.make_directory(program_dir)
    files.require_own(program_dir)
    files.sweep_directories(program_dir)
    files.sweep_links(program_dir)
    current = os.path.join(program_dir, CURRENT)
    before = files.link_target(current)
    name = _free_name(program_dir, program.digest)
    destination = os.path.join(program_dir, name)
    staged = files.new_directory(program_dir)
    program.write(staged, destination)
    files.move_directory(staged, destination)
    files.link(current, name)
    for old in _installed(program_dir):
        if old not in (name, before):
            files.discard_directory(os.path.join(program_dir, old))


def is_there(program_dir: str) -> bool:
    """Whether any version is on this host."""
    current = files.link_target(os.path.join(program_dir, CURRENT))
    return current is not None or bool(_installed(program_dir))


def remove(program_dir: str) -> bool:
    """Take every version away, and the directory once it is empty; True if there was one."""
    there = is_there(program_dir)
    files.remove(os.path.join(program_dir, CURRENT))
    for name in _installed(program_dir):
        files.discard_directory(os.path.join(program_dir, name))
    files.sweep_directories(program_dir)
    with contextlib.suppress(OSError):  # somebody else's files in it, or no such directory
        os.rmdir(program_dir)
    return there


def _installed(program_dir: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(name for name in os.listdir(program_dir) if _DIRECTORY.fullmatch(name))
    return []


def _free_name(program_dir: str, digest: str) -> str:
    """A damaged directory of the same program is not repaired under the feet of who runs it."""
    taken = set(_installed(program_dir))
    number = 1
    while (name := digest if number == 1 else f"{digest}.{number}") in taken:
        number += 1
    return name


# -- the source of what runs ----------------------------------------------------------------------


def _modules() -> dict[str, ModuleSpec]:
    """Every module of this package that the programs import, at once or later, by full name."""
    found: dict[str, ModuleSpec] = {}
    roots = [f"{_PACKAGE}.{name}" for name in PROGRAMS.values()]
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or not f"{name}.".startswith(f"{_PACKAGE}."):
            continue
        spec = _spec(name)
        if spec is None:
            continue  # a name in a package that is no module of it
        found[name] = spec
        waiting.append(name.rpartition(".")[0])
        waiting.extend(_imports(spec))
    for name in roots:
        if name not in found:
            raise _unreadable(name, "no such module", _PACKAGE)
    return found


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:  # its parent is no package
        return None


def _imports(spec: ModuleSpec) -> Iterator[str]:
    """What a module may import from its own package; some of the names are no modules."""
    tree = ast.parse(_source(spec))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = spec.name if spec.submodule_search_locations is not None else spec.parent or ""
            for _ in range(node.level - 1):
                base = base.rpartition(".")[0]
            target = f"{base}.{node.module}" if node.module else base
            yield target
            yield from (f"{target}.{alias.name}" for alias in node.names)


def _path(spec: ModuleSpec) -> str:
    parts = (
        [_NAME, *spec.name[len(_PACKAGE) + 1 :].split(".")] if spec.name != _PACKAGE else [_NAME]
    )
    if spec.submodule_search_locations is not None:
        return "/".join([*parts, "__init__.py"])
    return "/".join(parts) + ".py"


def _source(spec: ModuleSpec) -> bytes:
    loader: Any = spec.loader
    try:
        # By the loader and not from its file: in a zip that may be a compiled one.
        text = loader.get_source(spec.name)
    except (AttributeError, ImportError, OSError) as exc:
        raise _unreadable(spec.name, type(exc).__name__, str(spec.origin)) from None
    if text is None:
        raise _unreadable(spec.name, "no source beside what is compiled", str(spec.origin))
    return str(text).encode()


def _unreadable(name: str, found: str, where: str) -> HostError:
    return HostError(
        "the program of the CRL timers cannot be read from the module that brings it",
        rule="CRL-PROGRAM",
        found=f"{name}: {found}",
        expected="source code",
        where=where,
        next_step="run again; tell the maintainers if it stays",
    )


# -- files ----------------------------------------------------------------------------------------


def _code(path: str, data: bytes) -> Any:
    return compile(data, path, "exec", dont_inherit=True, optimize=0)


def _header(data: bytes) -> bytes:
    return importlib.util.MAGIC_NUMBER + _CHECKED_HASH + importlib.util.source_hash(data)


def _compiled(path: str, data: bytes) -> bytes:
    return _header(data) + marshal.dumps(_code(path, data))


def _cache(path: str) -> str:
    parent, name = os.path.split(path)
    return os.path.join(parent, "__pycache__", f"{name[:-3]}.{sys.implementation.cache_tag}.pyc")


def _directories(paths: Mapping[str, bytes]) -> list[str]:
    parents = {os.path.dirname(path) for path in paths} - {""}
    return sorted({*parents, *(os.path.join(parent, "__pycache__") for parent in parents)})


def _make(path: str) -> None:
    with files.explained(path):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, files.DIRECTORY)


def _write(path: str, data: bytes) -> None:
    files.write(path, data, files.PUBLIC)


def _tree(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below the directory, and itself as an empty name; links are not followed."""
    with contextlib.suppress(FileNotFoundError):
        yield "", os.lstat(directory)
    for parent, names, others in os.walk(directory):
        for name in (*names, *others):
            path = os.path.join(parent, name)
            yield os.path.relpath(path, directory), os.lstat(path)


def _unwanted(found: Mapping[str, os.stat_result], wanted: Mapping[str, bytes]) -> str:
    """What is beside the program's files, or not as only its owner may change it."""
    directories = {"", *_directories(wanted)}
    for path, status in sorted(found.items()):
        # Another interpreter's compiled files; this one never reads them.
        foreign = os.path.basename(os.path.dirname(path)) == "__pycache__"
        known = path in wanted or path in directories or foreign
        if not known:
            return f"{path} is not part of it"
        mode = files.DIRECTORY if path in directories else files.PUBLIC
        if status.st_mode & 0o7777 != mode or status.st_uid != os.geteuid():
            return f"{path or 'its directory'} has mode {status.st_mode & 0o7777:04o}" + (
                f" and belongs to uid {status.st_uid}"
            )
    return ""
