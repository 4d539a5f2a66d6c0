"""Faults against this very configuration, in virtual time, with the core that decides in production.

    language     statements and how they are written
    scenario     a text to what happens when, for one cluster, or to all that is wrong with it
    deeds        each statement, done to a world
    world        clocks, hosts and faults; below it `shell` (agents, guardians, kernels) and `network` (time, datagrams)
    simulation   one run: the timeline, and the account of each group (`attendance`)

The tests' random schedules and stories play on the same world, with faults added that no operator can ask for.
"""

from haagent.simulate.scenario import Scenario, ScenarioError, read
from haagent.simulate.simulation import Account, Line, Simulation, simulate
from haagent.simulate.world import World

__all__ = ["Account", "Line", "Scenario", "ScenarioError", "Simulation", "World", "read", "simulate"]
