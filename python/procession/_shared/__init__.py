"""Python faces of the core's objects: they add what is seldom called, the core does the rest."""

from procession._base import owner_death as owner_death  # wires the core before the first object exists
