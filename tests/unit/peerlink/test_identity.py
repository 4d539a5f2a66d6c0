"""What follows from the cluster's keys, on every node the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from cryptography import x509

from haagent.peerlink.channel import tls
from haagent.peerlink.identity import derive
from tests.support.peer_stage import KEY, NEXT_KEY, OURS


def test_the_certificate_is_the_same_in_every_release() -> None:
    """Byte by byte: a node of another release, with another version of `cryptography`, must know it beforehand."""
    assert hashlib.sha256(OURS.trusted[0]).hexdigest() == (
        "e476e0e19437fe5549ad4ef94c45e0ee803155c8d6515f79cfc90aa574644a12"
    )


def test_it_depends_on_key_and_cluster() -> None:
    certificates = {derive((key,), cluster=name).trusted for key in (KEY, NEXT_KEY) for name in ("shop", "shop2")}
    assert len(certificates) == 4


def test_the_first_key_is_shown_and_all_are_trusted() -> None:
    both = derive((NEXT_KEY, KEY), cluster="shop")
    assert both.shown == derive((NEXT_KEY,), cluster="shop").shown
    assert both.trusted == derive((NEXT_KEY,), cluster="shop").trusted + OURS.trusted


def test_it_may_sign_nobody_else_and_never_ends() -> None:
    certificate = x509.load_der_x509_certificate(OURS.trusted[0])
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert b"700101000000Z" in OURS.trusted[0]
    assert b"99991231235959Z" in OURS.trusted[0]  # RFC 5280: has no end


def test_the_cluster_key_cannot_be_found_in_it_and_it_is_not_shown_by_accident() -> None:
    assert KEY not in OURS.shown
    assert "PRIVATE" in OURS.shown.decode()
    assert "PRIVATE" not in repr(OURS)


def test_no_file_is_left_of_the_private_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file with a name")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    tls(OURS)
    assert os.listdir("/proc/self/fd") == before


def test_the_link_loads_neither_cryptography_nor_the_agent() -> None:
    program = "import sys, haagent.peerlink; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {name for name in loaded if name.partition(".")[0] in ("cryptography", "yaml", "pyroute2", "scapy")}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("haagent.")}
    assert rooms == {"core", "peerlink"}
