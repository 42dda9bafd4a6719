"""Whose address a request is from, whatever X-Forwarded-For claims."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server.access.addresses import LOCAL, Proxies, group_of


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # nobody's proxy: what it writes is its own business
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the first was written by the client
        ("10.0.0.1", "198.51.100.1, 10.2.3.4", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "rubbish", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, rubbish", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "198.51.100.1:4711, 10.2.3.4:80", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "198.51.100.1:port", "10.0.0.1"),
        ("/run/voicespan.sock", "198.51.100.1", LOCAL),
        (None, "", LOCAL),
    ],
)
def test_the_nearest_address_that_is_no_proxys_is_the_clients(peer: str, forwarded_for: str, client: str) -> None:
    assert Proxies(["10.0.0.0/8"]).client(peer, forwarded_for) == client


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        (LOCAL, ""),
    ],
)
def test_one_limit_holds_for_a_line_and_none_for_this_machine(address: str, group: str) -> None:
    assert group_of(address) == group


@given(st.text(max_size=60))
def test_without_proxies_nothing_that_is_claimed_matters(forwarded_for: str) -> None:
    assert Proxies([]).client("203.0.113.7", forwarded_for) == "203.0.113.7"
