"""The ways to a Redis besides plain TCP: TLS, and a Unix socket."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from haagent.sessions.relay import wire
from haagent.sessions.relay.settings import RelaySettings
from tests.support.door import Talk
from tests.support.ports import free_port
from tests.support.redis_stage import relay, stage, until


def certificate(place: Path) -> tuple[Path, Path]:
    """Self-signed, for 127.0.0.1: the certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (place / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return place / "cert.pem", place / "key.pem"


def test_tls_with_a_certificate_that_this_host_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate(tmp_path)
    port = free_port()
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    settings = RelaySettings(host="127.0.0.1", port=port, tls=True, is_sync=False)
    with stage() as made:
        made.server("--tls-port", str(port), "--tls-auth-clients", "no", *files)
        wire._secure.cache_clear()
        with relay(settings, is_ready=False) as door:
            until(lambda: "its certificate is not trusted" in door.source.why)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        wire._secure.cache_clear()
        with relay(settings) as door, Talk(door.port) as talk:
            assert talk.ask("SET", "a", "x" * 300_000) == b"+OK\r\n"
            assert talk.ask("GET", "a") == b"$300000\r\n" + b"x" * 300_000 + b"\r\n"
    wire._secure.cache_clear()


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "redis.sock")
    with stage() as made:
        made.server("--unixsocket", path)
        with relay(RelaySettings(path=path, is_sync=False), path=str(tmp_path / "door.sock")) as door:
            assert str(door.source.target) == path
            with Talk(str(tmp_path / "door.sock")) as talk:
                assert talk.ask("INCR", "a") == b":1\r\n"
        assert not (tmp_path / "door.sock").exists()
