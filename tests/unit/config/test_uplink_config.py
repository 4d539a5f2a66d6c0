"""The sections `guards` and `nodes.NODE.fencing`: defaults, what arrives, what is refused, what the core is told."""

from __future__ import annotations

import pytest

from haagent.config import Config, ConfigError, Fault, FencingConfig, GuardsConfig, ProbeConfig, parse

SMALL = """
cluster: shop
nodes:
  A: {address: 10.20.1.10}
  B: {address: 10.20.1.11}
heartbeat: {interfaces: [eth0]}
groups:
  web: {addresses: [10.20.1.100/24]}
"""


def read(more: str = "", *, text: str = SMALL) -> Config:
    return parse((text + more).encode(), "test.yaml", node="A")


def the_fault(more: str = "", *, text: str = SMALL) -> Fault:
    with pytest.raises(ConfigError) as caught:
        read(more, text=text)
    assert len(caught.value.faults) == 1, str(caught.value)
    return caught.value.faults[0]


def with_fencing(written: str) -> str:
    return SMALL.replace("B: {address: 10.20.1.11}", "B: {address: 10.20.1.11, fencing: " + written + "}")


class TestGuards:
    def test_both_are_on_where_they_matter(self) -> None:
        assert read().guards == GuardsConfig(arp=True, gateway="auto", probe=None)
        settings = read().settings()
        assert (settings.arp_guard, settings.gateway_guard, settings.fenced) == (True, True, ())

    def test_in_consistent_the_votes_decide(self) -> None:
        text = SMALL.replace("heartbeat:", "  W: {address: 10.20.1.12, witness: true}\nheartbeat:")
        settings = read(text=text).settings()
        assert (settings.consistent, settings.arp_guard, settings.gateway_guard) == (True, False, False)

    @pytest.mark.parametrize("off", ["off", "false", "no", "Off"])
    def test_off_is_off_however_a_tool_writes_it(self, off: str) -> None:
        config = read(f"guards: {{arp: {off}, gateway: {off}}}")
        assert config.guards == GuardsConfig(arp=False, gateway="off")
        assert (config.settings().arp_guard, config.settings().gateway_guard) == (False, False)

    def test_a_probe_alone_is_a_look_outside(self) -> None:
        config = read('guards: {gateway: off, probe: {tcp: "[fd00::1]:443"}}')
        assert config.guards.probe == ProbeConfig(tcp="[fd00::1]:443", timeout_s=0.175)
        assert config.settings().gateway_guard

    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ('{tcp: "10.0.0.1:443", timeout: 50ms}', ProbeConfig(tcp="10.0.0.1:443", timeout_s=0.05)),
            ("{http: http://10.0.0.1/health}", ProbeConfig(http="http://10.0.0.1/health", timeout_s=0.175)),
            ('{http: "https://[fd00::1]:8443/"}', ProbeConfig(http="https://[fd00::1]:8443/", timeout_s=0.175)),
            ("{icmp: 10.0.0.1}", ProbeConfig(icmp="10.0.0.1", timeout_s=0.175)),
        ],
    )
    def test_third_parties(self, written: str, expected: ProbeConfig) -> None:
        assert read(f"guards: {{probe: {written}}}").guards.probe == expected

    def test_the_former_name_of_the_probe_is_still_read(self) -> None:
        former, present = (read(f"guards: {{{name}: {{icmp: 10.0.0.1}}}}").guards for name in ("witness", "probe"))
        assert former == present == GuardsConfig(probe=ProbeConfig(icmp="10.0.0.1", timeout_s=0.175))

    @pytest.mark.parametrize(
        ("written", "path", "says"),
        [
            ("{gateway: eth0}", "guards.gateway", "is not an IP address"),
            ("{gateway: 10.20.1.100}", "guards.gateway", "is an address of group web"),
            ("{gateway: 224.0.0.1}", "guards.gateway", "multicast"),
            ("{gateway: fe80::1}", "guards.gateway", "does not say on which link"),
            ("{arp: maybe}", "guards.arp", "neither true nor false"),
            ("{arpp: true}", "guards.arpp", "did you mean `arp`?"),
            ("{probe: {}}", "guards.probe", "it does not say what to ask"),
            ("{probe: {timeout: 1s}}", "guards.probe", "it does not say what to ask"),
            ('{probe: {tcp: "10.0.0.1:1", icmp: 10.0.0.1}}', "guards.probe.icmp", "there is `tcp` too"),
            ("{probe: {tcp: 10.0.0.1}}", "guards.probe.tcp", "is not an address with a port"),
            ('{probe: {tcp: "10.0.0.1:99999"}}', "guards.probe.tcp", "is not a port"),
            ('{probe: {tcp: "shop.example:443"}}', "guards.probe.tcp", "takes the name service along"),
            ("{probe: {http: ftp://10.0.0.1/}}", "guards.probe.http", "is not the URL of a host"),
            ("{probe: {http: http://shop.example/}}", "guards.probe.http", "takes the name service along"),
            ('{probe: {http: "http://10.0.0.1:x/"}}', "guards.probe.http", "is not a URL"),
            ("{probe: {icmp: localhost}}", "guards.probe.icmp", "is not an IP address"),
            ("{witness: {icmp: localhost}}", "guards.witness.icmp", "is not an IP address"),
            ("{witness: {}}", "guards.witness", "it does not say what to ask"),
            ("{probe: {icmp: 10.0.0.1}, witness: {icmp: 10.0.0.1}}", "guards.witness", "former name of `probe`"),
        ],
    )
    def test_faults(self, written: str, path: str, says: str) -> None:
        fault = the_fault(f"guards: {written}")
        assert (fault.line, fault.path) == (9, path)
        assert says in f"{fault.message}; {fault.hint}"


