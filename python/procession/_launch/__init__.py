"""How a process is made, watched and collected."""

from procession._base import owner_death as owner_death  # wires the core before the first process is made
