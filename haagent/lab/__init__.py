"""A cluster on one machine: hosts as network namespaces, real agents, a client that measures, a verb per fault."""

from haagent.lab.cluster import Lab
from haagent.lab.configuration import Wishes
from haagent.lab.errors import LabError
from haagent.lab.measurement import Measurement
from haagent.lab.outage import Gap, Outage

__all__ = ["Gap", "Lab", "LabError", "Measurement", "Outage", "Wishes"]
