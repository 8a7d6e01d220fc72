# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the timers: the bytes that ran here, whole, compiled, and healed when touched."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pki_host import crl_program
from pki_host.errors import HostError

MODULES = Path(crl_program.__file__).parents[1]
BARE = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def program() -> crl_program.Program:
    return crl_program.own()


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, program: crl_program.Program) -> Path:
    place = tmp_path_factory.mktemp("program") / "pki-crl"
    crl_program.install(str(place), program)
    return place


@pytest.fixture
def installed(tmp_path: Path, once: Path) -> Path:
    """A copy, as every install waits for the disk some hundred times."""
    return Path(shutil.copytree(once, tmp_path / "pki-crl", symlinks=True))


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *crl_program.OPTIONS.split(), str(path), *arguments],
        env=BARE,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_programs_hold_every_module_they_import_also_late(program: crl_program.Program) -> None:
    needed = {
        "crl_guard.py",
        "crl_refresh.py",
        "crl_watch.py",
        "crl_switch.py",
        "files.py",
        "errors.py",
        "gateways/__init__.py",
        "gateways/nginx/__init__.py",
        "gateways/haproxy/reader.py",
        "__init__.py",
    }
    assert needed <= {path.removeprefix("pki_host/") for path in program.files}
    for path, data in program.files.items():
        if path.startswith("pki_host/"):
            assert data == (MODULES / path).read_bytes()


def test_nothing_of_a_run_comes_with_them(program: crl_program.Program) -> None:
    names = {Path(path).stem for path in program.files}
    assert not names & {"crl_program", "crl_units", "pull", "firewall", "release", "unwrap"}


@pytest.mark.parametrize("name", ["guard.py", "refresh.py"])
def test_a_program_runs_in_a_bare_environment(installed: Path, tmp_path: Path, name: str) -> None:
    done = run(installed / "current" / name, "--root", str(tmp_path / "crl"))
    assert "Traceback" not in done.stderr
    assert "ModuleNotFoundError" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_guard_starts_without_network_code(installed: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(installed / 'current')!r});"
        "import pki_host.crl_guard;"
        "print(sorted({'ssl', 'http.client', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_second_run_finds_nothing_to_do(installed: Path, program: crl_program.Program) -> None:
    assert crl_program.problem(str(installed), program) == ""
    assert crl_program.problem(str(installed), crl_program.own()) == ""
    assert (installed / "current").readlink().name == program.digest


def test_it_is_the_same_program_from_a_zip_as_from_a_directory(
    tmp_path: Path, program: crl_program.Program
) -> None:
    """As Ansible brings it: below ``ansible.module_utils``, imported from a zip."""
    packed = tmp_path / "payload.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ansible/__init__.py", "")
        archive.writestr("ansible/module_utils/__init__.py", "")
        for path in (MODULES / "pki_host").rglob("*.py"):
            archive.write(path, f"ansible/module_utils/{path.relative_to(MODULES)}")
        # A zip may bring compiled modules as well; what is put on the host is the source.
        guard = MODULES / "pki_host" / "crl_guard.py"
        py_compile.compile(str(guard), str(tmp_path / "crl_guard.pyc"))
        archive.write(tmp_path / "crl_guard.pyc", "ansible/module_utils/pki_host/crl_guard.pyc")
    code = (
        f"import sys; sys.path.insert(0, {str(packed)!r});"
        "from ansible.module_utils.pki_host import crl_program as p;"
        f"p.install({str(tmp_path / 'from-zip')!r}, p.own())"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    assert crl_program.problem(str(tmp_path / "from-zip"), program) == ""
    done = run(tmp_path / "from-zip" / "current" / "guard.py", "--root", str(tmp_path / "crl"))
    assert done.returncode == 0, done.stderr


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n# edited\n")


def _replace_by_link(path: Path) -> None:
    copy = path.with_name("elsewhere")
    path.rename(copy)
    path.symlink_to(copy)


TOUCHED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an edited module": ("pki_host/crl_guard.py", _edit),
    "an edited launcher": ("guard.py", _edit),
    "a module that is gone": ("pki_host/files.py", Path.unlink),
    "a link instead of a module": ("pki_host/errors.py", _replace_by_link),
    "a module anybody may write": ("pki_host/files.py", lambda path: path.chmod(0o666)),
    "a directory anybody may write": ("pki_host", lambda path: path.chmod(0o777)),
    "a module that shadows the library": ("json.py", lambda path: path.write_text("")),
    "a damaged compiled file": (
        f"pki_host/__pycache__/files.{sys.implementation.cache_tag}.pyc",
        lambda path: path.write_bytes(path.read_bytes()[:200]),
    ),
    "a compiled file of other code": (
        f"pki_host/__pycache__/files.{sys.implementation.cache_tag}.pyc",
        lambda path: path.write_bytes(
            path.read_bytes()[:16]
            + path.with_name(path.name.replace("files", "errors")).read_bytes()[16:]
        ),
    ),
}


@pytest.mark.parametrize("case", TOUCHED)
def test_what_was_touched_is_found_and_put_back(
    installed: Path, program: crl_program.Program, case: str
) -> None:
    path, touch = TOUCHED[case]
    touch(installed / "current" / path)
    assert crl_program.problem(str(installed), program) != ""
    crl_program.install(str(installed), program)
    assert crl_program.problem(str(installed), program) == ""


def test_another_interpreter_s_compiled_files_are_no_change(
    installed: Path, program: crl_program.Program
) -> None:
    other = installed / "current" / "pki_host" / "__pycache__" / "files.cpython-39.pyc"
    other.write_bytes(b"")
    other.chmod(0o644)
    assert crl_program.problem(str(installed), program) == ""


def test_the_version_that_may_still_run_stays_and_older_ones_go(
    installed: Path, program: crl_program.Program
) -> None:
    versions = [
        crl_program.Program({**program.files, "guard.py": f"# {n}\n".encode()}) for n in range(3)
    ]
    for version in versions:
        crl_program.install(str(installed), version)
    left = {path.name for path in installed.iterdir()}
    assert left == {"current", versions[1].digest, versions[2].digest}


def test_what_a_killed_install_left_is_swept_and_was_never_in_use(
    installed: Path, program: crl_program.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = crl_program.Program({**program.files, "guard.py": b"# newer\n"})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(crl_program.files, "move_directory", killed)
        with pytest.raises(KeyboardInterrupt):
            crl_program.install(str(installed), newer)
    assert crl_program.problem(str(installed), program) == ""
    crl_program.install(str(installed), newer)
    assert {path.name for path in installed.iterdir()} == {
        "current",
        program.digest,
        newer.digest,
    }


def test_a_directory_through_which_others_decide_is_refused(
    tmp_path: Path, program: crl_program.Program
) -> None:
    (tmp_path / "pki-crl").mkdir()
    (tmp_path / "pki-crl").chmod(0o777)
    with pytest.raises(HostError) as caught:
        crl_program.install(str(tmp_path / "pki-crl"), program)
    assert caught.value.rule == "FILE-UNSAFE"


def test_removing_leaves_what_is_not_ours(installed: Path) -> None:
    (installed / "notes.txt").write_text("mine")
    assert crl_program.remove(str(installed))
    assert [path.name for path in installed.iterdir()] == ["notes.txt"]
    assert not crl_program.remove(str(installed))


def test_removing_leaves_no_directory_behind(installed: Path) -> None:
    crl_program.remove(str(installed))
    assert not installed.exists()
