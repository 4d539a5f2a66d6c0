"""From the cluster's keys to what a peer is known by: an Ed25519 key and its certificate for each of them.

    seed        = HKDF-SHA256(cluster key; salt `haagent peer link 1`, info: the cluster's name)
    key         = Ed25519 private key of that seed
    certificate = self-signed by it, and nothing in it is left to chance or to the clock

Every node derives the same ones and so knows beforehand, byte by byte, which certificates there can be. What proves
what: a certificate is public (whoever connects is shown one) and proves nothing. TLS makes its owner sign the
handshake, so who shows one of ours *and finishes the handshake* has its private key, which is to say a key of the
cluster. That makes it a member; which one, it says itself in its hello, as with heartbeats: there is one key, and who
has it can speak for every node.

The process that speaks over the link gets these keys and not the cluster's: the way back through HKDF is closed, so who
breaks into it can say what a peer can say here, and cannot seal a heartbeat.
"""

from __future__ import annotations

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from haagent.peerlink.settings import Identity

SALT = b"haagent peer link 1"
# No clock is asked whether a member is one: that of a host that has just started may be anywhere.
SINCE, UNTIL = datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)
NO_KEY = bytes(32)  # `insecure: true`; as a cluster key it is refused


def derive(keys: tuple[bytes, ...], *, cluster: str) -> Identity:
    """The first key's is shown, those of all are trusted: so keys are changed while the links stay."""
    privates = [_private(key, cluster) for key in keys or (NO_KEY,)]
    certificates = [_certificate(private) for private in privates]
    secret = privates[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(
        secret + certificates[0].public_bytes(Encoding.PEM),
        tuple(each.public_bytes(Encoding.DER) for each in certificates),
    )


def _private(key: bytes, cluster: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(HKDF(SHA256(), 32, SALT, cluster.encode()).derive(key))


def _certificate(private: Ed25519PrivateKey) -> x509.Certificate:
    """Its numbers come from the public key, so that no two have the same name."""
    public = private.public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"haagent peer {digest[:8].hex()}")])
    return (
        x509.CertificateBuilder(name, name, public, int.from_bytes(digest[:16]) >> 1 or 1, SINCE, UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, None)
    )
