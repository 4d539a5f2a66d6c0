"""Whatever is wrong with a file is said: all of it in one run, with its line, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.config import ConfigError, Fault, check, document, parse
from haagent.config.document import MAX_BYTES
from haagent.config.faults import quoted, suggestion
from haagent.core import limits
from tests.unit.config.test_config import FULL, SMALL

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"

SIX = """\
cluster: shop
nodes:
  A: {address: 10.20.1.10}
  B: {address: 10.20.1.11}
heartbeat:
  interfaces: [eth0]
  interval: 100
  leese: 350ms
on_partition: consistent
groups:
  web:
    addresses: [10.20.1.11/24]
    prefer: [A, C]
    failback: {after: 30}
"""


def faults_of(data: str | bytes) -> list[Fault]:
    with pytest.raises(ConfigError) as caught:
        parse(data.encode() if isinstance(data, str) else data, "test.yaml")
    return caught.value.faults


def the_fault(text: str | bytes) -> Fault:
    faults = faults_of(text)
    assert len(faults) == 1, [fault.text("test.yaml") for fault in faults]
    return faults[0]


def test_six_mistakes_are_six_lines_in_one_run() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SIX.encode(), "shop.yaml")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0:2] for line in lines] == [
        ["shop.yaml:7", "heartbeat.interval"],
        ["shop.yaml:8", "heartbeat.leese"],
        ["shop.yaml:9", "on_partition"],
        ["shop.yaml:12", "groups.web.addresses[0]"],
        ["shop.yaml:13", "groups.web.prefer[1]"],
        ["shop.yaml:14", "groups.web.failback.after"],
    ]
    assert lines[0].endswith("write `100ms` or `100s`")
    assert lines[1].endswith("unknown key; did you mean `lease`?")
    assert all(";" in line for line in lines)  # each says what to do


def test_the_documentation_shows_what_is_really_printed() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SIX.encode(), "shop.yaml")
    assert str(caught.value) in DOCS.read_text()


# What is replaced in SMALL, by what; then the fault: line, path, and a part of what is said.
ONE_MISTAKE = [
    ("cluster: shop", "cluster: sh op", 2, "cluster", "cannot be a name"),
    ("cluster: shop", "cluster:", 2, "cluster", "has no value"),
    ("cluster: shop", "cluster: [shop]", 2, "cluster", "a list is written here"),
    ("cluster: shop", "cluster: -x", 2, "cluster", "cannot be a name"),
    ("cluster: shop", "cluster: " + "x" * 65, 2, "cluster", "at most 64"),
    ("cluster: shop", "x: &x 1\ncluster: shop", 2, "x", "unknown key"),
    ("cluster: shop\n", "", 1, "cluster", "missing; write `cluster: shop`"),
    ("cluster: shop", "clustr: shop", 2, "clustr", "did you mean `cluster`?"),
    ("cluster: shop", "cluster: shop\nkey_file: cluster.key", 3, "key_file", "not an absolute path"),
    ("cluster: shop", "cluster: shop\nkey_file: []", 3, "key_file", "the list is empty"),
    ("cluster: shop", "cluster: shop\nkey_file: [/a, /a]", 3, "key_file[1]", "twice"),
    ("cluster: shop", "cluster: shop\ncluster: shop", 3, "cluster", "written twice, first on line 2"),
    ("cluster: shop", "cluster: !x shop", 2, "cluster", "remove the tag"),
    (
        "cluster: shop",
        "cluster: shop\nunits: {}",
        3,
        "units",
        "`units` is not in this release (0.1); remove it",
    ),
    (
        "cluster: shop",
        'cluster: shop\nhttp: {listen: "10.20.1.10:7266"}',
        3,
        "http.listen",
        "anybody there could read it; name a `token_file` too",
    ),
    ("cluster: shop", "cluster: shop\nhttp: {listen: localhost}", 3, "http.listen", "write `127.0.0.1:7266`"),
    (
        "cluster: shop",
        'cluster: shop\nhttp: {agent_check: "0.0.0.0:7266"}',
        3,
        "http.agent_check",
        "127.0.0.1:7266 is taken by `http.listen`; write another port",
    ),
    ("cluster: shop", "cluster: shop\n? [a]\n: b", 3, "", "a key is a list"),
    ("cluster: shop", "cluster: shop\nalone_after: 100ms", 3, "alone_after", "shorter than the lease"),
    ("cluster: shop", "cluster: shop\nfailure_expiry: 0s", 3, "failure_expiry", "too short; write 1s to 168h"),
    ("cluster: shop", "cluster: shop\non_partition: consistnt", 3, "on_partition", "did you mean `consistent`?"),
    ("cluster: shop", "cluster: shop\non_partition: consistent", 3, "on_partition", "add a node with `witness: true`"),
    ("10.20.1.10}", "10.20.1.10/24}", 4, "nodes.A.address", "write `10.20.1.10`"),
    ("10.20.1.10}", "10.20.1.300}", 4, "nodes.A.address", "not an IP address"),
    ("10.20.1.10}", "[10.20.1.10]}", 4, "nodes.A.address", "a list is written here"),
    ("10.20.1.10}", "239.0.0.1}", 4, "nodes.A.address", "multicast"),
    ("10.20.1.10}", "0.0.0.0}", 4, "nodes.A.address", "not the address of a host"),
    ("10.20.1.10}", "'fe80::1'}", 4, "nodes.A.address", "does not say on which link"),
    ("10.20.1.10}", "'::ffff:10.20.1.10'}", 4, "nodes.A.address", "write `10.20.1.10`"),
    ("10.20.1.10}", "127.0.0.1}", 4, "nodes.A.address", "loopback"),
    ("10.20.1.11}", "10.20.1.10}", 5, "nodes.B.address", "the address of node A too"),
    ("10.20.1.11}", "10.20.1.11, witnes: true}", 5, "nodes.B.witnes", "did you mean `witness`?"),
    ("10.20.1.11}", "10.20.1.11, witness: maybe}", 5, "nodes.B.witness", "write `true` or `false`"),
    ("10.20.1.11}", "10.20.1.11, addresses: [10.0.0.1]}", 5, "nodes.B.addresses", "`address` is there too"),
    ("B: {address: 10.20.1.11}", "B: 10.20.1.11", 5, "nodes.B", "but it is a mapping"),
    ("  B:", "  b b:", 5, "nodes.b b", "cannot be the name of a node"),
    ("heartbeat: {interfaces: [eth0]}", "", 1, "heartbeat.interfaces", "multicast needs it"),
    ("interfaces: [eth0]", "transport: both", 6, "heartbeat.interfaces", "multicast needs it"),
    ("[eth0]", "[]", 6, "heartbeat.interfaces", "the list is empty"),
    ("[eth0]", "[eth0, eth0]", 6, "heartbeat.interfaces[1]", "twice"),
    ("[eth0]", "[eth0, 'eth/1']", 6, "heartbeat.interfaces[1]", "cannot be a network interface"),
    ("[eth0]", "[eth0, eth1]", 8, "groups.web.interface", "heartbeat.interfaces has several: eth0, eth1"),
    ("[eth0]", "[eth0], interval: 4ms", 6, "heartbeat.interval", "too short; write 5ms to 60s"),
    ("[eth0]", "[eth0], interval: 61s", 6, "heartbeat.interval", "too long"),
    ("[eth0]", "[eth0], interval: 100", 6, "heartbeat.interval", "write `100ms`"),
    ("[eth0]", "[eth0], interval: 100 ms", 6, "heartbeat.interval", "such as `100ms`"),
    ("[eth0]", "[eth0], lease: 249ms", 6, "heartbeat.lease", "write at least 250ms (2.5 x interval)"),
    ("[eth0]", "[eth0], port: 0", 6, "heartbeat.port", "1 to 65535"),
    ("[eth0]", "[eth0], port: 65536", 6, "heartbeat.port", "1 to 65535"),
    ("[eth0]", "[eth0], port: 07265", 6, "heartbeat.port", "1 to 65535"),
    ("[eth0]", "[eth0], group: 10.0.0.1", 6, "heartbeat.group", "not a multicast address"),
    ("[eth0]", "[eth0], group: 224.0.0.18", 6, "heartbeat.group", "reserved for routing"),
    ("[eth0]", "[eth0], group: 'ff01::1'", 6, "heartbeat.group", "never leaves the host"),
    ("[eth0]", "[eth0], transport: multcast", 6, "heartbeat.transport", "did you mean `multicast`?"),
    ("[eth0]", "[eth0], transport: unicast, group: 239.0.0.1", 6, "heartbeat.group", "unicast has no multicast group"),
    ("  web:", "  leader:", 8, "groups.leader", "built-in group"),
    ("10.20.1.100/24", "10.20.1.0/24", 9, "groups.web.addresses[0]", "the network itself"),
    ("10.20.1.100/24", "10.20.1.255/24", 9, "groups.web.addresses[0]", "broadcast address"),
    ("10.20.1.100/24", "'fd00:20::/64'", 9, "groups.web.addresses[0]", "the network itself"),
    ("10.20.1.100/24", "10.20.1.100/33", 9, "groups.web.addresses[0]", "prefix length"),
    ("10.20.1.100/24", "10.20.1.100/255.255.255.0", 9, "groups.web.addresses[0]", "prefix length"),
    ("10.20.1.100/24", "127.0.0.1", 9, "groups.web.addresses[0]", "loopback"),
    ("10.20.1.100/24", "239.0.0.1", 9, "groups.web.addresses[0]", "multicast"),
    ("10.20.1.100/24", "10.20.1.10/24", 9, "groups.web.addresses[0]", "own address of node A"),
    ("10.20.1.100/24", "'fd00:20::100/128'", 9, "groups.web.addresses[1]", "also as fd00:20::100/128"),
]
GROUP_MISTAKE = [
    ("addresss: 10.0.0.1", "addresss", "did you mean `addresses`?"),
    ("units: [nginx.service]", "units", "not in this release (0.1); remove it"),
    ("interface: eth0/1", "interface", "cannot be a network interface"),
    ("backend: arb", "backend", "did you mean `arp`?"),
    ("backend: aws-route-table", "backend", "is not an installed backend; write one of: arp"),
    ("backend: {repeat: 1}", "backend.kind", "missing"),
    ("backend: {kind: arp, nosuch: 1}", "backend.nosuch", "unknown option"),
    ("backend: [arp]", "backend", "a list is written here"),
    ("prefer: []", "prefer", "the list is empty"),
    ("prefer: [A, A]", "prefer[1]", "twice"),
    ("prefer: [A, b]", "prefer[1]", "did you mean `B`?"),
    ("never: []", "never", "the list is empty"),
    ("never: [b]", "never[0]", "did you mean `B`?"),
    ("never: [A, B]", "never", "no node may"),
    ("failback: automatic", "failback", "write `manual` or `{after: 30s}`"),
    ("failback: {after: 30s}", "failback", "no node to go back to"),
    ("checks: {nic: link}", "checks.nic", "write `{kind: link}`"),
    ("checks: {nic: {kind: link}}", "checks.nic.interface", "missing"),
    ("checks: {nic: {kind: link, interface: eth0/1}}", "checks.nic.interface", "cannot be a network interface"),
    ("checks: {nic: {kind: lnk}}", "checks.nic.kind", "did you mean `link`?"),
    ("checks: [link]", "checks", "names each check"),
    ("hooks: {taken: bin/x}", "hooks.taken", "begin with `/`"),
    ("hooks: {taken: /bin/x --now}", "hooks.taken", "arguments belong into a script"),
    ("hooks: {takn: /bin/x}", "hooks.takn", "did you mean `taken`?"),
    ("hooks: {timeout: 5}", "hooks.timeout", "write `5ms` or `5s`"),
]


@pytest.mark.parametrize(("old", "new", "line", "path", "said"), ONE_MISTAKE)
def test_one_mistake_is_one_fault(old: str, new: str, line: int, path: str, said: str) -> None:
    assert old in SMALL
    fault = the_fault(SMALL.replace(old, new, 1))
    assert (fault.line, fault.path) == (line, path)
    assert said in f"{fault.message}; {fault.hint}"


@pytest.mark.parametrize(("added", "path", "said"), GROUP_MISTAKE)
def test_one_mistake_of_a_group_is_one_fault(added: str, path: str, said: str) -> None:
    fault = the_fault(SMALL + f"    {added}\n")
    assert (fault.line, fault.path) == (10, f"groups.web.{path}")
    assert said in f"{fault.message}; {fault.hint}"


def test_faults_between_parts_of_the_file() -> None:
    two_groups = SMALL + "  db: {addresses: 10.20.1.100/32}\n"
    assert "is in group web too" in the_fault(two_groups).message
    many = ", ".join(f"10.{number >> 8}.{number & 255}.7/32" for number in range(limits.MAX_ADDRESSES))
    assert "all groups together have 1026 addresses" in the_fault(SMALL + f"  db: {{addresses: [{many}]}}\n").message
    secret = SMALL.replace("[eth0]", "[eth0], insecure: true").replace("shop", "shop\nkey_file: /k")
    assert the_fault(secret).path == "heartbeat.insecure"
    all_witnesses = SMALL.replace("10}", "10, witness: true}").replace("11}", "11, witness: true}")
    assert "no node may hold" in the_fault(all_witnesses).message
    witness_preferred = FULL.replace("[B, A]", "[B, W]")
    assert "W is a witness" in the_fault(witness_preferred).message
    assert "B is in `prefer` too" in the_fault(FULL.replace("[B, A]", "[B, A]\n    never: [B]")).message
    assert "W is a witness" in the_fault(FULL.replace("[B, A]", "[B, A]\n    never: [W]")).message


@pytest.mark.parametrize("transport", ["unicast", "both"])
def test_unicast_needs_addresses_that_match(transport: str) -> None:
    unicast = SMALL.replace("[eth0]", f"[eth0], transport: {transport}")
    assert parse(unicast.encode(), "").heartbeat.transport == transport
    assert the_fault(unicast.replace("{address: 10.20.1.11}", "{}")).path == "nodes.B.address"
    assert the_fault(unicast.replace("10.20.1.11", "'fd00::1'")).path == "nodes.B.address"
    two_links = FULL.replace("transport: unicast", f"transport: {transport}")
    assert the_fault(two_links.replace("[10.20.1.11, 10.30.1.11]", "[10.20.1.11]")).path == "nodes.B.addresses"


def test_unicast_needs_no_interface_and_then_each_group_says_its_own() -> None:
    no_interface = SMALL.replace("interfaces: [eth0]", "transport: unicast")
    assert the_fault(no_interface).path == "groups.web.interface"


def test_too_many() -> None:
    content = yaml.safe_load(SMALL)
    content["nodes"] = {f"n{number}": {"address": f"10.20.1.{number}"} for number in range(1, 34)}
    assert "33 are too many; 32 is the most" in the_fault(yaml.safe_dump(content)).text("f")
    content = yaml.safe_load(SMALL)
    content["groups"] = {f"g{number}": {"addresses": f"10.21.0.{number}"} for number in range(1, 130)}
    assert "129 are too many; 128 is the most" in the_fault(yaml.safe_dump(content)).text("f")


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b"", 1, "the file is empty"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"- a\n- b\n", 1, "not a mapping"),
        (b"just text", 1, "not a mapping"),
        (b"cluster: shop\n\tnodes: {}\n", 2, "not valid YAML"),
        (b"cluster: [shop\nnodes: {}\n", 2, "not valid YAML"),
        (b"cluster: shop\n---\ncluster: shop\n", 2, "not valid YAML"),
        (b"cluster: *nowhere\n", 1, "not valid YAML"),
        (b"cluster: shop\nx: \xff\n", 2, "not UTF-8"),
        (b"cluster: shop\nx: \x07\n", 2, "not valid YAML"),
        (b"cluster: shop\nx: " + b"[" * 100_000, 2, "nested deeper than 32 levels"),
        (b"a: &a [*a]\n", 1, "an alias that contains itself"),
        (b"x" * (MAX_BYTES + 1), 1, "larger than 512 KiB"),
        (
            b"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
            b"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
            b"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
            1,
            "too many values",
        ),
    ],
)
def test_what_is_not_a_configuration_at_all(data: bytes, line: int, said: str) -> None:
    fault = the_fault(data)
    assert said in fault.message
    assert fault.line == line


class ShallowParser(yaml.SafeLoader):
    """Refuses a deep text by itself, in its own words, as some releases of libyaml do: they stop at 1,000 levels."""

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        if self.flow_level == 40:
            raise yaml.scanner.ScannerError(None, None, "exceeded maximum nesting depth", self.get_mark())
        super().fetch_flow_collection_start(token_class)


@pytest.mark.parametrize("loader", [document.LOADER, yaml.SafeLoader, ShallowParser])
@pytest.mark.parametrize("nested", ["[" * 5_000, "[{a: " * 5_000, "[" + "[], " * 40 + "[" * 5_000, "\n" + "- " * 5_000])
def test_our_bound_of_depth_speaks_before_the_parsers(
    monkeypatch: pytest.MonkeyPatch, loader: type, nested: str
) -> None:
    monkeypatch.setattr(document, "LOADER", loader)
    fault = the_fault(f"cluster: shop\nx: {nested}".encode())
    assert (fault.line, fault.message) == (2 + nested.count("\n"), "nested deeper than 32 levels")


def test_what_the_parser_refuses_after_a_shallow_line_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LOADER", ShallowParser)
    fault = the_fault(b"cluster: shop\nx: " + b"[" * 20 + b"\ny: *")
    assert fault.message.startswith("not valid YAML: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in [(tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")]:
        with pytest.raises(ConfigError) as caught:
            check(str(path))
        assert str(caught.value).startswith(f"{path}: cannot be read: {said}")
    with pytest.raises(ConfigError):
        check("\0")


def test_text_of_the_file_cannot_speak_to_the_terminal() -> None:
    fault = the_fault(SMALL.replace("cluster: shop", 'cluster: shop\n"a\\e[2Jb\\n": 1'))
    assert fault.text("f").isprintable()
    assert quoted("x" * 500).endswith("...`")
    assert suggestion("zzzz", []) == "remove it"


WORDS = """
    cluster key_file nodes heartbeat groups on_partition A B web leader address addresses witness interfaces interval
    lease interface backend arp prefer failback manual after checks kind link hooks taken timeout 10.20.1.10
    10.20.1.100/24 fd00::1/64 239.192.72.65 100ms 0s 1h yes null ~ 1:30 0x1f 1e3 .inf 2024-02-30 = << ! & * | > %YAML
    --- ... ? : - , # { } [ ] ' " !!python/object:os.system !!binary !!set !!int !!omap &a *a 99999999999999999999999
