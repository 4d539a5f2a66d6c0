"""`coordination: {etcd: {...}}`: what can be written there, what must not, and what becomes of it.

An etcd may be slower than the nodes' votes, and it changes its leader: that takes up to two seconds with etcd's own
defaults, and for so long nobody gets an answer. A lease that is to survive it must be longer, so with `coordination`
another length is the default. A shorter one may be written; `status` warns when etcd turns out to be too slow for it.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Annotated
from urllib.parse import urlsplit

from haagent.config.durations import format_duration
from haagent.config.faults import quoted
from haagent.config.kinds import PATH, Wrong, duration, list_of, of_text
from haagent.config.schema import Draft, Option, Section

USUAL_LEASE_S = 3.0
PATIENCE = 6  # of it in a lease: how long one endpoint may take before the next is asked as well
LEAST_PATIENCE = 3
PORT = 2379  # etcd's own


def _endpoint(text: str) -> str:
    hint = f"write one such as `http://10.20.1.20:{PORT}`"
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        host, port = url.hostname or "", url.port or PORT
    except ValueError as error:
        raise Wrong(f"{quoted(text)} is not a URL: {error}", hint) from error
    if "://" not in text and host:
        raise Wrong(f"{quoted(text)} does not say whether it is TLS", f"write `http://{text}` or `https://{text}`")
    is_odd = url.username or url.path not in ("", "/") or url.query or url.fragment
    if url.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.:_-]+", host) or is_odd:
        raise Wrong(f"{quoted(text)} is not the URL of an etcd", hint)
    return f"{url.scheme}://[{host}]:{port}" if ":" in host else f"{url.scheme}://{host}:{port}"


def _prefix(text: str) -> str:
    if re.fullmatch(r"/([A-Za-z0-9._-]+/)*", text) and len(text) <= 128:
        return text
    raise Wrong(f"{quoted(text)} cannot be a prefix", "write one such as `/haagent/`, with a slash at both ends")


def _user(text: str) -> str:
    if text.isprintable() and 0 < len(text) <= 128:
        return text
    raise Wrong(f"{quoted(text)} cannot be a user", "write the name as etcd knows it")


class TlsConfig(Section, frozen=True):
    ca: Annotated[
        str, PATH, Option("the certificates that etcd's must be signed by", otherwise="whom the system trusts")
    ] = ""
    cert: Annotated[str, PATH, Option("the agent's own certificate, where etcd wants one")] = ""
    key: Annotated[str, PATH, Option("the key of `cert`")] = ""


class EtcdConfig(Section, frozen=True, kw_only=True):
    endpoints: Annotated[
        tuple[str, ...],
        list_of(of_text("a URL", _endpoint), "a list of URLs"),
        Option(
            "the members of the etcd cluster (3.4 or later); all are tried", example=f'["http://10.20.1.20:{PORT}"]'
        ),
    ]
    tls: Annotated[TlsConfig, Option("for endpoints with `https`", otherwise="as below")] = TlsConfig()
    user: Annotated[str, of_text("a user of etcd", _user), Option("who logs in, where etcd wants it")] = ""
    password_file: Annotated[str, PATH, Option("the user's password, in a file guarded like the key")] = ""
    prefix: Annotated[
        str, of_text("a path with a slash at both ends", _prefix), Option("keys are `PREFIX` `CLUSTER` `/` `GROUP`")
    ] = "/haagent/"
    timeout_s: Annotated[
        float,
        duration("5ms", "1m"),
        Option("how long one endpoint may take before the next is asked as well", otherwise="a sixth of the lease"),
    ]

    @property
    def uses_tls(self) -> bool:
        return any(endpoint.startswith("https:") for endpoint in self.endpoints)


class CoordinationConfig(Section, frozen=True):
    etcd: Annotated[EtcdConfig | None, Option("the leases come from this etcd, not from the nodes' votes")] = (
        None  # the nodes' own votes give the leases
    )


def etcd_section(top: Draft) -> Draft | None:
    """None: the nodes' own votes."""
    coordination = top.section("coordination")
    return coordination.section("etcd") if coordination else None


def find_coordination_contradictions(top: Draft, lease_s: float | None) -> None:
    etcd = etcd_section(top)
    if etcd is None:
        return
    if importlib.util.find_spec("aiohttp") is None:
        etcd.place.refuse("needs the Python package aiohttp", "install `haagent[etcd]`, or `python3-aiohttp`")
    tls = etcd.section("tls")
    _go_together(etcd, "user", "password_file")
    if tls is not None:
        _go_together(tls, "cert", "key")
        endpoints = etcd.values("endpoints")
        if endpoints and all(endpoint.startswith("http:") for endpoint in endpoints):
            etcd.refuse("tls", "no endpoint has TLS", "write `https://...` for the endpoints, or remove it")
    timeout_s = etcd.get("timeout")
    if timeout_s is not None and lease_s is not None and timeout_s > lease_s / LEAST_PATIENCE + 1e-9:
        etcd.refuse(
            "timeout",
            f"{format_duration(timeout_s)} is too long for a lease of {format_duration(lease_s)}",
            f"write at most {format_duration(lease_s / LEAST_PATIENCE)}, or leave it out",
        )


def _go_together(section: Draft, *both: str) -> None:
    for one, other in (both, reversed(both)):
        if section.written(one) and not section.written(other):
            section.refuse(other, f"missing, and there is `{one}`", f"write `{other}` too")
