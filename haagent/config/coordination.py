"""`coordination: {etcd: {...}}`: what can be written there, what must not, and what becomes of it.

An etcd may be slower than the nodes' votes, and it changes its leader: that takes up to two seconds with etcd's own
defaults, and for so long nobody gets an answer. A lease that is to survive it must be longer, so with `coordination`
another length is the default. A shorter one may be written; `status` warns when etcd turns out to be too slow for it.
"""

from __future__ import annotations

import importlib.util
import re
from urllib.parse import urlsplit

import msgspec

from haagent.config.durations import format_duration
from haagent.config.faults import quoted
from haagent.config.kinds import PATH, duration, list_of, of_text, section
from haagent.config.section import Option, Place, Section

USUAL_LEASE_S = 3.0
PATIENCE = 6  # of it in a lease: how long one endpoint may take before the next is asked as well
LEAST_PATIENCE = 3
PORT = 2379  # etcd's own


class EtcdConfig(msgspec.Struct, frozen=True):
    endpoints: tuple[str, ...]  # URLs: scheme, host, port
    prefix: str  # begins and ends with a slash
    timeout_s: float
    ca: str = ""  # empty: whom the system trusts
    cert: str = ""
    key: str = ""
    user: str = ""  # empty: no log-in
    password_file: str = ""

    @property
    def uses_tls(self) -> bool:
        return any(endpoint.startswith("https:") for endpoint in self.endpoints)


def _endpoint(place: Place, text: str) -> str | None:
    hint = f"write one such as `http://10.20.1.20:{PORT}`"
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        host, port = url.hostname or "", url.port or PORT
    except ValueError as error:
        place.refuse(f"{quoted(text)} is not a URL: {error}", hint)
        return None
    if "://" not in text and host:
        place.refuse(f"{quoted(text)} does not say whether it is TLS", f"write `http://{text}` or `https://{text}`")
        return None
    is_odd = url.username or url.path not in ("", "/") or url.query or url.fragment
    if url.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.:_-]+", host) or is_odd:
        place.refuse(f"{quoted(text)} is not the URL of an etcd", hint)
        return None
    return f"{url.scheme}://[{host}]:{port}" if ":" in host else f"{url.scheme}://{host}:{port}"


def _prefix(place: Place, text: str) -> str | None:
    if re.fullmatch(r"/([A-Za-z0-9._-]+/)*", text) and len(text) <= 128:
        return text
    place.refuse(f"{quoted(text)} cannot be a prefix", "write one such as `/haagent/`, with a slash at both ends")
    return None


def _user(place: Place, text: str) -> str | None:
    if text.isprintable() and 0 < len(text) <= 128:
        return text
    place.refuse(f"{quoted(text)} cannot be a user", "write the name as etcd knows it")
    return None


TLS = (
    Option("ca", PATH, "the certificates that etcd's must be signed by", otherwise="whom the system trusts"),
    Option("cert", PATH, "the agent's own certificate, where etcd wants one", otherwise="none"),
    Option("key", PATH, "the key of `cert`", otherwise="none"),
)

ETCD = (
    Option(
        "endpoints",
        list_of(of_text("a URL", _endpoint), "a list of URLs"),
        "the members of the etcd cluster (3.4 or later); all are tried",
        required=True,
        example=f'["http://10.20.1.20:{PORT}"]',
    ),
    Option("tls", section(*TLS), "for endpoints with `https`", otherwise="as below"),
    Option("user", of_text("a user of etcd", _user), "who logs in, where etcd wants it", otherwise="none"),
    Option("password_file", PATH, "the user's password, in a file guarded like the key", otherwise="none"),
    Option(
        "prefix",
        of_text("a path with a slash at both ends", _prefix),
        "keys are `PREFIX` `CLUSTER` `/` `GROUP`",
        default="/haagent/",
    ),
    Option(
        "timeout",
        duration(least="5ms", most="1m"),
        "how long one endpoint may take before the next is asked as well",
        otherwise="a sixth of the lease",
    ),
)

COORDINATION = (
    Option(
        "etcd",
        section(*ETCD, may_lack=True),
        "the leases come from this etcd, not from the nodes' votes",
        otherwise="none",
    ),
)


def etcd_section(top: Section) -> Section | None:
    """None: the nodes' own votes."""
    coordination = top.get("coordination")
    found = coordination.get("etcd") if isinstance(coordination, Section) else None
    return found if isinstance(found, Section) else None


def etcd_config(top: Section, lease_s: float) -> EtcdConfig | None:
    etcd = etcd_section(top)
    if etcd is None:
        return None
    tls = etcd.get("tls")
    return EtcdConfig(
        endpoints=etcd.values("endpoints"),
        prefix=etcd.get("prefix"),
        timeout_s=etcd.get("timeout") or lease_s / PATIENCE,
        ca=tls.get("ca") or "",
        cert=tls.get("cert") or "",
        key=tls.get("key") or "",
        user=etcd.get("user") or "",
        password_file=etcd.get("password_file") or "",
    )


def find_coordination_contradictions(top: Section, lease_s: float | None) -> None:
    etcd = etcd_section(top)
    if etcd is None:
        return
    if importlib.util.find_spec("aiohttp") is None:
        etcd.place.refuse("needs the Python package aiohttp", "install `haagent[etcd]`, or `python3-aiohttp`")
    for one, other in (("user", "password_file"), ("password_file", "user")):
        if etcd.written(one) and not etcd.written(other):
            etcd.refuse(other, f"missing, and there is `{one}`", f"write `{other}` too")
    _find_tls_contradictions(etcd)
    timeout_s = etcd.get("timeout")
    if timeout_s is not None and lease_s is not None and timeout_s > lease_s / LEAST_PATIENCE + 1e-9:
        etcd.refuse(
            "timeout",
            f"{format_duration(timeout_s)} is too long for a lease of {format_duration(lease_s)}",
            f"write at most {format_duration(lease_s / LEAST_PATIENCE)}, or leave it out",
        )


def _find_tls_contradictions(etcd: Section) -> None:
    tls = etcd.get("tls")
    if not isinstance(tls, Section):
        return
    for one, other in (("cert", "key"), ("key", "cert")):
        if tls.written(one) and not tls.written(other):
            tls.refuse(other, f"missing, and there is `{one}`", f"write `{other}` too")
    endpoints = etcd.values("endpoints")
    if etcd.written("tls") and endpoints and all(endpoint.startswith("http:") for endpoint in endpoints):
        etcd.refuse("tls", "no endpoint has TLS", "write `https://...` for the endpoints, or remove it")
