"""Whose address a request is from. Behind a proxy that is in X-Forwarded-For, which anybody can write."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Not an address: the peer of a Unix socket, or of a test's transport.
LOCAL = "local"
# A customer's line has as many IPv6 addresses as it likes, within this.
IPV6_PREFIX = 64
# As some balancers write it: 198.51.100.1:4711, [2001:db8::1]:4711.
_WITH_PORT = re.compile(r"([\d.]+|\[.+\]):\d+")


class Proxies:
    """The proxies that are believed: addresses and networks, such as `10.0.0.0/8`."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: tuple[_Network, ...] = tuple(ipaddress.ip_network(each) for each in networks)

    def client(self, peer: str | None, forwarded_for: str) -> str:
        """The nearest address that is none of the proxies': what stands behind it could be made up."""
        found = _address(peer or "")
        if found is None:
            return LOCAL
        for text in reversed(forwarded_for.split(",")):
            if not self._trusts(found):
                break
            further = _address(_without_port(text.strip()))
            if further is None:
                break
            found = further
        return str(found)

    def _trusts(self, address: _Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def group_of(address: str) -> str:
    """What shares one limit: an IPv4 address, or a network of IPv6; empty for this machine itself, which has none."""
    found = _address(address)
    if found is None or found.is_loopback:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
    return str(found)


def _without_port(text: str) -> str:
    with_port = _WITH_PORT.fullmatch(text)
    return with_port[1] if with_port else text


def _address(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found
