"""The configuration: one YAML file, the same on every node, to frozen structs, or to the list of all its faults.

`load` is for a host that is one of the nodes, `check` for any host. The rest of the agent only sees `Config`: whatever
is in it has been validated, and nothing in it was adjusted.
"""

from haagent.config.durations import Duration, NotADuration, parse_duration
from haagent.config.faults import ConfigError, Fault
from haagent.config.keys import KeyFileError, generate_key_text, load_keys, write_key
from haagent.config.model import (
    Config,
    FencingConfig,
    GroupConfig,
    GuardsConfig,
    HeartbeatConfig,
    HooksConfig,
    HttpConfig,
    NodeConfig,
    ProbeConfig,
)
from haagent.config.plugins import CheckConfig, PluginConfig
from haagent.config.read import check, load, parse
from haagent.config.schema import Option, Section
from haagent.config.sessions import SessionsConfig

__all__ = [
    "CheckConfig",
    "Config",
    "ConfigError",
    "Duration",
    "Fault",
    "FencingConfig",
    "GroupConfig",
    "GuardsConfig",
    "HeartbeatConfig",
    "HooksConfig",
    "HttpConfig",
    "KeyFileError",
    "NodeConfig",
    "NotADuration",
    "Option",
    "PluginConfig",
    "ProbeConfig",
    "Section",
    "SessionsConfig",
    "check",
    "generate_key_text",
    "load",
    "load_keys",
    "parse",
    "parse_duration",
    "write_key",
]
