# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the byte code of what a module imports from its archive, as Python does elsewhere.

Python compiles all of an archive each time a module runs, a second for the largest of ours. What
is kept here has the digest of its source for a name: another source is compiled.
"""

import _imp
import marshal
import os
import sys
import zipimport

_compile = zipimport._compile_source


def _kept(path, source):
    """What Python compiled from exactly this source before, or compiles now."""
    name = f"{sys.hexversion:x}-{_imp.source_hash(len(source), source).hex()}"
    place = os.path.join(os.environ["KEPT_BYTE_CODE"], name)
    try:
        with open(place, "rb") as file:
            code = marshal.loads(file.read())
    except OSError:
        return _compiled(path, source, place)
    _imp._fix_co_filename(code, path)
    return code


def _compiled(path, source, place):
    code = _compile(path, source)
    # Others may write the same at the same time, and nobody may read half of it.
    part = f"{place}.{os.getpid()}"
    with open(part, "wb") as file:
        file.write(marshal.dumps(code))
    os.rename(part, place)
    return code


if "KEPT_BYTE_CODE" in os.environ:
    zipimport._compile_source = _kept
