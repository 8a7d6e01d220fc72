#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets sslyze look at servers once each and says what it finds against each of several profiles.

Runs in sslyze's own environment, which knows nothing of this project. A JSON object from stdin
with ``ports``, ``server_name``, ``root`` (file of the trusted root) and ``profiles`` (name ->
profile in Mozilla's form, or null for Mozilla's own intermediate one); one on stdout: port ->
profile -> list of issues.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sslyze import (
    ScanCommand,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.mozilla_tls_profile import tls_config_checker as checker
from sslyze.plugins.certificate_info.implementation import CertificateInfoExtraArgument


def issues(result: Any, profile: Any) -> list[str]:
    """What is wrong; a scan that did not come to its end is wrong, too."""
    try:
        checker.check_server_against_tls_configuration(result, profile)
    except checker.ServerNotCompliantWithTlsConfiguration as exc:
        return [f"{name}: {text}" for name, text in exc.issues.items()]
    except checker.ServerScanResultIncomplete as exc:
        return [f"incomplete: {exc}"]
    return []


def main() -> None:
    asked = json.load(sys.stdin)
    profiles = {
        name: checker.TlsConfigurationAsJson(**said)
        if said
        else checker.MozillaTlsConfiguration.get(checker.TlsConfigurationEnum("intermediate"))
        for name, said in asked["profiles"].items()
    }
    extra = ScanCommandsExtraArguments(
        certificate_info=CertificateInfoExtraArgument(custom_ca_file=Path(asked["root"]))
    )
    scanner = Scanner()
    scanner.queue_scans(
        [
            ServerScanRequest(
                server_location=ServerNetworkLocation("127.0.0.1", port, ip_address="127.0.0.1"),
                network_configuration=ServerNetworkConfiguration(asked["server_name"]),
                scan_commands=set(checker.SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER)
                | {ScanCommand.TLS_1_3_EARLY_DATA, ScanCommand.SESSION_RESUMPTION},
                scan_commands_extra_arguments=extra,
            )
            for port in asked["ports"]
        ]
    )
    found: dict[str, Any] = {}
    for result in scanner.get_results():
        said: dict[str, Any] = {name: issues(result, one) for name, one in profiles.items()}
        scan = result.scan_result
        said["early_data"] = scan and scan.tls_1_3_early_data.result.supports_early_data
        resumed = scan and scan.session_resumption.result
        said["resumption"] = resumed and {
            "session_id": resumed.session_id_resumption_result.name,
            "tickets": resumed.tls_ticket_resumption_result.name,
        }
        found[str(result.server_location.port)] = said
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
