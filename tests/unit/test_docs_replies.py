# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about replies: its program runs, and its figures are the code's."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pki import acceptance, crl, path, policy_files, reading, reply
from unit import pki_factory as factory

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/replies.md").read_text()


def test_the_program_on_the_page_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    root = factory.authority("Root")
    issuing = root.authority("Issuing", path_length=0)
    leaf = issuing.leaf()
    names = {
        "pasted": leaf,
        "request_csr": factory.request(),
        "root": root.der,
        "issuing": issuing.der,
        "issuing_sha256": hashlib.sha256(issuing.der).hexdigest(),
        "crls": [root.crl(), issuing.crl()],
        "leaf": leaf,
        "intermediates": [issuing.der],
        "anchors": [root.der],
        "now": factory.NOW,
        "spki_der": b"",
        "signature_octets": b"",
        "message": b"",
    }
    program = program.replace("energydip-nonprod.example-energy.co.uk", factory.CN)
    exec(compile(program, "docs/replies.md", "exec"), names)
    accepted, chain = names["accepted"], names["chain"]
    assert isinstance(accepted, reply.Accepted)
    assert accepted.chain == (leaf, issuing.der)
    assert chain == [leaf, issuing.der, root.der]
    assert names["good"] is False


def test_the_bounds_on_the_page_are_the_codes() -> None:
    assert f"{reading.MAX_FILES} files of {reading.MAX_BYTES >> 20} MB together" in PAGE
    assert f"{reading.MAX_CERTIFICATES} certificates, {reply.MAX_CANDIDATES} of one key" in PAGE
    assert f"each at most {reading.MAX_CERTIFICATE_BYTES >> 10} kB" in PAGE
    assert f"| a path | {path.MAX_CHAIN} certificates |" in PAGE
    assert f"| a CRL | {crl.MAX_CRL_BYTES >> 20} MB;" in PAGE
    assert f"`judgement_seconds` and {acceptance.MEMORY >> 30} GB" in PAGE


def test_the_limits_of_keys_on_the_page_are_the_policys() -> None:
    policies = policy_files.load_policies(ROOT / "policies", ["mhhs-dip"]).values()
    for policy in policies:
        assert policy.parameter("public_exponents") == [65537]
        assert f"{policy.number('key_factors_below'):,}" in PAGE
        assert f"{policy.number('key_fermat_rounds')} rounds" in PAGE
