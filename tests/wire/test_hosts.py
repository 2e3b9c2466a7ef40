"""Who listens at an address of this machine, as the kernel has it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from minispark.errors import UsageError
from minispark.wire.hosts import check_listener

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
)
OTHER = os.geteuid() + 12_345


def table(path: Path, *listeners: tuple[str, int], state: str = "0A") -> tuple[Path]:
    lines = (
        f"  0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 1\n"
        for address, uid in listeners
    )
    path.write_text(HEAD + "".join(lines))
    return (path,)


@pytest.mark.parametrize("address", ["0100007F:1F90", "00000000:1F90", f"{'0' * 32}:1F90"])
def test_a_stranger_at_the_port_is_refused(tmp_path: Path, address: str) -> None:
    tables = table(tmp_path / "tcp", ("0100007F:0050", os.geteuid()), (address, OTHER))
    for url in ("http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"):
        with pytest.raises(UsageError, match="another user") as refused:
            check_listener(url, tables=tables)
        assert refused.value.info.code == "MS-615"
    # TLS tells who answers; what is beyond this machine is not in the table.
    for url in ("https://127.0.0.1:8080", "http://192.0.2.1:8080", "http://127.0.0.1"):
        check_listener(url, tables=tables)


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_this_user_and_root_may_listen(tmp_path: Path, uid: int) -> None:
    check_listener("http://127.0.0.1:8080", tables=table(tmp_path / "tcp", ("0100007F:1F90", uid)))


def test_who_has_only_a_connection_does_not_listen(tmp_path: Path) -> None:
    tables = table(tmp_path / "tcp", ("0100007F:1F90", OTHER), state="01")
    check_listener("http://127.0.0.1:8080", tables=(*tables, tmp_path / "none"))


def test_the_kernels_own_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("this system has no /proc/net/tcp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        check_listener(url)
        if os.geteuid():
            monkeypatch.setattr(os, "geteuid", lambda: OTHER)
            with pytest.raises(UsageError, match="another user"):
                check_listener(url)
