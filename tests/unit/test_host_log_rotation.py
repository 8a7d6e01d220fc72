# SPDX-License-Identifier: GPL-3.0-or-later
"""What logrotate is told about a gateway's logs, as our own reader of its files understands it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pki_host import log_rotation, logrotate
from pki_host.gateways import adapter
from pki_host.gateways.base import Adapter

ROOT = "/etc/pki/gateway/dip"
UNIT = "pki-gateway-dip.service"
NGINX = adapter("nginx")
# A product that writes to whatever it was started with.
KEEPS_OPEN = cast(
    Adapter,
    SimpleNamespace(
        cannot={"log_reopen": "it keeps its logs open"}, reopen_signal=NGINX.reopen_signal
    ),
)


def files(product: Any = NGINX, *, name: str = "dip", days: int = 92) -> dict[str, str]:
    found = log_rotation.own_files(name, UNIT, ROOT, days, product)
    return {path: text.decode() for path, text in found.items()}


def stanza(product: Any = NGINX, **changes: Any) -> str:
    return files(product, **changes)["/etc/logrotate.d/pki-gateway-dip"]


@pytest.mark.parametrize("product", [NGINX, KEEPS_OPEN], ids=["reopens", "keeps open"])
@pytest.mark.parametrize("days", [1, 92, 400])
def test_both_logs_are_kept_for_as_long_as_the_policy_asks(
    tmp_path: Path, product: Any, days: int
) -> None:
    main = tmp_path / "logrotate.conf"
    # What a distribution sets for all logs counts for none of these.
    main.write_text(f"monthly\nrotate 1\ninclude {tmp_path}/d\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/pki-gateway-dip").write_text(stanza(product, days=days))
    for log in (NGINX.access_log(ROOT), NGINX.error_log(ROOT)):
        (found,) = (one for one in logrotate.read(str(main)) if one.covers(log))
        assert found.days == days
        assert found.why == f"daily rotate {days}"


def test_no_log_of_another_gateway_is_rotated_with_it(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(stanza())
    (found,) = logrotate.read(str(tmp_path / "one"))
    assert not found.covers("/etc/pki/gateway/other/log/access.log")
    assert not found.covers(f"{ROOT}/applied.json")


def test_a_product_that_can_is_told_to_open_its_logs_again() -> None:
    text = stanza()
    assert f"systemctl kill --kill-who=main --signal=SIGUSR1 {UNIT}" in text
    assert "copytruncate" not in text


def test_of_a_product_that_cannot_the_log_is_copied_and_cut() -> None:
    text = stanza(KEEPS_OPEN)
    assert "copytruncate" in text
    assert "systemctl" not in text


def test_logrotates_own_service_may_write_to_these_logs_and_to_nothing_else() -> None:
    text = files()["/etc/systemd/system/logrotate.service.d/pki-gateway-dip.conf"]
    settings = [line for line in text.splitlines() if "=" in line]
    assert settings == [f"ReadWritePaths=-{ROOT}/log"]


def test_a_name_that_ends_like_a_left_over_is_not_passed_over() -> None:
    assert "/etc/logrotate.d/pki-gateway-dip_bak" in files(name="dip.bak")


def test_without_a_number_of_days_nothing_is_rotated() -> None:
    assert files(days=0) == {}
