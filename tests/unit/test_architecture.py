# SPDX-License-Identifier: GPL-3.0-or-later
"""The house's walls: who may import what, who may know what, and what YAML may decide."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pki.policy_files import load_policies, policy_names

ROOT = Path(__file__).parents[2]
PKI = ROOT / "module_utils" / "pki"
PKI_HOST = ROOT / "module_utils" / "pki_host"
PRODUCTS = re.compile(r"\b(nginx|haproxy|envoy|apache|httpd|stunnel|squid)\b", re.IGNORECASE)

# The floors of the house, from the ground up; an import only ever points down (or stays).
FLOORS = (
    (
        "errors",
        "commands",
        "der",
        "der_faults",
        "key_material",
        "signed_data",
        "reply_text",
        "mail",
        "cel_engine",
        "wrapping",
        "deliveries",
        "plain_files",
        "isolation",
        "private_directory",
        "scratch_tls",
        "snapshot_archive",
        "backup_records",
        "private_files",
        "terminal",
        "export_file",
        "brought_files",
        "vault_kv",
        "supervised",
        "records",
        "record_fields",
        "lifecycle",
        "windows",
        "firewall",
        "marked_yaml",
        "days",
        "trail",
        "trail_chain",
        "trail_file",
        "trail_run",
        "vault_ids",
        "git_log",
        "cel_tree",
        "cel_text",
    ),
    (
        "vault_credentials",
        "vault_settings",
        "vault_faults",
        "vault_login",
        "vault_connection",
        "plan_case",
        "plan_checks",
        "plan",
        "names",
        "x509_der",
        "policy",
        "expectation",
        "inventory_fields",
    ),
    (
        "policy_load",
        "revocation_cause",
        "revocation_record",
        "overlay",
        "waivers",
        "documents",
        "inventory_organisations",
        "inventory_renewal",
    ),
    (
        "vault",
        "vault_snapshots",
        "scratch_server",
        "policy_files",
        "policy_cases",
        "certs",
        "csr",
        "observed",
        "certificate_facts",
        "probe",
        "firewall_text",
        "download",
        "ask",
        "ocsp_query",
        "pkcs12_file",
        "signature",
        "path_profile",
        "key_hygiene",
    ),
    (
        "stores.base",
        "stores.remote_key",
        "stores.transit",
        "stores.transit_import",
        "key_import",
        "import_files",
        "stores.host",
        "stores.external",
        "stores",
        "inventory",
        "inventory_certificates",
        "inventory_trust",
        "ocsp_response",
        "crl",
        "crl_scope",
        "reading",
        "shipped",
    ),
    (
        "policy_test",
        "policy_lint",
        "lint_shapes",
        "lint_types",
        "lint_logic",
    ),
    (
        "revocation",
        "trust_files",
        "public_state",
        "gateway",
        "gateway.*",
        "declarations",
        "evidence_records",
        "ledger",
    ),
    ("crl_drop", "crl_fitness", "trust_generations", "crl_watching"),
    (
        "path",
        "report",
        "rollback",
        "host_status",
        "submission",
        "request_facts",
        "chain_facts",
        "crl_cache",
        "revocation_sources",
        "export_records",
        "export_passphrase",
        "key_place",
        "host_keys",
        "passphrases",
        "api_keys",
        "key_owner",
        "history",
        "outcomes",
        "story",
        "story_files",
        "revocation_text",
        "revocation_letters",
        "revocation_facts",
        "revocation_targets",
        "retirement",
        "out_of_service",
        "revoking",
        "key_withdrawal",
    ),
    ("reply", "review", "session", "keystores", "show", "preflight"),
    (
        "drill",
        "drill_run",
        "backup",
        "release_bundle",
        "held",
        "acceptance",
        "rollback_stage",
        "gather",
        "explaining",
        "explain_stage",
        "trust_decision",
        "request_stage",
        "revoke_stage",
        "request_batch",
        "desk",
        "export_stage",
        "exporting",
        "import_stage",
        "supply_stage",
        "reviewing",
        "accepted_record",
        "vault_policies",
    ),
    ("facts", "facts.scene", "inventory_files", "inventory_groups"),
    ("facts.*",),
    ("collecting", "checking"),
    ("reports", "reports.*"),
    ("check_run", "check", "parties", "party_view"),
)


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file as (level, dotted name); level 0 is absolute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.level, node.module
            else:
                yield from ((node.level, alias.name) for alias in node.names)


def top_level(path: Path) -> set[str]:
    return {name.split(".")[0] for level, name in imported(path) if level == 0}


def short_name(path: Path, base: Path) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def resolve(path: Path, level: int, name: str) -> str:
    """A relative import inside ``pki`` as the short name of the file it means."""
    folder = path.parent.relative_to(PKI).parts
    package = folder[: len(folder) - (level - 1)]
    return ".".join((*package, name))


def floor(name: str) -> int:
    package = f"{name.split('.')[0]}.*"
    for wanted in (name, package):
        for number, names in enumerate(FLOORS):
            if wanted in names:
                return number
    raise AssertionError(f"pki/{name}.py has no floor: say in FLOORS where it belongs")


@pytest.mark.parametrize("path", python_files(PKI), ids=lambda path: short_name(path, PKI))
def test_inside_pki_imports_point_down(path: Path) -> None:
    here = short_name(path, PKI)
    if not here:
        return
    for level, name in imported(path):
        if level == 0:
            assert not name.startswith(("pki", "ansible")), f"{path.name} imports {name}"
            continue
        target = resolve(path, level, name)
        assert floor(target) <= floor(here), f"{here} may not import {target}"


def test_only_the_vault_client_speaks_http_to_vault() -> None:
    rooms = ("module_utils", "library", "action_plugins", "filter_plugins", "roles")
    speakers = [
        str(path.relative_to(ROOT))
        for path in python_files(*(ROOT / room for room in rooms))
        if top_level(path) & {"hvac", "requests"}
    ]
    rooms = ("vault", "vault_connection", "vault_snapshots")
    assert speakers == [f"module_utils/pki/{room}.py" for room in rooms]


@pytest.mark.parametrize("name", ["lifecycle.py", "plan_checks.py", "plan.py", "policy.py"])
def test_plan_and_policy_have_no_clock_file_network_or_subprocess(name: str) -> None:
    text = (PKI / name).read_text()
    assert not top_level(PKI / name) & {
        "os", "io", "pathlib", "time", "socket", "subprocess", "urllib", "tempfile", "shutil",
        "ssl", "hvac", "requests", "logging",
    }  # fmt: skip
    calls = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"now", "utcnow", "today", "open", "read_text", "read_bytes", "getenv"}


@pytest.mark.parametrize(
    "path", python_files(PKI_HOST), ids=lambda path: short_name(path, PKI_HOST)
)
def test_what_runs_on_targets_is_standard_library_only(path: Path) -> None:
    foreign = top_level(path) - set(sys.stdlib_module_names)
    assert foreign == set()


def test_modules_leave_x509_to_module_utils() -> None:
    for path in python_files(ROOT / "library"):
        assert "cryptography" not in top_level(path), path.name
        assert "hvac" not in top_level(path), path.name


def test_modules_import_the_shell_and_one_side_of_the_house() -> None:
    """A module runs on the controller (pki) or on a target (pki_host), never on both."""
    for path in python_files(ROOT / "library"):
        names = {name for level, name in imported(path) if level == 0}
        sides = {
            side
            for side in ("pki", "pki_host")
            if any(re.match(rf"ansible\.module_utils\.{side}(\.|$)", name) for name in names)
        }
        assert len(sides) == 1, f"{path.name} imports {sides}"
        assert "ansible.module_utils.pki_ansible" in names, path.name


def test_every_main_is_the_one_that_catches_everything() -> None:
    modules = [*python_files(ROOT / "library"), *python_files(ROOT / "roles/lab/library")]
    assert modules
    for path in modules:
        tree = ast.parse(path.read_text())
        (main,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
        statements = [node for node in main.body if not is_docstring(node)]
        assert len(statements) == 1, f"{path.name}: main() is one call"
        (statement,) = statements
        assert isinstance(statement, ast.Expr), path.name
        assert isinstance(statement.value, ast.Call), path.name
        assert ast.unparse(statement.value.func) == "run_module", path.name


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def tracked_text() -> Iterator[tuple[Path, str]]:
    folders = ("library", "module_utils", "action_plugins", "filter_plugins", "roles", "playbooks",
               "policies")  # fmt: skip
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT)
            if path.is_file() and not any(p.startswith((".", "__pyc")) for p in inside.parts):
                yield inside, path.read_text()


# The one place that lists the adapters there are.
ADAPTERS = Path("module_utils/pki_host/gateways/__init__.py")


def test_no_product_is_named_outside_its_adapter() -> None:
    offenders = [
        f"{path}:{number}"
        for path, text in tracked_text()
        if "lab" not in path.parts
        and path.name not in ("lab.yml", "README.md")
        and not any(PRODUCTS.search(part) for part in path.parts)
        and path != ADAPTERS
        for number, line in enumerate(code(path, text).splitlines(), 1)
        if PRODUCTS.search(line)
    ]
    assert offenders == []


def test_nothing_of_the_product_mentions_the_lab() -> None:
    offenders = [
        f"{path}:{number}"
        for path, text in tracked_text()
        if not path.is_relative_to("roles/lab") and path != Path("playbooks/lab.yml")
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"(?<![a-z])lab(?![a-z])", line, re.IGNORECASE)
    ]
    assert offenders == []


# What YAML may not look at: that is plan.py's work.
FORBIDDEN = re.compile(
    r"not_after|not_before|days_left|serial|\.state\b|\bstate ==|\.version\b|version ==|\breason\b|"
    r"now\(|strftime|to_datetime|is file|is exists|is directory|\.stat\b|accepted\.yml|reply|"
    r"request\.csr|certificate\.pem"
)


def conditions() -> Iterator[tuple[str, str]]:
    """Every condition of every task outside the lab: when, failed_when, changed_when, until."""
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    files += [*(ROOT / "roles").glob("*/handlers/*.yml")]
    for path in sorted(files):
        if path.name == "lab.yml" or "lab" in path.parts:
            continue
        yield from walk(yaml.safe_load(path.read_text()), str(path.relative_to(ROOT)))


def walk(node: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for item in node:
            yield from walk(item, place)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("when", "failed_when", "changed_when", "until"):
                yield place, str(value)
            else:
                yield from walk(
                    value, f"{place}: {node.get('name', '')}" if key != "name" else place
                )


def test_yaml_decides_nothing_about_dates_versions_files_or_states() -> None:
    found = list(conditions())
    assert [(place, text) for place, text in found if FORBIDDEN.search(text)] == []


def test_the_walker_sees_conditions_and_would_see_a_forbidden_one() -> None:
    assert list(conditions()), "no condition found at all: the walker is blind"
    assert FORBIDDEN.search("certificate.days_left < 30")
    assert FORBIDDEN.search("certificates_stat.stat.exists")


def test_roles_do_not_hush_changes_or_errors() -> None:
    hush = re.compile(r"changed_when: *(false|no)\b|ignore_errors: *(true|yes)|failed_when: *false")
    offenders = [
        f"{path}:{number}"
        for path, text in tracked_text()
        if path.suffix == ".yml"
        for number, line in enumerate(text.splitlines(), 1)
        if hush.search(line)
    ]
    assert offenders == []


def test_pki_is_importable_without_ansible() -> None:
    import subprocess

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pki.reply, pki.path, sys; assert 'ansible' not in sys.modules",
        ],
        env={"PYTHONPATH": str(ROOT / "module_utils"), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0


# Numbers that mean something else as well: seconds of an hour and a day, days of a year, HTTP
# statuses, bounds of what is shown or read.
COMMON = {
    "100",
    "120",
    "200",
    "300",
    "201",
    "202",
    "204",
    "365",
    "400",
    "401",
    "403",
    "1000",
    "3600",
    "86400",
}
# Too short to be told apart by their length, and the policy's all the same.
SHORT = {"TLSv1.2", "TLSv1.3", "X25519"}
ELSEWHERE = {
    # transit's own key types and paddings, which a store must know by name
    "module_utils/pki/stores/transit.py: 4096",
    "module_utils/pki/stores/transit.py: pkcs1v15",
    # the names under which facts tell what they found in DER
    "module_utils/pki/observed.py: pkcs1v15",
    "module_utils/pki/x509_der.py: UTF8String",
    # the names under which facts tell how a PKCS #12 file is encrypted
    "module_utils/pki/pkcs12_file.py: aes-128-cbc",
    "module_utils/pki/pkcs12_file.py: aes-256-cbc",
    # what locks a key that a host keeps, under the name that openssl has for it
    "module_utils/pki_host/openssl.py: aes-256-cbc",
    # the key that a stranger makes up for one probe
    "module_utils/pki_host/probe_client.py: prime256v1",
    # the names under which a TLS library reports what was spoken
    "module_utils/pki/probe.py: TLSv1.2",
    "module_utils/pki/probe.py: TLSv1.3",
}


def scalars(value: object) -> Iterator[str]:
    """The numbers and words of a parameter that could be recognised elsewhere."""
    if isinstance(value, list):
        for item in value:
            yield from scalars(item)
    elif isinstance(value, dict):
        yield from scalars(list(value.values()))
    elif isinstance(value, str) and len(value) >= 8 and re.search(r"[0-9.:@-]", value):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 100:
        yield str(value)


def limits_of_the_policies() -> set[str]:
    policies = load_policies(ROOT / "policies", policy_names(ROOT / "policies")).values()
    values = [item.value for policy in policies for item in policy.parameters.values()]
    prefixes = [one.cn_prefix for policy in policies for one in policy.environments.values()]
    return {*scalars(values), *filter(None, prefixes), *SHORT} - COMMON - {"https://"}


def of_the_product() -> Iterator[tuple[Path, str]]:
    for path, text in tracked_text():
        if path.parts[0] != "policies" and not {"lab", "lab.yml", "README.md"} & set(path.parts):
            yield path, code(path, text)


def test_no_limit_of_a_policy_stands_anywhere_else() -> None:
    limits = limits_of_the_policies()
    assert {"398", "4096", "2048", "energydip-prod", "ECDHE-RSA-AES128-GCM-SHA256"} <= limits
    offenders = {
        f"{path}: {limit}"
        for path, text in of_the_product()
        for limit in limits
        if re.search(rf"(?<![\w.]){re.escape(limit)}(?![\w.])", text)
    }
    assert offenders == ELSEWHERE


def test_a_rule_that_code_names_is_one_of_a_policy() -> None:
    policies = load_policies(ROOT / "policies", policy_names(ROOT / "policies")).values()
    known = {rule.id for policy in policies for rule in policy.rules}
    named = {
        (str(path), name)
        for path, text in of_the_product()
        for name in re.findall(r"\b(?:DIP|MESH)-[A-Z0-9][A-Z0-9.]*(?:-[A-Z0-9.]+)+\b", text)
    }
    assert named
    assert {(path, name) for path, name in named if name not in known} == set()


def code(path: Path, text: str) -> str:
    return without_docs(text) if path.suffix == ".py" else text


def without_docs(text: str) -> str:
    """Code without docstrings and comments: prose may name a number to explain it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                value.value = ""
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {t.id for t in node.targets if isinstance(t, ast.Name)}
            if names & {"DOCUMENTATION", "EXAMPLES", "RETURN"}:
                node.value.value = ""
    return ast.unparse(tree)
