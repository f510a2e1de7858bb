"""The guest's network: a namespace without a name, or the reason why there is none."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from vm import network
from vm.netlog import NetLog
from vm.network import GUEST, HOST, Network, NetworkUnavailableError, make_network


@pytest.fixture
def made() -> Iterator[Network]:
    try:
        found = make_network()
    except NetworkUnavailableError as error:
        pytest.skip(str(error))
    yield found
    found.socket.close()
    os.close(found.tap)


def test_messages_to_the_hosts_side_arrive(made: Network) -> None:
    log = NetLog(made.socket)
    assert log.text == ""
    os.write(made.tap, _udp_frame(made.mac, b"Kernel panic - not syncing\n"))
    assert log.text == "Kernel panic - not syncing\n"


def test_the_namespace_is_not_ours(made: Network) -> None:
    ours = Path("/proc/self/net/dev").read_text()
    assert "tap0" not in ours
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError):
        sock.bind((HOST, 0))


def test_two_networks_do_not_meet(made: Network) -> None:
    other = make_network()
    os.write(other.tap, _udp_frame(other.mac, b"theirs"))
    assert NetLog(made.socket).text == ""
    assert NetLog(other.socket).text == "theirs"
    other.socket.close()
    other.close_tap()


def test_the_parameter_names_both_ends(made: Network) -> None:
    assert made.netconsole == f"netconsole=6665@{GUEST}/eth0,6666@{HOST}/{made.mac}"


def test_a_kernel_that_has_netconsole_built_in_reads_it_from_its_command_line(
    made: Network,
) -> None:
    """With the dot a kernel that has it as a module takes no notice of it."""
    assert made.boot_parameter == f"netconsole.{made.netconsole}"


def test_without_permission_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "unshare(CLONE_NEWNET): Operation not permitted")

    monkeypatch.setattr(network, "_unshare_network", refuse)
    with pytest.raises(NetworkUnavailableError, match="no netconsole") as caught:
        make_network()
    assert str(caught.value) == (
        "no netconsole, only the serial log: unshare(CLONE_NEWNET): Operation not permitted"
    )


def _udp_frame(mac: str, data: bytes) -> bytes:
    """An Ethernet frame with a UDP datagram from the guest, checksum of UDP left out."""
    ethernet = bytes.fromhex(mac.replace(":", "")) + b"\x52\x54\x00\x12\x34\x56" + b"\x08\x00"
    udp = b"".join(n.to_bytes(2, "big") for n in (6665, 6666, 8 + len(data), 0)) + data
    head = bytearray(20)
    head[0], head[8], head[9] = 0x45, 64, socket.IPPROTO_UDP
    head[2:4] = (20 + len(udp)).to_bytes(2, "big")
    head[12:16], head[16:20] = socket.inet_aton(GUEST), socket.inet_aton(HOST)
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    head[10:12] = (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    return ethernet + bytes(head) + udp


def test_devices_that_are_refused_are_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NetlinkError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("pyroute2.IPRoute", refuse)
    with pytest.raises(NetworkUnavailableError, match="only the serial log: Operation not permi"):
        network._make_tap()
