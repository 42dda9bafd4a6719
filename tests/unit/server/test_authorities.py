"""The authorities that the server trusts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from voicespan_server.authorities import authorities
from voicespan_server.settings import SettingsError


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    authorities.cache_clear()
    yield
    authorities.cache_clear()


def test_without_a_word_they_are_the_usual_ones() -> None:
    assert authorities().cert_store_stats()["x509_ca"] > 50
    assert authorities() is authorities()


def test_a_file_stands_in_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA(organization_name="Own").cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    [own] = authorities().get_ca_certs()
    assert ((("organizationName", "Own"),)) in own["subject"]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_cannot_be_read_is_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(SettingsError, match=r"SSL_CERT_FILE='.*ca\.pem' cannot be read"):
        authorities()