"""
PIECES = st.sampled_from([*WORDS.split(), "\t", "\x00", "\u2028", "\ufeff", "\n", "\n  ", " "])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | PIECES | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PIECES | st.text(max_size=8), inner, max_size=5),
    max_leaves=25,
)
FUZZ = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def only_config_errors(data: bytes) -> None:
    faults = None
    try:
        parse(data, "fuzz.yaml", node="A")
    except ConfigError as error:
        faults = error.faults
    assert faults is None or (faults and all(fault.message for fault in faults))


class TestFuzz:
    @FUZZ
    @given(st.binary(max_size=300))
    def test_bytes(self, data: bytes) -> None:
        only_config_errors(data)

    @FUZZ
    @given(st.lists(PIECES, max_size=60))
    def test_pieces(self, pieces: list[str]) -> None:
        only_config_errors("".join(pieces).encode())

    @FUZZ
    @given(st.dictionaries(PIECES, VALUES, max_size=8))
    def test_structures(self, content: dict[str, object]) -> None:
        only_config_errors(yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass"))

    @FUZZ
    @given(st.data())
    def test_a_valid_file_with_one_value_exchanged(self, data: st.DataObject) -> None:
        content = yaml.safe_load(FULL)
        part = content
        while True:
            key = data.draw(st.sampled_from(list(part) if isinstance(part, dict) else list(range(len(part)))))
            if not isinstance(part[key], dict | list) or not part[key] or data.draw(st.booleans()):
                break
            part = part[key]
        part[key] = data.draw(VALUES)
        only_config_errors(yaml.safe_dump(content).encode())

    @FUZZ
    @given(st.integers(0, len(FULL)), st.integers(0, 20), st.text(max_size=5))
    def test_a_valid_file_with_a_cut(self, start: int, length: int, text: str) -> None:
        only_config_errors((FULL[:start] + text + FULL[start + length :]).encode("utf-8", "replace"))
