# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose gateway sends API keys, which a real OpenBao has."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateways.products import NGINX, Product
from integration.gateway_world import PROJECT, World
from integration.openbao_server import KV_MOUNT, OpenBao
from integration.vault_tap import Tap
from kept_payloads.session import kept_environment

DIP_ID = "100000000"
LOUD = ("-vvvv", "--diff")


@dataclass(frozen=True)
class Ran:
    """One run of the role's task: what the whole run printed, and what the task returned."""

    output: str
    result: dict[str, Any]

    @property
    def module_runs(self) -> int:
        """How often the module was sent to the host."""
        return len(re.findall(r"Using module file \S+/pki_api_key\.py", self.output))

    def refusal(self) -> dict[str, Any]:
        """The one key that was refused."""
        (one,) = self.result["refused"]
        return dict(one)


class ApiKeyWorld(World):
    """One host below ``base``; ``name`` is the API key's, of its own as worlds share OpenBao."""

    def __init__(
        self,
        base: Path,
        openbao: OpenBao,
        product: Product = NGINX,
        more: tuple[Product, ...] = (),
    ) -> None:
        super().__init__(base, product)
        self.openbao = openbao
        self.more = more
        self.name = f"dip-{secrets.token_hex(4)}"
        self.outputs: list[str] = []
        self.log = base / "ansible.log"

    # -- the inventory -----------------------------------------------------------------

    def gateways(self, *names: str) -> list[dict[str, Any]]:
        """With one egress listener for each of these API keys; without names, for its own."""
        (first,) = super().gateways()
        (api,) = first["egress"]
        first["egress"] = [
            {
                **api,
                "name": f"api-{number}",
                "listen": f"127.0.0.1:{self.egress if not number else 20000 + number}",
                "dip_id": f"{DIP_ID}{number}",
                "api_key": name,
            }
            for number, name in enumerate(names or (self.name,))
        ]
        others = [
            {
                **first,
                "name": f"dip-{number}",
                "product": product.product,
                "ingress": [],
                "egress": [{**first["egress"][0], "listen": f"127.0.0.1:{21000 + number}"}],
            }
            for number, product in enumerate(self.more)
        ]
        return [first, *others]

    @property
    def directory(self) -> Path:
        """Of the API key on the host."""
        return self.base / "tls/api-keys" / self.name

    def releases_of_key(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "releases").glob("*"))

    # -- the person who puts the key into Vault ------------------------------------------

    def put(self, value: object, field_name: str = "key", name: str = "") -> None:
        with self.openbao.client("operator") as client:
            path = f"{KV_MOUNT}/data/api-keys/{name or self.name}"
            client.write(path, {"data": {field_name: value}})

    def take_away(self, verb: str, number: int, name: str = "") -> None:
        """``delete`` or ``destroy`` a version."""
        with self.openbao.client("operator") as client:
            path = f"{KV_MOUNT}/{verb}/api-keys/{name or self.name}"
            client.write(path, {"versions": [number]})

    def calls(self) -> list[str]:
        """The requests of the audit log about this key, as method and path."""
        entries = map(json.loads, self.openbao.audit_log.read_text().splitlines())
        return [
            f"{one['request']['operation']} {one['request']['path'].split('/')[1]}"
            for one in entries
            if one["type"] == "request" and one["request"]["path"].endswith(f"/{self.name}")
        ]

    # -- one run of the role -------------------------------------------------------------

    def login(self, tap: Tap | None = None) -> dict[str, Any]:
        vault: dict[str, Any] = self.openbao.options("release")
        return vault | ({"address": tap.address, "ca_cert": str(tap.ca_cert)} if tap else {})

    def deliver(self, *arguments: str, tap: Tap | None = None, **environment: str) -> Ran:
        """The role's task on one local host."""
        once = {"once": {"release_vault": self.login(tap)}}
        return self.attempt(once, *arguments, **environment)["once"]

    def attempt(
        self, attempts: Mapping[str, Mapping[str, Any]], *arguments: str, **environment: str
    ) -> dict[str, Ran]:
        """The role's task again and again in one run, each time with other variables."""
        told = {name: self.base / f"told-{number}.json" for number, name in enumerate(attempts)}
        tasks = []
        for name, variables in attempts.items():
            told[name].unlink(missing_ok=True)
            role = {"name": "release", "tasks_from": "api_keys"}
            tasks.append(
                {
                    "name": name,
                    "block": [
                        {"include_role": role, "vars": dict(variables)},
                        _telling("api_key_result", told[name]),
                    ],
                    "rescue": [_telling("ansible_failed_result", told[name])],
                }
            )
        output = self._play(tasks, arguments, environment)
        ran = {
            name: Ran(output, json.loads(path.read_text()) if path.exists() else {})
            for name, path in told.items()
        }
        self.outputs.append(output)
        (*_, last) = ran.values()
        self.api_keys = list(last.result.get("api_keys", ()))
        return ran

    def deploy(self, *arguments: str) -> str:
        """What :file:`deploy.yml` does with an API key and the gateway that sends it."""
        release = {"release_vault": self.login()}
        tasks: list[Any] = [
            {"include_role": {"name": "release", "tasks_from": "api_keys"}, "vars": release},
            {"include_role": {"name": "gateway"}},
        ]
        places = self.places()
        values = {
            "crl_cache_root": places["crl_cache_root"],
            "gateway_root": places["gateway_root"],
            "gateway_base_dir": places["base_dir"],
            "gateway_service": "daemon",
            "gateway_programs": {self.product.product: self.product.program},
            "release_result": {"releases": [self.release]},
            "crl_cache_install_result": {"sets": [self.crl_set]},
        }
        output = self._play(tasks, arguments, {}, values)
        self.outputs.append(output)
        return output

    def _play(
        self,
        tasks: list[Any],
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        more: Mapping[str, Any] | None = None,
    ) -> str:
        values = {
            **self.inventory(),
            "gateways": self.gateways(),
            "release_root": str(self.base / "tls"),
            "release_policy_dir": str(PROJECT / "policies"),
            "release_base_dir": str(self.base),
            **(more or {}),
        }
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        play = {"hosts": "gateways", "gather_facts": False, "vars": values, "tasks": tasks}
        (self.base / "hosts.yml").write_text(json.dumps({"gateways": {"hosts": {"gw1": local}}}))
        (self.base / "play.yml").write_text(json.dumps([play]))
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.base / "hosts.yml"), *LOUD, *arguments),
                str(self.base / "play.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_LOG_PATH": str(self.log),
                "ANSIBLE_DISPLAY_TRACEBACK": "always",
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                **environment,
            },
            cwd=self.base,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout


def _telling(variable: str, path: Path) -> dict[str, Any]:
    """A task that keeps what another one returned, in check mode as well."""
    content = f"{{{{ {variable} | to_json }}}}"
    return {"copy": {"content": content, "dest": str(path)}, "check_mode": False}
