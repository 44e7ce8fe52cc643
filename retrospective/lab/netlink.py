"""Just enough rtnetlink(7) for two hosts and a wire: links, addresses, neighbours, routes.

Made by hand because the holder makes a fresh pair of hosts for every trial: importing a netlink library takes
longer than all of a trial's preparation, and may start threads, which a process that enters namespaces must
not have.
"""

from __future__ import annotations

import os
import socket
import struct

_NLMSG_ERROR = 2
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 16, 20, 24, 28
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_IFF_UP = 1
_NUD_PERMANENT = 0x80
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def text(kind: int, value: str) -> bytes:
    """One attribute that is a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def mac_bytes(mac: str) -> bytes:
    """``02:00:…`` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def veth(
    name: str, mac: str, peer_mac: str, peer_namespace: int, peer_name: str | None = None, index: int = 11
) -> tuple[int, bytes]:
    """Make a veth pair, one queue each, the peer in another namespace; it has the same name, or ``peer_name``.

    The ends get different indices, ``index`` and the next: of equal ones the kernel takes the device for an unstacked
    one and may let a second pass before it reports the carrier (linkwatch_urgent_event, net/core/link_watch.c).
    """
    queues = attribute(31, struct.pack("=I", 1)) + attribute(
        32, struct.pack("=I", 1)
    )  # IFLA_NUM_{TX,RX}_QUEUES
    peer = (
        _LINK.pack(0, 0, index + 1, 0, 0)
        + text(3, peer_name or name)  # IFLA_IFNAME
        + attribute(1, mac_bytes(peer_mac))  # IFLA_ADDRESS
        + queues
        + attribute(28, struct.pack("=i", peer_namespace))  # IFLA_NET_NS_FD
    )
    info = text(1, "veth") + attribute(2, attribute(1, peer))  # IFLA_INFO_KIND; _DATA holds VETH_INFO_PEER
    body = (
        _LINK.pack(0, 0, index, 0, 0)
        + text(3, name)
        + attribute(1, mac_bytes(mac))
        + queues
        + attribute(18, info)
    )
    return _RTM_NEWLINK, body


def link_up(name: str) -> tuple[int, bytes]:
    """Bring an interface of the current namespace up."""
    return _RTM_NEWLINK, _LINK.pack(0, 0, socket.if_nametoindex(name), _IFF_UP, _IFF_UP)


def address(name: str, ip: str, prefix: int) -> tuple[int, bytes]:
    """Give an interface an IPv4 address."""
    head = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, socket.if_nametoindex(name))
    return _RTM_NEWADDR, head + attribute(2, socket.inet_aton(ip)) + attribute(1, socket.inet_aton(ip))


def neighbour(name: str, ip: str, mac: str) -> tuple[int, bytes]:
    """State for good which hardware address an IPv4 neighbour has: no ARP during a trial."""
    head = struct.pack("=BxxxiHBB", socket.AF_INET, socket.if_nametoindex(name), _NUD_PERMANENT, 0, 0)
    return _RTM_NEWNEIGH, head + attribute(1, socket.inet_aton(ip)) + attribute(2, mac_bytes(mac))


def route(name: str, network: str, prefix: int, gateway: str) -> tuple[int, bytes]:
    """Route a network through a gateway on an interface."""
    head = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0
    )
    index = struct.pack("=I", socket.if_nametoindex(name))
    return (
        _RTM_NEWROUTE,
        head
        + attribute(1, socket.inet_aton(network))
        + attribute(5, socket.inet_aton(gateway))
        + attribute(4, index),
    )


def request(messages: list[tuple[int, bytes]]) -> None:
    """Send messages in the current network namespace and await their acknowledgements. Raises ``OSError``."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as rtnetlink:
        rtnetlink.bind((0, 0))
        flags = _NLM_F_REQUEST | _NLM_F_ACK
        batch = b""
        for sequence, (kind, body) in enumerate(messages):
            create = 0 if kind == _RTM_NEWLINK and len(body) == _LINK.size else _NLM_F_CREATE | _NLM_F_EXCL
            batch += _HEADER.pack(_HEADER.size + len(body), kind, flags | create, sequence, 0) + body
        rtnetlink.send(batch)
        waiting = len(messages)
        while waiting:
            reply = rtnetlink.recv(65536)
            while reply:
                length, kind, _, sequence, _ = _HEADER.unpack_from(reply)
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", reply, _HEADER.size)
                    if code:
                        raise OSError(-code, f"rtnetlink message {sequence}: {os.strerror(-code)}")
                    waiting -= 1
                reply = reply[(length + 3) & ~3 :]
