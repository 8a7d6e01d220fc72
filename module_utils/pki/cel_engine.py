# SPDX-License-Identifier: GPL-3.0-or-later
"""The CEL engine without its command line.

``import cel`` also imports the package's command line and with it two terminal libraries:
0.28 of its 0.29 CPU seconds (measured), in every module run. Nothing of it is used here,
so an empty module stands in its place while the engine is imported, and only then.
"""

from __future__ import annotations

import sys
from types import ModuleType

_NAME = "cel.cli"

if _NAME in sys.modules or "cel" in sys.modules:
    import cel
else:
    sys.modules[_NAME] = ModuleType(_NAME)
    try:
        import cel
    finally:
        del sys.modules[_NAME]
        if "cel" in sys.modules:
            vars(sys.modules["cel"]).pop("cli", None)

Context = cel.Context
Program = cel.Program
compile_expression = cel.compile

__all__ = ["Context", "Program", "compile_expression"]