class TestFencing:
    def test_everything_that_is_written_arrives(self) -> None:
        written = "{agent: fence_ipmilan, options: {ip: 10.9.0.1, lanplus: yes, port: 007}, options_file: /etc/f,"
        config = read(text=with_fencing(written + " timeout: 1m, action: reboot}"))
        assert config.nodes["B"].fencing == FencingConfig(
            agent="fence_ipmilan",
            options=(("ip", "10.9.0.1"), ("lanplus", "yes"), ("port", "007")),
            options_file="/etc/f",
            action="reboot",
            timeout_s=60.0,
        )
        assert config.nodes["A"].fencing is None
        assert config.settings().fenced == ("B",)

    def test_defaults(self) -> None:
        assert read(text=with_fencing("{agent: fence_sbd}")).nodes["B"].fencing == FencingConfig("fence_sbd")
        assert read(text=with_fencing("{agent: /bin/sh, action: false}")).nodes["B"].fencing == FencingConfig("/bin/sh")

    @pytest.mark.parametrize(
        ("written", "path", "says"),
        [
            ("{}", "agent", "missing; write `agent: fence_ipmilan`"),
            ("{agent: /usr/sbin/fence_of_nobody}", "agent", "there is no program"),
            ("{agent: fence_x; rm}", "agent", "is not an absolute path"),
            ("{agent: fence_x, options: [a]}", "options", "a list is written here"),
            ("{agent: fence_x, options: {a: {b: c}}}", "options.a", "but it is a text"),
            ('{agent: fence_x, options: {a: "b\\nc=d"}}', "options.a", "a control character"),
            ("{agent: fence_x, options: {a b: c}}", "options.a b", "cannot be the name of an option"),
            ("{agent: fence_x, options: {action: off}}", "options", "write `action:` beside `agent:`"),
            ("{agent: fence_x, options: {nodename: B}}", "options", "is said by haagent itself"),
            ("{agent: fence_x, action: on}", "action", "write one of: off, reboot"),
            ("{agent: fence_x, timeout: 1ms}", "timeout", "too short"),
        ],
    )
    def test_faults(self, written: str, path: str, says: str) -> None:
        fault = the_fault(text=with_fencing(written))
        assert fault.path == f"nodes.B.fencing.{path}"
        assert says in f"{fault.message}; {fault.hint}"

    def test_a_witness_needs_no_fence(self) -> None:
        text = SMALL.replace("heartbeat:", "  W: {address: 10.20.1.12, witness: true, fencing: {agent: x}}\nheartbeat:")
        assert the_fault(text=text).path == "nodes.W.fencing"

    def test_no_message_repeats_an_option(self) -> None:
        with pytest.raises(ConfigError) as caught:
            read(text=with_fencing('{agent: x, options: {passwd: "hunter2\\n", action: hunter2}}'))
        assert "hunter2" not in str(caught.value)
