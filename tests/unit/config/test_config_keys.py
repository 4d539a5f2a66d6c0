"""A key is never readable by others, and never shown; a first configuration always passes its own validation."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from haagent.cli.config import KEY
from haagent.config import (
    Config,
    Duration,
    KeyFileError,
    NotADuration,
    check,
    generate_key_text,
    load_keys,
    parse,
    parse_duration,
    write_key,
)
from haagent.config.durations import format_duration
from haagent.config.schema import keys_of
from haagent.config.starter import (
    DEFAULT_KEY_FILE,
    Starter,
    StarterError,
    interface_of,
    parse_nodes,
    starter_text,
    write_starter,
)

NODES = {"A": "10.20.1.10", "B": "10.20.1.11"}


def key_line(fill: int) -> str:
    return base64.b64encode(bytes([fill]) * 32).decode()


def written(path: Path, text: str | bytes, mode: int = 0o600) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


def test_the_commands_name_the_configured_default() -> None:
    assert KEY == DEFAULT_KEY_FILE == keys_of(Config)["key_file"].shown


class TestKeys:
    def test_a_generated_key_can_be_loaded(self, tmp_path: Path) -> None:
        file = written(tmp_path / "key", generate_key_text())
        (key,) = load_keys([file])
        assert len(key) == 32
        assert generate_key_text() != generate_key_text()

    def test_the_first_of_several_comes_first(self, tmp_path: Path) -> None:
        new = written(tmp_path / "new", f"# comment\n\n{key_line(1)}\n  {key_line(2)}  \n")
        old = written(tmp_path / "old", key_line(3), mode=0o400)
        assert load_keys([new, old]) == (b"\1" * 32, b"\2" * 32, b"\3" * 32)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601, 0o666])
    def test_refused_when_others_can_use_it(self, tmp_path: Path, mode: int) -> None:
        file = written(tmp_path / "key", generate_key_text(), mode)
        with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600 {file}"):
            load_keys([file])

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_refused_when_it_belongs_to_someone_else(self, tmp_path: Path) -> None:
        file = written(tmp_path / "key", generate_key_text())
        os.chown(file, 65534, -1)
        with pytest.raises(KeyFileError, match="belongs to user 65534"):
            load_keys([file])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "has no key in it"),
            ("# only a comment\n", "has no key in it"),
            ("c2hvcnQ=\n", "line 1 is not 32 bytes"),
            ("\nnot base64 at all!\n", "line 2 is not 32 bytes"),
            (key_line(0), "a key of zeros"),
            (b"\xff" * 40, "line 1 is not 32 bytes"),
            ("#" * 20_000, "too large"),
            (f"{key_line(1)}\n{key_line(1)}\n", "listed twice"),
            ("\n".join(key_line(fill) for fill in range(1, 10)), "9 keys are listed"),
        ],
    )
    def test_refused_content(self, tmp_path: Path, text: str | bytes, said: str) -> None:
        with pytest.raises(KeyFileError, match=said):
            load_keys([written(tmp_path / "key", text)])

    def test_every_file_is_reported(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo", 0o600)
        files = [str(tmp_path / "none"), str(tmp_path), str(tmp_path / "fifo"), "a\0b"]
        with pytest.raises(KeyFileError) as caught:
            load_keys(files)
        assert [fault.split(": ")[1][:12] for fault in caught.value.faults] == [
            "does not exi",
            "is not a reg",
            "is not a reg",
            "cannot be re",
        ]
        with pytest.raises(KeyFileError, match="haagent keygen"):
            load_keys([])

    def test_no_message_has_the_key(self, tmp_path: Path) -> None:
        text = base64.b64encode(b"0123456789").decode()
        with pytest.raises(KeyFileError) as caught:
            load_keys([written(tmp_path / "key", text)])
        shown: BaseException | None = caught.value
        while shown is not None:
            assert text not in repr(shown)
            shown = shown.__cause__

    def test_written_with_its_mode_and_not_twice(self, tmp_path: Path) -> None:
        file = tmp_path / "new" / "cluster.key"
        old_mask = os.umask(0)
        try:
            write_key(str(file))
        finally:
            os.umask(old_mask)
        assert stat.S_IMODE(file.stat().st_mode) in (0o600, 0o400)  # 0400 where there is a user haagent
        before = load_keys([str(file)])
        with pytest.raises(KeyFileError, match="exists"):
            write_key(str(file))
        assert load_keys([str(file)]) == before
        write_key(str(file), replace=True)
        assert load_keys([str(file)]) != before
        assert [each.name for each in file.parent.iterdir()] == ["cluster.key"]


class TestStarter:
    @pytest.mark.parametrize(
        "wanted",
        [
            Starter(NODES, ("10.20.1.100/24",)),
            Starter(NODES, ("10.20.1.100/24", "fd00:20::100/64"), interface="bond0.12"),
            Starter({**NODES, "W": "10.20.1.12"}, ("10.20.1.100",), witnesses=("W",), cluster="shop-1"),
            Starter({**NODES, "C": "10.20.1.12"}, ("10.20.1.100/24",), transport="unicast", group="web"),
            Starter({"A": "fd00::1", "B": "fd00::2"}, ("fd00::3/64",), transport="both"),
            Starter({"no": "fd00::1", "1": "fd00::2"}, ("fd00::3/64",), cluster="on", group="null", interface="1e3"),
            Starter({"a.example.com": "10.0.0.1", "b.example.com": "10.0.0.2"}, ("10.0.0.3/24",), cluster="_x"),
        ],
    )
    def test_what_is_written_passes_and_says_what_was_asked(self, wanted: Starter) -> None:
        config = parse(starter_text(wanted).encode(), "")
        assert {name: node.addresses for name, node in config.nodes.items()} == {
            name: (address,) for name, address in wanted.nodes.items()
        }
        group = config.groups[wanted.group]
        assert [str(address.ip) for address in group.addresses] == [vip.split("/")[0] for vip in wanted.vips]
        assert group.prefer == tuple(name for name in wanted.nodes if name not in wanted.witnesses)
        assert [name for name, node in config.nodes.items() if node.witness] == list(wanted.witnesses)
        assert config.cluster == wanted.cluster
        assert config.heartbeat.transport == wanted.transport
        assert config.on_partition == ("consistent" if len(wanted.nodes) > 2 else "available")
        assert group.interface == (wanted.interface or "eth0")

    def test_the_interface_is_found_by_the_address(self) -> None:
        assert interface_of(["192.0.2.1", "127.0.0.1"]) == "lo"
        assert interface_of(["192.0.2.1", "nonsense"]) == ""
        assert "a guess" in starter_text(Starter(NODES, ("10.20.1.100/24",)))
        local = starter_text(Starter({"A": "127.0.0.1", "B": "127.0.0.2"}, ("10.20.1.100/24",)))
        assert "interfaces: [lo]  # this host's address is on it" in local

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            (Starter(NODES, ()), "write --vip"),
            (Starter(NODES, ("10.20.1.0/24",)), r"^groups.service.addresses\[0\]: .* the network itself"),
            (Starter(NODES, ("10.20.1.100/24",), witnesses=("W",)), "W=ADDRESS"),
            (Starter({"A": "10.20.1.10", "B": "x"}, ("10.20.1.100/24",)), "^nodes.B.address: `x` is not an IP"),
            (Starter(NODES, ("10.20.1.100/24",), cluster="a: b, c: }"), "cannot be a name"),
            (Starter(NODES, ("10.20.1.100/24",), key_file="key"), "absolute path"),
        ],
    )
    def test_refused_wishes(self, wanted: Starter, said: str) -> None:
        with pytest.raises(StarterError, match=said):
            starter_text(wanted)

    def test_nodes_of_the_command_line(self) -> None:
        assert parse_nodes("A=10.20.1.10, B=10.20.1.11") == NODES
        for bad in ("", "A", "A=", "=10.0.0.1", "A=10.0.0.1,A=10.0.0.2"):
            with pytest.raises(StarterError):
                parse_nodes(bad)

    def test_files_are_written_once_and_the_key_is_kept(self, tmp_path: Path) -> None:
        file, key = tmp_path / "haagent.yaml", tmp_path / "cluster.key"
        wanted = Starter(NODES, ("10.20.1.100/24",), key_file=str(key))
        assert write_starter(wanted, str(file)) == (str(key), str(file))
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert check(str(file)).key_files == (str(key),)
        keys = load_keys([str(key)])
        with pytest.raises(StarterError, match="--force"):
            write_starter(wanted, str(file))
        assert write_starter(wanted, str(file), replace=True) == (str(file),)
        assert load_keys([str(key)]) == keys
        assert sorted(each.name for each in tmp_path.iterdir()) == ["cluster.key", "haagent.yaml"]

    def test_nothing_is_written_when_it_is_refused(self, tmp_path: Path) -> None:
        wanted = Starter(NODES, ("10.20.1.10/24",), key_file=str(tmp_path / "key"))
        with pytest.raises(StarterError):
            write_starter(wanted, str(tmp_path / "haagent.yaml"))
        assert list(tmp_path.iterdir()) == []


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("100ms", 0.1), ("350ms", 0.35), ("2s", 2.0), ("0.5s", 0.5), ("1m", 60.0), ("1h", 3600.0), ("0s", 0.0)],
    )
    def test_read(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == seconds
        assert isinstance(parse_duration(text), Duration)

    @pytest.mark.parametrize(
        "text", ["", "1", "1.5", "ms", "1 s", "-1s", "1S", "1d", "1s\n", "\u0661s", "1e3s", "9" * 99]
    )
    def test_refused(self, text: str) -> None:
        with pytest.raises(NotADuration, match="write"):
            parse_duration(text)

    @pytest.mark.parametrize("text", ["100ms", "2s", "90s", "1m", "1h", "0ms", "12.5ms"])
    def test_shown_as_written(self, text: str) -> None:
        assert format_duration(parse_duration(text)) == text
