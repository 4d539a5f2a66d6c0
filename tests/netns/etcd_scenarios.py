"""Stories of the gateway and a real etcd, each in a network namespace of its own.

`python -m tests.netns.etcd_scenarios NAME DIRECTORY` inside `unshare -n`: etcd ends with this process at the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import ipaddress
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from haagent.coordination import messages
from haagent.coordination.gateway import Credentials, EtcdError, Gateway, tls_context
from haagent.coordination.register import Write
from haagent.coordination.stored import Stored

PREFIX = b"/haagent/shop/"
WITHIN_S = 10.0
ADDRESS = "127.0.0.1"


def ours(parent: int = os.getpid()) -> None:
    """In the child: it ends with us."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def etcd(directory: Path, *options: str, scheme: str = "http", port: int = 2379) -> Iterator[subprocess.Popen[bytes]]:
    url, peers = f"{scheme}://{ADDRESS}:{port}", f"http://{ADDRESS}:{port + 1000}"
    words = ["etcd", "--data-dir", str(directory), "--log-level", "panic", "--bcrypt-cost", "4"]
    words += ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers]
    words += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}", *options]
    with subprocess.Popen(words, preexec_fn=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: PLW1509
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def control(*words: str, user: str = "root:secret") -> None:
    env = {**os.environ, "ETCDCTL_API": "3"}
    command = ["etcdctl", "--endpoints", f"http://{ADDRESS}:2379", *([f"--user={user}"] if user else []), *words]
    subprocess.run(command, env=env, check=True, capture_output=True)


@contextlib.asynccontextmanager
async def gateway(*endpoints: str, **options: object) -> AsyncIterator[Gateway]:
    chosen = {"patience_s": 0.2, **options}
    one = Gateway(endpoints or (f"http://{ADDRESS}:2379",), **chosen)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        await one.close()


async def read(one: Gateway) -> messages.Reply:
    return await one.read(PREFIX, within_s=WITHIN_S)


async def up(one: Gateway) -> messages.Reply:
    """Once etcd has started."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(EtcdError):
                return await read(one)
            await asyncio.sleep(0.02)


async def complaint(asked: Awaitable[object]) -> str:
    try:
        await asked
    except EtcdError as error:
        return str(error)
    raise AssertionError("it was answered")


def value(beat: int, *, released: bool = False) -> Stored:
    return Stored(5, "A", 7, beat, 1000, released)


async def write(one: Gateway, *writes: tuple[bytes, Write]) -> tuple[messages.Header, list[messages.Outcome]]:
    return await one.write([(PREFIX + name, write) for name, write in writes], within_s=WITHIN_S)


# ---------------------------------------------------------------------- stories


async def transactions(directory: Path) -> None:
    with etcd(directory / "data"):
        async with gateway() as one:
            assert (await up(one)).kvs == ()
            first, done = await write(one, (b"web", Write(0, value(1))), (b"db", Write(0, value(1))))
            assert [each.is_done for each in done] == [True, True]
            at = first.revision
            assert {each.key: each.mod_revision for each in (await read(one)).kvs} == {
                PREFIX + b"web": at,
                PREFIX + b"db": at,
            }
            # One that is refused stops no other, and says what is there; so does one whose key is not there.
            second, done = await write(
                one, (b"web", Write(at, value(2))), (b"db", Write(3, value(2))), (b"no", Write(3, value(2)))
            )
            assert done == [
                messages.Outcome(True),
                messages.Outcome(False, at, value(1).encode()),
                messages.Outcome(False),
            ]
            # The other revision is no obstacle when the value is the one that was expected instead.
            await write(one, (b"db", Write(at, value(1, released=True))))
            _, done = await write(one, (b"db", Write(at, value(3), value(1, released=True).encode())))
            assert done == [messages.Outcome(True)]
            assert second.is_older_than(first) is False
            many = [(b"g%d" % number, Write(0, value(1), b"x")) for number in range(messages.MAX_GROUPS_AT_ONCE)]
            _, done = await write(one, *many)
            assert all(each.is_done for each in done)


async def watching(directory: Path) -> None:
    with etcd(directory / "data"):
        async with gateway() as one:
            await up(one)
            watch = one.watch(PREFIX)
            assert (await anext(watch)).created
            header, _ = await write(one, (b"web", Write(0, value(1))))
            event = (await anext(watch)).events[0]
            assert (event.kv.key, event.kv.value) == (PREFIX + b"web", value(1).encode())
            assert event.kv.mod_revision == header.revision
            control("del", (PREFIX + b"web").decode(), user="")
            assert (await anext(watch)).events[0].type == "DELETE"
            await watch.aclose()


def is_stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


async def endpoints(directory: Path) -> None:
    """One is not there, one is frozen, one answers."""
    with etcd(directory / "frozen", port=2379) as frozen, etcd(directory / "live", port=2380):
        live = f"http://{ADDRESS}:2380"
        async with gateway() as one, gateway(live) as other:
            await up(one)
            await up(other)
        frozen.send_signal(signal.SIGSTOP)
        while not is_stopped(frozen.pid):  # until then it may answer
            await asyncio.sleep(0.01)
        async with gateway(f"http://{ADDRESS}:1", f"http://{ADDRESS}:2379", live) as one:
            start = time.monotonic()
            await read(one)
            assert time.monotonic() - start < WITHIN_S / 2  # not: until the frozen one was given up
            assert one.endpoint == live
        async with gateway(f"http://{ADDRESS}:1", f"http://{ADDRESS}:2379") as one:
            why = await complaint(one.read(PREFIX, within_s=0.5))
            assert why == f"{ADDRESS}:1: connection refused; {ADDRESS}:2379: no answer within 500 ms", why
        async with gateway("http://no-such-host.invalid:2379") as one:
            why = await complaint(read(one))
            assert why == "no-such-host.invalid:2379: no address of that name is known", why


async def log_in(directory: Path) -> None:
    wanted = Credentials("ha", "pass")
    with etcd(directory / "data"):
        async with gateway(credentials=wanted) as one, gateway() as stranger:
            await up(one)  # nobody needs to log in yet, and who does is not turned away
            for words in (
                ("user", "add", "root:secret"),
                ("user", "grant-role", "root", "root"),
                ("role", "add", "ha"),
                ("role", "grant-permission", "ha", "readwrite", "--prefix=true", PREFIX.decode()),
                ("user", "add", "ha:pass"),
                ("user", "grant-role", "ha", "ha"),
                ("auth", "enable"),
            ):
                control(*words, user="")
            assert "user name is empty" in await complaint(read(stranger))
            watch = one.watch(PREFIX)
            assert "user name is empty" in await complaint(anext(watch))  # not known yet; the next question logs in
            await read(one)
            _, done = await write(one, (b"web", Write(0, value(1))))
            assert done == [messages.Outcome(True)]
            watch = one.watch(PREFIX)
            assert (await anext(watch)).created
            await watch.aclose()
            assert "permission denied" in await complaint(one.read(b"/elsewhere/", within_s=WITHIN_S))
        async with gateway(credentials=Credentials("ha", "wrong")) as one:
            assert "authentication failed" in await complaint(read(one))


async def log_in_again(directory: Path) -> None:
    """Etcd's tokens are in its memory: after a restart it knows none of them."""
    async with gateway(credentials=Credentials("root", "secret")) as one:
        with etcd(directory / "data"):
            await up(one)
            for words in (("user", "add", "root:secret"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
                control(*words, user="")
            await read(one)
        with etcd(directory / "data"):
            await up(one)


async def tls(directory: Path) -> None:
    ca, other_ca = Authority("a"), Authority("b")
    paths = {name: str(directory / name) for name in ("ca", "other", "server", "server.key", "mine", "mine.key")}
    Path(paths["ca"]).write_bytes(ca.pem)
    Path(paths["other"]).write_bytes(other_ca.pem)
    ca.issue(paths["server"], paths["server.key"])
    ca.issue(paths["mine"], paths["mine.key"])
    options = ["--cert-file", paths["server"], "--key-file", paths["server.key"], "--client-cert-auth"]
    url = f"https://{ADDRESS}:2379"
    with etcd(directory / "data", *options, "--trusted-ca-file", paths["ca"], scheme="https"):
        async with gateway(url, context=context(paths, "ca", "mine")) as one:
            await up(one)
            _, done = await write(one, (b"web", Write(0, value(1))))
            assert done == [messages.Outcome(True)]
        async with gateway(url, context=context(paths, "other", "mine")) as one:
            why = await complaint(read(one))
            assert "its certificate is not accepted" in why, why
        async with gateway(url, context=context(paths, "ca", "")) as one:
            await complaint(read(one))
        async with gateway(url.replace("127.0.0.1", "localhost"), context=context(paths, "ca", "mine")) as one:
            why = await complaint(read(one))
            assert "its certificate is not accepted" in why, why
        async with gateway() as one:
            await complaint(read(one))


def context(paths: dict[str, str], ca: str, mine: str) -> ssl.SSLContext:
    faults: list[object] = []
    found = tls_context(paths[ca], paths[mine] if mine else "", paths["mine.key"], faults)  # type: ignore[arg-type]
    assert not faults
    return found


class Authority:
    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._build(self.name, self.key.public_key())
        self.certificate = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
            self.key, hashes.SHA256()
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )

    def issue(self, certificate: str, key_file: str) -> None:
        """For the address, and for servers and clients alike: etcd's gateway is a client of its own server."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = self._build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "m")]), key.public_key())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        signed = built.add_extension(address, critical=False).add_extension(usage, critical=False)
        pem = signed.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        Path(certificate).write_bytes(pem)
        form = serialization.PrivateFormat.PKCS8
        data = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        Path(key_file).write_bytes(data)


Story = Callable[[Path], Awaitable[None]]
STORIES: dict[str, Story] = {
    story.__name__: story for story in (transactions, watching, endpoints, log_in, log_in_again, tls)
}


def main(name: str, directory: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    asyncio.run(STORIES[name](Path(directory)))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
